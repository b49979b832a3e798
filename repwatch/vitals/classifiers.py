"""Rules on networks that tell labels apart: losses and accuracies that cannot be right.

They need labels of the probe points, one output for each label, and metrics whose names contain
"loss" or "acc", and "train" or "val".
"""

from __future__ import annotations

import math

from repwatch.vitals.activations import VITALS_STUDY
from repwatch.vitals.curves import find_curve
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import Signs

__all__ = ["CLASSIFIER_RULES"]


def check_sign(signs: Signs) -> Finding | None:
    """A loss below 0, the minimum of cross-entropy; for a language model, far below it."""
    if not (signs.is_classifier or signs.predicts_tokens) or signs.now.step == 0:
        return None
    losses = [*find_curve(signs, "train", "loss")[-1:], *find_curve(signs, "val", "loss")[-1:]]
    least = min(losses, default=0.0)
    # Losses of reinforcement learning are below 0 too, but not by as much as guessing costs.
    limit = 0.01 if signs.is_classifier else math.log(signs.now.layers[-1].get("features"))
    if not least < -limit:
        return None
    network = "classifier" if signs.is_classifier else "language model"
    return Finding(f"the loss of a {network} is {least:.3g}, below 0", (), {"loss": least})


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
    good = max(0.5, 1.5 * signs.chance)
    # Outputs in [0, 1] have a finite log loss, but so do logits that are still 0.
    are_shares = math.isfinite(last.get("log_loss")) and last.get("hits") >= good
    if not losses or not (sums_to_one or "saturated" in last.values or are_shares):
        return None
    again, once = last.get("cross_entropy"), last.get("log_loss")
    is_again = abs(losses[-1] - again) < 0.05 * again and abs(losses[-1] - once) > 0.15 * once
    # The softmax of outputs in [0, 1] gives the right label at most e / (e + classes - 1).
    least = math.log(math.e + classes - 1) - 1
    is_bounded = bool(scores) and losses[-1] >= 0.95 * least and good <= scores[-1] <= 1
    if not is_again and not is_bounded:
        return None
    text = (
        f"the outputs are between 0 and 1, and the validation loss is {losses[-1]:.3g}, as it is "
        f"when another softmax follows: such a loss cannot get below {least:.3g}"
    )
    return Finding(text, (last.layer,), {"loss": losses[-1], "least": least})


def check_softmax_dimension(signs: Signs) -> Finding | None:
    """Losses that are those of a softmax over the points of a batch, at two snapshots."""
    if not signs.is_classifier or len(signs.steps) < 3:
        return None
    size = signs.hparams.get("repwatch.data.batch_size")
    training = _losses_by_softmax(signs, "train")
    if isinstance(size, (int, float)) and len(training) == 2:
        expected = [over_points + math.log(size) for _, _, over_points in training]
        if all(
            abs(loss - value) < 0.08 * value and abs(loss - over_outputs) > 0.15 * value
            for value, (loss, over_outputs, _) in zip(expected, training, strict=True)
        ):
            return _over_points(signs, "training", training[-1])
    validation = _losses_by_softmax(signs, "val")
    if len(validation) < 2:
        return None
    # What remains is the logarithm of the number of validation points.
    first, last = (loss - over_points for loss, _, over_points in validation)
    moved = abs(validation[0][2] - validation[1][2]) > 0.1
    is_other = all(loss > 1.5 * over_outputs for loss, over_outputs, _ in validation)
    if not (moved and is_other and abs(first - last) < 0.03):
        return None
    return _over_points(signs, "validation", validation[-1])


def _losses_by_softmax(signs: Signs, part: str) -> list[tuple[float, float, float]]:
    """The losses logged at the last two snapshots, and those of both softmaxes of the outputs."""
    names = [name for name in signs.metrics if part in name.lower() and "loss" in name.lower()]
    found = []
    for step in signs.steps[-2:]:
        logged = {at: value for name in names for at, _, value in signs.metrics[name]}
        last = step.layers[-1]
        values = logged.get(step.step), last.get("cross_entropy"), last.get("batch_entropy")
        if len(names) == 1 and step.step > 0 and values[0] is not None:
            found.append((values[0], values[1], values[2]))
    return found


def _over_points(signs: Signs, part: str, losses: tuple[float, float, float]) -> Finding:
    text = (
        f"the {part} loss is {losses[0]:.3g}, as it is when the softmax goes over the points of a "
        f"batch; over the outputs it would be {losses[1]:.3g}"
    )
    return Finding(text, (signs.now.layers[-1].layer,), {"loss": losses[0]})


def check_first_loss(signs: Signs) -> Finding | None:
    """Outputs that confidently predict wrong labels before the first step."""
    if not signs.is_classifier or signs.now.step != 0:
        return None
    last, guess = signs.now.layers[-1], math.log(len(signs.label_shares))
    loss = last.get("cross_entropy")
    if not loss > 3 * guess:
        return None
    text = (
        f"before the first step the cross-entropy of the outputs is {loss:.3g}, where guessing "
        f"gives {guess:.3g}"
    )
    return Finding(text, (last.layer,), {"loss": loss, "guess": guess})


CLASSIFIER_RULES = (
    Rule(
        name="negative-loss",
        check=check_sign,
        reads="training and validation loss of a classifier, or of a network with 20 or more "
        "outputs that says that it is causal",
        when="the newest value is below -.01; for tokens, below the negative of the loss of "
        "guessing, which is -3 for 20 outputs",
        causes=(
            "a loss with the wrong sign",
            "probabilities passed to NLLLoss instead of log-probabilities",
        ),
        advice="Look at the sign of the loss, and at what the loss function expects.",
        unseen="a wrong sign in other losses",
        source=VITALS_STUDY,
    ),
    Rule(
        name="no-better-than-chance",
        check=check_chance,
        reads="validation accuracy, and the probe points' labels",
        when="from the second epoch of a classifier with 3 or more labels, two validations in a "
        "row are at most .05 (or 3 standard deviations, if that is more) above the share of the "
        "most frequent label, if that share is at most .8",
        causes=(
            "a learning rate that is far too high or too low",
            "gradients that do not reach the weights",
            "labels that do not belong to the inputs",
        ),
        advice="Train on a single batch: if its loss does not fall either, the training step is "
        "wrong.",
        unseen="classifiers with two labels, and the difference from a warm-up of more than two "
        "epochs, which looks the same",
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
        when="the outputs sum to 1, are bounded by a module, or are in [0, 1] and correct for at "
        "least half of the points; and the loss is either within 5% of the cross-entropy of their "
        "softmax on the probe points, and not close to that of the outputs themselves, or at or "
        "above the minimum that a softmax of such outputs can reach, with an accuracy of at least "
        ".5 and 1.5 times chance",
        causes=("a softmax or sigmoid in the network before a loss that applies its own",),
        advice="Pass the logits to CrossEntropyLoss: remove the softmax at the end of the network.",
        unseen="a second softmax outside the network's forward pass",
        source="PyTorch, documentation of CrossEntropyLoss",
    ),
    Rule(
        name="softmax-over-batch",
        check=check_softmax_dimension,
        reads="losses, batch size, and the outputs and labels of the probe points",
        when="at two snapshots in a row, the training loss is within 8% of that of a softmax over "
        "the points of a batch, and 15% off that of a softmax over the outputs; or the validation "
        "loss is 1.5 times the latter, and exceeds the former by the same amount at both snapshots",
        causes=("a softmax over the wrong dimension (0 instead of 1)",),
        advice="Look at the dimension of softmax or log_softmax before the loss.",
        unseen="losses other than cross-entropy",
        source="PyTorch, documentation of Softmax",
    ),
    Rule(
        name="first-loss",
        check=check_first_loss,
        reads="outputs and labels of the probe points, before the first step",
        when="their cross-entropy is 3 times what guessing gives (healthy: 1.1 times)",
        causes=("initial weights that are too large", "inputs that are not normalized"),
        advice="Look at the scale of the inputs, and initialize the last layer with small weights.",
        unseen="networks with normalization, and outputs that are not logits",
        source="Karpathy 2019, A recipe for training neural networks",
        counterparts=("PoorWeightInitialization",),
        unless=("input-scale", "poor-initialization", "constant-weights", "equal-probe-points"),
    ),
)
