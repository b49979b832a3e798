"""What a classifier's outputs say of the probe points' labels, as a few scalars."""

from __future__ import annotations

import torch
from torch.nn import functional

from repwatch.probe import ProbeSet

__all__ = ["class_targets", "measure_outputs"]

# Of the shape (points, labels), the largest that is looked at.
MOST_LABELS = 4096


def class_targets(probe: ProbeSet) -> torch.Tensor | None:
    """The probe points' labels as places of outputs, shape (n,); None where they are none.

    They are the whole numbers from 0 on, as cross-entropy takes them.
    """
    values = probe.columns.get("label")
    if not values or not all(type(value) is int and 0 <= value < MOST_LABELS for value in values):
        return None
    targets = torch.tensor(values)
    return targets if int(targets.max()) >= 1 else None


def measure_outputs(rows: torch.Tensor, targets: torch.Tensor | None) -> dict[str, float]:
    """Scalars of rows that have one output for each label; none of other rows.

    "cross_entropy": of the softmax of the outputs; "batch_entropy": the same with the softmax over
    the points in place of the outputs, less the logarithm of the number of points; "log_loss": of
    the outputs themselves, where they are probabilities; "hits": share of points whose label has
    the largest output; "rare_hits": the mean of that by label, without the most frequent label.
    """
    fits = targets is not None and len(rows) == len(targets) and rows.dim() == 2
    if targets is None or not fits or rows.shape[1] != int(targets.max()) + 1:
        return {}
    rows, targets = rows.double(), targets.to(rows.device)
    right = (rows.argmax(1) == targets).double()
    found = {
        "cross_entropy": functional.cross_entropy(rows, targets),
        "batch_entropy": functional.nll_loss(rows.log_softmax(0), targets)
        - torch.log(torch.tensor(float(len(rows)))),
        "hits": right.mean(),
        "rare_hits": _rare(right, targets),
    }
    if bool((rows >= 0).all()) and bool((rows <= 1).all()):
        found["log_loss"] = functional.nll_loss(rows.clamp_min(1e-12).log(), targets)
    values = {name: float(value) for name, value in found.items()}
    return {name: value for name, value in values.items() if abs(value) < float("inf")}


def _rare(right: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The share of right points, label by label, in the mean over all labels but the first."""
    counts = targets.bincount()
    sums = right.new_zeros(len(counts)).index_add(0, targets, right)
    others = (counts > 0) & (torch.arange(len(counts), device=counts.device) != counts.argmax())
    return (sums[others] / counts[others]).mean()
