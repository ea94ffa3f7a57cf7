# SPDX-License-Identifier: Apache-2.0
"""USD, text, binary or USDZ, with ``ParticleField3DGaussianSplat`` prims, through the usd-core package.

Scales are linear, opacities 0 … 1, coefficients Gaussian by Gaussian. What is read is in the stage's world and in its
own unit. Source: OpenUSD 26, "UsdVol: ParticleField3DGaussianSplat".
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.records import Array, parse_record
from panoptic_gs.splats.columns import SplatColumns, damaged, joined, moved, named, require_worth

TO_SCENE = "scene_from_usd"
"""Entry of the layer's custom data: from the stage's world to the axes of the splats that were exported, row by row."""
BINARY, TEXT = b"PXR-USDC", b"#usda"
ENDINGS = (".usd", ".usda", ".usdc", ".usdz")
_SECONDS, _SECONDS_A_MEGABYTE = 5, 0.2
_MEMORY = 2 << 30
_COEFFICIENTS = (1, 4, 9, 16)


def require_usd(source: Path | str) -> None:
    """Refuse what needs usd-core where that is not installed.

    Raises:
        InputError: with the command that installs it.
    """
    if importlib.util.find_spec("pxr") is None:
        raise InputError(source, "USD, and no usd-core", "the package usd-core",
                         "Run: pip install 'panoptic-gs[usd]'.")  # fmt: skip


def read(path: Path | str) -> SplatColumns:
    """The Gaussians of all such prims of a stage, in its world.

    Raises:
        InputError: usd-core is not installed, no USD, no Gaussians, attributes that are missing or differ in number.
    """
    path = Path(path)
    require_usd(path)
    said, arrays = _arrays(path)
    if "error" in said:
        raise damaged(path, "USD", said["error"])
    stored = path.stat().st_size
    parts, notes = [], list[str]()
    for number in range(int(said["parts"])):
        part = {name.split(".", 2)[2]: values for name, values in arrays.items() if name.startswith(f"part.{number}.")}
        columns = _columns(part, path, stored)
        try:
            parts.append(moved(columns, part["matrix"]))
        except InputError as error:
            raise InputError(
                path, f"a prim that shears, mirrors or stretches its Gaussians ({error.found[:200]})",
                "rotations, translations and one scale", "Apply the prim's transform.",
            ) from error  # fmt: skip
    if not parts:
        raise InputError(path, "a stage without Gaussians", "prims of type ParticleField3DGaussianSplat",
                         "Export Gaussians with OpenUSD 26.03 or later, or give a PLY.")  # fmt: skip
    columns = joined(parts)
    if said.get("axes") is not None:
        turn = parse_record(said["axes"], Annotated[np.ndarray, Array(16)], path)  # pyright: ignore[reportArgumentType]
        columns = moved(columns, np.asarray(turn).reshape(4, 4))
    else:
        notes.append(f"USD: in the stage's own axes ({said['up']} up) and unit ({said['meters']:g} m)")
    mode = said.get("rasterize_mode")
    return SplatColumns(columns, tuple(notes), mode if mode in ("classic", "antialiased") else None)


def _arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the stage says and holds, read by a process of its own."""
    seconds = int(_SECONDS + _SECONDS_A_MEGABYTE * path.stat().st_size / 2**20)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        program = [sys.executable, str(Path(__file__).with_name("usd_child.py"))]
        command = [*program, str(path.absolute()), str(out), str(seconds), str(_MEMORY)]
        try:
            ended = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=10 * seconds
            )
        except subprocess.TimeoutExpired:
            raise damaged(path, "USD", "reading it does not end") from None
        if ended.returncode or not out.is_file():
            raise damaged(path, "USD", f"the USD library ended with {ended.returncode} over it")
        with np.load(out) as stored:
            arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop("said").tobytes()), arrays


def _columns(part: dict[str, np.ndarray], path: Path, stored: int) -> dict[str, np.ndarray]:
    missing = [name for name in ("positions", "orientations", "scales", "opacities") if name not in part]
    if missing:
        raise InputError(path, f"Gaussians without {', '.join(missing)}", "all attributes of the schema",
                         "Export it again.")  # fmt: skip
    count, degree = len(part["positions"]), int(part["degree"])
    require_worth(path, count, 0, stored)
    if "sh" not in part:
        sh = np.zeros((count, 1, 3), np.float32)
    elif 0 <= degree <= 3 and len(part["sh"]) == count * _COEFFICIENTS[degree]:
        sh = part["sh"].reshape(count, _COEFFICIENTS[degree], 3)
    else:
        raise damaged(path, "USD", f"{len(part['sh']):,} coefficients of degree {degree} for {count:,} Gaussians")
    shapes = {"orientations": (count, 4), "scales": (count, 3), "opacities": (count,)}
    for name, shape in shapes.items():
        if part[name].shape != shape:
            raise damaged(path, "USD", f"{name} of shape {list(part[name].shape)} for {count:,} Gaussians")
    if (part["scales"] < 0).any() or (part["opacities"] < 0).any() or (part["opacities"] > 1).any():
        raise InputError(path, "negative scales, or opacities outside 0 … 1", "linear scales and opacities",
                         "Export it again; they may be logarithms and logits.")  # fmt: skip
    with np.errstate(divide="ignore"):
        return named(part["positions"], np.log(part["scales"]), part["orientations"], part["opacities"], sh)
