"""A Watcher for a training loop on Lightning Fabric, with what the Fabric object knows.

    fabric = Fabric(precision="bf16-mixed", loggers=[...])
    model, optimizer = fabric.setup(model, optimizer)
    with repwatch.fabric.watch(fabric, model, val_loader, optimizers=optimizer) as watcher:
        watcher.snapshot(0, epoch=0)
        ...                                     # as in any loop of your own
            watcher.step_ended(step, epoch)
        watcher.epoch_ended(step, epoch, {"val_loss": val_loss})

Fabric is not imported: the objects of `lightning.fabric` and `lightning_fabric` both work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from repwatch.integrations.hyperparameters import (
    describe_model,
    describe_optimizers,
    prefixed,
    read_versions,
)
from repwatch.probe import ProbeSet
from repwatch.watch import Watcher

__all__ = ["watch"]


def watch(
    fabric: Any,
    model: torch.nn.Module,
    probe: Any,
    *,
    points: int = 256,
    optimizers: Any | Sequence[Any] = (),
    hparams: dict[str, Any] | None = None,
    **settings: Any,
) -> Watcher:
    """A Watcher for a model that `fabric.setup` returned.

    It runs the probe set in Fabric's precision, gives results to Fabric's loggers, and opens the
    run on the first process; call its methods on all processes.

    Args:
        fabric: The Fabric.
        model: What `fabric.setup` returned, or the module itself.
        probe: A ProbeSet, a Dataset, a tensor, or a DataLoader, also one that
            `fabric.setup_dataloaders` returned: up to `points` of its items, evenly spaced, through
            its collate function. It is never iterated.
        points: How many probe points to take where `probe` is a loader.
        optimizers: The optimizers, to be stored among the hyperparameters, and for vital signs.
        hparams: Your hyperparameters, by name.
        settings: Other arguments of `repwatch.Watcher`, and options by name.

    Raises:
        ProbeError: There are no probe points in `probe`.
        ConfigurationError: An option cannot work.
    """
    precision = fabric.strategy.precision
    module = model.module if _is_fabric_s(model) else model
    assert isinstance(module, torch.nn.Module)
    if not isinstance(optimizers, Sequence):
        optimizers = [optimizers]
    # Fabric wraps optimizers too.
    inner: list[Any] = [getattr(wrapped, "optimizer", wrapped) for wrapped in optimizers]
    own = {
        **describe_optimizers(inner),
        **describe_model(module),
        "fabric.precision": str(precision.precision),
        "fabric.world_size": int(fabric.world_size),
    }
    return Watcher(
        module,
        _read_probe(probe, points),
        hparams={**(hparams or {}), **prefixed(own)},
        **{
            "versions": read_versions(("lightning", "lightning_fabric")),
            "context": precision.forward_context,
            "convert": precision.convert_input,
            "host_batch_size": getattr(probe, "batch_size", None),
            "optimizers": lambda: inner,
            "loggers": fabric.loggers,
            **settings,
        },
    )


def _read_probe(probe: Any, points: int) -> ProbeSet:
    if hasattr(probe, "dataset") and hasattr(probe, "collate_fn"):
        return ProbeSet.from_loader(probe, points)
    return ProbeSet.coerce(probe)


def _is_fabric_s(model: torch.nn.Module) -> bool:
    """Whether this is the wrapper that `fabric.setup` puts around a module."""
    return any(cls.__name__ == "_FabricModule" for cls in type(model).__mro__)
