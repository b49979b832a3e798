"""Capture in the host's own forward passes: hooks that are on while they run the probe's points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from repwatch.capture._default_layers import list_ends
from repwatch.capture._layers import Modules, base, find_modules, spread
from repwatch.capture._recorder import Capture, Recorder, Reduction
from repwatch.capture._rows import as_real
from repwatch.capture.plan import Plan
from repwatch.errors import CaptureError
from repwatch.probe import ProbeSet, batch_size
from repwatch.probe._padding import Padding, trim
from repwatch.probe._trees import Tree, main_tensor

Finish = Callable[[Recorder, Modules, torch.Tensor], Capture]
"""Makes the Capture of the recorded rows and of the order that sorts them into the probe's."""

# Before the layers are chosen, rows of this many times `max_layers` layers are collected.
CANDIDATE_FACTOR = 4


class PassiveCapture:
    """Collects the probe points' rows from whatever passes the host does.

    Around each of the host's passes: `open(batch)`, then `close()`. The batch's rows that are
    probe points are found by their content, in any order and among others; without such rows no
    hook is set. When `complete`, `result()` gives the Capture. The model, its mode and the host's
    numbers are not touched; an error in a hook is raised by `result()`.

    With the context manager, one pass: `with capturer.passive() as passive: model(x)`, where the
    host knows that x holds the probe's points in order.

    Examples:
        >>> from repwatch import ProbeSet
        >>> from repwatch.capture import Capturer
        >>> model, x = nn.Linear(6, 4), torch.randn(20, 6)
        >>> passive = Capturer(model, ProbeSet.from_tensor(x)).passive()
        >>> for batch in x.split(10):
        ...     _ = passive.open(batch)
        ...     _ = model(batch)  # the host's own pass
        ...     passive.close()
        >>> passive.seen, passive.complete
        (20, True)
    """

    def __init__(
        self,
        model: nn.Module,
        probe: ProbeSet,
        plan: Plan | None,
        chosen: frozenset[str] | None,
        reduction: Reduction,
        padding: Padding,
        *,
        max_layers: int | None,
        finish: Finish,
    ) -> None:
        self._points = len(probe)
        self._chosen = chosen
        self._max_layers = max_layers
        self._finish = finish
        self._modules = find_modules(model)
        self._padding = padding
        self._finder = _RowFinder(probe, padding)
        self._places: list[int] = []
        self._skipped = 0
        self._keys = None if plan is None else frozenset(plan.keys)
        names = None if plan is None else {base(key) for key in plan.keys}
        self._candidates = self._choose_candidates()
        self._recorder = Recorder(
            self._modules,
            reduction,
            self._is_wanted,
            points=self._points,
            in_order=False,
            watched={n: m for n, m in self._modules.named.items() if names is None or n in names},
        )

    @property
    def seen(self) -> int:
        """How many probe points have passed by."""
        return len(self._places)

    @property
    def complete(self) -> bool:
        """Whether all probe points have passed by; `open` sets no hook from now on."""
        return self.seen >= self._points

    def open(self, batch: Tree, places: Sequence[int] | None = None) -> bool:
        """Set the hooks for a pass over this batch, if it has probe points.

        Args:
            batch: The batch that the host is about to run.
            places: Which probe points the batch's first rows are, where the caller knows.

        Returns:
            Whether hooks were set.
        """
        self.close()
        size = batch_size(batch)
        if self.complete or size is None:
            return False
        taken = set(self._places)
        if places is None:
            chosen = self._finder.find(batch, taken)
        else:
            chosen = {row: place for row, place in enumerate(places) if place not in taken}
        if not chosen:
            self._skipped += 1
            return False
        self._start(size, batch, chosen)
        return True

    def close(self) -> None:
        """Remove the hooks; it may be called twice."""
        self._recorder.end()

    def __enter__(self) -> PassiveCapture:
        points = self._points
        self._start(points, None, dict(enumerate(range(points))))
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def places(self) -> list[int]:
        """The probe points that have passed by, in order."""
        return sorted(self._places)

    def result(self, finish: Finish | None = None) -> Capture:
        """RDM and scalars of each layer.

        Args:
            finish: `finish_passive` of a capturer whose probe set is the points that passed by.

        Raises CaptureError where points are missing, a hook failed, or no layer can be captured.
        """
        self.close()
        if self._recorder.failure is not None:
            raise CaptureError(
                f"A layer's output could not be reduced: {self._recorder.failure}."
            ) from self._recorder.failure
        if finish is None and not self.complete:
            raise CaptureError(
                f"Expected all {self._points} probe points to pass by, but saw {self.seen}; "
                f"{self._skipped} batches had none of them. The batches are augmented or cut "
                "short: give RepWatch(probe=...) a probe set, or a forward function."
            )
        order = torch.tensor(self._places).argsort()
        return (finish or self._finish)(self._recorder, self._modules, order)

    def _start(self, size: int, batch: Tree, chosen: dict[int, int]) -> None:
        rows = torch.tensor(list(chosen))
        whole = len(chosen) == size and list(chosen) == list(range(size))
        self._places += chosen.values()
        self._recorder.begin(size, self._padding.masks(batch), None if whole else rows)

    def _is_wanted(self, key: str) -> bool:
        return base(key) in self._candidates if self._keys is None else key in self._keys

    def _choose_candidates(self) -> frozenset[str]:
        """The layers whose rows are collected until the final choice can be made."""
        if self._chosen is not None:
            return self._chosen
        candidates = list_ends(self._modules)
        if self._max_layers is None:
            return frozenset(candidates)
        return frozenset(spread(candidates, CANDIDATE_FACTOR * self._max_layers))


class _RowFinder:
    """Finds probe points among the rows of a batch, by content without its padding."""

    def __init__(self, probe: ProbeSet, padding: Padding) -> None:
        x = probe.main_tensor()
        fits = x is not None and x.dim() > 0 and len(x) == len(probe)
        self._padding = padding
        self._x = [] if x is None or not fits else self._contents(x, probe.inputs)
        self._places: dict[bytes, list[int]] = {}
        self._dtype: torch.dtype | None = None

    def find(self, batch: Tree, taken: set[int]) -> dict[int, int]:
        """Row of the batch -> probe point, for rows that are probe points and not taken yet."""
        x = main_tensor(batch)
        if not self._x or x is None or x.dim() == 0 or len(x) == 0:
            return {}
        rows = self._contents(x.detach(), batch)
        if rows[0].dtype != self._dtype:
            self._learn(rows[0].dtype)
        found: dict[int, int] = {}
        free = {key: [p for p in places if p not in taken] for key, places in self._places.items()}
        for row, signature in enumerate(map(_signature, rows)):
            # Equal points are assigned one after the other.
            for place in free.get(signature, [])[:1]:
                if _equal(rows[row], self._x[place].to(rows[row].dtype)):
                    free[signature].pop(0)
                    found[row] = place
        return found

    def _contents(self, x: torch.Tensor, batch: Tree) -> list[torch.Tensor]:
        """Each point as one row of values, on the CPU."""
        x = as_real(x).cpu()
        if x.dim() not in (2, 3):
            return list(x.reshape(len(x), -1))
        masks = (mask.cpu() for mask in self._padding.masks(batch))
        mask = next((mask for mask in masks if mask.shape == x.shape[:2]), None)
        return [trim(row, None if mask is None else mask[i]).reshape(-1) for i, row in enumerate(x)]

    def _learn(self, dtype: torch.dtype) -> None:
        """The host's precision may have converted its batches: compare in their dtype."""
        self._dtype = dtype
        self._places = {}
        for place, row in enumerate(self._x):
            self._places.setdefault(_signature(row.to(dtype)), []).append(place)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two rows are the same, missing values included."""
    if a.shape != b.shape:
        return False
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def _signature(row: torch.Tensor, most: int = 64) -> bytes:
    """The bytes of up to 64 evenly spaced values of a row."""
    values = row[:: max(len(row) // most, 1)].to(torch.float64)
    # One NaN for all: its bits may change on the way through a device or a precision.
    return torch.where(values.isnan(), torch.nan, values).numpy().tobytes()
