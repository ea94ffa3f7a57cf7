# SPDX-License-Identifier: Apache-2.0
"""Timing several calls side by side, and saying on what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from panoptic_gs import kernels
from panoptic_gs.report.environment import cpu_name


@dataclass(frozen=True)
class Times:
    """Milliseconds of repeated calls."""

    median: float
    least: float


def interleaved(calls: Mapping[str, Callable[[], object]], repeat: int, device: str = "cpu") -> dict[str, Times]:
    """Time calls in turns, so that all of them meet the same machine; two rounds of warming up are not counted.

    On CUDA between two events on the stream: what the device needs, and what it waits for the host.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(repeat + 2):
        for name, call in calls.items():
            milliseconds = _on_stream(call) if device == "cuda" else _on_host(call)
            if round_number >= 2:
                taken[name].append(milliseconds)
    return {name: Times(float(np.median(numbers)), min(numbers)) for name, numbers in taken.items()}


def _on_host(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _on_stream(call: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def peak_gflops() -> float:
    """Multiply-adds in registers on all threads, 10⁹ operations a second: the best of five tries."""
    rounds, best = 4_000_000, 0.0
    for _ in range(5):
        start = time.perf_counter()
        best = max(best, kernels.multiply_add(rounds) / (time.perf_counter() - start))
    return best / 1e9


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    packages = {}
    for name in ("panoptic-gs", "torch", "numpy", "gsplat"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "isa": kernels.active_isa(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": packages,
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["compute_capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        found["cuda"] = torch.version.cuda
    else:
        found["peak_gflops"] = peak_gflops()
    return found
