"""A stand-in for a GPU: tensors of device ``meta`` that have values, and a count of what the host waits for.

On the real device ``meta`` nothing has a value, so only parts can be run there. Here a whole translation, score or
update runs on the device, and its result is compared with that of the CPU. As on a GPU, an operation that computes
with tensors of two devices fails, and ``numpy()`` needs ``cpu()`` before it.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_ROOT = Path(__file__).parents[1]
aten = torch.ops.aten
_READING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}
_SHAPE = {
    aten.sym_size.default,
    aten.sym_stride.default,
    aten.sym_numel.default,
    aten.sym_storage_offset.default,
    aten.size.default,
    aten.stride.default,
    aten.numel.default,
    aten.storage_offset.default,
    aten.dim.default,
    aten.is_contiguous.default,
    aten.is_contiguous.memory_format,
    aten.is_strides_like_format.default,
    aten.is_non_overlapping_and_dense.default,
    torch.ops.prim.layout.default,
}
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}


class StandIn(torch.Tensor):
    """A tensor on the device; ``inner`` holds its values."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> StandIn:
        with torch.inference_mode(False):  # a view of a tensor from outside of that mode must not be of it
            made: StandIn = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.size(),
                inner.stride(),
                inner.storage_offset(),
                dtype=inner.dtype,
                device=DEVICE,
                dispatch_sizes_strides_policy="sizes",  # an operation such as squeeze_ may change them
            )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"StandIn({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SHAPE:
            return func(args[0].inner, *args[1:])
        raise RuntimeError(f"{func}: a tensor of the stand-in device is used outside of it")


class Waits:
    """What the host waited for, by the line of ``mmt`` (or of the test) that asked for it.

    reads: device to host: ``item``, ``tolist``, ``bool``, ``cpu``, and what needs the number of its results.
    copies: host to device, from memory that is not pinned, which PyTorch waits for, too.
    """

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()

    def clear(self) -> None:
        self.reads.clear()
        self.copies.clear()

    def __repr__(self) -> str:
        return f"reads {dict(self.reads)}, copies {dict(self.copies)}"

    @property
    def num_reads(self) -> int:
        return self.reads.total()

    @property
    def num_copies(self) -> int:
        return self.copies.total()


@contextlib.contextmanager
def stand_in_device() -> Iterator[Waits]:
    """Within it, ``to("meta")`` takes a tensor or a model to the device, and back to the CPU."""
    waits = Waits()
    autocast, enabled = torch.autocast, torch.is_autocast_enabled

    def no_autocast(device_type: str, *args: Any, **settings: Any) -> Any:
        return contextlib.nullcontext() if device_type == "meta" else autocast(device_type, *args, **settings)

    with (
        patch.object(torch.nn.Module, "to", _moved),
        patch.object(torch, "autocast", no_autocast),  # this device has none
        patch.object(torch, "is_autocast_enabled", lambda *kind: kind != ("meta",) and enabled(*kind)),
        _Operations(waits),
        _Calls(waits),
    ):
        yield waits


_to = torch.nn.Module.to


def _moved(model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """``Module.to``, after which a weight of two modules is one weight still, as it is on a GPU."""
    places = [(module, name, one) for module in model.modules() for name, one in module._parameters.items()]
    _to(model, *args, **kwargs)
    first: dict[int, Any] = {}
    for module, name, before in places:
        setattr(module, name, first.setdefault(id(before), module._parameters[name]))
    return model


class _Calls(TorchFunctionMode):
    """What does not reach ``_Operations``: numbers to a tensor and back."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FROM_NUMBERS and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            if isinstance(args[0], StandIn):
                return func(*args, **kwargs)
            # fairseq2 pins what it takes to a GPU
            pinned = sys._getframe(1).f_code.co_filename.endswith("fairseq2/utils/tensor.py")
            return func(*args, **(kwargs | {"device": "cpu"})).to(DEVICE, non_blocking=pinned)
        first = args[0] if args else None
        if isinstance(first, StandIn):
            if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
                return func(first, _places(args[1]), *args[2:])
            if func is torch.Tensor.tolist:
                self._waits.reads[_line()] += 1
                return first.inner.tolist()
            if func in (torch.Tensor.numpy, torch.Tensor.__array__):
                raise TypeError("can't convert a tensor of the stand-in device to numpy. Use Tensor.cpu() first.")
        return func(*args, **kwargs)


def _places(index: Any) -> Any:
    """An index whose lists of numbers are tensors on the device: as on a GPU, they are copied there."""
    if isinstance(index, tuple):
        return tuple(map(_places, index))
    return torch.tensor(list(index)).to(DEVICE) if isinstance(index, list | range) else index


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _SHAPE:
            return func(*_inner(args))
        if func._can_decompose():  # in inference mode it comes whole
            with self:
                return func.decompose(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        there = [one for one in tensors if isinstance(one, StandIn)]
        target = kwargs.get("device")
        if not there and target != DEVICE and name != "copy_":
            return func(*args, **kwargs)
        on_host = [one for one in tensors if not isinstance(one, StandIn)]
        self._note(name, args, kwargs, there, on_host)
        if target == DEVICE:
            kwargs["device"] = torch.device("cpu")
        comes_back = bool(there) and target is not None and target != DEVICE
        result = func(*_inner(args), **_inner(kwargs))
        if name.endswith("_") and not name.endswith("__"):
            return args[0]
        if "out" in kwargs:
            return kwargs["out"]
        if comes_back or not (there or target == DEVICE):
            return result
        return tree_map(lambda one: StandIn(one) if isinstance(one, torch.Tensor) else one, result)

    def _note(self, name: str, args: Any, kwargs: Any, there: list[StandIn], on_host: list[torch.Tensor]) -> None:
        """Counts what the host waits for. Raises RuntimeError for tensors of two devices."""
        if name in ("_to_copy", "copy_"):
            to_device = isinstance(args[0], StandIn) if name == "copy_" else kwargs.get("device") == DEVICE
            blocking = not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,)))
            leaves = name == "_to_copy" and there and kwargs.get("device") not in (None, DEVICE)
            leaves = leaves or (name == "copy_" and not to_device and bool(there))
            if leaves:
                self._waits.reads[_line()] += 1
            elif to_device and on_host and blocking:
                self._waits.copies[_line()] += 1
            return
        indices = [one for one in tree_leaves(args[1]) if one is not None] if name.startswith("index") else []
        if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
            masks = [one for one in indices if one.dtype in (torch.bool, torch.uint8)]
            fills = name != "index" and args[2].numel() == 1  # computed by masked_fill
            if masks and not fills:
                self._waits.reads[_line()] += len(masks)
            if moved := sum(one is two for one in indices for two in on_host):
                self._waits.copies[_line()] += moved
            on_host = [one for one in on_host if not any(one is two for two in indices)]
        elif name in _READING:
            self._waits.reads[_line()] += 1
        if there and any(one.ndim for one in on_host):  # single numbers may take part
            raise RuntimeError(f"{name}: tensors of cpu and meta, in {_line()}")


def _inner(values: Any) -> Any:
    return tree_map(lambda one: one.inner if isinstance(one, StandIn) else one, values)


def _line() -> str:
    """The innermost line of the repository outside this file."""
    frames = traceback.extract_stack()
    ours = [frame for frame in frames if frame.filename.startswith(str(_ROOT)) and frame.filename != __file__]
    own = [frame for frame in ours if "site-packages" not in frame.filename]
    return f"{Path(own[-1].filename).relative_to(_ROOT)}:{own[-1].lineno}" if own else "?"
