"""Rules on the probe points and on what their labels have to do with them."""

from __future__ import annotations

from repwatch.vitals.activations import VITALS_STUDY, name_layers
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import Signs

__all__ = ["LABEL_RULES", "POINT_RULES"]

_FEWEST_POINTS = 50


def _can_judge(signs: Signs) -> bool:
    """Whether a classifier of the probe's labels has been trained, and points suffice."""
    return signs.is_trained and signs.is_classifier and signs.points >= _FEWEST_POINTS


def check_points(signs: Signs) -> Finding | None:
    """Probe points that are all equal, or nearly all twice there, in the input and after it."""
    if len(signs.steps) > 1 or signs.now.input is None or not signs.now.layers:
        return None
    given, first = signs.now.input, signs.now.layers[0]
    if given.get("distance") == 0 and (first.is_constant or first.get("doubles") == 1):
        text = "all probe points are equal"
    elif given.get("doubles") >= 0.9 and first.get("doubles") >= 0.9 and given.get("features") > 16:
        text = f"{given.get('doubles'):.0%} of the probe points have an equal twin"
    else:
        return None
    return Finding(text, (), {"doubles": given.get("doubles")})


def check_loss_of_labels(signs: Signs) -> Finding | None:
    """Layers up to the output in which neighbors share labels far less than in the input."""
    layers, given = signs.now.layers, signs.now.input
    if not _can_judge(signs) or given is None:
        return None
    lost = [layer.get("accuracy") < given.get("accuracy") - 0.35 for layer in layers]
    first = next((k for k in range(len(layers)) if all(lost[k:])), len(layers))
    ill = tuple(layer.layer for layer in layers[first:])
    if not ill:
        return None
    values = {"input": given.get("accuracy"), "layer": layers[first].get("accuracy")}
    text = (
        f"{name_layers(ill, len(layers))} have lost what the input has of the labels: the nearest "
        f"neighbors name {values['layer']:.0%} of them rightly, {values['input']:.0%} in the input"
    )
    return Finding(text, ill, values)


def check_labels(signs: Signs) -> Finding | None:
    """Labels that neither the input nor any layer of a trained network has to do with."""
    layers, given = signs.now.layers, signs.now.input
    if not _can_judge(signs) or given is None:
        return None
    chance, classes = signs.chance, len(signs.label_shares)
    if not 3 <= classes <= signs.points / 10:
        return None
    limit = chance + 3 * (chance * (1 - chance) / signs.points) ** 0.5
    best = max(layer.get("accuracy", 1.0) for layer in (given, *layers))
    if not best <= limit:
        return None
    text = (
        "the labels have nothing to do with the inputs: in the input and in all layers the "
        f"nearest neighbors name at most {best:.0%} of them rightly, by chance {chance:.0%}"
    )
    return Finding(text, (), {"best": best, "chance": chance})


POINT_RULES = (
    Rule(
        name="equal-probe-points",
        check=check_points,
        reads="distances between the probe points in the input and in the first layer",
        when="at the first snapshot all are 0, or 9 of 10 points have a twin at distance 0 and the "
        "inputs more than 16 numbers",
        causes=("a loader that returns one sample again and again", "inputs that are all zero"),
        advice="Look at some items of the data set: are they different?",
        unseen="inputs that are tokens, whose own distances are not measured",
        source=VITALS_STUDY,
        counterparts=("CheckInputImages",),
    ),
)

LABEL_RULES = (
    Rule(
        name="labels-lost",
        check=check_loss_of_labels,
        reads="share of probe points whose label the 5 nearest neighbors have, by layer",
        when="after an epoch of a classifier (one output for each label) it is .35 below the "
        "input's from some layer on to the last",
        causes=(
            "saturated units",
            "an initialization that is too large or too small",
            "a learning rate that is too high",
        ),
        advice="Look at the first of these layers: its initialization, normalization and rate.",
        unseen="probe points without labels, and inputs in which labels do not show",
        source=VITALS_STUDY,
        unless=(
            "dead-units",
            "constant-layer",
            "collapse",
            "saturated-units",
            "poor-initialization",
            "exploding-weights",
            "vanishing-weights",
            "nothing-moves",
        ),
    ),
    Rule(
        name="labels-unrelated",
        check=check_labels,
        reads="share of probe points whose label the 5 nearest neighbors have, by layer",
        when="after an epoch of a classifier it is within 3 standard deviations of chance in "
        "the input and in all layers, for 3 classes or more",
        causes=("labels that were shuffled against the inputs", "a label column of another table"),
        advice="Look at some items of the data set: does the label belong to the input?",
        unseen="labels of which a part is wrong",
        source=VITALS_STUDY,
        unless=("dead-units", "constant-layer", "collapse", "equal-probe-points", "nothing-moves"),
    ),
)
