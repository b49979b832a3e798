"""Whether a model's weights are still those of an earlier moment."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

__all__ = ["weights_checksum"]


def weights_checksum(model: nn.Module) -> tuple[str, ...]:
    """Numbers that change when a parameter or buffer does: the sum and the norm of each.

    One pass over the weights, much cheaper than a forward pass. For sharded parameters, only the
    part on this rank counts.
    """
    sums = []
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if is_lazy(tensor) or tensor.layout != torch.strided or tensor.is_quantized:
                continue
            local = getattr(tensor, "to_local", None)
            values = (local() if callable(local) else tensor).detach()
            if values.is_complex():
                values = torch.view_as_real(values.resolve_conj())
            if values.numel():
                values = values.float() if values.dtype != torch.float64 else values
                sums.append(torch.stack([values.sum(), values.norm()]).double().cpu())
    return tuple(float(value).hex() for pair in sums for value in pair)
