"""Rules on the outputs of layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from repwatch._names import name_some
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import LayerSigns, Signs

__all__ = ["ACTIVATION_RULES", "DEBUGGER", "VITALS_STUDY", "name_layers"]

VITALS_STUDY = "RepWatch's own study of 8 newcomer's runs and 3 populations (2026)"
DEBUGGER = "Amazon SageMaker Debugger, built-in rules"

# Likely causes and advice that several rules share, or that hold only before the first step.
_HIGH_RATE = ("a learning rate that is too high",)
_SINCE_START = (
    *_HIGH_RATE,
    "a collapse of self-supervised training (no stop-gradient, no negatives)",
)
_LOWER_RATE = "Lower the learning rate; in self-supervised training look at the stop-gradient."
_AT_START = ("a layer that starts at zero", "an input that does not reach the layer")
_LOOK_AT_START = "Look at the initialization of the first of these layers, and at what reaches it."
_ZERO_WEIGHTS = ("weights that start at zero",)
_NEGATIVE_BIASES = ("an initialization with large negative biases",)
_SMALL_BIASES = "Start the biases at 0, or use a LeakyReLU."
_LARGE_START = ("an initialization that is too large", "inputs that are not normalized")
_SCALE_DOWN = "Scale down the initial weights or the inputs, or normalize before the layer."


def name_layers(layers: Sequence[str], of: int) -> str:
    """How many layers, and which: "2 of 8 layers ('a', 'b')"."""
    return f"{len(layers)} of {of} layers ({name_some(list(layers))})"


def _find(
    signs: Signs, is_ill: Callable[[LayerSigns], bool], text: str, *names: str
) -> Finding | None:
    """The layers of the newest step that are ill, with values of the first of them.

    In `text`, {} stands for how many layers there are, and which.
    """
    layers = signs.now.layers
    found = [layer for layer in layers if is_ill(layer)]
    if not found:
        return None
    values = {name: found[0].get(name) for name in names if name in found[0].values}
    ill = [layer.layer for layer in found]
    return Finding(text.format(name_layers(ill, len(layers))), tuple(ill), values)


def check_finite(signs: Signs) -> Finding | None:
    """Layers that were finite, or are seen for the first time after training, and are not now."""
    now, before = signs.now, signs.steps[:-1]
    ill = [layer.layer for layer in now.layers if layer.diverged]
    finite = {layer.layer for step in before for layer in step.layers if not layer.diverged}
    if before or now.step == 0:
        ill = [layer for layer in ill if layer in finite]
    if not ill:
        return None
    text = f"in {name_layers(ill, len(now.layers))}, activations are NaN or infinite"
    return Finding(text, tuple(ill))


def check_constant(signs: Signs) -> Finding | None:
    """Layers whose output is the same for all points, and all layers after them too."""
    layers = signs.now.layers
    if signs.now.input is not None and signs.now.input.get("near_zero") >= 0.5:
        return None
    constant = [layer.is_constant for layer in layers]
    tail = next((k for k in range(len(layers)) if all(constant[k:])), len(layers))
    # A head that starts at zero is common; two layers of it may be watched.
    if tail == len(layers) or (signs.now.step == 0 and len(layers) - tail < 3):
        return None
    ill = [layer.layer for layer in layers[tail:]]
    text = f"in {name_layers(ill, len(layers))}, the output is the same for every probe point"
    values = {"distance": layers[tail].get("distance")}
    first = None if signs.start is None else signs.start.layer(ill[0])
    if first is None:
        return Finding(text, tuple(ill), values)
    if first.is_constant:
        return Finding(text, tuple(ill), values, _AT_START, _LOOK_AT_START)
    return Finding(text, tuple(ill), values, _SINCE_START, _LOWER_RATE)


def check_dead_units(signs: Signs) -> Finding | None:
    """Layers nearly all of whose units are zero for every point."""

    def is_ill(layer: LayerSigns) -> bool:
        features = layer.get("features")
        active = (1 - layer.get("zeros")) * features
        # A layer that is wide and sparse on purpose has units that few points would ever reach.
        is_small = features <= 4 * max(signs.points, 1)
        dead = layer.get("dead", layer.get("zeros"))
        return features > 1 and dead >= 0.9 and (is_small or active < 0.5)

    text = "in {}, at least 90% of the units are dead: they are zero for every probe point"
    found = _find(signs, is_ill, text, "dead", "zeros")
    # A head alone may start at zero.
    hidden = {layer.layer for layer in signs.now.layers[:-1]}
    if found is None or not hidden & set(found.layers):
        return None
    first = signs.now.layer(found.layers[0])
    if signs.now.step == 0 and first is not None and first.get("weight_norm") == 0:
        advice = "Draw initial weights at random: behind a ReLU, zeros never get a gradient."
        return replace(found, causes=_ZERO_WEIGHTS, advice=advice)
    if signs.now.step == 0:
        return replace(found, causes=_NEGATIVE_BIASES, advice=_SMALL_BIASES)
    return found if signs.start is None else replace(found, causes=_HIGH_RATE)


def check_collapse(signs: Signs) -> Finding | None:
    """Layers that put nearly all points in one place."""
    if signs.now.input is not None and signs.now.input.get("near_zero") >= 0.2:
        return None
    same_label = sum(share**2 for share in signs.label_shares)
    limit = max(0.9, (1 + same_label) / 2)
    if signs.now.step == 0:
        return None
    found = _find(
        signs,
        lambda layer: layer.get("near_zero") >= limit,
        "in {}, at least 90% of the pairs of probe points are in the same place",
        "near_zero",
    )
    # One layer alone may be a gate, or the output of a network that detects what is rare.
    return found if found is not None and len(found.layers) >= 2 else None


def check_dimension(signs: Signs) -> Finding | None:
    """Embeddings that have collapsed to a line while the loss improves."""
    layers, start = signs.now.layers, signs.start
    if start is None or len(layers) < 3 or not signs.is_trained or not signs.loss_has_fallen:
        return None
    # A network that predicts few numbers, or one of many tokens, may need no more dimensions.
    if signs.is_classifier or signs.now.input is None or layers[-1].get("features") < 8:
        return None
    # A network that reconstructs its input begins with the largest component.
    if layers[-1].get("features") == signs.now.input.get("features"):
        return None

    def is_ill(layer: LayerSigns) -> bool:
        first = start.layer(layer.layer)
        before = math.nan if first is None else first.get("dimension")
        return layer.get("dimension") < min(1.5, 0.5 * before)

    if not all(is_ill(layer) for layer in layers[-2:]):
        return None
    text = "in {}, representations have collapsed to a line, while the loss improves"
    return _find(signs, is_ill, text, "dimension")


def check_saturation(signs: Signs) -> Finding | None:
    """Hidden layers of bounded units with nearly all outputs at the ends of their range."""
    hidden = {layer.layer for layer in signs.now.layers[:-1]}
    limit = 0.25 if signs.now.step == 0 else 0.9
    text = f"at least {limit:.0%} of the outputs are saturated, where gradients are next to 0"
    found = _find(
        signs,
        lambda layer: layer.layer in hidden and layer.get("saturated") >= limit,
        f"in {{}}, {text}",
        "saturated",
    )
    # One layer alone may be a gate, or the pooler of a pretrained BERT.
    if found is None or (signs.now.step == 0 and len(found.layers) == 1):
        return None
    if signs.now.step == 0:
        return replace(found, causes=_LARGE_START, advice=_SCALE_DOWN)
    return found


def check_explosion(signs: Signs) -> Finding | None:
    """Activations that have grown a thousandfold, and are larger than any healthy network's."""
    start = signs.start or signs.steps[0]

    def is_ill(layer: LayerSigns) -> bool:
        first = start.layer(layer.layer)
        if first is None or signs.now.step == start.step:
            return False
        return layer.rms >= 1e4 and layer.rms >= 1e3 * max(first.rms, 1e-3)

    return _find(signs, is_ill, "in {}, activations have grown a thousandfold", "norm")


def check_initialization(signs: Signs) -> Finding | None:
    """Signals that fade, or explode, from layer to layer before the first step."""
    layers = signs.now.layers
    if signs.now.step != 0 or len(layers) < 3:
        return None
    spreads = [layer.get("distance") / math.sqrt(layer.get("features")) for layer in layers]
    steps = [
        after / before for before, after in itertools.pairwise(spreads) if before > 0 and after > 0
    ]
    # A head may be small on purpose.
    if len(steps) == len(layers) - 1 and max(steps[:-1]) < 0.03:
        word, ratio, size = "shrink", 1 / max(steps[:-1]), "small"
    elif len(steps) == len(layers) - 1 and min(steps) > 2.5:
        word, ratio, size = "grow", min(steps), "large"
    else:
        return None
    text = (
        f"differences between probe points {word} by a factor of {ratio:.2g} or more in each layer"
    )
    causes = (f"initial weights that are too {size}",)
    return Finding(text, (layers[-1].layer,), {"factor": ratio}, causes)


def check_identity(signs: Signs) -> Finding | None:
    """A trained network in which all layers have the distances of the input."""
    layers = signs.now.layers
    if not signs.is_trained or signs.now.input is None or len(layers) < 2:
        return None
    if not all(layer.get("from_input") < 1e-5 for layer in layers):
        return None
    text = "all layers have the same distances between probe points as the input"
    return Finding(text, tuple(layer.layer for layer in layers))


ACTIVATION_RULES = (
    Rule(
        name="not-finite",
        check=check_finite,
        reads="activations",
        when="a layer that was finite has NaN or infinite activations",
        causes=("a learning rate that is too high", "a division by 0", "a logarithm of 0"),
        advice="Lower the learning rate, clip gradients, or look for a division by 0 or a "
        "logarithm of 0.",
        unseen="NaN in the loss alone, or in weights that no probe point reaches",
        source=DEBUGGER,
        counterparts=("ExplodingTensor",),
        kind="diverged",
        immediate=True,
    ),
    Rule(
        name="dead-units",
        check=check_dead_units,
        reads="share of units that are 0 for every probe point",
        when="it is .9 or more in a hidden layer (healthy: at most .81 zeros); a layer more than 4 "
        "times as wide as there are points must also have less than half an active unit per point",
        causes=(*_HIGH_RATE, *_NEGATIVE_BIASES, *_ZERO_WEIGHTS),
        advice="Lower the learning rate, or use a LeakyReLU.",
        unseen="units that are constant but not 0, such as those of a sigmoid or a GELU",
        source="Lu et al. 2019, Dying ReLU and initialization",
        counterparts=("DeadRelu", "AllZero"),
        unless=("exploding-weights", "vanishing-weights"),
    ),
    Rule(
        name="constant-layer",
        check=check_constant,
        reads="mean distance between probe points, divided by the norm of the activations",
        when="it is below 1e-5 (healthy: .002 or more) in a layer and all layers after it; before "
        "the first step, only if these are three layers or more, since heads may start at zero",
        causes=(*_AT_START, *_SINCE_START),
        advice=_LOOK_AT_START,
        unseen="a branch that is constant beside others that are not",
        source=VITALS_STUDY,
        counterparts=("AllZero",),
        unless=("dead-units", "equal-probe-points", "exploding-weights", "vanishing-weights"),
    ),
    Rule(
        name="collapse",
        check=check_collapse,
        reads="share of distances below 1% of the mean distance",
        when="after the first step, it is .9 or more in at least two layers (healthy: at most "
        ".037), and above what it would be if only the points of each label were in the same place",
        causes=_SINCE_START,
        advice=_LOWER_RATE,
        unseen="a collapse to a line or a plane, which also occurs in healthy networks",
        source=VITALS_STUDY,
        unless=("dead-units", "constant-layer", "equal-probe-points", "exploding-weights"),
    ),
    Rule(
        name="dimensional-collapse",
        check=check_dimension,
        reads="effective dimension (participation ratio) of the last two layers, and losses",
        when="after an epoch, it is below 1.5 and below half of its initial value in both, while a "
        "loss has fallen, in networks with 8 or more outputs that are not classifiers and do not "
        "have as many outputs as inputs",
        causes=("a collapse of self-supervised training (no negatives, no decorrelation)",),
        advice="Look at what keeps embeddings apart in the loss, and at the stop-gradient.",
        unseen="a collapse to a few dimensions, and collapse in autoencoders and in networks that "
        "read tokens",
        source="Jing et al. 2022, Understanding dimensional collapse in contrastive learning",
        unless=("dead-units", "constant-layer", "collapse", "exploding-weights"),
    ),
    Rule(
        name="saturated-units",
        check=check_saturation,
        reads="share of outputs within 1% of the ends of their range, for each layer of bounded "
        "units",
        when="it is .9 or more in a hidden layer or, before the first step, .25 or more in at "
        "least two of them",
        causes=(*_HIGH_RATE, *_LARGE_START),
        advice="Lower the learning rate, or normalize before the layer.",
        unseen="functions that are called directly instead of as modules (torch.tanh)",
        source="Glorot and Bengio 2010, Understanding the difficulty of training deep networks",
        counterparts=("SaturatedActivation", "Tanh"),
    ),
    Rule(
        name="exploding-activations",
        check=check_explosion,
        reads="root mean square of the activations",
        when="it is 10,000 or more, and a thousand times what it was at the start",
        causes=("a learning rate that is too high", "no normalization in a deep network"),
        advice="Lower the learning rate, clip gradients, or normalize.",
        unseen="growth of single units",
        source=DEBUGGER,
        counterparts=("ExplodingTensor",),
        unless=("not-finite", "exploding-weights"),
    ),
    Rule(
        name="poor-initialization",
        check=check_initialization,
        reads="mean distance between probe points, by layer, before the first step",
        when="in networks of 3 or more layers, each layer but the last makes it 30 times smaller "
        "(healthy sigmoids: 13 times), or each layer makes it 2.5 times larger (healthy: 1.4 "
        "times)",
        causes=("initial weights that are too small", "initial weights that are too large"),
        advice="Use the initialization that suits the non-linearity (Glorot, He).",
        unseen="networks whose normalization hides it",
        source="He et al. 2015, Delving deep into rectifiers",
        counterparts=("PoorWeightInitialization",),
        unless=("constant-layer", "dead-units", "equal-probe-points"),
    ),
    Rule(
        name="does-nothing",
        check=check_identity,
        reads="distance between each layer's RDM and the input's",
        when="after an epoch, it is below 1e-5 for all layers",
        causes=(
            "a network that passes its input through unchanged",
            "probe points that skip the network",
        ),
        advice="Look at the forward method: are the layers applied to the input?",
        unseen="a single layer that does nothing",
        source=VITALS_STUDY,
        unless=("equal-probe-points", "constant-layer", "dead-units"),
    ),
)
