"""The inputs as a layer of their own: the distances that the probe points have to begin with."""

from __future__ import annotations

import torch

from repwatch._names import INPUT
from repwatch.capture._recorder import LayerCapture, to_result
from repwatch.capture._rows import MaskedRows, as_real, nonfinite_points, reduce_rows
from repwatch.probe import ProbeSet
from repwatch.probe._padding import Padding

__all__ = ["input_layer"]


def input_layer(probe: ProbeSet, padding: Padding, most: int) -> LayerCapture | str:
    """The inputs' own distances, or why there are none; they never change.

    Args:
        probe: The probe set.
        padding: How it marks padding.
        most: Inputs with more features are averaged over spatial windows.
    """
    x, points = probe.main_tensor(copy=False), len(probe)
    if x is None:
        return "no tensor"
    if probe.rows is not None and x.dim() and len(x) == probe.row_count:
        x = x[probe.rows]
    if x.dim() == 0 or len(x) != points:
        return f"shape {tuple(x.shape)}, not one row for each point"
    if x.dtype == torch.bool:
        x = x.float()
    elif not (x.is_floating_point() or x.is_complex() or x.dtype == torch.uint8):
        kind = str(x.dtype).removeprefix("torch.")
        return f"{kind} tokens, between which distances have no meaning"
    x = as_real(x)
    missing = nonfinite_points(x) if x.is_floating_point() else ()
    if missing:
        return f"{len(missing)} of {points} points have missing values"
    # The inputs may be large: they are copied only where they mark padding.
    masks = padding.masks(probe.inputs) if padding.marks else []
    rows = reduce_rows(MaskedRows(x), sequence=bool(masks), masks=masks, most=most)
    found = LayerCapture(INPUT, 0, *to_result(rows, metric=probe.metric))
    return "its distances are larger than float32 can hold" if found.diverged else found
