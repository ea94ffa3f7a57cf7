# SPDX-License-Identifier: Apache-2.0
"""What votes, contingency tables and overlaps have in common: they are sums over views, on any number of processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Self = TypeVar("Self", bound="ViewSum")


class ViewSum(ABC):
    """A sum over views: ``add`` one, :meth:`merge` or ``+`` those of another object, :meth:`all_reduce` processes.

    Work on it streams with one view in memory, resumes, and spreads: any split of the views over objects or processes
    gives the same sums. :meth:`merge` and :meth:`all_reduce` change the object, since sums are large, and return it;
    ``+`` makes a new one.
    """

    @abstractmethod
    def merge(self: Self, other: Self) -> Self:
        """Add the sums of other views to these.

        Returns:
            This object.

        Raises:
            InputError: they are sums of something else.
        """

    @abstractmethod
    def all_reduce(self: Self, group: Any = None) -> Self:
        """Give every process of a ``torch.distributed`` group the sums of all of them; every process calls this.

        Returns:
            This object.
        """

    @abstractmethod
    def empty(self: Self) -> Self:
        """The same sum over no views."""

    def __add__(self: Self, other: Self) -> Self:
        return self.empty().merge(self).merge(other)


def wire_device(group: Any = None) -> torch.device:
    """Where tensors have to be for a ``torch.distributed`` group: on the GPU for NCCL, on the CPU for gloo."""
    if torch.distributed.get_backend(group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def sum_over_processes(tensor: Tensor, group: Any = None) -> Tensor:
    """The sum of every process's ``tensor``, of the same shape in each, on the tensor's device."""
    total = tensor.to(wire_device(group), copy=True)
    torch.distributed.all_reduce(total, group=group)
    return total.to(tensor.device)


def rows_of_others(
    count: int, rows: Callable[[int, int], Tensor], like: Tensor, group: Any = None, most: int = 1 << 20
) -> Iterator[Tensor]:
    """The rows that all other processes of a group hold, in blocks, so that no process holds a copy of another's sums.

    Every process calls this, and takes all that it yields.

    Args:
        count: how many rows this process has; any number.
        rows: gives those from one position up to another, ``[n, ...]``.
        like: an empty tensor ``[0, ...]`` of the rows' shape and type.
        group: of processes; all by default.
        most: rows in a block.

    Yields:
        Blocks ``[n, ...]`` on the device of ``like``.
    """
    rank = torch.distributed.get_rank(group)
    for sender in range(torch.distributed.get_world_size(group)):
        for block in _blocks_of(sender, count, rows, like, group, most):
            if sender != rank:
                yield block


def blocks_of_all(blocks: Iterable[Tensor], like: Tensor, group: Any = None) -> Iterator[Tensor]:
    """The blocks of rows of all processes of a group, its own too, one process after another, none held for longer.

    Every process calls this, and takes all that it yields.

    Args:
        blocks: of this process ``[n, ...]``, any number of any lengths; gone through when it is its turn.
        like: an empty tensor ``[0, ...]`` of the rows' shape and type.
        group: of processes; all by default.
    """
    device, rank = wire_device(group), torch.distributed.get_rank(group)
    for sender in range(torch.distributed.get_world_size(group)):
        source = sender if group is None else torch.distributed.get_global_rank(group, sender)
        own = iter(blocks) if sender == rank else iter(())
        while True:
            block = next(own, None)
            announced = torch.tensor([-1 if block is None else len(block)], device=device)
            torch.distributed.broadcast(announced, source, group=group)
            count = int(announced)
            if count < 0:
                break
            if block is None:
                block = like.new_empty((count, *like.shape[1:]), device=device)
            block = block.to(device).contiguous()
            if count:
                torch.distributed.broadcast(block, source, group=group)
                yield block.to(like.device)


def arrays_of_others(arrays: Mapping[str, np.ndarray], group: Any = None) -> Iterator[dict[str, np.ndarray]]:
    """The named arrays of all other processes of a group, one process after another, in order of ranks.

    For sums that are no table. Every process calls this, and takes all that it yields. Arrays travel as an NPZ archive;
    nothing is unpickled.
    """
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType] (its named arguments are arrays, too)
    own = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    rank = torch.distributed.get_rank(group)
    for sender in range(torch.distributed.get_world_size(group)):
        blocks = list(_blocks_of(sender, len(own), lambda first, last: own[first:last], own[:0], group, 1 << 24))
        if sender != rank:
            with np.load(BytesIO(torch.cat(blocks).numpy().tobytes()), allow_pickle=False) as received:
                yield dict(received)


def _blocks_of(
    sender: int, count: int, rows: Callable[[int, int], Tensor], like: Tensor, group: Any, most: int
) -> Iterator[Tensor]:
    """The rows of one process, in every process."""
    device = wire_device(group)
    source = sender if group is None else torch.distributed.get_global_rank(group, sender)
    announced = torch.tensor([count], device=device)
    torch.distributed.broadcast(announced, source, group=group)
    for first in range(0, int(announced), most):
        last = min(first + most, int(announced))
        if sender == torch.distributed.get_rank(group):
            block = rows(first, last).to(device).contiguous()
        else:
            block = like.new_empty((last - first, *like.shape[1:]), device=device)
        torch.distributed.broadcast(block, source, group=group)
        yield block.to(like.device)
