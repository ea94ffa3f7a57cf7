# SPDX-License-Identifier: Apache-2.0
"""What all kernels share: checks of what crosses into the compiled module, threads, instruction sets."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.errors import InputError


def active_isa() -> str:
    """The instruction set in use: ``avx512``, ``avx2`` or ``baseline``, or what PANOPTIC_GS_ISA names."""
    return _kernels.active_isa()


def num_threads() -> int:
    """Threads that the kernels use: PANOPTIC_GS_NUM_THREADS from the environment, else as many as torch.

    torch's own threads spin for a while after each operation (unless OMP_WAIT_POLICY=PASSIVE was set before it was
    imported), at the cost of whoever needs the cores then. On few cores ``torch.set_num_threads(1)`` with
    PANOPTIC_GS_NUM_THREADS set to the number of cores avoids that.
    """
    return int(os.environ.get("PANOPTIC_GS_NUM_THREADS") or 0) or torch.get_num_threads()


def multiply_add(rounds: int) -> float:
    """Multiply and add in registers on every thread, nothing else; the number of operations done, for benchmarks."""
    return _kernels.multiply_add(rounds, num_threads())


def checked(name: str, tensor: Tensor, shape: Sequence[int | None], dtype: torch.dtype = torch.float32) -> Tensor:
    """``tensor`` detached and contiguous, if it is a CPU tensor of this dtype and shape (``None``: any size).

    Raises:
        InputError: naming ``name``.
    """
    if tensor.device.type != "cpu":
        raise InputError(name, f"a tensor on {tensor.device}", "a CPU tensor", "Move it with .cpu().")
    if tensor.dtype != dtype:
        raise InputError(name, str(tensor.dtype), str(dtype), f"Convert it with .to({dtype}).")
    if tensor.ndim != len(shape) or any(want is not None and have != want for have, want in zip(tensor.shape, shape)):
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise InputError(name, f"shape {list(tensor.shape)}", f"[{wanted}]", "Check the other arguments' sizes too.")
    return tensor.detach().contiguous()


def optional(name: str, tensor: Tensor | None, shape: Sequence[int | None]) -> Tensor | None:
    """:func:`checked`, or None."""
    return None if tensor is None else checked(name, tensor, shape)


def require_cuda() -> None:
    """See that the compiled module has device kernels.

    Raises:
        InputError: it was built without CUDA.
    """
    if not _kernels.with_cuda:
        raise InputError(
            "panoptic_gs", "kernels that were built without CUDA", "a build with CUDA for CUDA tensors",
            "Install again with nvcc on PATH (-C cmake.define.PANOPTIC_GS_CUDA=ON), or pass CPU tensors.",
        )  # fmt: skip
