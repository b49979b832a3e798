"""Which modules there are, by what names, and which of them to watch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import nn

from repwatch._names import INPUT, name_some
from repwatch.errors import ConfigurationError, UnknownLayerError

# The names by which torch.compile, FSDP, checkpointing and Lightning Fabric hold the user's module.
WRAPPERS = (
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_original_module",
    "_forward_module",
)
# The word for all block outputs, where None is a few of them.
ALL_BLOCKS = "blocks"
Layers = None | Sequence[str] | Callable[[str, nn.Module], bool]

# They change nothing in evaluation, or only the shape: their input has the same RDM.
TRANSPARENT = (nn.Identity, nn.modules.dropout._DropoutNd, nn.Flatten, nn.Unflatten)

# What comes after a layer of weights and belongs to it. PReLU has a weight, but is a non-linearity.
# Softmax is not here: what it makes of logits is another representation.
NORMALIZATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
POOLINGS = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._LPPoolNd,
)
NONLINEARITIES = (
    nn.ReLU,
    nn.RReLU,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.Tanh,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.Hardshrink,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Softplus,
    nn.Softshrink,
    nn.PReLU,
    nn.Softsign,
    nn.Tanhshrink,
    nn.Threshold,
    nn.GLU,
)
FOLLOWERS = (*NORMALIZATIONS, *POOLINGS, *NONLINEARITIES)


@dataclass(frozen=True)
class Modules:
    """The modules of a model that can be watched, by clean name, in definition order."""

    named: dict[str, nn.Module]
    aliases: dict[str, str] = field(default_factory=dict)
    scripted: tuple[str, ...] = ()
    compiled: bool = False

    def time_first(self, name: str) -> tuple[bool, bool]:
        """Whether the module declares time as its first dimension, and whether a parent does."""
        own = _declares_time_first(self.named[name])
        parts = name.split(".")
        parents = [".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]
        declared = (_declares_time_first(self.named[p]) for p in parents if p in self.named)
        inherited = next((value for value in declared if value is not None), None)
        return own is True, own is None and inherited is True


def _declares_time_first(module: nn.Module) -> bool | None:
    for holder in (module, getattr(module, "self_attn", None)):
        batch_first = getattr(holder, "batch_first", None)
        if isinstance(batch_first, bool):
            return not batch_first
    return None


def clean(name: str) -> str:
    """A module's name without what torch.compile, FSDP, checkpointing and Fabric put in."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def find_modules(model: nn.Module) -> Modules:
    """All modules below the root (the root itself, as "model", where it has no children)."""
    named: dict[str, nn.Module] = {}
    aliases: dict[str, str] = {}
    scripted: list[str] = []
    first: dict[int, str] = {}
    for raw, module in model.named_modules(remove_duplicate=False):
        name = clean(raw)
        if not name or "parametrizations" in name.split("."):
            continue
        name = f"{name} (module)" if name == INPUT else name
        if isinstance(module, torch.jit.ScriptModule):
            scripted.append(name)
        elif id(module) in first and first[id(module)] != name:
            aliases[name] = first[id(module)]
        else:
            # A wrapper comes before what it wraps, under the same name: the inner one stays.
            first[id(module)] = name
            named[name] = module
    inner = unwrap(model)
    if not named and isinstance(inner, torch.jit.ScriptModule):
        scripted.append("model")
    elif not named and not scripted:
        named["model"] = inner
    return Modules(named, aliases, tuple(scripted), any(map(_is_compiled, model.modules())))


def without_data_parallel(model: nn.Module) -> nn.Module:
    """The module inside wrappers for data parallel training, which must not run on one rank alone.

    Lightning Fabric's wrapper stays, for its precision, unless such a wrapper is inside it.
    """
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    if isinstance(getattr(model, "_forward_module", None), parallel):
        model = getattr(model, "_original_module", model)
    while isinstance(model, parallel):
        model = model.module
    return model


def _is_compiled(module: nn.Module) -> bool:
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own module inside the wrappers of compile, FSDP and Fabric."""
    while (name := next((w for w in WRAPPERS if w in model._modules), None)) is not None:
        model = getattr(model, name)
    return model


def select(modules: Modules, layers: Layers) -> frozenset[str] | None:
    """The names that the user chose (the input's among them), or None to choose later.

    None stays None, and so does "blocks".

    Raises UnknownLayerError, with the nearest names, for a glob that matches nothing.
    """
    if layers is None or layers == ALL_BLOCKS:
        return None
    if isinstance(layers, str) or not (callable(layers) or isinstance(layers, Sequence)):
        raise ConfigurationError(
            "Expected layers to be a list of names or globs, or a callable (name, module) -> bool, "
            f"but got {layers!r}. Write layers=[{str(layers)!r}], or "
            f"layers={ALL_BLOCKS!r} for all block outputs."
        )
    if callable(layers):
        chosen = {name for name, module in modules.named.items() if layers(name, module)}
        if not chosen:
            raise UnknownLayerError(
                "Expected the layers callable to accept at least one module, but it refused all: "
                f"{name_some(list(modules.named), 12)}."
            )
        return frozenset(chosen)
    chosen = set()
    known = [INPUT, *modules.named, *modules.aliases]
    for pattern in layers:
        matched = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
        if not matched:
            raise UnknownLayerError(_unknown(pattern, known, modules))
        chosen |= {modules.aliases.get(name, name) for name in matched}
    if not chosen:
        raise ConfigurationError("Expected at least one layer, but layers is empty.")
    return frozenset(chosen)


def _unknown(pattern: str, known: list[str], modules: Modules) -> str:
    if any(fnmatchcase(name, pattern) for name in modules.scripted):
        return f"Layer {pattern!r} is a ScriptModule, which takes no hooks. Name another layer."
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4)
    hint = f"The nearest: {', '.join(near)}" if near else f"There are: {name_some(known, 12)}"
    return f"No layer of the model is called {pattern!r}. {hint}. Globs such as 'encoder.*' work."


def base(key: str) -> str:
    """The module's name in a layer's key: "fc" of "fc" and of "fc:1" (its second call)."""
    name, _, call = key.rpartition(":")
    return name if name and call.isdigit() else key


def is_candidate(module: nn.Module) -> bool:
    """Whether the default choice may take it: no dropout, no reshaping, no metric."""
    return not isinstance(module, TRANSPARENT) and not hasattr(module, "_update_count")


def belongs_to_previous(module: nn.Module) -> bool:
    """Whether what the module does belongs to the layer of weights before it.

    Normalizations, poolings and non-linearities do. One whose class is the user's own must have
    neither parts nor matrices: at most a scale and a shift for each feature.
    """
    if isinstance(module, FOLLOWERS):
        return True
    own = not type(module).__module__.startswith("torch.nn.")
    tensors = (*module.parameters(), *module.buffers())
    return own and not module._modules and all(map(_is_vector, tensors))


def _is_vector(tensor: torch.Tensor) -> bool:
    return sum(size > 1 for size in tensor.shape) <= 1


def innermost(fired: Sequence[str]) -> list[str]:
    """The layers none of whose own submodules fired, in the order given."""
    names = {base(key) for key in fired}
    holders = {
        ".".join(parts[:i])
        for name in names
        for parts in [name.split(".")]
        for i in range(1, len(parts))
    }
    return [key for key in fired if base(key) not in holders]


def blocks(keys: Sequence[str], modules: Modules) -> list[list[str]]:
    """The keys, in execution order, by depth: a layer of weights and what belongs to it.

    A convolution, its normalization, non-linearity and pooling are one block, whose last output is
    what the next one sees.
    """
    found: list[list[str]] = []
    for key in keys:
        if found and belongs_to_previous(modules.named[base(key)]):
            found[-1].append(key)
        else:
            found.append([key])
    return found


def spread(keys: Sequence[str], most: int) -> list[str]:
    """Up to `most` of the keys, evenly spaced, the first and the last among them."""
    if len(keys) <= most:
        return list(keys)
    if most == 1:
        return [keys[-1]]
    return [keys[int(i)] for i in np.linspace(0, len(keys) - 1, most).round()]
