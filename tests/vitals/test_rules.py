"""Rules at both sides of their limits, on signs that are made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from repwatch.vitals import RULES
from repwatch.vitals.rule import join_with_or
from repwatch.vitals.signs import LayerSigns, Signs, StepSigns

HEALTHY = {
    "features": 32.0,
    "norm": 4.0,
    "std": 1.0,
    "mean": 0.1,
    "distance": 3.0,
    "near_zero": 0.0,
    "dead": 0.2,
    "zeros": 0.5,
    "doubles": 0.0,
    "same": 0.0,
    "from_input": 0.2,
    "accuracy": 0.9,
    "parameters": 1000.0,
    "trainable": 1.0,
    "weight_norm": 3.0,
    "weight_change_start": 0.3,
    "unchanged": 0.0,
    "orphaned": 0.0,
    "no_gradient": 0.0,
    "gradient": 0.01,
}
Values = Mapping[str, float]
ALL = ("a", "b", "c")


def step(at: int, epoch: int, ill: tuple[str, ...] = (), values: Values | None = None) -> StepSigns:
    """A step of a network of three layers, the last with 10 units, of which some are ill."""
    layers = []
    for name in ALL:
        own = {**HEALTHY, "features": 10.0 if name == "c" else 32.0}
        layers.append(LayerSigns(name, {**own, **(values or {})} if name in ill else own))
    return StepSigns(at, epoch, tuple(layers), LayerSigns("input", HEALTHY))


def signs(*steps: StepSigns, **metrics: list[float]) -> Signs:
    points = {
        name: [(at * 50, at, value) for at, value in enumerate(values)]
        for name, values in metrics.items()
    }
    return Signs(list(steps), points, (0.1,) * 10, 256)


def fired(found: Signs) -> set[str]:
    """The rules that fire, whatever others say."""
    return {rule.name for rule in RULES if rule.check(found) is not None}


START = step(0, 0)
LATE = 60, 1


def ill(layers: tuple[str, ...], **values: float) -> Signs:
    return signs(START, step(*LATE, layers, values))


def embedding(collapsed: tuple[str, ...], loss: float, inputs: float = 64) -> Signs:
    """A network of 16 outputs, some layers of which have come down to a line."""
    layers, given = [], {**HEALTHY, "features": inputs}
    for at, ill in ((0, ()), (60, collapsed)):
        values = {name: {"dimension": 1.1 if name in ill else 4.0} for name in ALL}
        found = (LayerSigns(n, {**HEALTHY, "features": 16.0, **values[n]}) for n in ALL)
        layers.append(StepSigns(at, at // 60, tuple(found), LayerSigns("input", given)))
    metrics = {"train_loss": [(10, 0, 2.0), (50, 1, loss)]}
    return Signs(layers, metrics, (0.1,) * 10, 256)


def over_batch(*losses: float) -> Signs:
    """A classifier of 10 labels at two snapshots, trained with 64 points in each batch."""
    outputs = ((2.31, 0.0), (2.2, -0.1))
    steps = [
        step(at, 0, ("c",), {"cross_entropy": own, "batch_entropy": over})
        for at, (own, over) in zip((10, 30), outputs, strict=True)
    ]
    logged = [(at, 0, loss) for at, loss in zip((10, 30), losses, strict=True)]
    metrics = {"train_loss": logged}
    hparams = {"repwatch.data.batch_size": 64}
    return Signs([START, *steps], metrics, (0.1,) * 10, 256, hparams=hparams)


def language_model(loss: float, outputs: float = 256, causal: float = 1) -> Signs:
    """A network of so many outputs whose validation loss is that after two epochs."""
    values = {"causal": causal, "features": outputs}
    return signs(step(0, 0, ALL, values), step(*LATE, ALL, values), val_loss=[5.0, loss])


CASES: dict[str, tuple[Callable[[], Signs], Callable[[], Signs]]] = {
    "dead-units": (lambda: ill(("a",), dead=0.95), lambda: ill(("c",), dead=0.95)),
    "constant-layer": (
        lambda: ill(("b", "c"), distance=1e-6),
        lambda: ill(("b",), distance=1e-6),
    ),
    "collapse": (lambda: ill(("b", "c"), near_zero=0.95), lambda: ill(("c",), near_zero=0.95)),
    "saturated-units": (lambda: ill(("a",), saturated=0.95), lambda: ill(("c",), saturated=0.95)),
    "exploding-activations": (lambda: ill(("b",), norm=1e6), lambda: ill(("b",), norm=1e3)),
    "does-nothing": (lambda: ill(ALL, from_input=0.0), lambda: ill(("a",), from_input=0.0)),
    "exploding-weights": (
        lambda: ill(("b",), weight_norm=100.0),
        lambda: ill(("b",), weight_norm=20.0),
    ),
    "vanishing-weights": (
        lambda: ill(("a", "b"), weight_norm=0.1),
        lambda: ill(("a",), weight_norm=0.1),
    ),
    "not-in-optimizer": (
        lambda: ill(("a", "b"), orphaned=1, unchanged=1),
        lambda: ill(("a", "b"), orphaned=1),
    ),
    "no-gradient": (
        lambda: ill(("a",), no_gradient=1, unchanged=1),
        lambda: ill(("a",), no_gradient=1, unchanged=1, trainable=0.0),
    ),
    "layer-does-not-move": (
        lambda: ill(("a",), unchanged=1),
        lambda: ill(("b",), unchanged=1, parameters=1),
    ),
    "unset-statistics": (lambda: ill(("a",), unset=1), lambda: ill(("a",), unset=0.5)),
    "gradients-clipped": (
        lambda: signs(START, *(step(at, 0, ALL, {"gradient": 1e-5}) for at in (10, 30))),
        lambda: signs(START, *(step(at, 0, ALL, {"gradient": 1e-5 * at}) for at in (10, 30))),
    ),
    "dimensional-collapse": (
        lambda: embedding(("b", "c"), loss=1.0),
        lambda: embedding(("c",), loss=1.0),
    ),
    "first-loss": (
        lambda: signs(step(0, 0, ("c",), {"cross_entropy": 12.0})),
        lambda: signs(step(0, 0, ("c",), {"cross_entropy": 3.0})),
    ),
    "softmax-over-batch": (
        lambda: over_batch(4.05, 3.95),
        lambda: over_batch(2.31, 2.2),
    ),
    "labels-lost": (
        lambda: signs(*(step(at, 1, ("b", "c"), {"accuracy": 0.2}) for at in (30, 60))),
        lambda: ill(("b", "c"), accuracy=0.2),
    ),
    "nothing-moves": (
        lambda: ill(ALL, weight_change_start=1e-5),
        lambda: ill(("a", "b"), weight_change_start=1e-5),
    ),
    "loss-not-a-number": (
        lambda: signs(START, step(*LATE), train_loss=[2.3, float("nan")]),
        lambda: signs(START, step(*LATE), train_loss=[float("nan"), 2.3]),
    ),
    "loss-not-decreasing": (
        lambda: signs(START, step(250, 5), train_loss=[2.3, 2.4, 2.3, 2.35, 2.3, 2.31]),
        lambda: signs(START, step(250, 5), train_loss=[2.3, 2.4, 2.3, 2.2, 2.3, 2.31]),
    ),
    "overfit": (
        lambda: signs(
            START,
            step(250, 5),
            train_loss=[2.3, 1.0, 0.5, 0.3, 0.1, 0.01],
            val_loss=[2.3, 1.0, 1.5, 2.0, 3.0, 4.0],
            val_acc=[0.1, 0.6, 0.5, 0.5, 0.5, 0.5],
        ),
        lambda: signs(
            START,
            step(250, 5),
            train_loss=[2.3, 1.0, 0.5, 0.3, 0.1, 0.01],
            val_loss=[2.3, 1.0, 1.5, 2.0, 3.0, 4.0],
            val_acc=[0.1, 0.6, 0.6, 0.6, 0.6, 0.6],
        ),
    ),
    "validation-too-good": (
        lambda: signs(START, step(*LATE, ("c",), {"accuracy": 0.6}), val_acc=[0.1, 0.95]),
        lambda: signs(START, step(*LATE, ("c",), {"accuracy": 0.8}), val_acc=[0.1, 0.95]),
    ),
    "tokens-too-good": (lambda: language_model(0.04), lambda: language_model(0.2)),
    "negative-loss": (
        lambda: signs(START, step(*LATE), train_loss=[2.3, -0.5]),
        lambda: signs(START, step(*LATE, ("c",), {"features": 1.0}), train_loss=[2.3, -0.5]),
    ),
    "no-better-than-chance": (
        lambda: signs(START, step(*LATE), val_acc=[0.11, 0.15]),
        lambda: signs(START, step(*LATE), val_acc=[0.11, 0.18]),
    ),
    "softmax-twice": (
        lambda: signs(
            START, step(*LATE, ("c",), {"saturated": 0.2}), val_loss=[1.9, 1.6], val_acc=[0.4, 0.9]
        ),
        lambda: signs(
            START, step(*LATE, ("c",), {"saturated": 0.2}), val_loss=[1.9, 0.9], val_acc=[0.4, 0.9]
        ),
    ),
    "train-eval-mismatch": (
        lambda: signs(START, step(*LATE), train_loss=[2.3, 0.5], val_loss=[2.3, 5.0]),
        lambda: signs(START, step(*LATE), train_loss=[2.3, 0.5], val_loss=[2.3, 2.5]),
    ),
}


def test_nothing_fires_in_a_healthy_run() -> None:
    assert fired(signs(START, step(10, 0), step(*LATE), train_loss=[2.3, 1.0])) == set()


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_beyond_its_limit_and_not_before(name: str) -> None:
    beyond, before = CASES[name]
    assert name in fired(beyond())
    assert name not in fired(before())


def test_only_causal_networks_that_predict_tokens_have_a_loss_that_is_too_good() -> None:
    assert "tokens-too-good" not in fired(language_model(0.04, causal=0))
    assert "tokens-too-good" not in fired(language_model(0.04, outputs=10))


def test_a_loss_of_tokens_is_of_the_wrong_sign_where_it_is_below_all_that_guessing_costs() -> None:
    assert "negative-loss" in fired(language_model(-9.0))
    assert "negative-loss" not in fired(language_model(-0.5))  # as in reinforcement learning
    assert "negative-loss" not in fired(language_model(-9.0, causal=0))


def test_an_autoencoder_may_begin_with_one_dimension() -> None:
    assert "dimensional-collapse" in fired(embedding(("b", "c"), loss=1.0, inputs=64))
    assert "dimensional-collapse" not in fired(embedding(("b", "c"), loss=1.0, inputs=16))


def test_the_first_layers_are_looked_at_however_small_they_are() -> None:
    small = {"unchanged": 1.0, "parameters": 10.0}
    assert "layer-does-not-move" in fired(ill(("a",), **small))
    assert "layer-does-not-move" not in fired(ill(("b",), **small))


def test_chance_of_two_labels_is_too_close_to_judge() -> None:
    late = step(*LATE, ("c",), {"features": 2.0})
    metrics = {"val_acc": [(30, 0, 0.5), (60, 1, 0.5)]}
    assert "no-better-than-chance" not in fired(Signs([START, late], metrics, (0.5, 0.5), 256))


def test_a_softmax_at_the_end_shows_in_the_mean_of_the_outputs() -> None:
    def found(mean: float, **metrics: list[float]) -> set[str]:
        return fired(signs(START, step(*LATE, ("c",), {"mean": mean}), **metrics))

    slow = {"val_loss": [1.9, 1.6], "val_acc": [0.4, 0.9]}
    assert "softmax-twice" in found(0.1, **slow)
    assert "softmax-twice" not in found(0.12, **slow)


def test_a_validation_loss_that_stands_still_for_three_epochs_does_not_decrease() -> None:
    still, falling = [2.3, 2.3, 2.3], [2.3, 2.2, 2.0]

    def found(at: int, epoch: int, **losses: list[float]) -> set[str]:
        return fired(signs(START, step(at, epoch), **losses))

    assert "loss-not-decreasing" in found(100, 2, train_loss=[2.31, 2.25, 2.3], val_loss=still)
    assert "loss-not-decreasing" not in found(50, 1, train_loss=still, val_loss=still)
    assert "loss-not-decreasing" not in found(100, 2, train_loss=still, val_loss=falling)
    # One that is as good as it can be from the first validation on.
    assert "loss-not-decreasing" not in found(100, 2, train_loss=falling, val_loss=still)


def test_a_training_set_that_is_known_by_heart_at_once_is_overfitted() -> None:
    def found(at: int, epoch: int, train: float, val: float) -> set[str]:
        values = {"train_loss": [2.3] + [train] * epoch, "val_loss": [2.3] + [val] * epoch}
        return fired(signs(START, step(at, epoch), **values))

    assert "overfit" in found(150, 3, 0.05, 0.8)
    assert "overfit" not in found(150, 3, 0.2, 0.8)
    assert "overfit" not in found(150, 3, 0.01, 0.3)
    assert "overfit" not in found(500, 10, 0.05, 0.8)


def test_gradients_that_vanish_are_seen_at_two_snapshots_in_a_row() -> None:
    faint = {"gradient": 1e-9}
    assert "vanishing-gradient" in fired(
        signs(START, step(10, 0, ("a",), faint), step(30, 0, ("a",), faint))
    )
    assert "vanishing-gradient" not in fired(signs(START, step(10, 0), step(30, 0, ("a",), faint)))


def at_start(*layers: Values, given: Values | None = None, shares: int = 10) -> Signs:
    found = tuple(LayerSigns(f"{k}", {**HEALTHY, **values}) for k, values in enumerate(layers))
    own = LayerSigns("input", {**HEALTHY, **(given or {})})
    return Signs([StepSigns(0, 0, found, own)], {}, (1 / shares,) * shares, 256)


def test_differences_that_shrink_or_grow_in_each_layer_show_the_initialization() -> None:
    def distances(*values: float) -> Signs:
        return at_start(*({"distance": value} for value in values))

    for poor in ((1.0, 1e-2, 1e-4, 1e-5), (1.0, 3.0, 9.0, 30.0)):
        assert "poor-initialization" in fired(distances(*poor))
    for good in ((1.0, 0.1, 0.01, 1e-5), (1.0, 3.0, 2.0, 5.0)):
        assert "poor-initialization" not in fired(distances(*good))


def test_a_head_that_starts_at_zero_is_no_fault_but_a_network_of_zeros_is() -> None:
    zero = {"distance": 0.0, "dead": 1.0}
    assert not {"constant-layer", "dead-units"} & fired(at_start({}, {}, {}, zero))
    assert "constant-layer" in fired(at_start({}, zero, zero, zero))


def test_points_that_are_equal_and_inputs_out_of_scale_show_in_the_first_snapshot() -> None:
    most = {"doubles": 0.7, "same": 0.7}
    assert "equal-probe-points" in fired(at_start(most, {}, given=most))
    assert "equal-probe-points" not in fired(at_start({}, {}, given=most))
    large = {"norm": 1e4}
    assert "input-scale" in fired(at_start({"norm": 1e4}, {}, given=large))
    assert "input-scale" not in fired(at_start({}, {}, given=large))


def test_labels_that_nothing_knows_are_unrelated_or_rare() -> None:
    nothing = {"accuracy": 0.12}
    found = signs(START, step(*LATE, ALL, nothing))
    assert "labels-unrelated" not in fired(found)
    unknown = StepSigns(60, 1, found.now.layers, LayerSigns("input", {**HEALTHY, **nothing}))
    assert "labels-unrelated" in fired(signs(START, unknown))
    knows = tuple(LayerSigns(n.layer, {**n.values, "hits": 0.5}) for n in found.now.layers)
    given = LayerSigns("input", {**HEALTHY, **nothing})
    assert "labels-unrelated" not in fired(signs(START, StepSigns(60, 1, knows, given)))
    late = step(*LATE, ALL, {"accuracy": 0.95, "features": 2.0})
    assert "class-imbalance" in fired(Signs([START, late], {}, (0.95, 0.05), 256))
    known = step(*LATE, ALL, {"accuracy": 0.98, "features": 2.0})
    assert "class-imbalance" not in fired(Signs([START, known], {}, (0.95, 0.05), 256))


def test_a_softmax_over_the_batch_shows_in_validation_losses_that_are_as_far_above_it() -> None:
    def found(*losses: float) -> set[str]:
        outputs = ((2.1, -0.2), (1.2, -0.9))
        steps = [
            step(at, epoch, ("c",), {"cross_entropy": own, "batch_entropy": over})
            for epoch, (at, (own, over)) in enumerate(zip((50, 100), outputs, strict=True))
        ]
        metrics = {"val_loss": [(50, 0, losses[0]), (100, 1, losses[1])]}
        return fired(Signs([START, *steps], metrics, (0.1,) * 10, 256))

    assert "softmax-over-batch" in found(5.678, 4.978)
    assert "softmax-over-batch" not in found(5.678, 3.0)
    assert "softmax-over-batch" not in found(2.1, 1.2)


def test_a_second_softmax_is_known_by_its_loss_on_the_probe_points() -> None:
    def found(loss: float) -> set[str]:
        outputs = {"mean": 0.1, "cross_entropy": 2.0, "log_loss": 1.2}
        return fired(signs(START, step(*LATE, ("c",), outputs), val_loss=[loss], val_acc=[0.3]))

    assert "softmax-twice" in found(2.02)
    assert "softmax-twice" not in found(1.25)


def test_a_second_softmax_is_seen_behind_outputs_that_are_shares_once_they_are_right() -> None:
    def found(hits: float) -> set[str]:
        outputs = {"mean": 0.16, "cross_entropy": 1.6, "log_loss": 0.1, "hits": hits}
        return fired(signs(START, step(*LATE, ("c",), outputs), val_loss=[1.58], val_acc=[0.97]))

    assert "softmax-twice" in found(0.98)
    assert "softmax-twice" not in found(0.1)  # logits that are still 0


def test_statistics_that_are_hardly_moved_are_those_of_the_start() -> None:
    def found(momentum: float, first: float) -> set[str]:
        began = step(0, 0, ("a",), {"unset": first})
        return fired(signs(began, step(*LATE, ("a",), {"unset": 0.0, "momentum": momentum})))

    assert "unset-statistics" in found(0.001, 1.0)
    assert "unset-statistics" not in found(0.1, 1.0)
    # Those of a pretrained network are good from the start.
    assert "unset-statistics" not in found(0.001, 0.0)


def test_rare_labels_that_are_never_right_show_the_imbalance() -> None:
    def found(rare: float) -> set[str]:
        late = step(*LATE, ("c",), {"rare_hits": rare})
        return fired(Signs([START, late], {}, (0.55, *(0.05,) * 9), 256))

    assert "class-imbalance" in found(0.05)
    assert "class-imbalance" not in found(0.5)


def message(rule_name: str, found: Signs) -> str:
    rule = next(rule for rule in RULES if rule.name == rule_name)
    finding = rule.check(found)
    assert finding is not None
    assert set(finding.causes) <= set(rule.causes)
    return rule.describe(finding, found.now.step)


DEAD = {"dead": 1.0, "zeros": 1.0}
SAME = {"distance": 0.0}


@pytest.mark.parametrize(
    ("rule", "found", "likely", "not_likely"),
    [
        ("dead-units", signs(step(0, 0, ("a",), DEAD)), "negative biases", "learning"),
        (
            "dead-units",
            signs(step(0, 0, ("a",), {**DEAD, "weight_norm": 0.0})),
            "weights that start at zero",
            "learning",
        ),
        ("dead-units", ill(("a",), **DEAD), "learning rate", "biases"),
        ("dead-units", signs(step(*LATE, ("a",), DEAD)), "large negative biases", "random"),
        ("constant-layer", signs(step(0, 0, ALL, SAME)), "starts at zero", "learning"),
        ("constant-layer", ill(("c",), **SAME), "learning rate", "starts at zero"),
        ("constant-layer", signs(step(*LATE, ("c",), SAME)), "starts at zero, an input", "biases"),
        (
            "constant-layer",
            signs(step(0, 0, ("c",), SAME), step(*LATE, ("c",), SAME)),
            "starts at zero",
            "learning",
        ),
        (
            "saturated-units",
            signs(step(0, 0, ("a", "b"), {"saturated": 0.5})),
            "initialization",
            "learning",
        ),
        ("saturated-units", ill(("a",), saturated=0.95), "learning rate", "Scale down"),
    ],
)
def test_likely_causes_fit_the_time_at_which_a_fault_shows(
    rule: str, found: Signs, likely: str, not_likely: str
) -> None:
    said = message(rule, found)
    assert likely in said
    assert not_likely not in said


def test_causes_are_listed_as_english_lists_them() -> None:
    names = [join_with_or(("a",)), join_with_or(("a", "b")), join_with_or(("a", "b", "c"))]
    assert names == ["a", "a or b", "a, b, or c"]
