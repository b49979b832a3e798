"""Two curves in the plane, and what a hidden layer of two neurons does to them.

Claim ("Neural Networks Transform Space"): a network with only an input and an output layer divides
the plane by a straight line and cannot separate two interleaved curves; a hidden layer warps the
plane until a line can.

Data: generated, 2 x 100 points on two arcs. The probe set is the points and a grid of the
input plane, so that every snapshot has the warped grid in its RDM.

Two neurons have bad local minima, which say nothing about what such a layer can do: a network with
a hidden layer may be restarted twice, and the result says how many were.

Measured, over 20 seeds: the share of points classified correctly without and with a hidden layer of
two tanh neurons, and how well a line separates the curves in each layer (a logistic regression on
the two principal components of the layer's RDM, which are the layer itself up to rotation).

The page has a slider over the epochs: the input with the decision boundary pulled back to it, and
the hidden layer with the grid warped.

    python examples/two_curves.py                  # about two minutes on two cores
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _essay import (
    Result,
    bare,
    finish,
    make_parser,
    new_registry,
    parse,
    plt,
    save_figure,
    show_progress,
    train,
)
from sklearn.linear_model import LogisticRegression
from torch import nn

from repwatch import ProbeSet, Registry, rdm
from repwatch.registry import Run

GRID = 21
SIDES = ("#4e79a7", "#e15759")


def make_curves(points: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """(2 * points, 2) points on two arcs that no line separates, and the curve of each."""
    t = torch.linspace(-1, 1, points)
    lower = torch.stack([t, 0.9 * t**2 - 0.75], 1)
    upper = torch.stack([t, 0.9 * t**2 - 0.15], 1)
    return torch.cat([lower, upper]), torch.arange(2).repeat_interleave(points)


def make_grid() -> torch.Tensor:
    """(GRID^2, 2) points of the input plane."""
    line = torch.linspace(-1.2, 1.2, GRID)
    return torch.cartesian_prod(line, line)


class Network(nn.Module):
    """Two inputs, perhaps a layer of two tanh neurons, two classes."""

    def __init__(self, hidden: bool) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(2, 2), nn.Tanh()) if hidden else nn.Identity()
        self.logits = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.logits(self.hidden(x))
        return logits


def train_one(seed: int, hidden: bool, registry: Registry, epochs: int) -> tuple[float, Run]:
    """The accuracy of one network; the first of three initializations to separate the curves.

    Two neurons have bad local minima, which say nothing about what the layer can do.
    """
    x, y = make_curves()
    names = ["curve 1"] * 100 + ["curve 2"] * 100
    probe = ProbeSet.from_tensor(x, labels=names)
    snapshot_epochs = [epochs]
    if seed == 0:  # the run that is shown has the grid in its probe set
        probe = ProbeSet.from_tensor(torch.cat([x, make_grid()]), labels=names + ["grid"] * GRID**2)
        snapshot_epochs = sorted({1, *range(5, epochs, max(1, epochs // 20)), epochs})
    best: tuple[float, str] = (-1.0, "")
    for attempt in range(3 if hidden else 1):
        torch.manual_seed(1_000 * attempt + seed)
        model = Network(hidden)
        name = f"{'hidden' if hidden else 'line'}-{seed}-{attempt}"
        found = train(
            model,
            (x, y),
            (x, y),
            probe,
            registry,
            name,
            epochs=epochs,
            layers=["input", "hidden", "logits"] if hidden else ["input", "logits"],
            optimizer=torch.optim.Adam(model.parameters(), lr=0.03),
            batch=100,
            snapshot_epochs=snapshot_epochs,
        )
        best = max(best, (found, name))
        if found == 1.0:
            break
    return best[0], registry.run(best[1])


def linear_separability(D: np.ndarray[Any, Any]) -> float:
    """The share of the 200 points that a line in the layer's plane puts on the correct side."""
    plane = rdm.pca(D, 2)[:200]
    plane = plane / plane.std()
    sides = np.arange(200) >= 100
    line = LogisticRegression(C=1e4, max_iter=2_000).fit(plane, sides)
    return float(line.score(plane, sides))


def make_frames(run: Run) -> list[dict[str, Any]]:
    """For each snapshot, its step and the (n, 2) positions of the points in the hidden plane.

    Each frame is rotated to match the one before, since an RDM does not determine a rotation.
    """
    snapshots = run.snapshots("hidden")
    planes = rdm.align_views([rdm.pca(snapshot.rdm, 2) for snapshot in snapshots])
    return [
        {"step": snapshot.step, "hidden": plane}
        for snapshot, plane in zip(snapshots, planes, strict=True)
    ]


def divide(hidden: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """On which side (n,) of the best line in the hidden plane each point is, and the line (3,)."""
    scale = hidden.std()
    sides = np.arange(200) >= 100
    line = LogisticRegression(C=1e4, max_iter=2_000).fit(hidden[:200] / scale, sides)
    plane = np.array([*(line.coef_[0] / scale), line.intercept_[0]])
    return hidden @ plane[:2] + plane[2], plane


def draw(frames: list[dict[str, Any]], numbers: str, path: Path) -> None:
    """The input, and the hidden layer at the start, partway through and at the end."""
    x, _ = make_curves()
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.7), layout="constrained")
    chosen = [frames[0], frames[len(frames) // 3], frames[-1]]
    raw = torch.cat([x, make_grid()]).numpy()
    score, _ = divide(frames[-1]["hidden"])
    titles = ["input, decision boundary pulled back"]
    titles += [f"hidden layer, step {frame['step']}" for frame in chosen]
    for place, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        plane = raw if place == 0 else chosen[place - 1]["hidden"]
        grid = plane[200:].reshape(GRID, GRID, 2)
        for lines in (grid, grid.transpose(1, 0, 2)):
            axis.plot(lines[:, :, 0].T, lines[:, :, 1].T, color="#d0d0d0", lw=0.6)
        if place == 0:
            z = score[200:].reshape(GRID, GRID)
            axis.contour(grid[..., 0], grid[..., 1], z, [0], colors="black", linewidths=1.5)
        elif place == 3:
            _, line = divide(plane)
            middle = plane[:200].mean(0)
            middle = middle - line[:2] * (line[:2] @ middle + line[2]) / (line[:2] @ line[:2])
            along = np.array([-line[1], line[0]]) / np.hypot(*line[:2]) * 3 * plane.std()
            ends = np.stack([middle - along, middle + along])
            axis.plot(*ends.T, color="black", lw=1.5, scalex=False, scaley=False)
        for side in (0, 1):
            axis.plot(*plane[100 * side : 100 * side + 100].T, color=SIDES[side], lw=3)
        bare(axis, title).set_aspect("equal", "datalim")
    figure.suptitle(numbers, fontsize=12)
    save_figure(figure, path)


PAGE = """<!doctype html><meta charset="utf-8"><title>Two curves</title>
<style>body{font:16px system-ui;margin:2em auto;max-width:960px}canvas{width:49%;aspect-ratio:1}
input{width:100%}</style><h1>Two curves</h1><p>NUMBERS Left: the input, with the decision boundary
pulled back. Right: the hidden layer of two neurons, with the input grid warped.</p>
<label><span id="step"></span><input type="range" id="at" min="0" value="0"></label>
<div><canvas id="input" width="720" height="720"></canvas>
<canvas id="hidden" width="720" height="720"></canvas></div><script>
const data = DATA, G = GRID, slider = document.getElementById("at");
slider.max = data.frames.length - 1;
function draw(id, points, score) {
  const canvas = document.getElementById(id), pen = canvas.getContext("2d"), W = canvas.width;
  const xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  const cx = (Math.max(...xs) + Math.min(...xs)) / 2, cy = (Math.max(...ys) + Math.min(...ys)) / 2;
  const r = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)) || 1;
  const at = p => [W/2 + (p[0]-cx)/r*W*.94, W/2 - (p[1]-cy)/r*W*.94];
  const line = (list, color, width) => { pen.strokeStyle = color; pen.lineWidth = width;
    pen.beginPath(); list.forEach(p => pen.lineTo(...at(p))); pen.stroke(); };
  pen.clearRect(0, 0, W, W);
  const grid = points.slice(200);
  for (let i = 0; i < G * G; i++) {
    pen.fillStyle = score[200 + i] > 0 ? "#f7d7d7" : "#d9e4f0"; const [x, y] = at(grid[i]);
    pen.beginPath(); pen.arc(x, y, 9, 0, 7); pen.fill(); }
  for (let i = 0; i < G; i++) {
    line(grid.slice(i*G, i*G+G), "#bbb", 1); line(grid.filter((_, k) => k % G === i), "#bbb", 1); }
  line(points.slice(0, 100), "#4e79a7", 7); line(points.slice(100, 200), "#e15759", 7);
}
function show() { const f = data.frames[slider.value];
  document.getElementById("step").textContent = "step " + f.step;
  draw("input", data.input, f.score); draw("hidden", f.hidden, f.score); }
slider.oninput = show; show();
</script>"""


def write_slider(frames: list[dict[str, Any]], numbers: str, path: Path) -> None:
    x, _ = make_curves()
    content = {
        "input": torch.cat([x, make_grid()]).tolist(),
        "frames": [
            {
                "step": frame["step"],
                "hidden": frame["hidden"].round(4).tolist(),
                "score": divide(frame["hidden"])[0].round(3).tolist(),
            }
            for frame in frames
        ],
    }
    page = PAGE.replace("NUMBERS", numbers).replace("GRID", str(GRID))
    path.write_text(page.replace("DATA", json.dumps(content)), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> Result:
    parser = make_parser(__doc__, "two_curves")
    parser.add_argument("--seeds", type=int, default=20, help="networks of each kind")
    parser.add_argument("--epochs", type=int, default=250)
    chosen = parse(parser, words)
    registry = new_registry(chosen.out, chosen.name)
    scores: dict[str, list[float]] = {"line": [], "hidden": []}
    runs = []
    for seed in show_progress(range(chosen.seeds), "networks"):
        scores["line"].append(train_one(seed, False, registry, chosen.epochs)[0])
        right, run = train_one(seed, True, registry, chosen.epochs)
        scores["hidden"].append(right)
        runs.append(run)
    separable = {
        layer: float(np.mean([linear_separability(run.snapshots(layer)[-1].rdm) for run in runs]))
        for layer in ("input", "hidden")
    }
    means = {kind: float(np.mean(found)) for kind, found in scores.items()}
    perfect = sum(found == 1.0 for found in scores["hidden"])
    again = sum(not run.name.endswith("-0") for run in runs)
    numbers = (
        f"Accuracy {means['line']:.3f} without and {means['hidden']:.3f} with a hidden layer of "
        f"two neurons ({perfect} of {chosen.seeds} seeds perfect, {again} after a restart); linear "
        f"separability {separable['input']:.3f} in the input, {separable['hidden']:.3f} "
        "in the hidden layer."
    )
    frames = make_frames(runs[0])
    draw(frames, numbers.split(";")[0], chosen.out / "two_curves.png")
    write_slider(frames, numbers, chosen.out / "two_curves.html")
    registry.close()
    held = max(scores["line"]) < 1.0 and means["hidden"] > 0.99
    claim = "Two curves cannot be separated without a hidden layer; with one they can."
    return finish(
        chosen.out, chosen.name, Result(claim, numbers, held, {**means, "separable": separable})
    )


if __name__ == "__main__":
    main()
