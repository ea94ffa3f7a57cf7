# SPDX-License-Identifier: Apache-2.0
"""One training on several processes: each has all Gaussians and takes photos of its own in each step.

Gradients are averaged before each step, what densification gathers is summed before it decides, and random numbers are
the same where Gaussians come and go. So all processes have the same Gaussians, bit for bit, after each step, and the
training is that of one process that takes as many photos a step as there are processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor, distributed
from torch.nn import Module, Parameter

from panoptic_gs.errors import InputError
from panoptic_gs.processes import Processes
from panoptic_gs.sums import sum_over_processes, wire_device

SUMMED, LARGEST = ("grad2d", "count"), ("radii",)
"""What gsplat's strategies gather between two densification steps, and how views of several processes are joined."""
_BUCKET = 1 << 22
"""Numbers that are reduced at once: 16 MiB."""


def joined(count: int) -> Processes:
    """The processes that the launcher joined.

    Raises:
        InputError: another number of them than it says.
    """
    found = distributed.get_world_size() if distributed.is_initialized() else 1
    if found != count:
        raise InputError("--machine.num-devices", f"{found} processes that were joined", f"{count} processes",
                         "Start with ns-train, which joins them.")  # fmt: skip
    return Processes(distributed.get_rank(), count)


def start_alike(model: Module) -> None:
    """Give every process the parameters and buffers of the first."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            sent = tensor.detach().to(wire_device()).contiguous()
            distributed.broadcast(sent, 0)
            tensor.copy_(sent)


class SharedOptimizers(Optimizers):
    """nerfstudio's optimizers, whose steps take the mean gradient of all processes.

    Args:
        processes: that train together.
    """

    def __init__(self, config: dict[str, Any], groups: dict[str, list[Parameter]], processes: Processes) -> None:
        super().__init__(config, groups)
        self._processes = processes

    def optimizer_scaler_step_some(self, grad_scaler: Any, param_groups: list[str]) -> None:
        """Average the gradients, then step."""
        names = sorted(param_groups)
        average_gradients(
            [p for name in names for group in self.optimizers[name].param_groups for p in group["params"]],
            self._processes,
        )
        super().optimizer_scaler_step_some(grad_scaler, param_groups)


def average_gradients(parameters: Iterable[Parameter], processes: Processes) -> None:
    """Give each parameter the mean of its gradients over the processes; one without gradient counts as zero.

    A parameter that has a gradient in no process keeps none: a step with zero would move it by its momentum.

    Raises:
        InputError: processes with different numbers of Gaussians.
    """
    parameters = list(parameters)
    if processes.count == 1 or not parameters:
        return
    said = torch.tensor([[p.numel(), -p.numel(), p.grad is not None] for p in parameters], device=wire_device())
    distributed.all_reduce(said, distributed.ReduceOp.MAX)
    for parameter, (largest, smallest, _) in zip(parameters, said.tolist()):
        if largest != -smallest:
            raise InputError("training", f"processes that went apart: parameters of {-smallest} to {largest} numbers",
                             "the same Gaussians in each", "Resume from the last checkpoint.")  # fmt: skip
        assert parameter.numel() == largest
    used = [p for p, (_, _, wanted) in zip(parameters, said.tolist()) if wanted]
    for bucket in _buckets(used):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in bucket])
        flat = sum_over_processes(flat).div_(processes.count)
        for parameter, mean in zip(bucket, flat.split([p.numel() for p in bucket])):
            parameter.grad = mean.view(parameter.shape).to(parameter.dtype)


def _buckets(parameters: Iterable[Parameter]) -> Iterator[list[Parameter]]:
    """Small ones together; one that is large alone is alone."""
    bucket: list[Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def sum_gathered(state: dict[str, Any], processes: Processes) -> None:
    """Give every process what all have gathered; what is gathered after that has to start from zero."""
    if processes.count == 1:
        return
    for name in SUMMED:
        if isinstance(state.get(name), Tensor):
            state[name] = sum_over_processes(state[name])
    for name in LARGEST:
        if isinstance(state.get(name), Tensor):
            largest = state[name].to(wire_device(), copy=True)
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
            state[name] = largest.to(state[name].device)


def leave_gathered_to_the_first(state: dict[str, Any], processes: Processes) -> None:
    """Where every process has what all have gathered, let it count once."""
    if not processes.leads:
        for name in (*SUMMED, *LARGEST):
            if isinstance(state.get(name), Tensor):
                state[name].zero_()


@contextmanager
def same_random_numbers(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """The same random numbers in all processes; the process's own go on afterwards as if none had been drawn."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed((seed << 32) + step)
        yield


def mean_of_processes(value: Tensor, processes: Processes) -> Tensor:
    """The mean of a number over the processes; every process calls this."""
    return sum_over_processes(value.detach()) / processes.count if processes.count > 1 else value
