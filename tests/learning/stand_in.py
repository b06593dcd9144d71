"""A stand-in for a device that is not the CPU: it computes as that does and refuses tensors of two devices.

What a GPU would refuse is refused here too, so that code which forgets where a tensor lives does not pass. Of
torch it takes the place for devices written in Python (`torch.utils.backend_registration`); a dispatch mode
sees every operation. It has neither speed, nor memory, nor bf16 of its own. Once it is registered, libraries
find the device and may use it: so it is for a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "standin"
# A GPU takes what is copied from the CPU as well, an index of its own tensors too, and a number beside them.
_COPIES = ("aten::_to_copy", "aten::copy_")
_INDEXES = ("aten::index", "aten::index_put", "aten::index_put_")
_JOINS = ("aten::cat", "aten::stack", "aten::gather")


class Held(torch.Tensor):
    """A tensor on the stand-in, by the tensor on the CPU that holds its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Held:
        made: Held = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, torch.Tensor], *about: object) -> Held:
        return Held(parts["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Held) -> None:
        self.inner = other.inner

    def tolist(self) -> Any:
        return self.inner.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()


class _StandIn(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, given = func._schema.name, pytree.tree_leaves((args, kwargs))
    held = [one for one in given if isinstance(one, Held)]
    others = [one for one in given if isinstance(one, torch.Tensor) and not isinstance(one, Held)]
    refused = [one for one in others if one.dim() or name in _JOINS]
    if name in _INDEXES and isinstance(args[0], Held):
        refused = [one for one in args[2:3] if not isinstance(one, Held)]
    if held and refused and name not in _COPIES:
        shapes = [tuple(one.shape) for one in refused]
        raise RuntimeError(f"{name}: tensors on `{NAME}` and on the CPU, the latter {shapes}")
    is_held = isinstance(args[0], Held) if name in _COPIES else bool(held)
    if kwargs.get("device") is not None:
        is_held = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")} if is_held or held else kwargs
    plain_args, plain_kwargs = pytree.tree_map_only(Held, lambda one: one.inner, (args, kwargs))
    found = func(*plain_args, **plain_kwargs)
    if func._schema.is_mutable and name.endswith("_"):
        return args[0] if func._schema.returns else None
    return pytree.tree_map_only(torch.Tensor, _held, found) if is_held else found


def _held(one: torch.Tensor) -> Held:
    return one if isinstance(one, Held) else Held(one)


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def register() -> torch.library.Library:
    """What torch asks of a device before any mode sees it: a tensor to copy into, and the copy.

    Before anything is differentiated, since torch counts the devices when it first is; and the kernels are
    there for as long as what is returned.
    """
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    kernels = torch.library.Library("aten", "IMPL")

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **others: Any) -> Held:
        return Held(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        to, what = (one.inner if isinstance(one, Held) else one for one in (target, source))
        to.copy_(what)
        return target

    kernels.impl("empty_strided", empty_strided, "PrivateUse1")
    kernels.impl("_copy_from", copy_from, "PrivateUse1")
    return kernels


@contextmanager
def stand_in() -> Iterator[None]:
    """Within, torch computes on the device too."""
    with _StandIn():
        yield
