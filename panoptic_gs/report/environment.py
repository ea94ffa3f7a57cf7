# SPDX-License-Identifier: Apache-2.0
"""What numbers were made with: versions, processor, GPU, command line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

_PACKAGES = ("panoptic-gs", "torch", "gsplat", "nerfstudio", "torchmetrics", "numpy")


def environment() -> dict[str, str]:
    """Name → version of the packages that are installed, Python, system, CPU and GPU."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found |= {"Python": platform.python_version(), "system": platform.platform()}
    found["CPU"] = f"{cpu_name()}, {os.cpu_count()} cores"
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def cpu_name() -> str:
    """The processor as its maker calls it, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def command_line() -> str:
    """The command of this process, ready to be pasted into a shell."""
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    if module is not None and sys.argv[0] == getattr(main, "__file__", None):  # as python -m leaves it
        return shlex.join(["python", "-m", module.name.removesuffix(".__main__"), *sys.argv[1:]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
