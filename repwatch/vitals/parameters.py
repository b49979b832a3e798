"""Rules on parameters: whether they are trained, and how far they move."""

from __future__ import annotations

import math
from collections.abc import Callable

from repwatch.vitals.activations import DEBUGGER, VITALS_STUDY, name_layers
from repwatch.vitals.rule import Finding, Rule
from repwatch.vitals.signs import LayerSigns, Signs

__all__ = ["PARAMETER_RULES", "SIZE_RULES", "find_trained"]

# A forgotten temperature raises no flag: the layers must hold this share of the parameters to be
# trained, or be the first ones.
_LARGE = 0.1


def find_trained(signs: Signs) -> list[LayerSigns]:
    """The layers with parameters that are to be trained."""
    return [layer for layer in signs.now.layers if layer.get("trainable") > 0]


def _size(layer: LayerSigns) -> float:
    return layer.get("parameters") * layer.get("trainable")


def _find(
    signs: Signs, is_ill: Callable[[LayerSigns], bool], text: str, *, some_move: bool
) -> Finding | None:
    """The layers that are ill, if they are a good part of what is to be trained.

    In `text`, {} stands for how many layers there are, and which.
    """
    trained = find_trained(signs)
    found = [layer for layer in trained if is_ill(layer)]
    if not found or signs.now.step == 0:
        return None
    is_small = sum(map(_size, found)) < _LARGE * sum(map(_size, trained))
    if is_small and not (some_move and found == trained[: len(found)]):
        return None
    if some_move and len(found) == len(trained):
        return None
    ill = tuple(layer.layer for layer in found)
    return Finding(text.format(name_layers(ill, len(signs.now.layers))), ill)


def check_optimizers(signs: Signs) -> Finding | None:
    """Parameters that are to be trained, that no optimizer has, and that have not moved."""
    text = "in {}, parameters with requires_grad=True are in no optimizer, and do not change"
    return _find(
        signs,
        lambda layer: layer.get("orphaned") == 1 and layer.get("unchanged") == 1,
        text,
        some_move=True,
    )


def check_gradients(signs: Signs) -> Finding | None:
    """Parameters that are to be trained, get no gradient, and have not changed."""

    def is_ill(layer: LayerSigns) -> bool:
        still = layer.get("no_gradient") == 1 and layer.get("unchanged") == 1
        return still and layer.get("orphaned", 0.0) < 1

    text = "in {}, parameters get no gradient, although they are to be trained"
    return _find(signs, is_ill, text, some_move=True)


def check_movement(signs: Signs) -> Finding | None:
    """Layers that are to be trained, but have not changed after an epoch."""
    if not signs.is_trained:
        return None
    return _find(
        signs,
        lambda layer: layer.get("unchanged") == 1,
        "in {}, parameters have not changed since the start, although they are to be trained",
        some_move=True,
    )


def check_any_movement(signs: Signs) -> Finding | None:
    """Networks that have not changed after an epoch: no layer moves."""
    trained = find_trained(signs)
    if not signs.is_trained or not trained or signs.now.step == 0:
        return None
    weights = max(layer.get("weight_change_start", float("inf")) for layer in trained)
    if not weights < 5e-4 or signs.loss_has_fallen:
        return None
    text = f"nothing has moved: weights changed by at most {weights:.1e} of their size"
    layers = tuple(layer.layer for layer in signs.now.layers)
    return Finding(text, layers, {"weights": weights})


def check_vanishing(signs: Signs) -> Finding | None:
    """Early layers whose gradients are a millionth of the largest, at two snapshots."""

    def vanished(layers: list[LayerSigns]) -> set[str]:
        largest = max((layer.get("gradient", 0.0) for layer in layers), default=0.0)
        return {layer.layer for layer in layers if 0 <= layer.get("gradient") < 1e-6 * largest}

    before = signs.before
    if before is None or before.step == 0:
        return None
    ill = vanished(find_trained(signs)) & vanished(list(before.layers))
    text = "in {}, gradients are less than a millionth of those of other layers"
    return _find(signs, lambda layer: layer.layer in ill, text, some_move=True)


def _growth(signs: Signs, layer: LayerSigns) -> float:
    """The norm of a layer's parameters over that at the first snapshot; NaN where unknown."""
    first = signs.steps[0].layer(layer.layer)
    before = 0.0 if first is None else first.get("weight_norm")
    return layer.get("weight_norm") / before if before > 0 else math.nan


def check_growth(signs: Signs) -> Finding | None:
    """Weights that have grown tenfold, to sizes that no healthy network has."""

    def is_ill(layer: LayerSigns) -> bool:
        rms = layer.get("weight_norm") / math.sqrt(layer.get("parameters"))
        return _growth(signs, layer) > 10 and rms > 1

    text = "in {}, weights have grown tenfold, to a root mean square above 1"
    return _find(signs, is_ill, text, some_move=False)


def check_decay(signs: Signs) -> Finding | None:
    """Weights that have shrunk to less than a tenth, in half of the layers or more."""
    text = "in {}, weights have shrunk to less than a tenth of what they were"
    found = _find(signs, lambda layer: _growth(signs, layer) < 0.1, text, some_move=False)
    many = found is not None and 2 * len(found.layers) >= len(find_trained(signs))
    return found if many else None


def check_statistics(signs: Signs) -> Finding | None:
    """Normalizations without statistics, among weights that have been trained."""
    if not signs.is_trained:
        return None

    def is_ill(layer: LayerSigns) -> bool:
        first = None if signs.start is None else signs.start.layer(layer.layer)
        began = first is not None and first.get("unset") == 1
        # The weight that the initial values still have in the running statistics.
        rest = (1 - layer.get("momentum")) ** signs.now.step
        unset = layer.get("unset") == 1 or (began and rest > 0.5)
        return unset and layer.get("weight_change_start") > 0.01

    return _find(
        signs,
        is_ill,
        "in {}, training batches have hardly changed the running statistics of a normalization, "
        "if at all (they start at mean 0 and variance 1)",
        some_move=False,
    )


def check_clipping(signs: Signs) -> Finding | None:
    """Gradients that have the same small norm at each snapshot."""
    norms = []
    for step in signs.steps[-2:]:
        layers = [layer for layer in step.layers if layer.get("gradient") >= 0]
        squares = [layer.get("gradient") ** 2 * _size(layer) for layer in layers]
        norms.append(math.sqrt(sum(squares)) if step.step > 0 else 0.0)
    if len(norms) < 2 or not 0 < norms[-1] < 0.02:
        return None
    if abs(norms[0] - norms[1]) > 1e-3 * norms[1]:
        return None
    return Finding(
        f"the norm of all gradients is {norms[1]:.2g} at two snapshots: they are clipped to it",
        (),
        {"norm": norms[1]},
    )


PARAMETER_RULES = (
    Rule(
        name="not-in-optimizer",
        check=check_optimizers,
        reads="requires_grad, the optimizers' parameters, and whether parameters have changed",
        when="a layer's parameters are trainable, are in no optimizer and have not changed; such "
        "layers have a tenth or more of all trainable parameters, or are the first layers",
        causes=("an optimizer that was created with only some of the parameters",),
        advice="Give the optimizer these parameters, or freeze them with requires_grad_(False).",
        unseen="parameters frozen with requires_grad=False, which are assumed to be frozen on "
        "purpose",
        source=VITALS_STUDY,
        counterparts=("UnchangedTensor",),
    ),
    Rule(
        name="no-gradient",
        check=check_gradients,
        reads="gradients, if they are still there at a snapshot",
        when="a layer's gradients are missing or 0, those of other layers are not, and its "
        "parameters have not changed since the start; such layers have a tenth or more of all "
        "trainable parameters, or are the first layers",
        causes=(
            "a detach() or no_grad() before the loss",
            "a layer that the loss does not depend on",
        ),
        advice="Look for detach(), .data, .item() or no_grad() between these layers and the loss.",
        unseen="training loops that set gradients to None before the snapshot",
        source=VITALS_STUDY,
        counterparts=("VanishingGradient", "UnchangedTensor"),
        unless=("dead-units", "constant-layer", "equal-probe-points"),
    ),
    Rule(
        name="vanishing-gradient",
        check=check_vanishing,
        reads="root mean square of each layer's gradients",
        when="at two snapshots in a row, it is below a millionth of the largest one",
        causes=("saturated units", "a deep network without normalization or residuals"),
        advice="Normalize, add residual connections, or use other non-linearities.",
        unseen="gradients that are equally small in all layers",
        source="Hochreiter 1991; Glorot and Bengio 2010",
        counterparts=("VanishingGradient",),
        unless=(
            "no-gradient",
            "not-in-optimizer",
            "dead-units",
            "constant-layer",
            "collapse",
            "exploding-weights",
            "vanishing-weights",
            "saturated-units",
        ),
    ),
    Rule(
        name="nothing-moves",
        check=check_any_movement,
        reads="change of each layer's weights since the start, and losses",
        when="after an epoch, the weights have changed by less than 5e-4 of their size in all "
        "layers, and no loss has fallen by 5%",
        causes=("a learning rate that is far too low", "an optimizer that does not step"),
        advice="Raise the learning rate by a factor of 100, and check that optimizer.step() is "
        "called.",
        unseen="a learning rate that is too low, but changes the weights by more than that",
        source=DEBUGGER,
        counterparts=("WeightUpdateRatio", "UnchangedTensor", "LossNotDecreasing"),
        unless=(
            "dead-units",
            "constant-layer",
            "collapse",
            "not-in-optimizer",
            "no-gradient",
        ),
    ),
    Rule(
        name="layer-does-not-move",
        check=check_movement,
        reads="change of each layer's parameters since the start",
        when="after an epoch, none of a layer's trainable parameters has changed, while those of "
        "other layers have; such layers have a tenth or more of all trainable parameters, or are "
        "the first layers",
        causes=("a learning rate of 0 for a group of parameters", "a layer that is not used"),
        advice="Look at the learning rate of its parameter group, and at what the loss depends on.",
        unseen="layers that change but are of no use",
        source=VITALS_STUDY,
        counterparts=("UnchangedTensor",),
        unless=("not-in-optimizer", "no-gradient", "dead-units", "constant-layer"),
    ),
    Rule(
        name="unset-statistics",
        check=check_statistics,
        reads="running statistics of BatchNorm and the like",
        when="after an epoch, those of a layer still have their initial values, mean 0 and "
        "variance 1, or the momentum is so small that the initial values make up more than half of "
        "them, and the layer's weights have changed; such layers have a tenth or more of all "
        "trainable parameters",
        causes=("a network that is trained in evaluation mode", "a momentum that is too small"),
        advice="Call model.train() before training, and look at the momentum: in PyTorch it is the "
        "weight of the new batch, .1 by default.",
        unseen="statistics that are set but differ from those of the batches",
        source="Ioffe and Szegedy 2015, Batch normalization",
    ),
    Rule(
        name="gradients-clipped",
        check=check_clipping,
        reads="norm of all gradients",
        when="it is the same, to within a thousandth, at two snapshots in a row, and below .02",
        causes=("a gradient clipping limit that is far too small",),
        advice="Raise gradient_clip_val to the usual size of the gradients, or do not clip them.",
        unseen="a limit that clips most steps but not all",
        source="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    ),
)

# They name the cause of what activations show.
SIZE_RULES = (
    Rule(
        name="exploding-weights",
        check=check_growth,
        reads="norm of each layer's parameters",
        when="it is 10 times its initial value (healthy: 4.2), and the root mean square of the "
        "weights is above 1",
        causes=("a learning rate that is too high",),
        advice="Lower the learning rate: try a factor of 10 first.",
        unseen="growth of single weights",
        source=DEBUGGER,
        counterparts=("WeightUpdateRatio", "ExplodingTensor"),
    ),
    Rule(
        name="vanishing-weights",
        check=check_decay,
        reads="norm of each layer's parameters",
        when="it is less than a tenth of its initial value (healthy: .8 or more) in half of the "
        "layers or more",
        causes=("a weight decay that is too high",),
        advice="Lower the weight decay; it is multiplied by the learning rate in most optimizers.",
        unseen="networks in which normalization compensates for it",
        source=VITALS_STUDY,
        counterparts=("WeightUpdateRatio",),
    ),
)
