"""Rules on networks that tell labels apart: losses and accuracies that cannot be right.

They need labels of the probe points, one output for each of them, and metrics whose names have
"loss" and "acc" with "train" or "val".
"""

from __future__ import annotations

import math

from repwatch.vitals.activations import VITALS_STUDY
from repwatch.vitals.curves import find_curve
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import Signs

__all__ = ["CLASSIFIER_RULES"]


def check_sign(signs: Signs) -> Finding | None:
    """A loss of a classifier below 0, where cross-entropy ends."""
    if not signs.is_classifier or signs.now.step == 0:
        return None
    losses = [*find_curve(signs, "train", "loss")[-1:], *find_curve(signs, "val", "loss")[-1:]]
    least = min(losses, default=0.0)
    if not least < -0.01:
        return None
    return Finding(f"the loss of a classifier is {least:.3g}, below 0", (), {"loss": least})


def check_chance(signs: Signs) -> Finding | None:
    """A validation accuracy that two epochs have not raised above what guessing gives."""
    scores, chance = find_curve(signs, "val", "acc"), signs.chance
    can_judge = signs.is_classifier and len(signs.label_shares) >= 3 and chance <= 0.8
    if signs.now.epoch < 1 or not can_judge or len(scores) < 2:
        return None
    spread = (chance * (1 - chance) / max(signs.points, 1)) ** 0.5
    limit = chance + max(0.05, 3 * spread)
    best = max(scores[-2:])
    if not 0 <= best <= limit:
        return None
    text = (
        f"the validation accuracy is {scores[-1]:.0%} after {signs.now.epoch + 1} epochs, where "
        f"guessing gives {chance:.0%}"
    )
    return Finding(text, (), {"accuracy": best, "chance": chance})


def check_probabilities(signs: Signs) -> Finding | None:
    """Outputs in [0, 1] with the cross-entropy that a softmax of them gives."""
    if not signs.is_classifier:
        return None
    last, classes = signs.now.layers[-1], len(signs.label_shares)
    sums_to_one = abs(last.get("mean") * classes - 1) < 1e-4
    losses, scores = find_curve(signs, "val", "loss"), find_curve(signs, "val", "acc")
    if not losses or not (sums_to_one or "saturated" in last.values):
        return None
    again, once = last.get("cross_entropy"), last.get("log_loss")
    is_again = abs(losses[-1] - again) < 0.05 * again and abs(losses[-1] - once) > 0.25 * once
    # The softmax of outputs in [0, 1] gives the right label at most e / (e + classes - 1).
    least = math.log(math.e + classes - 1) - 1
    good = max(0.5, 1.5 * signs.chance)
    is_bounded = bool(scores) and losses[-1] >= 0.95 * least and good <= scores[-1] <= 1
    if not is_again and not is_bounded:
        return None
    text = (
        f"the outputs are between 0 and 1, and the validation loss is {losses[-1]:.3g}, as it is "
        f"when another softmax follows: such a loss cannot get below {least:.3g}"
    )
    return Finding(text, (last.layer,), {"loss": losses[-1], "least": least})


def check_softmax_dimension(signs: Signs) -> Finding | None:
    """Training losses that are those of a softmax over the batch, at two snapshots."""
    size = signs.hparams.get("repwatch.data.batch_size")
    if not signs.is_classifier or not isinstance(size, (int, float)) or len(signs.steps) < 3:
        return None
    for step in signs.steps[-2:]:
        logged = [
            value
            for name, points in signs.metrics.items()
            if "train" in name.lower() and "loss" in name.lower()
            for at, _, value in points
            if at == step.step
        ]
        last = step.layers[-1]
        over_batch = last.get("batch_entropy") + math.log(size)
        if step.step == 0 or len(logged) != 1:
            return None
        near = abs(logged[0] - over_batch) < 0.1 * over_batch
        if not near or not abs(logged[0] - last.get("cross_entropy")) > 0.25 * over_batch:
            return None
    text = (
        f"the training loss is {logged[0]:.3g}, which is that of a softmax over the {size:.0f} "
        f"points of a batch; over the outputs it would be {last.get('cross_entropy'):.3g}"
    )
    return Finding(text, (last.layer,), {"loss": logged[0], "over_batch": over_batch})


CLASSIFIER_RULES = (
    Rule(
        name="negative-loss",
        check=check_sign,
        reads="training and validation loss of a classifier",
        when="the newest value is below -.01",
        causes=(
            "a loss of the wrong sign",
            "probabilities given to NLLLoss in place of logarithms",
        ),
        advice="Look at the sign of the loss, and at what its function expects.",
        unseen="a wrong sign where the loss is that of no classifier",
        source=VITALS_STUDY,
    ),
    Rule(
        name="no-better-than-chance",
        check=check_chance,
        reads="validation accuracy, and the probe points' labels",
        when="from the second epoch of a classifier of 3 labels or more on, two validations in a "
        "row are within .05 of the share of the most frequent label (and 3 standard deviations), "
        "if that is .8 at most",
        causes=(
            "a learning rate that is far too high or too low",
            "gradients that do not reach the weights",
            "labels that do not belong to the inputs",
        ),
        advice="Train on one batch alone: where its loss does not fall either, the step is wrong.",
        unseen="two labels, and a warm-up of more than two epochs, which looks the same",
        source="Karpathy 2019, A recipe for training neural networks",
        counterparts=("LossNotDecreasing",),
        unless=(
            "not-finite",
            "dead-units",
            "constant-layer",
            "collapse",
            "nothing-moves",
            "negative-loss",
            "labels-lost",
            "labels-unrelated",
            "train-eval-mismatch",
        ),
    ),
    Rule(
        name="softmax-twice",
        check=check_probabilities,
        reads="the outputs' range, validation loss and validation accuracy of a classifier",
        when="the outputs are bounded or sum to 1, and the loss is within 5 % of the cross-entropy "
        "of their softmax on the probe points, and not of their own; or at or above the least that "
        "a softmax of such outputs can reach, with an accuracy of .5 or more and 1.5 times chance",
        causes=("a softmax or sigmoid in the network before a loss that has its own",),
        advice="Give CrossEntropyLoss the logits: take the softmax at the end out of the network.",
        unseen="a second softmax that is not a module at the end of the network",
        source="PyTorch, documentation of CrossEntropyLoss",
    ),
    Rule(
        name="softmax-over-batch",
        check=check_softmax_dimension,
        reads="training loss, batch size, and the outputs and labels of the probe points",
        when="at two snapshots in a row the loss is within 10 % of that of a softmax over the "
        "points of a batch, and a quarter off that of a softmax over the outputs",
        causes=("a softmax over the wrong dimension (0 in place of 1)",),
        advice="Look at the dimension of softmax or log_softmax before the loss.",
        unseen="losses other than cross-entropy, and training loops whose batch size is not known",
        source="PyTorch, documentation of Softmax",
    ),
)
