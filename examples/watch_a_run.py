"""A run veers off, is stopped, takes the advice, and goes where the good runs went.

Claim (the essay's last idea): "imagine training a neural network and watching its representations
wander through this space ... if it's veering off towards a cluster you know had too high learning
rates, you know you should lower it".

Data: scikit-learn's digits, or with --data an .npz of `images` (n, height, width) in uint8 and
`labels` (n,), such as MNIST; raw_and_hidden.py says how to make it.

Three commands tell the story; without a command they run one after the other:

    python examples/watch_a_run.py sweep            # 24 learning rates; the runs become landmarks
    python examples/watch_a_run.py veer --lr 0.12   # compared with them: flagged, stopped, advised
    python examples/watch_a_run.py again            # the same network with the advised rate

Measured for both watched runs: the step of the flag, how far each hidden layer is from the good
landmarks in units of their own spread, and the share of good ones among its ten nearest landmarks.
About five minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _essay import (
    COLORS,
    Result,
    as_images,
    bare,
    finish,
    make_parser,
    new_registry,
    parse,
    plt,
    read_images,
    save_figure,
    show_progress,
    silent_trainer,
    write_page,
)
from lightning import pytorch as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from repwatch import DriftDetector, ProbeSet, Registry, RepWatch
from repwatch.maps import LandmarkMap, MapSettings, find_landmarks, read_rows
from repwatch.page.strip import RunStrip, deviations_of, run_strip
from repwatch.registry import Run

HIDDEN = ("net.1", "net.3")
GOOD_WITHIN = 0.05  # of the best accuracy
FIRST, SECOND = "veers off", "takes the advice"
OUTCOMES = {
    "good": COLORS[4],
    "learning rate too high": COLORS[2],
    "learning rate too low": COLORS[0],
}


class Classifier(pl.LightningModule):
    def __init__(self, inputs: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr = lr
        self.net = nn.Sequential(
            nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Story:
    """The data, the registry, and how one run is trained."""

    def __init__(self, chosen: Any, registry: Registry) -> None:
        x, y = read_images(chosen.data)
        n = chosen.points
        self.registry, self.epochs, self.out = registry, chosen.epochs, chosen.out
        self.probe = ProbeSet.from_tensor(x[:n], labels=y[:n], images=as_images(x[:n]))
        self.train = TensorDataset(x[n : n + 1_400], y[n : n + 1_400])
        self.validation = TensorDataset(x[:n], y[:n])

    def fit(self, name: str, lr: float, seed: int, on_flag: str = "warn") -> Run:
        torch.manual_seed(seed)
        watch = RepWatch(
            self.probe,
            registry=self.registry,
            run_name=name,
            monitor="val_loss",
            on_flag=on_flag,  # type: ignore[arg-type]
            draw_map=False,
            auto_label=False,
            vitals=False,  # this is about what landmarks show
            verbose=False,
        )
        trainer = silent_trainer(
            watch, self.epochs, enable_progress_bar=False, default_root_dir=self.out
        )
        trainer.fit(
            Classifier(self.train.tensors[0].shape[1], lr),
            DataLoader(self.train, batch_size=8, shuffle=True),
            DataLoader(self.validation, batch_size=len(self.validation)),
        )
        return self.registry.run(name)


def sweep(story: Story, runs: int) -> None:
    """Train with each learning rate, and label each run by its accuracy, as a person would."""
    rates = np.geomspace(3e-5, 0.2, runs)
    for seed, rate in show_progress(list(enumerate(rates.tolist())), "sweep"):
        story.fit(f"lr {rate:.2g}", rate, seed)
    registry = story.registry
    found = {run.name: run.metrics["val_acc"] for run in registry.runs()}
    best = max(found, key=found.__getitem__)
    rate_of = {run.name: run.hparams["lr"] for run in registry.runs()}
    for name, accuracy in found.items():
        if accuracy > found[best] - GOOD_WITHIN:
            registry.label(name, "good")
        else:
            side = "high" if rate_of[name] > rate_of[best] else "low"
            registry.label(name, "bad", f"learning rate too {side}")
    # Learned once and stored: a run that starts later knows the landmarks from its first step.
    DriftDetector.fit(registry, registry.runs()[0].probe)


def advice(run: Run) -> float:
    """The middle of the good landmarks' learning rates, from the evidence of the run's flag."""
    changes = [flag.evidence.get("change") for flag in run.flags]
    known = [change for change in changes if change and change["setting"] == "lr"]
    if not known:
        raise SystemExit(
            f"Expected a flag of {run.name!r} that advises another lr. Got "
            f"{[flag.message for flag in run.flags]}: choose a higher --lr."
        )
    return float(np.sqrt(np.prod(known[0]["good"])))


def strip_of(registry: Registry, run: Run) -> RunStrip:
    """The run's distances from the good landmarks, by layer and step, in units of their spread."""
    found = registry.snapshots(probe=run.probe)
    flags = [(flag.layer, flag.step) for flag in run.flags]
    return run_strip(run.name, found, deviations_of(found, read_rows(found, "euclidean")), flags)


def summarize(registry: Registry, run: Run) -> dict[str, Any]:
    strip = strip_of(registry, run)
    landmarks = find_landmarks(registry, run.probe, without=run.id)
    layer = HIDDEN[-1]
    fitted = LandmarkMap.fit(registry, landmarks, MapSettings(layers=(layer,)))
    near = fitted.place(run.snapshots(layer, step="last"), k=10)[0].nearest
    good = {snapshot.id for snapshot in landmarks if snapshot.label == "good"}
    return {
        "lr": run.hparams["lr"],
        "flag": run.flags[0].step if run.flags else None,
        "message": run.flags[0].message if run.flags else "",
        "last step": run.last_step,
        "accuracy": run.metrics.get("val_acc"),
        "deviation": {name: strip["values"][strip["layers"].index(name)][-1] for name in HIDDEN},
        "good neighbors": sum(one.id in good for one in near) / len(near),
    }


def draw(registry: Registry, path: Path) -> None:
    """The map of the last hidden layer with both runs on it, and their strips."""
    layer = HIDDEN[-1]
    runs = [registry.run(name) for name in (FIRST, SECOND)]
    landmarks = [s for s in find_landmarks(registry, runs[0].probe) if s.layer == layer]
    fitted = LandmarkMap.fit(registry, landmarks, MapSettings(layers=(layer,)))
    figure, axes = plt.subplot_mosaic(
        [["map", "first"], ["map", "second"]],
        figsize=(11, 5),
        width_ratios=(1.1, 1),
        layout="constrained",
    )
    bare(axes["map"], f"The space of {layer}: landmarks, and two watched runs")
    for outcome, color in OUTCOMES.items():
        chosen = [s for s in landmarks if (s.cause or s.label) == outcome and not s.diverged]
        places = np.array([fitted.positions[s.id] for s in chosen if s.id in fitted.positions])
        if len(places):
            axes["map"].scatter(*places.T, s=16, color=color, alpha=0.8, lw=0, label=outcome)
    for run, style in zip(runs, ("-", "--"), strict=True):
        own = run.snapshots(layer)
        fitted.place(own)
        way = np.array([fitted.positions[s.id] for s in own if s.id in fitted.positions])
        axes["map"].plot(
            *way.T, style, color="black", lw=1, label=f"{run.name}, lr {run.hparams['lr']:.2g}"
        )
        axes["map"].scatter(*way[-1], color="black", s=45, zorder=3)
    axes["map"].legend(fontsize=8, loc="best")
    strips = [strip_of(registry, run) for run in runs]
    for key, run, strip in zip(("first", "second"), runs, strips, strict=True):
        cells = np.array(strip["values"], dtype=float)
        axes[key].imshow(cells, cmap="Blues", vmin=0.5, vmax=4, aspect="auto")
        for row, column in np.ndindex(*cells.shape):
            value = cells[row, column]
            if np.isfinite(value):
                ink = "white" if value > 2.2 else "black"
                axes[key].text(
                    column, row, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=8
                )
        for name, step in strip["flags"]:
            row = strip["layers"].index(name) if name in strip["layers"] else 0
            axes[key].scatter(strip["steps"].index(step) + 0.38, row - 0.32, color=COLORS[2], s=28)
        axes[key].set_xticks(range(len(strip["steps"])), strip["steps"], fontsize=8)
        axes[key].set_yticks(range(len(strip["layers"])), strip["layers"], fontsize=8)
        flagged = f"flagged at step {run.flags[0].step}" if run.flags else "no flags"
        axes[key].set_title(f"{run.name}: {flagged}; distance from good runs", fontsize=10)
    axes["second"].set_xlabel("step")
    save_figure(figure, path)


def tell(registry: Registry, out: Path, name: str) -> Result:
    first, second = (summarize(registry, registry.run(run)) for run in (FIRST, SECOND))
    draw(registry, out / f"{name}.png")
    write_page(registry, out, name, [FIRST, SECOND])
    deviations = [
        ", ".join(f"{layer} {value:.1f}" for layer, value in one["deviation"].items())
        for one in (first, second)
    ]
    number = (
        f"With a learning rate of {first['lr']:.2g} the run is flagged for step {first['flag']} "
        f"and ends at step {first['last step']}; its distances from the good runs, relative to "
        f"their spread, are {deviations[0]}, and {first['good neighbors']:.0%} of its nearest "
        f"landmarks are good. With the advised {second['lr']:.2g}: "
        f"{'no flag' if second['flag'] is None else 'a flag'}, distances {deviations[1]}, "
        f"{second['good neighbors']:.0%} good, accuracy {second['accuracy']:.2f}."
    )
    held = (
        first["flag"] is not None
        and "lower it" in first["message"]
        and second["flag"] is None
        and second["good neighbors"] > 0.8 > first["good neighbors"]
    )
    claim = "A run that veers off towards high learning rates is flagged, and lowering it helps."
    return finish(out, name, Result(claim, number, held, {"first": first, "second": second}))


def main(words: Sequence[str] | None = None) -> Result | None:
    parser = make_parser(__doc__, "watch_a_run")
    parser.add_argument("command", nargs="?", choices=("sweep", "veer", "again"))
    parser.add_argument("--data", type=Path, help="an .npz; scikit-learn's digits without it")
    parser.add_argument("--lr", type=float, default=0.12, help="rate of the run that veers off")
    parser.add_argument("--runs", type=int, default=24, help="runs of the sweep")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--points", type=int, default=256, help="probe points")
    chosen = parse(parser, words)
    if chosen.command in (None, "sweep"):
        registry = new_registry(chosen.out, chosen.name)
    else:
        registry = Registry(chosen.out / f"{chosen.name}.db")
    story = Story(chosen, registry)
    if chosen.command in (None, "sweep"):
        sweep(story, chosen.runs)
    if chosen.command in (None, "veer"):
        run = story.fit(FIRST, chosen.lr, seed=1_000, on_flag="stop")
        print(f"Stopped at step {run.last_step}; advised learning rate: {advice(run):.2g}")
    result = None
    if chosen.command in (None, "again"):
        story.fit(SECOND, advice(registry.run(FIRST)), seed=1_000, on_flag="stop")
        result = tell(registry, chosen.out, chosen.name)
    registry.close()
    return result


if __name__ == "__main__":
    main()
