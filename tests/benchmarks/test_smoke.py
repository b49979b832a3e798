"""Every benchmark finishes, on little data; `python -m tests.benchmarks` measures speed."""

from __future__ import annotations

import math
from types import ModuleType

import pytest

from tests.benchmarks import images
from tests.benchmarks.__main__ import find_benchmarks, main, row
from tests.benchmarks.measure import Line, Skipped, in_turn, ratio


@pytest.mark.parametrize(
    "module", [pytest.param(module, id=name) for name, module in find_benchmarks()]
)
def test_each_benchmark_runs_through_and_gives_finite_complete_lines(module: ModuleType) -> None:
    try:
        lines = module.run(smoke=True)
    except Skipped as reason:
        pytest.skip(str(reason))
    assert lines
    for line in lines:
        assert math.isfinite(line.value)
        assert line.what
        assert line.unit
        assert all(isinstance(cell, str) for cell in row(line))
        assert (line.holds is None) or line.goal, "what has a limit reports it"
        assert line.goal != "none" or line.holds, f"faults also on little data: {line.detail}"


def test_things_are_measured_in_turn_and_what_is_between_them_is_off_the_clock() -> None:
    seen: list[str] = []
    seconds = in_turn(
        {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")},
        2,
        lambda: seen.append("-"),
    )
    assert seen == ["a", "-", "b", "-", "b", "-", "a", "-"]
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == 3.0


def test_a_benchmark_without_its_data_reports_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "MNIST", images.MNIST.with_name("absent.npz"))
    with pytest.raises(Skipped, match=r"absent\.npz"):
        images.mnist()
    assert main(["snapshot"]) == 0
    assert "skipped" in capsys.readouterr().out
    assert main(["nothing"]) == 1
    assert "snapshot" in capsys.readouterr().out


def test_a_limit_that_is_missed_stands_out() -> None:
    assert "MISSED" in row(Line("what", 2.0, "x", "at most 1", False))
