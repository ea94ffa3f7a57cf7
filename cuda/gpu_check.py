# SPDX-License-Identifier: Apache-2.0
"""Build, test and measure on a machine with a GPU; needs torch with CUDA and nvcc, and no network.

Builds the wheel without build isolation for this GPU alone, unpacks it into a folder of its own, runs tests/cuda there
(compute-sanitizer included, where it is installed), then the benchmarks (with gsplat where it can be imported), and
writes ``benchmarks/results/<gpu>.json`` and ``.txt``. Nothing is installed into the Python that runs this.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "gpu-check"
NEEDED = {
    "torch": "torch", "numpy": "numpy", "PIL": "pillow", "plyfile": "plyfile", "rich": "rich", "scipy": "scipy",
    "safetensors": "safetensors", "torchmetrics": "torchmetrics", "tyro": "tyro", "pytest": "pytest", "pip": "pip",
    "nanobind": "nanobind", "scikit_build_core": "scikit-build-core",
}  # fmt: skip
"""Modules that building, tests and benchmarks import, and the packages that have them."""


def missing() -> list[str]:
    """What this machine lacks, a line each."""
    lines = []
    absent = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if absent:
        lines.append(
            f"{sys.executable} has no {', '.join(absent)}: install them (from wheels, where there is no network)."
        )
    if nvcc() is None:
        lines.append("No nvcc on PATH, in CUDA_HOME or in /usr/local/cuda: install the CUDA toolkit, or set CUDA_HOME.")
    if shutil.which("cmake") is None and importlib.util.find_spec("cmake") is None:
        lines.append("No cmake: install CMake 3.22 or newer.")
    if "torch" not in absent:
        import torch

        if torch.version.cuda is None:
            lines.append(f"torch {torch.__version__} was built without CUDA: install a CUDA build of torch.")
        elif not torch.cuda.is_available():
            lines.append(
                f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU: run this on a machine with one, "
                "or see whether its driver is new enough (nvidia-smi)."
            )
    return lines


def nvcc() -> Path | None:
    """The CUDA compiler."""
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = [shutil.which("nvcc"), *(f"{folder}/bin/nvcc" for folder in folders if folder)]
    return next((Path(path) for path in found if path and Path(path).is_file()), None)


def build(architecture: str, compiler: Path) -> Path:
    """Build the wheel for one architecture (``90``) and unpack it; returns the folder to import from."""
    site, wheels = FOLDER / "site", FOLDER / "wheel"
    for folder in (site, wheels):
        shutil.rmtree(folder, ignore_errors=True)
    settings = [
        f"build-dir={FOLDER / 'cmake'}", "cmake.define.PANOPTIC_GS_CUDA=ON",
        f"cmake.define.CMAKE_CUDA_ARCHITECTURES={architecture}-real",
    ]  # fmt: skip
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    run("wheel", [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels),
                  *(f"--config-settings={setting}" for setting in settings), str(ROOT)],
        {**os.environ, "CUDACXX": str(compiler)})  # fmt: skip
    (wheel,) = wheels.glob("*.whl")
    run("unpacking", [*pip, "install", *offline, "--quiet", "--target", str(site), str(wheel)])
    return site


def environment(site: Path) -> dict[str, str]:
    """Variables for a Python without ``site`` (``-S``), so that no editable install wins over the new wheel."""
    here = {Path(__file__).resolve().parent, ROOT}
    inherited = [path for path in sys.path if path and Path(path).resolve() not in here]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT), *inherited])}


def run(title: str, command: list[str], variables: dict[str, str] | None = None) -> None:
    """Run a step in the check's folder; ends the check where it fails."""
    print(f"== {title}", flush=True)
    code = subprocess.run(command, cwd=FOLDER, env=variables, check=False).returncode
    if code:
        sys.exit(f"gpu-check: {title} failed (exit code {code}); see above.")


def results_name(gpu: str) -> str:
    """``NVIDIA H200`` -> ``nvidia-h200``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def main() -> None:
    """Do all of it."""
    lacking = missing()
    if lacking:
        sys.exit("gpu-check cannot run here:\n" + "\n".join(f"  - {line}" for line in lacking))
    import torch

    gpu, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    compiler = nvcc()
    assert compiler is not None
    print(f"{gpu}, compute capability {capability[0]}.{capability[1]}, torch {torch.__version__}, {compiler}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    site = build(f"{capability[0]}{capability[1]}", compiler)
    variables, python = environment(site), [sys.executable, "-S"]
    run("imports", [*python, "-c", (
        "import panoptic_gs, panoptic_gs.kernels as k; assert k._kernels.with_cuda; print(panoptic_gs.__file__)"
    )], variables)  # fmt: skip
    if importlib.util.find_spec("gsplat") is None:
        print("gsplat is not installed: what goes through its tile lists is neither tested nor compared with it.")
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer is not installed: the kernels run without it.")
    run("tests", [*python, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-rs",
                  "-p", "no:cacheprovider", str(ROOT / "tests" / "cuda")], variables)  # fmt: skip
    out = ROOT / "benchmarks" / "results" / f"{results_name(gpu)}.json"
    garden = ROOT.parent / "shared" / "data" / "garden" / "garden_splats.npz"
    run("benchmarks", [*python, "-m", "benchmarks.speed", "--device", "cuda", "--out", str(out), "--garden",
                       os.environ.get("GARDEN", str(garden))], variables)  # fmt: skip
    print(f"{out}\n{out.with_suffix('.txt')}")


if __name__ == "__main__":
    main()
