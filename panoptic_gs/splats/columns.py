# SPDX-License-Identifier: Apache-2.0
"""What every reader gives: Gaussians under the names and in the units of the usual PLY, not yet looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from panoptic_gs import memory
from panoptic_gs.errors import InputError
from panoptic_gs.splats import harmonics
from panoptic_gs.splats.gaussians import RasterizeMode, similarity_parts

_SMALL_BYTES = 1 << 24  # what the Gaussians of any file may take
_MOST_WORTH = 100
DECODED, PLAIN = 4.5, 2.0
"""Most memory while a file is read, over what its Gaussians take as float32: where they are decoded, and where not."""
_BASE = 14  # values of a Gaussian without harmonics above degree 0


@dataclass(frozen=True, eq=False)
class SplatColumns:
    """Gaussians as a file has them.

    Args:
        values: ``x`` … ``rot_3`` → ``[N]`` float32 as in the PLY of Kerbl et al. 2023: logarithmic scales, logits of
            opacities, quaternions wxyz of any length, ``f_rest`` channel by channel.
        notes: sentences for people: what the format quantises, what was read as something else.
        rasterize_mode: how they were trained, where the file says so.
        plain_colors: ``[N, 3]`` uint8 where the file has colours that are no harmonics.
    """

    values: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    rasterize_mode: RasterizeMode | None = None
    plain_colors: np.ndarray | None = None


def named(
    positions: np.ndarray,
    scales: np.ndarray,
    quats: np.ndarray,
    opacities: np.ndarray,
    sh: np.ndarray,
) -> dict[str, np.ndarray]:
    """Columns of arrays.

    Args:
        positions: ``[N, 3]``.
        scales: ``[N, 3]`` logarithmic.
        quats: ``[N, 4]`` wxyz.
        opacities: ``[N]`` in 0 … 1; 0 and 1 become infinite logits.
        sh: ``[N, K, 3]`` coefficients.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.log(opacities) - np.log1p(-opacities)
    columns = dict(zip("xyz", positions.T))
    columns |= {f"f_dc_{i}": sh[:, 0, i] for i in range(3)}
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), 3 * (sh.shape[1] - 1))
    columns |= {f"f_rest_{i}": values for i, values in enumerate(rest.T)}
    columns["opacity"] = logits
    columns |= {f"scale_{i}": values for i, values in enumerate(scales.T)}
    columns |= {f"rot_{i}": values for i, values in enumerate(quats.T)}
    with np.errstate(over="ignore"):
        return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in columns.items()}


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The columns of several parts one after the other; coefficients that a part lacks are zero."""
    rest = max((sum(name.startswith("f_rest_") for name in part) for part in parts), default=0)
    padded = [_with_rest(part, rest) for part in parts]
    return {name: np.concatenate([part[name] for part in padded]) for name in padded[0]}


def _with_rest(part: Mapping[str, np.ndarray], rest: int) -> dict[str, np.ndarray]:
    """The same columns with coefficients of a higher degree."""
    own = sum(name.startswith("f_rest_") for name in part)
    columns = {name: values for name, values in part.items() if not name.startswith("f_rest_")}
    zeros = np.zeros(len(part["x"]), np.float32)
    for channel in range(3):
        for index in range(rest // 3):
            has = index < own // 3
            columns[f"f_rest_{channel * (rest // 3) + index}"] = (
                part[f"f_rest_{channel * (own // 3) + index}"] if has else zeros
            )
    return columns


def moved(columns: Mapping[str, np.ndarray], matrix: np.ndarray) -> dict[str, np.ndarray]:
    """The Gaussians in another frame: centres, rotations, scales and the colours' directions.

    Args:
        columns: as in :class:`SplatColumns`; rows with NaN keep it.
        matrix: ``[4, 4]`` a rotation times one positive scale, and a translation.

    Raises:
        InputError: it shears, mirrors or scales the axes differently.
    """
    if np.array_equal(matrix, np.eye(4)):
        return dict(columns)
    scale, rotation = similarity_parts(torch.from_numpy(np.asarray(matrix, dtype=np.float64)))
    result = dict(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        centres = np.stack([columns[name] for name in "xyz"], axis=-1).astype(np.float64)
        centres = centres @ matrix[:3, :3].T + matrix[:3, 3]
        result |= dict(zip("xyz", centres.T.astype(np.float32)))
        for name in ("scale_0", "scale_1", "scale_2"):
            result[name] = (columns[name] + np.log(scale)).astype(np.float32)
    turn = Rotation.from_matrix(rotation.numpy()).as_quat()[[3, 0, 1, 2]]
    if abs(turn[0]) > 1 - 1e-12:
        return result
    quats = _product(turn, [columns[f"rot_{i}"].astype(np.float64) for i in range(4)])
    result |= {f"rot_{i}": values.astype(np.float32) for i, values in enumerate(quats)}
    rest = sum(name.startswith("f_rest_") for name in columns)
    if rest:
        sh = np.stack([columns[f"f_rest_{i}"] for i in range(rest)], axis=-1).reshape(-1, 3, rest // 3)
        whole = np.concatenate([np.zeros((len(sh), 1, 3), np.float32), sh.transpose(0, 2, 1)], axis=1)
        turned = harmonics.rotated(torch.from_numpy(np.ascontiguousarray(whole)), rotation).numpy()[:, 1:]
        flat = turned.transpose(0, 2, 1).reshape(len(sh), rest)
        result |= {f"f_rest_{i}": np.ascontiguousarray(flat[:, i]) for i in range(rest)}
    return result


def _product(one: np.ndarray, other: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Hamilton's product of a quaternion (wxyz) and many."""
    a, b, c, d = one
    w, x, y, z = other
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def require_worth(source: Path | str, count: int, rest: int, stored: int) -> None:
    """Refuse a count of Gaussians that its file cannot be worth, before anything is made for them.

    Args:
        source: what errors name.
        count: of Gaussians, as the file announces it.
        rest: coefficients above degree 0 a Gaussian, all channels.
        stored: bytes of the file.

    Raises:
        InputError: none, more than a hundred times the file's size in memory, or more than is free.
    """
    if count == 0:
        raise InputError(source, "no Gaussians", "at least one", "Export or train again; all of them were pruned.")
    needed = 4 * count * (_BASE + rest)
    if needed > max(_SMALL_BYTES, _MOST_WORTH * stored):
        raise InputError(
            source,
            f"{count:,} Gaussians announced in {stored:,} bytes, which would take {needed >> 20:,} MiB",
            f"Gaussians that take no more memory than {_MOST_WORTH} times their file",
            "Copy or export the file again; its header may be damaged.",
        )
    require_memory(source, count, rest)


def require_memory(source: Path | str, count: int, rest: int, copies: float = DECODED) -> None:
    """Refuse Gaussians that the free memory does not hold while they are read.

    Args:
        source: what errors name.
        count: of Gaussians.
        rest: coefficients above degree 0 a Gaussian, all channels.
        copies: what reading takes at its peak, over what they take as float32.

    Raises:
        InputError: too little is free.
    """
    memory.require(source, f"{count:,} Gaussians", copies * 4 * count * (_BASE + rest))


def damaged(source: Path | str, kind: str, why: object) -> InputError:
    """What is said of a file that breaks its own format."""
    return InputError(
        source, f"a file that cannot be read as {kind} ({str(why)[:200]})", f"{kind} of 3D Gaussians",
        "Copy or export the file again; it may be truncated or of another version.",
    )  # fmt: skip
