# SPDX-License-Identifier: Apache-2.0
"""A CUDA device that is not there: tensors that say ``cuda:0``, compute on the CPU, and refuse to meet CPU tensors.

Programs of a GPU run on it with their real values and control flow, so what CUDA would refuse shows without one: a
tensor that was not moved, ``numpy()`` of one on the device, an argument that a function no longer has. Inside
:func:`cuda_stand_in`, ``device="cuda"`` and ``.to("cuda")`` make such tensors and ``.cpu()`` gives plain ones back,
differentiably. Streams, kernels and pinned memory are not imitated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
_INDEXING = (
    torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
)  # fmt: skip


class CudaTensor(torch.Tensor):
    """Wraps a CPU tensor; autograd sees a tensor of its own."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> CudaTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device="cpu",
        )  # fmt: skip
        made.inner = inner
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self, **_: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{self.inner.detach()!r} on {CUDA}"

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.detach().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        checked = tensors
        if func is torch.ops.aten.copy_.default:
            checked = []  # from any device to any
        elif func in _INDEXING and isinstance(args[0], CudaTensor):  # by indices on the device or the CPU
            checked = [args[0], *(value for value in args[2:] if isinstance(value, torch.Tensor))]
        strangers = [value for value in checked if not isinstance(value, CudaTensor) and value.ndim > 0]
        if strangers and len(strangers) < len(checked):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {CUDA} and cpu! "
                f"({func}, shapes {[list(value.shape) for value in checked]})"
            )
        known = {id(_inner(value)): value for value in tensors}
        result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        return tree_map(lambda value: known.get(id(value)) if id(value) in known else _wrapped(value), result)


def _inner(value: Any) -> Any:
    if isinstance(value, CudaTensor):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _wrapped(value: Any) -> Any:
    return CudaTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, CudaTensor) else value


class _ToCuda(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return CudaTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].inner


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.inner.detach().clone()  # pyright: ignore[reportAttributeAccessIssue]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return CudaTensor(grads[0])


def _device_of(value: Any) -> torch.device | None:
    if isinstance(value, torch.device):
        return value
    if isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"):
        return torch.device(value)
    return None


class _Placing(TorchFunctionMode):
    """Carries out what is asked of devices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], torch.Tensor):
            return self._moved(name, func, args, kwargs)
        if name == "pin_memory":
            return args[0]
        if name == "new_tensor" and isinstance(args[0], CudaTensor):
            kwargs.setdefault("device", CUDA)
        wanted = _device_of(kwargs.get("device"))
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
            if wanted.type == "cuda":
                return _wrapped(func(*tree_map(_inner, args), **kwargs))
            return func(*tree_map(_inner, args), **kwargs)
        return func(*args, **kwargs)

    def _moved(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        tensor, *rest = args
        target = {"cpu": torch.device("cpu"), "cuda": CUDA}.get(name)
        if name == "to":
            given = [*rest, *kwargs.values()]
            others = [value for value in given if isinstance(value, torch.Tensor)]
            devices = [device for value in given if (device := _device_of(value)) is not None]
            target = others[0].device if others else devices[0] if devices else tensor.device
            dtypes = [value for value in given if isinstance(value, torch.dtype)] + [value.dtype for value in others]
            if dtypes:
                tensor = torch.Tensor.to(tensor, dtypes[0])
        assert target is not None
        if target.type == tensor.device.type:
            return tensor
        return _ToCuda.apply(tensor) if target.type == "cuda" else _ToCpu.apply(tensor)  # pyright: ignore


@contextmanager
def cuda_stand_in() -> Iterator[torch.device]:
    """Make ``cuda`` a device that imitates one on the CPU."""
    # Parameters of modules become tensors of another type, which cannot be put into the old ones.
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Placing():
            yield CUDA
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapping)
