"""Rules on the probe points and on what their labels have to do with them."""

from __future__ import annotations

import math

from repwatch.vitals.activations import DEBUGGER, VITALS_STUDY, name_layers
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import Signs

__all__ = ["LABEL_RULES", "POINT_RULES"]

_FEWEST_POINTS = 50


def _can_judge(signs: Signs) -> bool:
    """Whether a classifier of the probe's labels has been trained, and points suffice."""
    return signs.is_trained and signs.is_classifier and signs.points >= _FEWEST_POINTS


def check_points(signs: Signs) -> Finding | None:
    """Probe points that are equal, or nearly all duplicated, in the input and after it."""
    if len(signs.steps) > 1 or not signs.now.layers:
        return None
    first = signs.now.layers[0]
    given = signs.now.input or first
    twins, same = (min(given.get(name), first.get(name)) for name in ("doubles", "same"))
    if given.get("distance") == 0 and same == 1:
        text = "all probe points are equal"
    elif same >= 0.5 and given.get("features") > 16:
        text = f"{same:.0%} of the probe points are equal"
    elif twins >= 0.9 and given.get("features") > 16:
        text = f"{twins:.0%} of the probe points have an equal twin"
    else:
        return None
    return Finding(text, (), {"doubles": twins, "same": same})


def check_input_scale(signs: Signs) -> Finding | None:
    """Inputs whose scale, or offset, reaches the first layer unchanged."""
    if len(signs.steps) > 1 or signs.now.input is None or not signs.now.layers:
        return None
    given, first = signs.now.input, signs.now.layers[0]
    offset = abs(given.get("mean")) / max(given.get("std"), 1e-12)
    values = {"rms": given.rms, "offset": offset}
    if given.rms > 1000 and first.rms > 100:
        return Finding(
            f"the inputs are large: their root mean square is {given.rms:.3g}", (), values
        )
    if offset > 50 and first.get("distance") < 0.05 * first.get("norm"):
        text = f"the mean of the inputs is {offset:.0f} times their standard deviation"
        return Finding(text, (), values)
    return None


def check_rare_labels(signs: Signs) -> Finding | None:
    """A trained classifier that knows the most frequent label, and hardly any other."""
    layers, share, count = signs.now.layers, signs.chance, len(signs.label_shares)
    if not _can_judge(signs) or signs.now.epoch < 1:
        return None
    known = layers[-1].get("rare_hits")
    if count >= 3 and share >= max(0.3, 2.5 / count) and known < 0.2:
        text = (
            f"{share:.0%} of the probe points have the same label, and {known:.0%} of the others "
            "are classified correctly"
        )
        return Finding(text, (), {"share": share, "accuracy": known})
    seen = max(layer.get("accuracy", 1.0) for layer in layers)
    if not share >= 0.9 or not seen <= share:
        return None
    text = (
        f"{share:.0%} of the probe points have the same label, and no layer places the others near "
        "points of their own label"
    )
    return Finding(text, (), {"share": share, "accuracy": seen})


def check_loss_of_labels(signs: Signs) -> Finding | None:
    """Layers up to the output in which neighbors share labels far less than in the input."""
    layers, given = signs.now.layers, signs.now.input
    if not _can_judge(signs) or given is None or signs.now.epoch < 1:
        return None
    limit = given.get("accuracy") - 0.35
    earlier = signs.before.layers[-1].get("accuracy") if signs.before is not None else math.nan
    # A head that has just begun to learn is behind for a while.
    if not (earlier < limit and layers[-1].get("accuracy") <= earlier + 0.02):
        return None
    lost = [layer.get("accuracy") < limit for layer in layers]
    first = next((k for k in range(len(layers)) if all(lost[k:])), len(layers))
    ill = tuple(layer.layer for layer in layers[first:])
    if len(ill) < min(2, len(layers)):
        return None
    values = {"input": given.get("accuracy"), "layer": layers[first].get("accuracy")}
    text = (
        f"in {name_layers(ill, len(layers))}, label information of the input is lost: nearest "
        f"neighbors name {values['layer']:.0%} of the labels correctly, {values['input']:.0%} in "
        "the input"
    )
    return Finding(text, ill, values)


def check_labels(signs: Signs) -> Finding | None:
    """Labels that are unrelated to the input and to all layers of a trained network."""
    layers, given = signs.now.layers, signs.now.input
    if not _can_judge(signs) or given is None:
        return None
    chance, classes = signs.chance, len(signs.label_shares)
    if not 3 <= classes <= signs.points / 10:
        return None
    limit = chance + 3 * (chance * (1 - chance) / signs.points) ** 0.5
    best = max(layer.get("accuracy", 1.0) for layer in (given, *layers))
    # The outputs may know what no neighbor shows, in many dimensions.
    if not best <= limit or layers[-1].get("hits") > limit:
        return None
    text = (
        "the labels have nothing to do with the inputs: in the input and in all layers the "
        f"nearest neighbors name at most {best:.0%} of them correctly, by chance {chance:.0%}"
    )
    return Finding(text, (), {"best": best, "chance": chance})


POINT_RULES = (
    Rule(
        name="equal-probe-points",
        check=check_points,
        reads="distances between the probe points in the input and in the first layer",
        when="at the first snapshot, all of them are 0; or, for inputs with more than 16 values, "
        "half of the points are equal or 9 of 10 have a duplicate; for tokens, only the first "
        "layer is read",
        causes=(
            "a loader that returns the same sample again and again",
            "inputs that are all zero",
        ),
        advice="Look at some items of the data set: are they different?",
        unseen="points that are nearly equal",
        source=VITALS_STUDY,
        counterparts=("CheckInputImages",),
    ),
    Rule(
        name="input-scale",
        check=check_input_scale,
        reads="mean, standard deviation and root mean square of the input, and outputs of the "
        "first layer",
        when="at the first snapshot, the root mean square is above 1,000 in the input and above "
        "100 in the first layer; or the mean is 50 times the standard deviation, and the distances "
        "in the first layer are below a twentieth of its norm",
        causes=("inputs that are not normalized",),
        advice="Subtract the mean of the training inputs, and divide by their standard deviation.",
        unseen="single features on a different scale",
        source=DEBUGGER,
        counterparts=("CheckInputImages",),
        unless=("equal-probe-points",),
    ),
)

LABEL_RULES = (
    Rule(
        name="class-imbalance",
        check=check_rare_labels,
        reads="the probe points' labels, the outputs, and the nearest-neighbor accuracy of each "
        "layer",
        when="from the second epoch of a classifier with 3 or more labels, the most frequent label "
        "has at least .3 of the points and at least 2.5 times an even share, and fewer than a "
        "fifth of the others are classified correctly (mean over labels); or 9 of 10 points have "
        "the same label, and no layer does better than guessing it",
        causes=("imbalanced classes",),
        advice="Weight the classes in the loss, or sample the rare ones more often.",
        unseen="rare labels that have no point in the probe set",
        source=DEBUGGER,
        counterparts=("ClassImbalance",),
        unless=("dead-units", "constant-layer", "collapse", "nothing-moves"),
    ),
    Rule(
        name="labels-lost",
        check=check_loss_of_labels,
        reads="share of probe points whose label the 5 nearest neighbors predict, by layer",
        when="from the second epoch of a classifier (one output for each label), it is .35 below "
        "that of the input in at least the last two layers, and in the last layer at two snapshots "
        "in a row without rising",
        causes=(
            "saturated units",
            "an initialization that is too large or too small",
            "a learning rate that is too high",
        ),
        advice="Look at the first of these layers: its initialization, normalization and learning "
        "rate.",
        unseen="probe points without labels, and inputs whose distances do not reflect the labels",
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
        reads="share of probe points whose label the 5 nearest neighbors predict, by layer",
        when="after an epoch of a classifier with 3 or more classes, it is within 3 standard "
        "deviations of chance in the input and in all layers, and so is the accuracy of the "
        "outputs",
        causes=(
            "labels that were shuffled relative to the inputs",
            "a label column from another table",
        ),
        advice="Look at some items of the data set: does the label belong to the input?",
        unseen="labels that are only partly wrong",
        source=VITALS_STUDY,
        unless=("dead-units", "constant-layer", "collapse", "equal-probe-points", "nothing-moves"),
    ),
)
