"""A small network, its inputs and the RDMs that they should give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import nn

from repwatch.capture._layers import base, blocks, find_modules, innermost, is_candidate, spread


def x_of(n: int = 12, *shape: int) -> torch.Tensor:
    return torch.randn(n, *(shape or (6,)), generator=torch.Generator().manual_seed(n))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )


# All its layers but the dropout, which changes nothing in evaluation.
MLP_LAYERS = ["input", "0", "1", "3", "4", "5"]


def distances(rows: torch.Tensor) -> Any:
    return pdist(rows.detach().flatten(1).double().numpy())


def assert_rdm(found: Any, rows: torch.Tensor) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, distances(rows), rtol=1e-4, atol=1e-6)


def by_execution_alone(model: nn.Module, inputs: Any, most: int = 8) -> list[str]:
    """The choice of the releases before: the ends of layers of weights, in order of execution."""
    modules, fired = find_modules(model), []
    handles = [
        module.register_forward_hook(lambda *_, name=name: fired.append(name))
        for name, module in modules.named.items()
    ]
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    inner = [key for key in innermost(fired) if is_candidate(modules.named[base(key)])]
    return spread([block[-1] for block in blocks(inner, modules)], most)
