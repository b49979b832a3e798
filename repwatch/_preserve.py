"""Python state that a call may change, put back as it was.

`preserved(roots)` walks what can be reached from the roots (attributes, containers, closures, bound
methods), remembers it, and restores it in place on leaving. It is for state outside of modules'
tensors: the attributes of a data set and what it wraps, of transforms, of helper objects.
"""

from __future__ import annotations

import functools
import io
import itertools
import random
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["StateWalk", "preserved"]

# A container longer than this is data rather than state, and is not copied.
LONGEST_CONTAINER = 10_000
# Arrays and tensors larger than this are data, too. At most MAX_COPIED_BYTES are
# copied of the others.
LARGEST_ARRAY = 16 << 20
MAX_COPIED_BYTES = 256 << 20
# A walk ends after this many objects: what is left is further away than a call reaches.
MAX_OBJECTS = 50_000

_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque, bytearray)
_ATOMS = (str, bytes, int, float, complex, bool, type(None), type, range, types.ModuleType)
# State of these belongs to the training itself, or to the interpreter.
_FOREIGN = frozenset(
    {
        "lightning",
        "pytorch_lightning",
        "lightning_fabric",
        "lightning_utilities",
        "repwatch",
        "logging",
        "threading",
        "queue",
        "_thread",
        "multiprocessing",
        "concurrent",
        "asyncio",
        "weakref",
        "typing",
        "importlib",
        "sqlalchemy",
        "tensorboard",
        "wandb",
        "mlflow",
    }
)
_FOREIGN_TORCH = ("torch.optim", "torch.distributed", "torch._", "torch.jit", "torch.fx")

Restore = Callable[[], None]
RandomGenerator: TypeAlias = (
    torch.Generator | np.random.Generator | np.random.RandomState | random.Random
)
_Container: TypeAlias = dict[Any, Any] | list[Any] | set[Any] | deque[Any] | bytearray


@contextmanager
def preserved(
    roots: Iterable[object],
    *,
    stop: tuple[type, ...] = (),
    reseed: bool = False,
    largest_array: int = LARGEST_ARRAY,
    max_copied_bytes: int = MAX_COPIED_BYTES,
) -> Iterator[None]:
    """Put the state that can be reached from `roots` back on leaving, errors included.

    Args:
        roots: Objects to start from. Each is restored in place: objects retain their identity.
        stop: Instances of these types are neither changed nor walked into.
        reseed: Whether generators that are found (torch.Generator, numpy's, `random.Random`) start
            from seed 0 inside, so that what they give does not depend on the user's seed.
        largest_array: Bytes of the largest array or tensor to restore.
        max_copied_bytes: Bytes of all arrays and tensors to restore, the smallest ones first.

    Attributes, lists, dicts, sets, deques, byte arrays, cells of closures, generators, positions of
    open files, and arrays and tensors are restored. What lives in C alone, in modules' globals or
    in functools caches is not.
    """
    restores = StateWalk(stop, reseed, largest_array, max_copied_bytes).remember(roots)
    try:
        yield
    finally:
        for restore in reversed(restores):
            restore()


class StateWalk:
    """One pass over the objects that can be reached; collects how to restore each."""

    def __init__(
        self,
        stop: tuple[type, ...] = (),
        reseed: bool = False,
        largest_array: int = LARGEST_ARRAY,
        max_copied_bytes: int = MAX_COPIED_BYTES,
    ) -> None:
        self._stop = stop
        self._reseed = reseed
        self._largest_array = largest_array
        self._max_copied_bytes = max_copied_bytes
        self._arrays: list[NDArray[np.generic] | torch.Tensor] = []
        # The objects themselves: an id alone could be reused by another object.
        self._seen: dict[int, object] = {}
        self._waiting: list[object] = []
        self._restores: list[Restore] = []

    def remember(self, roots: Iterable[object]) -> list[Restore]:
        """Functions that restore what can be reached from `roots`; call them in reverse order."""
        self._waiting.extend(roots)
        while self._waiting and len(self._seen) < MAX_OBJECTS:
            found = self._waiting.pop()
            if isinstance(found, _ATOMS) or id(found) in self._seen:
                continue
            self._seen[id(found)] = found
            if not isinstance(found, self._stop):
                self.visit(found)
        self._copy_arrays()
        return self._restores

    def visit(self, found: object) -> None:
        """Remember one object, and queue what it holds."""
        if isinstance(found, (torch.Tensor, np.ndarray)):
            # A tensor that is sharded over processes cannot be read by one of them alone.
            if not _is_foreign(found):
                self.remember_array(found)
        elif isinstance(found, (torch.Generator, np.random.Generator, np.random.RandomState)) or (
            isinstance(found, random.Random) and not isinstance(found, random.SystemRandom)
        ):
            self.remember_generator(found)
        elif isinstance(found, io.IOBase):
            self.remember_position(found)
        elif isinstance(found, (tuple, frozenset)):
            self._waiting.extend(found)
        elif isinstance(found, types.FunctionType):
            self._remember_function(found)
        elif isinstance(found, types.MethodType):
            self._waiting += [found.__self__, found.__func__]
        elif isinstance(found, types.BuiltinMethodType):  # such as the `append` of a list
            self._waiting.append(found.__self__)
        elif isinstance(found, functools.partial):
            self._waiting += [found.func, found.args, found.keywords]
        elif not _is_foreign(found):
            if isinstance(found, _CONTAINERS):
                self._remember_container(found)
            self._remember_attributes(found)

    def _remember_container(self, container: _Container) -> None:
        if len(container) > LONGEST_CONTAINER:
            return
        content = container.copy()
        self._restores.append(lambda: restore_container(container, content))
        if isinstance(container, dict):
            self._waiting.extend(container.values())
        elif not isinstance(container, bytearray):
            self._waiting.extend(container)

    def _remember_attributes(self, holder: object) -> None:
        attributes = getattr(holder, "__dict__", None)
        if isinstance(attributes, dict):
            before = dict(attributes)
            self._restores.append(lambda: restore_attributes(attributes, before))
            self._waiting.extend(before.values())
        for cls in type(holder).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                descriptor = cls.__dict__.get(name)
                if isinstance(descriptor, types.MemberDescriptorType):
                    self._remember_slot(holder, descriptor)

    def _remember_slot(self, holder: object, descriptor: types.MemberDescriptorType) -> None:
        try:
            value = descriptor.__get__(holder)
        except AttributeError:
            return
        self._waiting.append(value)

        def restore() -> None:
            with suppress(AttributeError):  # a slot that its class does not allow to be written
                descriptor.__set__(holder, value)

        self._restores.append(restore)

    def _remember_function(self, function: types.FunctionType) -> None:
        self._waiting += [function.__defaults__, function.__kwdefaults__, function.__dict__]
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # an empty cell
                continue
            self._waiting.append(value)
            self._restores.append(functools.partial(_restore_cell, cell, value))

    def remember_array(self, array: NDArray[np.generic] | torch.Tensor) -> None:
        """Note an array or tensor, to be copied at the end of the walk if there is room."""
        if _is_copied(array) and array.nbytes <= self._largest_array:
            self._arrays.append(array)

    def _copy_arrays(self) -> None:
        """Copy the arrays that there is room for, the smallest first.

        Of arrays of one size all are copied or none: they are more likely the rows of some data.
        """
        left = self._max_copied_bytes
        by_size = sorted(self._arrays, key=lambda array: array.nbytes)
        for size, group in itertools.groupby(by_size, key=lambda array: array.nbytes):
            arrays = list(group)
            left -= size * len(arrays)
            if left < 0:
                break
            for array in arrays:
                if isinstance(array, np.ndarray):
                    self._restores.append(functools.partial(_restore_numpy, array, array.copy()))
                else:
                    copied = array.detach().clone()
                    self._restores.append(functools.partial(restore_tensor, array, copied))
        self._arrays = []

    def remember_generator(self, generator: RandomGenerator) -> None:
        """Remember the state of a generator, and reseed it if that was asked for."""
        if isinstance(generator, torch.Generator):
            state = generator.get_state()
            self._restores.append(lambda: void(generator.set_state(state)))
            reseed: Callable[[], object] = functools.partial(generator.manual_seed, 0)
        elif isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            before = bits.state
            self._restores.append(lambda: setattr(bits, "state", before))
            reseed = functools.partial(_reseed_numpy, bits)
        elif isinstance(generator, np.random.RandomState):
            legacy = generator.get_state()
            self._restores.append(lambda: generator.set_state(legacy))
            reseed = functools.partial(generator.seed, 0)
        else:
            own = generator.getstate()
            self._restores.append(functools.partial(generator.setstate, own))
            reseed = functools.partial(generator.seed, 0)
        if self._reseed:
            reseed()

    def remember_position(self, file: io.IOBase) -> None:
        """Remember the position of a file that is open for reading."""
        try:
            if file.closed or not file.seekable() or file.writable():
                return
            place = file.tell()
        except (OSError, ValueError):  # a file that is being iterated, or has no position
            return
        self._restores.append(functools.partial(_restore_position, file, place))


def restore_attributes(attributes: dict[str, object], before: dict[str, object]) -> None:
    """Give a `__dict__` its values back; what was added is deleted. Writes only what differs."""
    if attributes.keys() != before.keys():
        for name in attributes.keys() - before.keys():
            del attributes[name]
    for name, value in before.items():
        if attributes.get(name, _MISSING) is not value:
            attributes[name] = value


def restore_container(container: Any, content: Any) -> None:
    """Give a container the items of its copy `content` back, where they differ."""
    if isinstance(container, dict):
        same = len(container) == len(content) and all(
            a is b and container[a] is content[b] for a, b in zip(container, content, strict=True)
        )
    elif isinstance(container, (set, bytearray)):
        same = container == content
    else:
        same = len(container) == len(content) and all(
            a is b for a, b in zip(container, content, strict=True)
        )
    if not same:
        container.clear()
        container.extend(content) if hasattr(container, "extend") else container.update(content)


def restore_tensor(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Give a tensor its values back.

    Written only where it changed: a write alone would make autograd refuse a pending backward.
    """
    if tensor.shape == value.shape and tensor.dtype == value.dtype and torch.equal(tensor, value):
        return
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        if tensor.shape != value.shape:
            tensor.resize_(value.shape)
        tensor.copy_(value)


def _restore_numpy(array: NDArray[np.generic], values: NDArray[np.generic]) -> None:
    if array.shape == values.shape and array.tobytes() != values.tobytes():
        array[...] = values


def _restore_cell(cell: types.CellType, value: object) -> None:
    cell.cell_contents = value


def _restore_position(file: io.IOBase, place: int) -> None:
    if not file.closed:
        file.seek(place)


def _reseed_numpy(bits: np.random.BitGenerator) -> None:
    bits.state = type(bits)(0).state


def void(_value: object) -> None:
    """Discard what a setter returned."""


def _is_copied(array: NDArray[np.generic] | torch.Tensor) -> bool:
    """Whether an array can be copied and written to."""
    if isinstance(array, np.ndarray):
        return array.flags.writeable and not array.dtype.hasobject
    return array.layout == torch.strided and not isinstance(array, torch.nn.Parameter)


def _is_foreign(found: object) -> bool:
    if isinstance(found, threading.Thread):
        return True
    module = type(found).__module__ or ""
    return module.split(".")[0] in _FOREIGN or module.startswith(_FOREIGN_TORCH)


_MISSING = object()
