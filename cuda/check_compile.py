# SPDX-License-Identifier: Apache-2.0
"""Compile the device kernels for every supported architecture; fail on a warning or a register spill.

What a machine without a GPU can check. Exits 0 where no CUDA compiler is installed, and says so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = (75, 80, 86, 90, 120)
HERE = Path(__file__).resolve().parent


def compile_kernels(nvcc: str, source: Path, architecture: int, folder: Path) -> str:
    """Compile one source for one architecture; returns what the compiler says, or raises RuntimeError with it."""
    command = [
        nvcc, "-std=c++17", "-O3", "--use_fast_math", "-c", str(source),
        "-o", str(folder / f"{source.stem}_{architecture}.o"), f"-I{HERE.parent / 'cpp'}", f"-I{HERE}",
        "-gencode", f"arch=compute_{architecture},code=sm_{architecture}", "-Xptxas", "-v,-warn-spills",
        "-Xcompiler", "-Wall,-Wextra", "-Wreorder", "-Wext-lambda-captures-this",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{source.name} for sm_{architecture} does not compile:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def kernel_table(report: str) -> list[tuple[str, int, int, int]]:
    """(kernel, registers, bytes spilled, bytes of shared memory) of each kernel in ptxas' report."""
    rows = []
    for name, block in re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", report, re.DOTALL):
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", block))
        registers = re.search(r"Used (\d+) registers", block)
        shared = re.search(r"(\d+) bytes smem", block)
        demangled = re.search(r"\d([a-z_]+_kernel)(?:ILb([01])E)?", name)
        weighted = {"0": "<false>", "1": "<true>", None: ""}[demangled.group(2) if demangled else None]
        rows.append((
            demangled.group(1) + weighted if demangled else name,
            int(registers.group(1)) if registers else -1,
            spilled,
            int(shared.group(1)) if shared else 0,
        ))  # fmt: skip
    return rows


def main() -> int:
    """Compile everything; returns the exit code."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("No CUDA compiler (nvcc) on PATH: the device kernels were not checked.")
        return 0
    failed = False
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        jobs = {
            (source, architecture): pool.submit(compile_kernels, nvcc, source, architecture, Path(folder))
            for source in sorted(HERE.glob("*.cu"))
            for architecture in ARCHITECTURES
        }
        for (source, architecture), job in jobs.items():
            try:
                report = job.result()
            except RuntimeError as error:
                print(error)
                failed = True
                continue
            warnings = [line for line in report.splitlines() if re.search(r"\bwarning\b", line, re.IGNORECASE)]
            kernels = kernel_table(report)
            spills = [kernel for kernel in kernels if kernel[2]]
            for line in warnings:
                print(f"{source.name} sm_{architecture}: {line}")
            for name, registers, spilled, shared in kernels:
                print(
                    f"{source.name:20} sm_{architecture:<4} {name:32} {registers:4} registers, {spilled} bytes "
                    f"spilled, {shared} bytes shared"
                )
            if not kernels:
                print(f"{source.name} sm_{architecture}: the compiler's report names no kernel")
            failed |= bool(warnings or spills or not kernels)
    print("FAILED: warnings, spills or errors above" if failed else "All kernels compile without warnings or spills.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
