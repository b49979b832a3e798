"""On what outputs depend: later tokens, and other points of the batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from repwatch import ProbeSet
from repwatch.capture import Capturer
from repwatch.capture.dependence import describe_dependence, find_dependence, is_declared_causal


class Mixer(nn.Module):
    """Tokens (n, time), each of which sees those that `mask` lets it see."""

    def __init__(self, later: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20)
        self.later = later

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time = x.shape[1]
        seen = torch.ones(time, time) if self.later else torch.ones(time, time).tril()
        hidden = self.mix((seen / seen.sum(1, keepdim=True)) @ self.embed(x))
        out: torch.Tensor = self.head(hidden)
        return out


def tokens() -> ProbeSet:
    return ProbeSet.from_tensor(
        torch.randint(1, 20, (12, 10), generator=torch.Generator().manual_seed(0))
    )


def found(model: nn.Module, probe: ProbeSet) -> dict[str, dict[str, float]]:
    capturer = Capturer(model, probe)
    capturer.run()
    return find_dependence(capturer)


def test_a_mask_shows_in_what_earlier_tokens_are_when_later_ones_change() -> None:
    causal, other = found(Mixer(False), tokens()), found(Mixer(True), tokens())
    assert causal["head"]["sees_later"] == 0
    assert other["head"]["sees_later"] > 0.01
    assert other["embed"]["sees_later"] == 0
    assert describe_dependence(other) == [
        "The representation of a token changes with tokens after it."
    ]
    assert describe_dependence(causal) == [
        "The representation of a token does not change with tokens after it."
    ]


def test_nothing_of_the_check_remains_in_the_model_or_the_generators() -> None:
    model = Mixer(True).train()
    capturer = Capturer(model, tokens())
    capturer.run()
    state, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    find_dependence(capturer)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert model.training


class OverBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.softmax = nn.Softmax(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.softmax(self.body(x)))
        return out


def test_points_that_mix_with_others_of_their_batch_are_seen() -> None:
    mixed = found(OverBatch(), ProbeSet.from_tensor(torch.randn(12, 6)))
    assert mixed["head"]["mixes_points"] > 1e-3
    assert "sees_later" not in mixed["head"]
    assert any("other points of its batch" in note for note in describe_dependence(mixed))


def test_batch_taken_for_time_is_seen_and_batchnorm_is_not() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(3, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.gru(x)[0][:, -1])
            return out

    wrong = found(Recurrent(), ProbeSet.from_tensor(torch.randn(12, 9, 3)))
    assert wrong["head"]["mixes_points"] > 1e-3
    norm = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    right = found(norm, ProbeSet.from_tensor(torch.randn(12, 6)))
    assert all(values["mixes_points"] == 0 for values in right.values())
    batch_statistics = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3)
    )
    # That a normalization without running statistics mixes points is intended.
    assert found(batch_statistics, ProbeSet.from_tensor(torch.randn(12, 6))) == {}


@pytest.mark.parametrize(
    ("config", "said", "causal"),
    [
        (SimpleNamespace(is_decoder=True), None, True),
        (SimpleNamespace(is_decoder=True, is_encoder_decoder=True), None, False),
        (SimpleNamespace(is_decoder=False), None, False),
        (None, [True, True], True),
        (None, [True, False], False),
        (None, None, False),
    ],
)
def test_a_model_is_causal_where_it_says_so(
    config: SimpleNamespace | None, said: list[bool] | None, causal: bool
) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    if config is not None:
        model.config = config  # type: ignore[assignment]
    for module, value in zip(model, said or (), strict=False):
        module.is_causal = value  # type: ignore[assignment]
    assert is_declared_causal(model) is causal


def test_too_few_points_give_no_answer() -> None:
    assert found(OverBatch(), ProbeSet.from_tensor(torch.randn(5, 6))) == {}


def test_a_model_that_remembers_the_batch_before_gives_no_answer() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
            self.memory = torch.zeros(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.body(x) + self.memory
            self.memory = hidden.mean(0)
            out: torch.Tensor = self.head(hidden)
            return out

    assert "head" not in found(Remembering(), ProbeSet.from_tensor(torch.randn(12, 6)))
