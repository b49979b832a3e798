"""From activations to distances: fast by a Gram matrix, exact where that is not precise enough.

1. Centre, chunk of features by chunk, and add up the float32 Gram matrix G of the centred rows.
2. d_ij^2 = G_ii + G_jj - 2 G_ij. Its error is a few float32 roundings of G_ii + G_jj, whatever
   d_ij is: good for pairs that are far apart against their norms, bad for close pairs.
3. Rows that have a close pair are compared again by direct differences, whose relative error
   does not depend on the norms, and which are exactly 0 for duplicates.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from repwatch.errors import DivergedRDMError, RDMError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Float32

# Below this share of G_ii + G_jj, d_ij^2 is computed again. The error of G is below 5e-7 of the
# norms, so that d is off by less than 0.5 * 5e-7 / 0.05 = 5e-6.
_CLOSE = 0.05
# With so few features, direct differences cost no more than the Gram matrix.
_FEW_FEATURES = 128
# Features of a chunk: long sums lose precision, so chunks are added up in float64.
_CHUNK_FEATURES = 4096
_BLOCK_ROWS = 64
# The square of a largest distance outside of this range comes near the ends of float32's.
_SAFE_RANGE = (1e-14, 1e15)


def from_activations(X: torch.Tensor | NDArray[Any]) -> Float32:
    """Euclidean distances between the rows of X, as a condensed RDM.

    Args:
        X: (n, …) activations, n >= 2: rows are probe points, all other dimensions are flattened.
            Any real or complex dtype and any device; it is left untouched.

    Returns:
        (n(n-1)/2,) distances in the units of X. Against float64 the relative error is at most
        1e-5, at any offset of the activations; distances of duplicates are exactly 0.

    Raises:
        DivergedRDMError: an activation is NaN or infinite, or a distance is beyond float32.
        RDMError: fewer than 2 rows, or no features.
    """
    import torch

    with torch.no_grad():
        rows = _as_rows(X)
        with torch.autocast(rows.device.type, enabled=False):
            D = _distances(rows)
            largest = float(D.max())  # NaN if any distance is
            dead = largest == 0 and bool((rows == rows[0]).all())
            if not dead and not _SAFE_RANGE[0] < largest < _SAFE_RANGE[1]:
                D = _rescaled_distances(rows)
            distances: Float32 = D.to(torch.float32).cpu().numpy()
    if not np.isfinite(distances).all():
        raise DivergedRDMError(
            "Expected distances that float32 can hold (up to 3.4e38). Got larger ones: "
            "the activations have exploded."
        )
    return distances


def _as_rows(X: torch.Tensor | NDArray[Any]) -> torch.Tensor:
    """X as a detached (n, d) tensor of a floating dtype, on a device that can do the work."""
    import torch

    tensor = X.detach() if isinstance(X, torch.Tensor) else torch.from_numpy(np.array(X))
    if tensor.ndim == 0 or tensor.shape[0] < 2 or tensor[0].numel() == 0:
        raise RDMError(
            "Expected activations of shape (n, ...) with n >= 2 probe points and at least one "
            f"feature. Got shape {tuple(tensor.shape)}."
        )
    if tensor.device.type not in ("cpu", "cuda"):
        tensor = tensor.cpu()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float64 if tensor.dtype == torch.int64 else torch.float32)
    return tensor.reshape(len(tensor), -1)


def _chunks(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Feature chunks (n, c) in float32; float64 stays."""
    import torch

    for chunk in torch.split(rows, _CHUNK_FEATURES, dim=1):
        yield chunk if chunk.dtype == torch.float64 else chunk.to(torch.float32)


def _distances(rows: torch.Tensor) -> torch.Tensor:
    """(n(n-1)/2,) distances; not finite where the activations, or their squares, are not."""
    import torch

    if rows.shape[1] <= _FEW_FEATURES or _matmul_is_rounded(rows.device):
        return _direct(rows)
    gram = _gram(rows)
    left, right = _pairs(len(rows), rows.device)
    norms = gram.diagonal().contiguous()
    scale = norms.index_select(0, left).add_(norms.index_select(0, right))
    squared = scale.sub(gram.take(right * len(rows) + left), alpha=2)
    close = squared < scale.mul_(_CLOSE)
    if bool(close.any()):
        member = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        member[left[close]] = True
        member[right[close]] = True
        among = member[left] & member[right]  # all pairs of those rows, in condensed order
        squared[among] = _direct(rows[member]).square_().to(squared.dtype)
    return squared.sqrt_()


@lru_cache(maxsize=4)
def _pairs(n: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The points (i, j), i < j, of each place in a condensed vector."""
    import torch

    i, j = torch.triu_indices(n, n, 1, device=device)
    return i, j


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """The lower triangle of the (n, n) Gram matrix of the centred rows."""
    import torch

    n, total = len(rows), None
    for chunk in _chunks(rows):
        centred = (chunk - chunk.mean(0)).to(torch.float32)
        gram = torch.zeros(n, n, dtype=torch.float32, device=rows.device)
        for start in range(0, n, _BLOCK_ROWS):
            stop = start + _BLOCK_ROWS
            gram[start:, start:stop] = centred[start:] @ centred[start:stop].T
        total = gram if total is None else total.to(torch.float64).add_(gram)
    assert total is not None
    return total


def _direct(rows: torch.Tensor) -> torch.Tensor:
    """Distances by direct differences."""
    import torch

    if rows.shape[1] <= _CHUNK_FEATURES:
        return torch.nn.functional.pdist(next(_chunks(rows)).contiguous())
    total = torch.zeros(len(rows) * (len(rows) - 1) // 2, dtype=torch.float64, device=rows.device)
    for chunk in _chunks(rows):
        total += torch.nn.functional.pdist(chunk.contiguous()).to(torch.float64).square_()
    return total.sqrt_()


def _matmul_is_rounded(device: torch.device) -> bool:
    """Whether float32 products are rounded to TF32 or bfloat16 by the user's global settings."""
    import torch

    # 1 + 2^-12 has more bits than those formats: 64 squares of it sum up to 64.03, or to 64.
    number = torch.full((64, 64), 1 + 2.0**-12, dtype=torch.float32, device=device)
    return bool((number @ number)[0, 0] < 64.01)


def _rescaled_distances(rows: torch.Tensor) -> torch.Tensor:
    """Distances of activations whose squares leave float32's range, or that are not finite."""
    import torch

    finite = torch.isfinite(rows)
    if not bool(finite.all()):
        wrong = int((~finite).sum())
        raise DivergedRDMError(
            f"Expected finite activations. Got {wrong} NaN or infinite of {rows.numel()}: "
            "the representation has diverged."
        )
    scaled = rows.to(torch.float64)
    largest = scaled.abs().max()
    return _distances(scaled / largest).to(torch.float64) * largest
