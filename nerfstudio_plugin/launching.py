# SPDX-License-Identifier: Apache-2.0
"""Starting a training on several processes, on GPUs or on the CPU, as ``ns-train … --machine.num-devices N`` asks for.

nerfstudio's own launcher refuses to work without CUDA, and ends in a stack trace where a process ends by itself.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE
from torch import distributed

from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from nerfstudio_plugin.trainer import PanopticTrainerConfig

_PATIENCE = timedelta(hours=6)
"""How long processes wait for the first, which evaluates and may be paused in the viewer. One that ends is noticed at
once all the same."""
_GRACE = 10.0
"""Seconds that the other processes have to end by themselves once one has failed: they may be told why, too."""


def prepare_launch(config: PanopticTrainerConfig) -> None:
    """Let ns-train, where this process is one, start the processes that the configuration asks for.

    Raises:
        InputError: more processes than there are GPUs, a device without them, or a method that works on one alone.
    """
    machine = config.machine
    if machine.num_devices * machine.num_machines == 1:
        return
    if machine.num_devices < 1 or machine.num_machines < 1 or not 0 <= machine.machine_rank < machine.num_machines:
        raise InputError("--machine", f"{machine.num_devices} devices on machine {machine.machine_rank} of "
                         f"{machine.num_machines}", "at least one device and machine, machines counted from 0",
                         "Check --machine.num-devices, --machine.num-machines and --machine.machine-rank.")  # fmt: skip
    if machine.device_type not in ("cpu", "cuda"):
        raise InputError("--machine.device-type", f"{machine.device_type} with {machine.num_devices} devices",
                         "cuda or cpu", "Leave --machine.num-devices out.")  # fmt: skip
    if machine.device_type == "cuda" and machine.num_devices > torch.cuda.device_count():
        raise InputError("--machine.num-devices", f"{machine.num_devices} on a machine with "
                         f"{torch.cuda.device_count()} GPUs", "a GPU for each process",
                         "Lower it, or pass --machine.device-type cpu.")  # fmt: skip
    if machine.num_machines > 1 and machine.dist_url == "auto":
        raise InputError("--machine.dist-url", "auto", "tcp://HOST:PORT of the first machine",
                         "Pass the same address on each machine.")  # fmt: skip
    if not config.pipeline.works_on_several_processes:
        raise InputError("--machine.num-devices", f"{machine.num_devices} for {config.method_name}", "1",
                         "It learns its queries on one process; panst3r-ludvig trains on several.")  # fmt: skip
    for name in ("nerfstudio.scripts.train", "__main__"):
        script = sys.modules.get(name)
        if script is not None and hasattr(script, "train_loop") and hasattr(script, "launch"):
            script.launch = launch  # pyright: ignore[reportAttributeAccessIssue]


def launch(
    main_func: Callable[..., Any],
    num_devices_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    config: PanopticTrainerConfig | None = None,
    timeout: timedelta = timedelta(minutes=30),
    device_type: str = "cuda",
) -> None:
    """Run ``main_func`` on several processes of this machine; the arguments are those of nerfstudio's launcher.

    A process that fails ends the others, and this one with its exit code.
    """
    timeout = max(timeout, _PATIENCE)
    if dist_url == "auto":
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    arguments = (main_func, num_devices_per_machine, num_machines, machine_rank, dist_url, config, timeout, device_type)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work, args=(rank, *arguments), name=f"process {rank}")
        for rank in range(num_devices_per_machine)
    ]
    for process in processes:
        process.start()
    try:
        failed = _first_that_fails(processes)
    except KeyboardInterrupt:
        _end(processes)
        sys.exit(130)
    if failed is None:
        return
    name, code = failed
    _end(processes)
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    print(f"{name} of {len(processes)} {how}; the training stops.", file=sys.stderr)
    sys.exit(code if code > 0 else 1)


def _first_that_fails(processes: Sequence[BaseProcess]) -> tuple[str, int] | None:
    """Name and exit code of the first process that fails; None once all have ended well."""
    living = list(processes)
    while living:
        multiprocessing.connection.wait([process.sentinel for process in living])
        # Each is asked once: one that ends while others are asked would else be waited for in vain.
        codes = [process.exitcode for process in living]
        for process, code in zip(living, codes):
            if code:
                return process.name, code
        living = [process for process, code in zip(living, codes) if code is None]
    return None


def _end(processes: Sequence[BaseProcess]) -> None:
    until = time.monotonic() + _GRACE
    for process in processes:
        process.join(timeout=max(0.0, until - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    local_rank: int,
    main_func: Callable[..., Any],
    here: int,
    machines: int,
    machine: int,
    dist_url: str,
    config: PanopticTrainerConfig,
    timeout: timedelta,
    device_type: str,
) -> None:
    rank, count = machine * here + local_rank, machines * here
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo", init_method=dist_url,
                                   world_size=count, rank=rank, timeout=timeout)  # fmt: skip
    for number in range(machines):
        group = distributed.new_group(list(range(number * here, (number + 1) * here)))
        if number == machine:
            comms.LOCAL_PROCESS_GROUP = group
    CONSOLE.quiet = rank > 0
    main_func(local_rank, count, config, rank)
    distributed.barrier()
    distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
