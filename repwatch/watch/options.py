"""WatchOptions: what a person may choose about watching a run, validated in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from repwatch.analysis.monitors import Monitor
from repwatch.errors import (
    ConfigurationError,
    RegistryUnavailableError,
)
from repwatch.rdm.activations import Metric, check_metric
from repwatch.registry import Flag, Registry, Run
from repwatch.registry.hparams import look_up
from repwatch.registry.names import nearest_names
from repwatch.registry.records import Mode, OnExists
from repwatch.registry.retention import Retention
from repwatch.vitals import choose_rules
from repwatch.watch.budget import Throttle
from repwatch.watch.schedule import Schedule

if TYPE_CHECKING:
    from repwatch.maps.landmark_map import MapSettings

__all__ = ["WatchOptions", "check_group", "check_probe_name", "find_continued_run"]

Layers = Sequence[str] | Callable[[str, torch.nn.Module], bool] | None


@dataclass(frozen=True)
class WatchOptions:
    """How a run is watched. Every driver (Lightning, a loop of your own) takes the same options.

    Args:
        layers: None for the input and up to `max_layers` ends of blocks and stages spread evenly by
            depth (in a network without branches a layer of weights, with its normalization,
            non-linearity and pooling, is a block); "blocks" for all of them; a list of layer names
            or globs; or a callable (name, module) -> bool.
        registry: None for `$REPWATCH_REGISTRY`, else a `repwatch.db` that the driver chooses; a
            path, a SQLAlchemy URL, or a Registry.
        schedule: None for snapshots at initialization, at 10, 30 and 100 steps of the first epoch
            and at the end of every epoch; a Schedule, a sequence of steps, or a callable
            (step) -> bool.
        run_name: The run's name in the registry; None makes one.
        on_exists: What to do where a run of that name exists: "error" refuses, "resume" continues
            it, as for a job that a queue restarts, "number" adds the next free number.
        spool: The folder for what is recorded while the registry does not answer; None for
            `$REPWATCH_SPOOL`, else `repwatch-spool` in the driver's log folder.
        monitor: The metric that measures how good a run is, such as "val_loss"; None for the one
            that the driver finds in the user's configuration, else one of a customary name, such as
            "val_loss".
        mode: Whether a small ("min") or a large ("max") value of `monitor` is good; None for what
            its name says ("min" where it says nothing).
        on_flag: "warn" logs a flag, "stop" also ends the training, a callable gets the Flag.
        max_overhead: The largest share of the training time that RepWatch may take in the training
            thread, in (0, 1]; the first 20 seconds are free. Above it, snapshots are left out,
            except the last one of a Trainer's training.
        points: How many probe points to take where the number is not given with the probe set.
        max_layers: How many layers to watch where `layers` is None.
        batch_size: Probe points per forward pass; None for at most 64 on a CPU and 256 elsewhere,
            and never more than the size of the batches that the model is trained with.
        forward: A function (module, inputs) -> anything that runs the probe points through the
            module, where calling the module does not.
        reduce: A function (layer, module, output) -> one row for each probe point, or None for the
            usual way; for layers whose rows are not the probe's points.
        token: What stands for a sequence (n, time, channels): the "mean" of its steps, the "last"
            one, or the one at this place (0 is the first, -1 the last). Padding does not count: a
            mask, lengths, or the model's padding id mark it.
        metric: The metric of distances between representations: "euclidean", or "cosine" for
            embeddings whose length has no meaning; None for that of the probe set, by default
            Euclidean. Runs are compared with runs of the same metric.
        false_alarms: The share of good runs that drift detection may flag over their whole length,
            in (0, 1).
        vitals: Whether to flag what the run's own snapshots show (dead units, layers that do not
            move, and so on), or the names of the rules to check: see `repwatch.vitals`.
        draw_map: Whether to place the run on the map of landmarks.
        map_settings: How the map is made.
        group: A hyperparameter that separates kinds of training, such as "method": each kind is
            compared with its own good landmarks.
        auto_label: Whether to label runs by their last `monitor` as each of them finishes, by the
            rule of `repwatch suggest-labels`, once 6 runs of the probe set have finished. Such
            labels are marked as automatic, are updated with each run, and never replace one that
            a person gave.
        keep: Which RDMs of the run stay whole once it has ended without a label: None for all; a
            number k for those of the first, last, best and every k-th step; a `Retention` also says
            what is kept of the others.
        verbose: Whether to print a line at the start and a summary at the end.

    Raises:
        ConfigurationError: An argument cannot work.

    Examples:
        >>> from repwatch.watch import WatchOptions
        >>> options = WatchOptions(layers=["encoder.*"], schedule=[10, 100], monitor="val_loss")
        >>> options.schedule.steps, options.max_overhead
        ((10, 100), 0.02)
        >>> WatchOptions(points=2)
        Traceback (most recent call last):
        repwatch.errors.ConfigurationError: Expected `points` to be a whole number of 3 or more, ...
    """

    layers: Layers = None
    registry: str | Path | Registry | None = None
    schedule: Schedule = field(default_factory=Schedule)
    run_name: str | None = None
    on_exists: OnExists = "error"
    spool: str | Path | None = None
    monitor: str | None = None
    mode: Literal["min", "max"] | None = None
    on_flag: Literal["warn", "stop"] | Callable[[Flag], None] = "warn"
    max_overhead: float = 0.02
    points: int = 256
    max_layers: int = 8
    batch_size: int | None = None
    forward: Callable[[torch.nn.Module, Any], Any] | None = None
    reduce: Callable[[str, torch.nn.Module, Any], torch.Tensor | None] | None = None
    token: int | Literal["mean", "last"] = "mean"
    metric: Metric | None = None
    false_alarms: float = 0.05
    vitals: bool | Sequence[str] = True
    draw_map: bool = True
    map_settings: MapSettings | None = None
    group: str | None = None
    auto_label: bool = True
    keep: Retention | int | None = None
    verbose: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", Schedule.coerce(self.schedule))
        object.__setattr__(self, "keep", Retention.coerce(self.keep))
        self._check_choices()
        self._check_numbers()
        self._check_token()
        if self.metric is not None:
            check_metric(self.metric)
        if isinstance(self.layers, str) and self.layers != "blocks":
            raise ConfigurationError(
                "Expected `layers` to be a list of names or globs, but got the string "
                f"{self.layers!r}. Write layers=[{self.layers!r}], or layers='blocks' for all "
                "block outputs."
            )
        for name in ("forward", "reduce"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigurationError(
                    f"Expected `{name}` to be a function or None, but got {value!r}."
                )
        choose_rules(self.vitals)

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> WatchOptions:
        """Options from keyword arguments. Raises ConfigurationError for names that are unknown."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                near = nearest_names(name, known) or known
                raise ConfigurationError(
                    f"Expected an option of RepWatch, but got {name!r}. "
                    f"The nearest: {', '.join(near)}."
                )
        # Each value is checked by `__post_init__`.
        checked: dict[str, Any] = dict(settings)
        return cls(**checked)

    def with_monitor(self, found: Monitor | None) -> WatchOptions:
        """These options with a `monitor` that was found; a mode that was given stays."""
        if found is None:
            return self
        return replace(self, monitor=found.metric, mode=self.mode or found.mode)

    def with_run_name(self, found: object) -> WatchOptions:
        """These options with the name that the run has elsewhere; a name that was given stays.

        A name that is taken gets a number, or is that of the run to resume.
        """
        name = found.strip() if isinstance(found, str) else ""
        if self.run_name is not None or not name:
            return self
        on_exists: OnExists = "resume" if self.on_exists == "resume" else "number"
        return replace(self, run_name=name, on_exists=on_exists)

    def _check_choices(self) -> None:
        for name, choices in (("mode", get_args(Mode)), ("on_exists", get_args(OnExists))):
            value = getattr(self, name)
            if value not in choices and (name, value) != ("mode", None):
                allowed = " or ".join(map(repr, choices))
                raise ConfigurationError(f"Expected `{name}` to be {allowed}, but got {value!r}.")
        if self.on_flag not in ("warn", "stop") and not callable(self.on_flag):
            raise ConfigurationError(
                "Expected `on_flag` to be 'warn', 'stop' or a callable that gets the Flag, but "
                f"got {self.on_flag!r}."
            )

    def _check_token(self) -> None:
        token = self.token
        place = isinstance(token, int) and not isinstance(token, bool)
        if not place and token not in ("mean", "last"):
            raise ConfigurationError(
                "Expected `token` to be 'mean', 'last', or the place of a token such as 0, but got "
                f"{token!r}."
            )

    def _check_numbers(self) -> None:
        smallest = {"points": 3, "max_layers": 1, "batch_size": 1}
        for name, least in smallest.items():
            value = getattr(self, name)
            if value is None and name == "batch_size":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(
                    f"Expected `{name}` to be a whole number of {least} or more, but got {value!r}."
                )
        object.__setattr__(self, "max_overhead", Throttle(self.max_overhead).share)
        if not 0 < self.false_alarms < 1:
            raise ConfigurationError(
                "Expected `false_alarms` to be a share in (0, 1), such as 0.05, but got "
                f"{self.false_alarms!r}."
            )


def check_probe_name(probe: object) -> None:
    """Refuse a string that names no probe set. Raises ConfigurationError."""
    if isinstance(probe, str) and not re.fullmatch("shared|[0-9a-f]{16}", probe):
        raise ConfigurationError(
            "Expected `probe` to be None, a ProbeSet, a Dataset, a tensor, the word 'shared', or "
            f"the fingerprint of a stored probe set (16 hex digits), but got {probe!r}."
        )


def check_group(group: str | None, hparams: Mapping[str, object]) -> None:
    """Refuse a `group` that is not the name of a hyperparameter. Raises ConfigurationError."""
    if group is not None and look_up(hparams, group) is None:
        known = nearest_names(group, hparams) or sorted(hparams)[:5]
        raise ConfigurationError(
            f"Expected `group` to be a hyperparameter of the run, but got {group!r}; the nearest "
            f"are {', '.join(known) or 'none: it has none'}."
        )


def find_continued_run(options: WatchOptions, registry: Registry, run_id: str | None) -> Run | None:
    """The stored run that would be continued: that of the id, or of the name with "resume".

    None where there is none, and where the registry does not answer and may be waited for.
    """
    name = run_id
    if name is None and options.on_exists == "resume":
        name = options.run_name
    if name is None:
        return None
    try:
        return registry.find_run(name)
    except RegistryUnavailableError as error:
        if not registry.may_wait(error):
            raise
        return None
