"""The trace of `make trace` finds what it looks for, and its table counts what it says."""

from __future__ import annotations

import ast

import pytest
import torch

from repwatch import ProbeSet
from repwatch.rdm import from_activations, square
from tests import sizes, trace


def test_a_probe_input_is_known_by_its_marker_and_by_its_probe_set() -> None:
    marked = torch.zeros(4, 2)
    marked[1, 1] = trace.MARKER
    assert trace.is_probe_input(marked)
    assert trace.is_probe_input(marked.numpy())
    assert trace.is_probe_input(ProbeSet(torch.zeros(3, 1)))
    assert trace.contains({"inputs": [(marked,)]}, trace.is_probe_input)
    assert not trace.contains([marked + 1, "text", None, 3], trace.is_probe_input)


def test_a_trace_names_the_files_that_a_value_is_handed_to() -> None:
    marked = torch.randn(5, 3)
    marked[0, 0] = trace.MARKER
    with trace.Trace({"a probe input": trace.is_probe_input}) as found:
        D = from_activations(marked)
        square(D)
    assert "rdm/activations.py" in found.direct["a probe input"]
    assert "rdm/condensed.py" not in found.direct["a probe input"]


def test_the_sizes_are_counted_as_they_say() -> None:
    trees = {
        "repwatch.one": ast.parse(
            '"""One."""\nfrom typing import Any\nfrom repwatch.two import B\n'
            'class A:\n    """A."""\n    def __init__(self, a, b, *, c): ...\n'
            "    def go(self): ...\n"
        ),
        "repwatch.two": ast.parse("def B(x):\n    from repwatch.one import A\n" + "    x\n" * 40),
        "repwatch.three": ast.parse('"""Three."""\nfrom repwatch import one\n'),
    }
    assert sizes.widest(trees)[0] == (4, "A")
    assert sizes.share_of_long(trees) == pytest.approx(1 / 3)
    assert sizes.share_documented(trees) == pytest.approx(1 / 3)
    assert sizes.circles(sizes.import_graph(trees)) == [["repwatch.one", "repwatch.two"]]
