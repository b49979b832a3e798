"""The RDM of 256 x 4,096 activations against SciPy's `pdist`."""

from __future__ import annotations

import torch
from scipy.spatial.distance import pdist

from repwatch import rdm
from tests.benchmarks.measure import Line, in_turn, milliseconds, ratio

LIMIT = 8.0


def run(smoke: bool) -> list[Line]:
    points, features, rounds = (32, 300, 2) if smoke else (256, 4096, 30)
    X = torch.randn(points, features, generator=torch.Generator().manual_seed(0)).relu_()
    array = X.numpy()
    actions = {
        "scipy": lambda: pdist(array),
        "repwatch": lambda: rdm.from_activations(X),
    }
    in_turn(actions, 2)
    seconds = in_turn(actions, rounds)
    value = ratio(seconds["scipy"], seconds["repwatch"])
    detail = f"{milliseconds(seconds['scipy'])} against {milliseconds(seconds['repwatch'])}"
    what = f"scipy pdist / rdm.from_activations, {points} x {features}"
    return [Line(what, value, "x", f"at least {LIMIT:g}", value >= LIMIT, detail)]
