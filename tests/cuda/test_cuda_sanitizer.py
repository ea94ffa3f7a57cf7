# SPDX-License-Identifier: Apache-2.0
"""compute-sanitizer finds nothing in the device kernels, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sanitize import run

from panoptic_gs import kernels

SANITIZER = shutil.which("compute-sanitizer")
FOUND = 9


def test_the_watched_case_runs(emulated):
    run(emulated.device, 15)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.skipif(not torch.cuda.is_available() or not kernels._kernels.with_cuda, reason="no GPU, or built without")
@pytest.mark.skipif(SANITIZER is None, reason="compute-sanitizer is not installed")
def test_the_sanitizer_finds_nothing(tool):
    # Without site, so that the modules are this process's and no editable install's; without torch's pool of memory,
    # in which no access is out of bounds.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    case = Path(__file__).with_name("sanitize.py")
    result = subprocess.run(
        [str(SANITIZER), "--tool", tool, "--error-exitcode", str(FOUND), sys.executable, "-S", str(case)],
        env=environment, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    said = result.stdout + result.stderr
    if "Device not supported" in said:
        pytest.skip("compute-sanitizer does not support this device or its driver here")
    assert result.returncode == 0, said[-4000:]
    assert "done" in result.stdout
