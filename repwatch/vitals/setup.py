"""Rules on how network, data and training loop are put together: most show in the first steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from repwatch.vitals.activations import VITALS_STUDY, name_layers
from repwatch.vitals.curves import find_curve
from repwatch.vitals.parameters import find_trained
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import LayerSigns, Signs

__all__ = ["SETUP_RULES"]

# Shares of an output's norm; what does not depend on anything else changes by 0 or by rounding.
_BY_TOKENS, _BY_POINTS = 1e-3, 1e-2
_REPEATED = 0.25
_HEAVY = 0.75


def _first_snapshot(signs: Signs) -> tuple[LayerSigns, ...]:
    """The layers of the first snapshot, while it is the newest one."""
    return signs.now.layers if len(signs.steps) == 1 else ()


def check_later_tokens(signs: Signs) -> Finding | None:
    """Layers of a causal network in which a token's representation changes with later tokens."""
    return _find_dependent(
        _first_snapshot(signs),
        lambda layer: layer.get("causal") == 1 and layer.get("sees_later") > _BY_TOKENS,
        "sees_later",
        "the model says that it is causal, but in {}, the representation of a token changes with "
        "tokens after it",
    )


def check_mixed_points(signs: Signs) -> Finding | None:
    """Layers in which a point's output changes with the other points of its batch."""
    return _find_dependent(
        _first_snapshot(signs),
        lambda layer: layer.get("mixes_points") > _BY_POINTS,
        "mixes_points",
        "in {}, the output of a point changes with the other points of its batch, in evaluation "
        "mode",
    )


def _find_dependent(
    layers: Sequence[LayerSigns], is_ill: Callable[[LayerSigns], bool], scalar: str, text: str
) -> Finding | None:
    """The layers that change with inputs that should not matter, and by how much at most."""
    ill = [layer for layer in layers if is_ill(layer)]
    if not ill:
        return None
    names = tuple(layer.layer for layer in ill)
    changes = {"change": max(layer.get(scalar) for layer in ill)}
    return Finding(text.format(name_layers(names, len(layers))), names, changes)


def check_constant_weights(signs: Signs) -> Finding | None:
    """Weights that start with the same value, so that all units of a layer stay alike."""
    if signs.now.step != 0:
        return None
    trained = [layer for layer in find_trained(signs) if "constant" in layer.values]
    ill = tuple(layer.layer for layer in trained if layer.get("constant") == 1)
    if not ill or 2 * len(ill) < len(trained):
        return None
    text = f"in {name_layers(ill, len(signs.now.layers))}, all weights start with the same value"
    return Finding(text, ill)


def check_zeroing(signs: Signs) -> Finding | None:
    """Gradients that are added up from step to step."""
    if not any(layer.get("unzeroed") == 1 for layer in signs.now.layers):
        return None
    return Finding("the gradients of a step are still there in the next one, and add up")


def check_repeated_points(signs: Signs) -> Finding | None:
    """Training batches of an epoch that hold the same points several times."""
    share = max((layer.get("repeated", 0.0) for layer in signs.now.layers), default=0.0)
    given = signs.now.input
    # If many points of the data are equal, the probe set shows it too.
    if share < _REPEATED or (given is not None and given.get("doubles") >= 0.1):
        return None
    text = f"{share:.0%} of the points in the first training batches occur more than once"
    return Finding(text, (), {"share": share})


def check_dropout(signs: Signs) -> Finding | None:
    """A network that drops most of its units, and whose training loss has hardly fallen."""
    ill = tuple(layer.layer for layer in signs.now.layers if layer.get("dropout") >= _HEAVY)
    losses = find_curve(signs, "train", "loss")
    if not ill or not signs.is_trained or len(losses) < 2:
        return None
    if not losses[-1] > 0.5 * losses[0]:
        return None
    most = max(layer.get("dropout", 0.0) for layer in signs.now.layers)
    text = (
        f"in {name_layers(ill, len(signs.now.layers))}, {most:.0%} of the units are dropped, and "
        f"the training loss is {losses[-1]:.3g} after an epoch, {losses[0]:.3g} at first"
    )
    return Finding(text, ill, {"dropout": most, "loss": losses[-1]})


SETUP_RULES = (
    Rule(
        name="sees-later-tokens",
        check=check_later_tokens,
        reads="outputs for the first half of the tokens when the tokens after them are exchanged; "
        "what the model says about itself (`is_causal` of its modules, `config.is_decoder`)",
        when="at the first snapshot, they change by more than a thousandth (healthy: 0) in a layer "
        "of a causal model",
        causes=("a causal mask that is missing or wrong", "a softmax over the wrong dimension"),
        advice="Look at the mask, and at the dimension of the softmax, in the first such layer.",
        unseen="models that do not say that they are causal: for these, only `repwatch show` "
        "reports it",
        source=VITALS_STUDY,
    ),
    Rule(
        name="points-mix",
        check=check_mixed_points,
        reads="outputs for a probe point when the other points of its batch are exchanged",
        when="at the first snapshot, they change by more than a hundredth (healthy: 0) in a layer, "
        "in evaluation mode",
        causes=(
            "a batch dimension mistaken for another one, such as time (batch_first)",
            "a softmax, attention or normalization over the batch",
        ),
        advice="Look at the dimensions of the first such layer: which of them is the batch?",
        unseen="a loss that mixes points, and networks with BatchNorm without running statistics",
        source=VITALS_STUDY,
    ),
    Rule(
        name="constant-weights",
        check=check_constant_weights,
        reads="parameters of 2 dimensions or more, before the first step",
        when="all of a layer's weights have the same value, and it is not 0, in half of the layers "
        "or more",
        causes=("weights that are initialized with a constant",),
        advice="Draw initial weights at random: equal units get equal gradients and stay equal.",
        unseen="weights that start at 0, which other rules see if they do harm",
        source="Goodfellow et al. 2016, Deep Learning, section 8.4",
        counterparts=("PoorWeightInitialization",),
        unless=("equal-probe-points",),
    ),
    Rule(
        name="gradients-not-zeroed",
        check=check_zeroing,
        reads="gradients at the beginning of the backward pass that follows a step, in the first "
        "steps",
        when="all of them are still there, three times in a row",
        causes=("a missing optimizer.zero_grad()", "a zero_grad() that is called too rarely"),
        advice="Call optimizer.zero_grad() after each step, or before each backward pass.",
        unseen="custom training loops, and gradients that only part of a network keeps",
        source="PyTorch, documentation of Optimizer.zero_grad",
    ),
    Rule(
        name="repeated-points",
        check=check_repeated_points,
        reads="the points of the first three training batches of an epoch",
        when="a quarter of them, with more than 16 values each, occur more than once, while fewer "
        "than a tenth of the probe points are equal; not if the sampler draws with replacement",
        causes=(
            "a data set with far fewer points than its length",
            "the same batch again and again",
        ),
        advice="Look at the data set's __getitem__: do different indices give different points?",
        unseen="points that are augmented before they reach the training step",
        source=VITALS_STUDY,
        unless=("equal-probe-points",),
    ),
    Rule(
        name="heavy-dropout",
        check=check_dropout,
        reads="the rate of dropout modules, and the training loss",
        when="after an epoch, the loss is above half of its first value, and a layer drops .75 or "
        "more",
        causes=("a dropout rate that is too high, or meant as the share to keep",),
        advice="Lower the rate: in PyTorch it is the share that is dropped, usually .1 to .5.",
        unseen="dropout applied by functions instead of modules",
        source="PyTorch, documentation of Dropout",
        unless=("dead-units", "constant-layer", "nothing-moves"),
    ),
)
