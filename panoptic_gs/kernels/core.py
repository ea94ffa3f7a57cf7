# SPDX-License-Identifier: Apache-2.0
"""What all kernels share: checks of what crosses into the compiled module, threads, instruction sets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.errors import InputError

_MANY = 1 << 20  # Gaussians beyond which what is kept for the next frame takes hundreds of megabytes


def active_isa() -> str:
    """The instruction set in use: ``avx512``, ``avx2`` or ``baseline``, or what PANOPTIC_GS_ISA names."""
    return _kernels.active_isa()


class _OneThread(threading.local):
    threads = 0  # that torch had in this thread before one_torch_thread; 0: outside of it


_here = _OneThread()
_scopes: list[int] = []
"""The same of all threads that are inside: a thread that torch meets first meanwhile gets one thread for good."""


def num_threads() -> int:
    """Threads that the kernels use: PANOPTIC_GS_NUM_THREADS from the environment, else as many as torch.

    Within :func:`one_torch_thread` as many as torch had before.
    """
    fixed = int(os.environ.get("PANOPTIC_GS_NUM_THREADS") or 0)
    return fixed or _here.threads or max([torch.get_num_threads(), *_scopes])


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on the calling thread alone, and the kernels on as many threads as torch had.

    torch starts its threads for every operation on some ten thousand numbers, gives each an equal part, and waits,
    spinning, for the last: hundreds of times in a training step. Where another process keeps one core busy, each wait
    may take as long as that process's turn, and a step ten times as long. Our kernels start theirs some dozen times,
    hand out small pieces, and do without helpers that are late. For loops that spend most of their time in kernels.
    May be nested, and entered by several threads at once.
    """
    if _here.threads:
        yield
        return
    _here.threads = max([torch.get_num_threads(), *_scopes])
    _scopes.append(_here.threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_here.threads)
        _scopes.remove(_here.threads)
        _here.threads = 0


def multiply_add(rounds: int) -> float:
    """Multiply and add in registers on every thread, nothing else; the number of operations done, for benchmarks."""
    return _kernels.multiply_add(rounds, num_threads())


def give_back_memory() -> None:
    """Give the system what kernels keep for their next calls, and what the C library keeps of freed arrays.

    Kernels keep up to 512 MiB, since a frame's memory is needed again for the next one. For the end of a stage that
    rendered, before one that does not.
    """
    _kernels.give_back_memory()


def give_back_frame(num_gaussians: int) -> None:
    """:func:`give_back_memory` between two frames of so many Gaussians that what is kept takes hundreds of megabytes.

    What stays of a frame, such as its depth or what it says of Gaussians, would pin the rest of it, view after view.
    """
    if num_gaussians > _MANY:
        give_back_memory()


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
