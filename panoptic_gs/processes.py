# SPDX-License-Identifier: Apache-2.0
"""One command on the processes that ``torchrun`` started: each takes its share of the views, the sums are reduced."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from panoptic_gs.sums import ViewSum

Item = TypeVar("Item")
Sums = TypeVar("Sums", bound="ViewSum")

_TIMEOUT = timedelta(hours=2)
"""A process waits so long for the others. A process that ends is noticed by torchrun, not by this."""


@dataclass(frozen=True)
class Processes:
    """The processes that work on one command.

    Args:
        rank: this one's number, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's items: every ``count``-th, so that each has some from all over the scene."""
        return list(items[self.rank :: self.count])

    def reduced(self, sums: Sums) -> Sums:
        """The sums of all processes, in each of them; every process calls this."""
        return sums.all_reduce() if self.count > 1 else sums

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor, of the same shape in each; every process calls this."""
        if self.count == 1:
            return tensor
        from panoptic_gs.sums import sum_over_processes

        return sum_over_processes(tensor)


ALONE = Processes()
"""One process."""


def started_processes() -> Processes:
    """What ``torchrun`` says in the environment; one process where it says nothing.

    Raises:
        InputError: it says something that cannot be.
    """
    rank, count = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE"))
    if rank is None and count is None:
        return ALONE
    if not (rank or "").isascii() or not (rank or "").isdigit() or not (count or "").isdigit():
        raise InputError("RANK and WORLD_SIZE", f"{rank!r} and {count!r}", "whole numbers, as torchrun sets them",
                         "Start with `torchrun --nproc-per-node N -m panoptic_gs …`, or unset both.")  # fmt: skip
    found = Processes(int(rank or 0), int(count or 1))
    if found.rank >= found.count:
        raise InputError("RANK", f"{found.rank} of {found.count} processes", f"0 to {found.count - 1}",
                         "Start with `torchrun --nproc-per-node N -m panoptic_gs …`.")  # fmt: skip
    return found


def tell_torchrun(error: InputError) -> None:
    """Let torchrun name the reason where it names the process that ended the job."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        message = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(file).write_text(json.dumps({"message": message}), encoding="utf-8")


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """The processes of ``torchrun``, joined by gloo while the block runs; one process without it.

    Sums are reduced on the CPU, where they are kept. A group that is there already is used, and stays.
    """
    found = started_processes()
    if found.count == 1:
        yield found
        return
    from torch import distributed

    own = not distributed.is_initialized()
    if own:
        distributed.init_process_group("gloo", timeout=_TIMEOUT)
    try:
        yield found
        distributed.barrier()
    finally:
        if own:
            distributed.destroy_process_group()
