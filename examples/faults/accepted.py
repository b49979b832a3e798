"""Which vital signs name a fault correctly: their likely causes lead to it.

A flag that is raised for a reason other than the fault's own effect does not count, even if it is
true.
"""

from __future__ import annotations

# What a run that learns nothing shows, whatever the reason.
STUCK = ("loss-not-decreasing", "no-better-than-chance")
TOO_FAST = frozenset(
    {
        "not-finite",
        "loss-not-a-number",
        "dead-units",
        "collapse",
        "constant-layer",
        "exploding-activations",
        "exploding-weights",
        "labels-lost",
        *STUCK,
        "saturated-units",
    }
)
TOO_SLOW = frozenset({"nothing-moves", *STUCK})
FADES = frozenset(
    {
        "poor-initialization",
        "constant-layer",
        "vanishing-gradient",
        "nothing-moves",
        "no-gradient",
        "collapse",
        *STUCK,
    }
)
UNTRAINED = frozenset({"not-in-optimizer", "no-gradient", "layer-does-not-move"})
FEW_DATA = frozenset({"overfit", "repeated-points"})

ACCEPTED: dict[str, frozenset[str]] = {
    "learning rate too high": TOO_FAST,
    "learning rate too low": TOO_SLOW,
    "learning rate ramped up late": TOO_FAST,
    "momentum too high": TOO_FAST,
    "weight decay too high": frozenset(
        {
            "vanishing-weights",
            "collapse",
            "constant-layer",
            "dead-units",
            "labels-lost",
            *STUCK,
        }
    ),
    "gradients clipped to nothing": TOO_SLOW | {"gradients-clipped"},
    "gradients never zeroed": TOO_FAST | {"gradients-not-zeroed"},
    "wrong sign of the loss": frozenset({"negative-loss"}),
    "parameters missing from the optimizer": UNTRAINED,
    "gradient cut by detach": UNTRAINED,
    "initialization too big": frozenset(
        {
            "poor-initialization",
            "saturated-units",
            "exploding-activations",
            "labels-lost",
            "dead-units",
            "first-loss",
        }
    ),
    "initialization too small": FADES,
    "weights initialized to zero": FADES | {"dead-units"},
    "constant initialization": FADES
    | {"dead-units", "exploding-activations", "labels-lost", "constant-weights"},
    "dead ReLUs": frozenset({"dead-units"}),
    "saturated units": frozenset(
        {
            "saturated-units",
            "labels-lost",
            "vanishing-gradient",
            "poor-initialization",
            "first-loss",
        }
    ),
    "dropout too heavy": frozenset({"heavy-dropout", *STUCK}),
    "softmax twice": frozenset({"softmax-twice"}),
    "softmax over the batch": frozenset({"softmax-over-batch", *STUCK}),
    "never in training mode": frozenset({"unset-statistics", "train-eval-mismatch"}),
    "BatchNorm statistics not updated": frozenset({"unset-statistics", "train-eval-mismatch"}),
    "labels shuffled": frozenset({"labels-unrelated", *STUCK}),
    "labels leak into the inputs": frozenset({"validation-too-good", "overfit"}),
    "inputs not scaled": TOO_FAST | {"input-scale", "first-loss"},
    "validation prepared differently": frozenset({"train-eval-mismatch", "overfit"}),
    "all inputs equal": frozenset({"equal-probe-points", "constant-layer", "collapse"}),
    "one batch again and again": FEW_DATA,
    "too little data": FEW_DATA,
    "classes out of balance": frozenset({"class-imbalance"}),
    "causal mask missing": frozenset({"sees-later-tokens", "tokens-too-good"}),
    "attention over the wrong dimension": frozenset({"sees-later-tokens", "validation-too-good"}),
    "targets not shifted": frozenset({"tokens-too-good"}),
    "padding in the loss": frozenset({"padding"}),
    "batch and time confused": frozenset({"points-mix"}),
    "read at the first time": frozenset(STUCK),
    "no negatives": frozenset({"collapse", "constant-layer", "dimensional-collapse"}),
    "temperature wrong": frozenset(STUCK),
    "augmentation missing": frozenset({"validation-too-good"}),
    "wrong pairs": frozenset(STUCK),
}
