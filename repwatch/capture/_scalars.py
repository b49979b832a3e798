"""What an RDM does not hold of a layer, as a few scalars, in few passes over the rows."""

from __future__ import annotations

import torch
from torch import nn

BOUNDED = (
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Softsign,
    nn.Softmax,
    nn.RNNBase,
    nn.RNNCellBase,
)
SATURATED = 0.99

# Values counted at a time: a block and its signs stay in the processor's cache.
BLOCK = 1 << 17


def measure(rows: torch.Tensor, bounded: bool) -> dict[str, float]:
    """Scalars of rows (n, features).

    "norm": mean Euclidean norm of a row; "mean", "std": over all values (population); "zeros":
    share of exact zeros, 0 to 1; "saturated": share of values beyond 0.99 in size, 0 to 1, only for
    bounded units; "features": number of features; "nonfinite": share of NaN and infinite values,
    only where there are some, and then no other but "features".
    """
    features = {"features": float(rows.shape[1])}
    norms = torch.linalg.vector_norm(rows, dim=1)
    # One transfer for all: on an accelerator each one waits for the queue.
    squares = (norms.double() ** 2).sum() / rows.numel()
    norm, mean, square = torch.stack([norms.mean().double(), rows.mean(), squares]).tolist()
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
    shares = {"zeros": 1 - _count(rows, 0) / rows.numel()}
    if bounded:
        shares["saturated"] = _count(rows, SATURATED) / rows.numel()
    return {**features, "norm": norm, "mean": mean, "std": variance**0.5, **shares}


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
