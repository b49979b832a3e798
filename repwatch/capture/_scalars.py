"""What an RDM does not hold of a layer, as a few scalars: of its rows, and of outputs by label."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from repwatch.probe import ProbeSet

__all__ = ["class_targets", "find_center", "measure", "measure_outputs"]

# Modules whose outputs are between -1 and 1, and those whose outputs are between 0 and 1.
_SIGNED = (nn.Tanh, nn.Hardtanh, nn.Softsign, nn.Softmax, nn.RNNBase, nn.RNNCellBase)
_UNSIGNED = (nn.Sigmoid, nn.Hardsigmoid)
SATURATED = 0.99

# Values counted at a time: a block and its signs stay in the processor's cache.
BLOCK = 1 << 17
# Labels must be below this number to be read as classes.
MOST_LABELS = 4096


def find_center(module: nn.Module) -> float | None:
    """The middle of the range of a module's outputs, or None where they are not bounded.

    That of a softmax is 0: only values near 1 count as saturated, since most are near 0.
    """
    if isinstance(module, _UNSIGNED):
        return 0.5
    return 0.0 if isinstance(module, _SIGNED) else None


def measure(rows: torch.Tensor, center: float | None) -> dict[str, float]:
    """Scalars of rows (n, features), of units whose range has this center (None: not bounded).

    "norm": mean Euclidean norm of a row, "largest": the largest one; "mean", "std": over all values
    (population); "zeros": share of exact zeros, 0 to 1; "dead": share of features that are 0 for
    all points, 0 to 1; "saturated": share of values within 1% of the size of an end of the range
    of bounded units, 0 to 1; "features": number of features; "nonfinite": share of NaN and infinite
    values, only where there are some, and then no other but "features".
    """
    features = {"features": float(rows.shape[1])}
    norms = torch.linalg.vector_norm(rows, dim=1)
    # One transfer for all: on an accelerator each one waits for the queue.
    squares = (norms.double() ** 2).sum() / rows.numel()
    dead = (torch.linalg.vector_norm(rows, float("inf"), dim=0) == 0).double().mean()
    found = [norms.mean().double(), norms.max(), rows.mean(), squares, dead]
    norm, largest, mean, square, dead_share = torch.stack([x.double() for x in found]).tolist()
    if not norm < float("inf"):
        nonfinite = float((~torch.isfinite(rows)).double().mean())
        if nonfinite > 0:
            return {**features, "nonfinite": nonfinite}
    variance = square - mean**2
    if not 1e-3 * square < variance < float("inf"):
        # The difference of two large numbers is imprecise: compute it in float64.
        exact = rows.double()
        norm, mean = float(torch.linalg.vector_norm(exact, dim=1).mean()), float(exact.mean())
        variance = float(exact.var(correction=0))
    shares = {"zeros": 1 - _count(rows, 0) / rows.numel(), "dead": dead_share}
    if center is not None:
        centered = rows - center if center else rows
        shares["saturated"] = _count(centered, SATURATED * (1 - center)) / rows.numel()
    sizes = {"norm": norm, "largest": largest, "mean": mean, "std": variance**0.5}
    return {**features, **sizes, **shares}


def _count(rows: torch.Tensor, beyond: float) -> int:
    """How many values are larger in size than `beyond`."""
    if rows.device.type != "cpu":
        return int(torch.count_nonzero(rows.abs() > beyond))
    # Summing signs is many times faster than count_nonzero on a processor.
    count = 0
    for block in torch.split(rows, max(BLOCK // rows.shape[1], 1)):
        size = (block.abs() - beyond).clamp_min_(0) if beyond else block
        count += int(size.sign().abs_().sum())
    return count


def class_targets(probe: ProbeSet) -> torch.Tensor | None:
    """The probe points' labels as indices of outputs, shape (n,); None where they are not indices.

    Such labels are whole numbers from 0 on, as cross-entropy takes them.
    """
    values = probe.columns.get("label")
    if not values or not all(type(value) is int and 0 <= value < MOST_LABELS for value in values):
        return None
    targets = torch.tensor(values)
    return targets if int(targets.max()) >= 1 else None


def measure_outputs(rows: torch.Tensor, targets: torch.Tensor | None) -> dict[str, float]:
    """Scalars of rows that have one output for each label; none for other rows.

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
    """The share of right points by label, averaged over all labels but the most frequent."""
    counts = targets.bincount()
    sums = right.new_zeros(len(counts)).index_add(0, targets, right)
    others = (counts > 0) & (torch.arange(len(counts), device=counts.device) != counts.argmax())
    return (sums[others] / counts[others]).mean()
