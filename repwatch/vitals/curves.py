"""Rules on the metrics that the training logs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from repwatch.vitals.activations import DEBUGGER, VITALS_STUDY
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import Signs

__all__ = ["CURVE_RULES", "find_curve"]

_FEWEST_VALUES = 5
_FEWEST_EPOCHS = 3
# Nearest neighbors say nothing about a label with fewer points.
_POINTS_FOR_EACH_LABEL = 10
# No language model predicts text with so small a loss in its first epochs.
_TOO_GOOD, _EARLY_EPOCHS = 0.1, 5


def find_curve(signs: Signs, *words: str) -> list[float]:
    """The finite values of the only metric whose name has these words; empty for several."""
    names = [name for name in signs.metrics if all(word in name.lower() for word in words)]
    curve = signs.curve(names[0]) if len(names) == 1 else []
    return [value for value in curve if math.isfinite(value)]


def check_loss(signs: Signs) -> Finding | None:
    """A training loss that was never lower than at the start."""
    training, validation = find_curve(signs, "train", "loss"), find_curve(signs, "val", "loss")
    if _stands_still(signs.now.epoch, training, validation):
        values = {"first": training[0], "best": min(validation[1:])}
        text = (
            f"the loss has not decreased: in training it was {training[0]:.3g} at first, and "
            f"{sum(training[1:]) / len(training[1:]):.3g} on average since; in validation it was "
            f"{validation[0]:.3g} at first, and {values['best']:.3g} at best since"
        )
        return Finding(text, (), values)
    losses = training or validation
    if signs.now.epoch < _FEWEST_EPOCHS or len(losses) < _FEWEST_VALUES:
        return None
    if _only_rises(validation):
        losses = validation
    first, best = losses[0], min(losses[1:])
    if best < first - 1e-3 * abs(first):
        return None
    text = f"the loss has not decreased: it was {first:.3g} at first, and {best:.3g} at best since"
    return Finding(text, (), {"first": first, "best": best})


def _stands_still(epoch: int, training: Sequence[float], validation: Sequence[float]) -> bool:
    """Whether 3 epochs have brought the validation loss down by less than 1%, training by 3%.

    The training loss of single batches is noisy, that of validation is not.
    """
    if epoch < _FEWEST_EPOCHS - 1 or len(validation) < _FEWEST_EPOCHS or len(training) < 3:
        return False
    mean = sum(training[1:]) / len(training[1:])
    falls = mean < training[0] - 0.03 * abs(training[0])
    return not falls and min(validation[1:]) > validation[0] - 0.01 * abs(validation[0])


def _only_rises(losses: Sequence[float]) -> bool:
    """Whether a loss was best at its first value, and is 1.5 times that now."""
    enough = len(losses) >= _FEWEST_VALUES
    return enough and min(losses) == losses[0] > 0 and losses[-1] > 1.5 * losses[0]


def check_overfit(signs: Signs) -> Finding | None:
    """A validation loss that grows while the training loss falls, or is far above it early on."""
    return _check_memory(signs) or _check_growth(signs)


def _check_memory(signs: Signs) -> Finding | None:
    """A classifier that has memorized its training set in the first epochs."""
    losses, training = find_curve(signs, "val", "loss"), find_curve(signs, "train", "loss")
    early = 1 <= signs.now.epoch < 5
    if not early or not signs.is_classifier or not losses or len(training) < 2:
        return None
    mean = sum(training[-2:]) / 2
    chance = math.log(len(signs.label_shares))
    if not (losses[-1] > 0.2 * chance and losses[-1] > 8 * mean >= 0):
        return None
    text = (
        f"after {signs.now.epoch + 1} epochs the training loss is {mean:.3g}, and the validation "
        f"loss {losses[-1]:.3g}"
    )
    return Finding(text, (), {"training": mean, "validation": losses[-1]})


def _check_growth(signs: Signs) -> Finding | None:
    """A validation loss of three times its best while the training loss still falls."""
    losses, training = find_curve(signs, "val", "loss"), find_curve(signs, "train", "loss")
    if len(losses) < _FEWEST_VALUES or len(training) < _FEWEST_VALUES:
        return None
    best = min(losses)
    since = len(losses) - 1 - losses.index(best)
    if not (best > 0 and losses[-1] >= 3 * best and since >= _FEWEST_EPOCHS):
        return None
    scores = find_curve(signs, "val", "acc")
    if training[-1] > min(training[: -since - 1], default=math.inf):
        return None
    # Losses of a classifier grow with its confidence, while it is as good as before.
    if scores and scores[-1] > max(scores) - 0.05:
        return None
    text = f"the validation loss is {losses[-1]:.3g}, and was {best:.3g}; the training loss falls"
    return Finding(text, (), {"best": best, "last": losses[-1]})


def check_leak(signs: Signs) -> Finding | None:
    """A validation accuracy far above what the output layer shows of the probe points."""
    scores, layers = find_curve(signs, "val", "acc"), signs.now.layers
    enough = signs.points >= _POINTS_FOR_EACH_LABEL * len(signs.label_shares)
    if not scores or not signs.is_trained or not signs.is_classifier or not enough:
        return None
    seen = layers[-1].get("accuracy")
    if not scores[-1] - seen >= 0.25 or scores[-1] > 1:
        return None
    text = (
        f"the validation accuracy is {scores[-1]:.0%}, but only {seen:.0%} of the probe points are "
        "near others of their label in the last layer"
    )
    return Finding(text, (layers[-1].layer,), {"validation": scores[-1], "probe": seen})


def check_loss_is_number(signs: Signs) -> Finding | None:
    """A loss that is NaN, while activations may still be finite."""
    for name, points in signs.metrics.items():
        values = [value for at, _, value in points if at <= signs.now.step]
        # A validation point with a missing value makes only the validation loss NaN.
        is_training = "loss" in name.lower() and "val" not in name.lower()
        if is_training and values and math.isnan(values[-1]):
            return Finding(f"the metric {name} is NaN")
    return None


def check_evaluation(signs: Signs) -> Finding | None:
    """A network that has learned in training mode, and is worse than chance in evaluation mode."""
    losses, training = find_curve(signs, "val", "loss"), find_curve(signs, "train", "loss")
    early = signs.is_trained and signs.now.epoch <= 2
    if not early or not signs.is_classifier or not losses or not training:
        return None
    chance = math.log(len(signs.label_shares))
    if not (losses[-1] > 1.5 * chance and training[-1] < 0.5 * chance):
        return None
    text = (
        f"the training loss is {training[-1]:.3g}, but the validation loss {losses[-1]:.3g}, where "
        f"guessing gives {chance:.3g}"
    )
    return Finding(text, (), {"training": training[-1], "validation": losses[-1]})


def check_token_loss(signs: Signs) -> Finding | None:
    """A causal network that predicts tokens nearly without error, early on."""
    if not signs.predicts_tokens:
        return None
    losses = find_curve(signs, "val", "loss")
    if not losses or signs.now.epoch > _EARLY_EPOCHS or not 0 <= min(losses) < _TOO_GOOD:
        return None
    text = (
        f"the validation loss of a causal network is {min(losses):.2g} after {signs.now.epoch + 1} "
        "epochs: text cannot be predicted that well"
    )
    return Finding(text, (), {"loss": min(losses)})


CURVE_RULES = (
    Rule(
        name="loss-not-a-number",
        check=check_loss_is_number,
        reads='metrics with "loss", and without "val", in their name',
        when="the newest value is NaN",
        causes=(
            "a division by 0 or a logarithm of 0 in the loss",
            "a learning rate that is too high",
        ),
        advice="Look at the inputs of the loss: empty masks, zero probabilities, missing targets.",
        unseen="losses that are not logged",
        source=DEBUGGER,
        counterparts=("ExplodingTensor",),
        unless=("not-finite",),
    ),
    Rule(
        name="train-eval-mismatch",
        check=check_evaluation,
        reads="training and validation loss of a classifier (cross-entropy)",
        when="in the first 3 epochs, the training loss is below half of what guessing gives, and "
        "the validation loss is above 1.5 times what guessing gives",
        causes=(
            "running statistics that differ from those of the batches",
            "different preprocessing in validation",
        ),
        advice="Evaluate training batches in both modes; compare the transforms of both sets.",
        unseen="a smaller mismatch, which overfitting causes as well",
        source=VITALS_STUDY,
        unless=("not-finite", "unset-statistics"),
    ),
    Rule(
        name="loss-not-decreasing",
        check=check_loss,
        reads="training and validation loss",
        when="after 3 epochs, the validation loss has never been 1% lower than at first, and the "
        "mean training loss is not 3% lower than at first; or, after 4 epochs and 5 values, the "
        "training loss has never been a thousandth lower, or the validation loss has never been "
        "lower and is 1.5 times its first value",
        causes=("a learning rate that is far too high or too low", "labels without a pattern"),
        advice="Train on a single batch: if its loss does not fall either, the training step is "
        "wrong.",
        unseen="runs that log several losses, such as those of GANs, in which a loss need not fall",
        source=DEBUGGER,
        counterparts=("LossNotDecreasing",),
        unless=(
            "dead-units",
            "constant-layer",
            "collapse",
            "nothing-moves",
            "labels-lost",
            "negative-loss",
            "no-better-than-chance",
        ),
    ),
    Rule(
        name="overfit",
        check=check_overfit,
        reads="training and validation loss, and validation accuracy if there is one",
        when="in epochs 2 to 5 of a classifier, the validation loss is 8 times the training loss, "
        "and above a fifth of what guessing gives; or it is 3 times its best value, at least 3 "
        "validations later, while the training loss falls and the accuracy is .05 below its best",
        causes=(
            "too little data for the network",
            "no regularization",
            "labels that leak into the training inputs only",
        ),
        advice="Stop earlier (EarlyStopping), augment the data, or regularize.",
        unseen="overfitting that is milder than that",
        source=DEBUGGER,
        counterparts=("Overfit", "Overtraining"),
        unless=("train-eval-mismatch", "unset-statistics"),
    ),
    Rule(
        name="validation-too-good",
        check=check_leak,
        reads="validation accuracy, and the nearest-neighbor accuracy of the last layer",
        when="after an epoch of a classifier, the former is .25 above the latter (healthy: at most "
        ".08), with at least 10 probe points per label",
        causes=("labels that leak into the inputs of training and validation",),
        advice="Look for columns, file names or positions in the inputs that reveal the label.",
        unseen="leaks that the probe points have too",
        source=VITALS_STUDY,
        unless=("labels-lost",),
    ),
    Rule(
        name="tokens-too-good",
        check=check_token_loss,
        reads="validation loss of networks that say that they are causal",
        when="it is below .1 within 6 epochs, in networks with 20 or more outputs that are not "
        "classifiers",
        causes=(
            "targets that are not shifted by one token",
            "a causal mask that is missing",
            "validation texts that are in the training set",
        ),
        advice="Predict each token from those before it: shift the targets, and look at the mask.",
        unseen="networks that do not say that they are causal; if tokens follow a rule, as in "
        "arithmetic, such a small loss is legitimate",
        source=VITALS_STUDY,
        unless=("sees-later-tokens", "negative-loss"),
    ),
)
