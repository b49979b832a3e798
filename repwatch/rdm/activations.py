"""From activations to distances: fast by a Gram matrix, exact where that is not precise enough.

1. Center, chunk of features by chunk, and add up the float32 Gram matrix G of the centered rows.
2. d_ij^2 = G_ii + G_jj - 2 G_ij. Its error is a few float32 roundings of G_ii + G_jj, whatever
   d_ij is: good for pairs that are far apart relative to their norms, bad for close pairs.
3. Rows that have a close pair are compared again by direct differences, whose relative error
   does not depend on the norms, and which are exactly 0 for duplicates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from repwatch.errors import ConfigurationError, DivergedRDMError, RDMError
from repwatch.rdm.condensed import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

    from repwatch.rdm.condensed import Float32, Float64

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)

# Below this share of G_ii + G_jj, d_ij^2 is computed again. The error of G is below 5e-7 of the
# norms with MKL, so that d is off by less than 0.5 * 5e-7 / 0.05 = 5e-6.
_CLOSE = 0.05
# With so few features, direct differences cost no more than the Gram matrix.
_FEW_FEATURES = 128
# Features of a chunk: long sums lose precision, so chunks are added up in float64.
_CHUNK_FEATURES = 4096
_SLICE_FEATURES = 512
_BLOCK_ROWS = 64
# The number of points whose mean is the origin.
_ORIGIN_ROWS = 32
# If the largest distance is outside of this range, its square comes close to float32's limits.
_SAFE_RANGE = (1e-14, 1e15)


def from_activations(X: torch.Tensor | NDArray[Any], metric: Metric = "euclidean") -> Float32:
    """Distances between the rows of X, as a condensed RDM.

    Args:
        X: (n, …) activations, n >= 2: each row is a probe point, and all other dimensions are
            flattened. Any real or complex dtype and any device; it is not changed.
        metric: "euclidean", or "cosine" for embeddings whose length has no meaning: the Euclidean
            distance between rows scaled to length 1, sqrt(2 - 2 cos), from 0 to 2. It ranks pairs
            as 1 - cos does, and is a distance in a Euclidean space, as all that reads RDMs expects.
            A row of zeros stays at the origin.

    Returns:
        (n(n-1)/2,) distances, in the units of X for "euclidean". Against float64 the relative error
        is at most 1e-5 (3e-5 where PyTorch is built without MKL), at any offset of the activations;
        distances of duplicates are exactly 0.

    Raises:
        ConfigurationError: the metric is neither of these.
        DivergedRDMError: an activation is NaN or infinite, or a distance is beyond float32.
        RDMError: fewer than 2 rows, or no features.

    Examples:
        >>> from_activations(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))
        array([3., 4., 5.], dtype=float32)
        >>> from_activations(np.array([[2.0, 0.0], [5.0, 0.0], [-1.0, 0.0]]), metric="cosine")
        array([0., 2., 2.], dtype=float32)
    """
    import torch

    check_metric(metric)
    with torch.no_grad():
        rows = _as_rows(X)
        if metric == "cosine":
            rows = _normalized(rows)
        with torch.autocast(rows.device.type, enabled=False):
            D = _distances(rows)
            largest = float(D.max())  # NaN if any distance is
            dead = largest == 0 and bool((rows == rows[0]).all())
            if not dead and not _SAFE_RANGE[0] < largest < _SAFE_RANGE[1]:
                D = _rescaled_distances(rows)
            with np.errstate(over="ignore"):
                distances: Float32 = D.astype(np.float32, copy=False)
    if not np.isfinite(distances).all():
        raise DivergedRDMError(
            "Expected distances that float32 can hold (up to 3.4e38). Got larger ones: "
            "the activations have exploded."
        )
    return distances


def check_metric(metric: Metric) -> Metric:
    """The metric. Raises ConfigurationError where it is not one of `METRICS`."""
    if metric not in METRICS:
        raise ConfigurationError(
            f"Expected `metric` to be {' or '.join(map(repr, METRICS))}, but got {metric!r}."
        )
    return metric


def _normalized(rows: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1; divided by the largest value first, so that no square overflows."""
    import torch

    rows = rows if rows.dtype == torch.float64 else rows.float()
    largest = rows.abs().amax(1, keepdim=True)
    scaled = rows / largest.masked_fill(largest == 0, 1)
    norms = scaled.norm(dim=1, keepdim=True)
    unit: torch.Tensor = scaled / norms.masked_fill(norms == 0, 1)
    return unit


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


def _distances(rows: torch.Tensor) -> Float32 | Float64:
    """(n(n-1)/2,) distances; not finite where the activations, or their squares, are not."""
    import torch

    if rows.shape[1] <= _FEW_FEATURES or _matmul_is_rounded(rows.device):
        return _direct(rows)
    # From here on in NumPy: so little work is faster on one CPU thread than on many.
    gram = _gram(rows)
    left, right = pairs(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        norms = gram.diagonal()
        scale = norms[left] + norms[right]
        squared = gram.ravel()[right * len(rows) + left]  # of the lower triangle
        squared *= -2
        squared += scale
        close = squared < _CLOSE * scale
        if close.any():
            member = np.zeros(len(rows), dtype=np.bool_)
            member[left[close]] = True
            member[right[close]] = True
            among = member[left] & member[right]  # all pairs of those rows, in condensed order
            squared[among] = _direct(rows[torch.from_numpy(member).to(rows.device)]) ** 2
        distances: Float32 | Float64 = np.sqrt(squared, out=squared)
    return distances


def _gram(rows: torch.Tensor) -> Float32 | Float64:
    """The (n, n) Gram matrix of the centered rows, with only the lower triangle filled in."""
    import torch

    n = len(rows)
    total: Float32 | Float64 | None = None
    for chunk in _chunks(rows):
        # Any origin near the points will do: what a worse one costs in precision shows as pairs
        # that are close relative to their norms.
        origin = chunk[:: max(n // _ORIGIN_ROWS, 1)].mean(0)
        centered = (chunk - origin).to(torch.float32)
        slices = _count_slices(centered)
        if centered.shape[1] % slices:
            centered = torch.nn.functional.pad(centered, (0, -centered.shape[1] % slices))
        parts = centered.view(n, slices, -1).transpose(0, 1)
        grams = torch.zeros(slices, n, n, dtype=torch.float32, device=rows.device)
        for start in range(0, n, _BLOCK_ROWS):
            stop = start + _BLOCK_ROWS
            product = torch.bmm(parts[:, start:stop], parts[:, :stop].transpose(1, 2))
            grams[:, start:stop, :stop] = product
        gram: Float32 = grams.cpu().numpy().sum(0)
        total = gram if total is None else np.add(total, gram, dtype=np.float64)
    assert total is not None
    return total


def _count_slices(centered: torch.Tensor) -> int:
    """Into how many slices of features to cut a product, one for each thread of a processor.

    Threads with a slice each do not wait for each other until the end; where other processes use
    the CPU too, each such wait may take as long as the product.
    """
    import torch

    if centered.device.type != "cpu":
        return 1
    return max(min(torch.get_num_threads(), centered.shape[1] // _SLICE_FEATURES), 1)


def _direct(rows: torch.Tensor) -> Float32 | Float64:
    """Distances by direct differences."""
    import torch

    parts = [torch.nn.functional.pdist(chunk.contiguous()) for chunk in _chunks(rows)]
    if len(parts) == 1:
        distances: Float32 | Float64 = parts[0].cpu().numpy()
        return distances
    total = torch.zeros_like(parts[0], dtype=torch.float64)
    for part in parts:
        total += part.to(torch.float64).square_()
    summed: Float64 = total.sqrt_().cpu().numpy()
    return summed


def _matmul_is_rounded(device: torch.device) -> bool:
    """Whether float32 products are rounded to TF32 or bfloat16 by the user's global settings."""
    import torch

    # 1 + 2^-12 has more bits than those formats: 24 squares of it sum up to 24.012, or to 24.
    number = torch.full((24, 24), 1 + 2.0**-12, dtype=torch.float32, device=device)
    return float(torch.mm(number, number)[0, 0]) < 24.006


def _rescaled_distances(rows: torch.Tensor) -> Float64:
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
    largest = float(scaled.abs().max())
    distances: Float64 = _distances(scaled / largest).astype(np.float64) * largest
    return distances
