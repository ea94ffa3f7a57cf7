# SPDX-License-Identifier: Apache-2.0
"""``make gpu-check`` where it cannot run, and the parts of it that need no GPU."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "cuda" / "gpu_check.py")
assert spec is not None
assert spec.loader is not None
gpu_check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_check)


def test_what_is_missing_is_said_at_once(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(gpu_check, "nvcc", lambda: None)
    monkeypatch.setattr(gpu_check, "NEEDED", {"torch": "torch", "no_such_module": "no-such-package"})
    with pytest.raises(SystemExit) as stopped:
        gpu_check.main()
    said = str(stopped.value)
    assert "no-such-package" in said
    assert "No nvcc" in said
    assert "finds no GPU" in said
    monkeypatch.setattr(torch.version, "cuda", None)
    assert any("built without CUDA" in line for line in gpu_check.missing())


def test_the_compiler_is_looked_for_in_cuda_home(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert gpu_check.nvcc() == tmp_path / "bin" / "nvcc"


def test_the_new_wheel_wins_over_the_sources():
    site = Path("/somewhere/site")
    paths = gpu_check.environment(site)["PYTHONPATH"].split(os.pathsep)
    assert paths[:2] == [str(site), str(ROOT)]
    assert paths.count(str(ROOT)) == 1
    assert {path for path in sys.path if path.endswith("site-packages")} <= set(paths)


def test_a_failing_step_ends_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"a step failed \(exit code 3\)"):
        gpu_check.run("a step", [sys.executable, "-c", "raise SystemExit(3)"])


def test_results_are_named_after_the_gpu():
    assert gpu_check.results_name("NVIDIA H200") == "nvidia-h200"
    assert gpu_check.results_name("Tesla V100-SXM2-16GB") == "tesla-v100-sxm2-16gb"
