"""The piggy-back: the host's own passes give the same capture, and are not changed by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repwatch.capture import Capture, Capturer
from repwatch.errors import CaptureError
from repwatch.probe import ProbeCollector, ProbeSet


class Host(nn.Module):
    """Its step calls submodules; the root's forward is never called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout())
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def step(self, batch: Any) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.encoder(batch[0])))
        return out


def data(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(3)), torch.arange(n)


def validate(host: Host, passive: Any, batches: list[Any]) -> None:
    with torch.inference_mode():
        for batch in batches:
            passive.open(batch)
            host.step(batch)
            passive.close()


def batches(x: torch.Tensor, y: torch.Tensor, size: int = 16) -> list[Any]:
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def run_of(host: Host, probe: ProbeSet, **options: Any) -> Capture:
    return Capturer(host, probe, forward=lambda m, batch: m.step(batch), **options).run()


def assert_same(a: Capture, b: Capture) -> None:
    assert list(a.layers) == list(b.layers)
    for name in a.layers:
        assert a.layers[name].depth == b.layers[name].depth
        np.testing.assert_allclose(a.layers[name].rdm, b.layers[name].rdm, rtol=1e-4, atol=1e-6)
        assert a.layers[name].scalars == pytest.approx(b.layers[name].scalars, rel=1e-4)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("layers", [None, ["head", "encoder"]])
def test_the_hosts_validation_gives_what_a_pass_of_our_own_gives(
    shuffled: bool, layers: Any
) -> None:
    host, (x, y) = Host().eval(), data()
    probe = ProbeSet.from_dataset(list(zip(x, y, strict=True)), n=20)
    passive = Capturer(host, probe, layers).passive()
    order = torch.randperm(60) if shuffled else torch.arange(60)
    validate(host, passive, batches(x[order], y[order]))
    assert passive.complete
    capture = passive.result()
    assert capture.how == "as the host ran it"
    assert_same(capture, run_of(host, probe, layers=layers))


def test_batches_that_were_collected_are_recognized_in_the_next_epoch() -> None:
    host, (x, y) = Host().eval(), data()
    collector = ProbeCollector(20)
    for batch in batches(x, y):
        collector.add(batch)
    capturer = Capturer(host, collector.probe())
    passive = capturer.passive()
    opened = [passive.open(batch) for batch in batches(x, y)[2:]]
    assert opened == [False, False]
    validate(host, passive, batches(x, y))
    first = passive.result()
    again = capturer.passive()
    validate(host, again, batches(x, y))
    assert_same(first, again.result())


def test_the_layers_of_a_passive_capture_stay_the_choice() -> None:
    host, (x, y) = Host().eval(), data(12)
    capturer = Capturer(
        host, ProbeSet((x, y)), forward=lambda m, batch: m.step(batch), max_layers=2
    )
    with capturer.passive() as passive, torch.no_grad():
        host.step((x, y))
    recorded = passive.result()
    assert list(recorded.layers) == ["input", "norm", "head"]
    assert_same(recorded, capturer.run())
    assert capturer.layers == ("norm", "head")


def test_the_caller_may_say_which_points_a_batch_has() -> None:
    host, (x, y) = Host().eval(), data(12)
    probe = ProbeSet((x, y))
    passive = Capturer(host, probe).passive()
    for places in (range(6, 12), range(6)):
        noisy = (x[list(places)] + 1e-9, y)
        assert passive.open(noisy, places)
        host.step(noisy)
        passive.close()
    assert_same(passive.result(), run_of(host, probe))


def test_equal_points_are_each_found() -> None:
    host, (x, _) = Host().eval(), data(6)
    x = torch.cat([x, x, x[:1]])
    probe = ProbeSet(x)
    passive = Capturer(host, probe).passive()
    validate(host, passive, [(x[:5],), (x[5:],)])
    assert_same(passive.result(), run_of(host, ProbeSet((x,))))


def test_a_converted_batch_is_recognized() -> None:
    host, (x, y) = Host().eval().double(), data(12)
    passive = Capturer(host, ProbeSet((x, y))).passive()
    validate(host, passive, [(x.double(), y)])
    assert passive.complete


def test_missing_points_are_an_error_that_states_how_many() -> None:
    host, (x, y) = Host().eval(), data(24)
    passive = Capturer(host, ProbeSet((x, y))).passive()
    validate(host, passive, [*batches(x + 1, y), *batches(x[:10], y[:10])])
    assert not passive.complete
    assert passive.seen == 10
    with pytest.raises(CaptureError, match=r"all 24 probe points to pass by, but saw 10; 2 batch"):
        passive.result()


def test_passive_capture_changes_nothing_in_the_host() -> None:
    x, y = data(12)
    states = []
    for passively in (False, True):
        torch.manual_seed(1)
        current = Host()
        passive = Capturer(current, ProbeSet((x, y))).passive()
        if passively:
            passive.open((x, y))
        out = current.step((x, y))
        out.sum().backward()
        passive.close()
        states.append((out.tolist(), current.norm.running_mean.tolist(), torch.rand(1).item()))
        assert current.encoder[0].weight.grad is not None
        assert all(len(m._forward_hooks) == 0 for m in current.modules())
        assert all(m.training for m in current.modules())
    assert states[0] == states[1]


def test_a_failure_inside_a_hook_does_not_reach_the_host() -> None:
    host, (x, y) = Host().eval(), data(12)
    passive = Capturer(host, ProbeSet((x, y)), reduce=lambda *_: 1 / 0).passive()
    validate(host, passive, [(x, y)])
    with pytest.raises(CaptureError, match="could not be reduced"):
        passive.result()


def test_hooks_are_gone_after_the_host_fails() -> None:
    host, (x, y) = Host().eval(), data(12)
    with (
        pytest.raises(RuntimeError),
        Capturer(host, ProbeSet((x, y))).passive(),
    ):
        host.step((x[:, :3], y))
    assert all(len(m._forward_hooks) == 0 for m in host.modules())


def test_attention_modules_are_captured_as_a_whole() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.head = nn.Linear(6, 2)

        def step(self, batch: Any) -> Any:
            return self.head(self.attention(batch[0], batch[0], batch[0])[0])

    host, x = Attends().eval(), torch.randn(12, 5, 6)
    probe = ProbeSet((x,))
    passive = Capturer(host, probe).passive()
    validate(host, passive, [(x,)])  # type: ignore[arg-type]
    capture = passive.result()
    assert list(capture.layers) == ["input", "attention", "head"]
    assert_same(capture, run_of(host, probe))  # type: ignore[arg-type]


def test_a_compiled_host_that_ignores_hooks_gets_an_error() -> None:
    host, (x, _) = nn.Sequential(nn.Linear(6, 4), nn.ReLU()).eval(), data(12)
    compiled = torch.compile(host, backend="eager")
    compiled(x)
    with Capturer(compiled, ProbeSet(x)).passive() as passive:
        compiled(x)
    with pytest.raises(CaptureError, match=r"none of its modules fired.*torch\.compile"):
        passive.result()


def test_padding_is_left_out_of_a_passive_capture() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4)

        def forward(self, input_ids: torch.Tensor) -> Any:
            return self.embed(input_ids)

    host, ids = Tokens(), torch.randint(0, 10, (12, 5))
    ids[:, 0] = torch.arange(12) % 10
    mask = (torch.arange(5)[None] <= torch.arange(12)[:, None] % 5).long()
    probe = ProbeSet({"input_ids": ids, "attention_mask": mask})
    capturer = Capturer(host, probe)
    passive = capturer.passive()
    order = torch.randperm(12)
    for rows in (order[:7], order[7:]):
        passive.open({"input_ids": ids[rows], "attention_mask": mask[rows]})
        host(ids[rows])
        passive.close()
    assert_same(passive.result(), Capturer(host, probe).run())


def test_a_layer_that_checkpointing_calls_again_in_the_backward_pass_is_taken_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> Any:
            return checkpoint(self.second, self.first(x), use_reentrant=False)

    host, x = Checkpointed(), data(12)[0]
    with Capturer(host, ProbeSet(x)).passive() as passive:
        host(x).sum().backward()
    capture = passive.result()
    assert list(capture.layers) == ["input", "first", "second"]
    assert_same(capture, Capturer(host, ProbeSet(x)).run())


def test_code_that_is_compiled_during_passive_capture_has_no_hook() -> None:
    host, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU()).eval(), data(12)[0]
    compiled = torch.compile(host, backend="eager")
    capturer = Capturer(compiled, ProbeSet(x))
    with capturer.passive() as passive:
        compiled(x)
    seen = passive._recorder.fired
    compiled(x)
    assert passive._recorder.fired == seen
    assert list(capturer.run().layers) == ["input", "1"]
