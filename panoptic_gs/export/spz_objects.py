# SPDX-License-Identifier: Apache-2.0
"""Objects as SPZ files, which have no room for labels, with an index that says what each is."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.export.indexed_objects import write_indexed_objects
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.replacing import replacing
from panoptic_gs.splats import spz
from panoptic_gs.splats.gaussians import RasterizeMode, Splats
from panoptic_gs.uplift import LabelledScene

VERSION = 3  # packed by gzip: what readers of any age take
_FRACTION = 12


def write_spz_objects(
    folder: Path, scene: LabelledScene, objects: Sequence[PlacedObject], rasterize_mode: RasterizeMode | None = None
) -> list[Path]:
    """One SPZ for each object and ``index.json``: file, id, name, category, confidence, number of Gaussians.

    Raises:
        InputError: an object is too far from the origin for SPZ's fixed-point numbers.
    """
    return write_indexed_objects(
        folder, scene, objects, f"SPZ {VERSION}", ".spz",
        lambda path, splats: write_spz(path, splats, rasterize_mode),
    )  # fmt: skip


def write_spz(path: Path, splats: Splats, rasterize_mode: RasterizeMode | None = None) -> None:
    """Write Gaussians as SPZ 3, see :func:`encode_spz`.

    Raises:
        InputError: positions beyond what 24 bits hold at a sixteenth of a unit.
    """
    content = encode_spz(splats, rasterize_mode, path)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def encode_spz(splats: Splats, rasterize_mode: RasterizeMode | None = None, what: Path | str = "splats") -> bytes:
    """Gaussians as SPZ 3: quantised, and turned from the usual PLY's axes to SPZ's, as its own tools do.

    Raises:
        InputError: positions beyond what 24 bits hold at a sixteenth of a unit; it names ``what``.
    """
    means, quats = (values.detach().cpu().double().numpy().copy() for values in (splats.means, splats.quats))
    means[:, 1:] *= -1
    quats[:, 2:] *= -1
    sh = splats.sh.detach().cpu().float().numpy()
    rest = sh[:, 1:] * spz.FLIPS[: sh.shape[1] - 1, None]
    farthest = float(np.abs(means).max(initial=0))
    fraction = int(min(_FRACTION, np.floor(np.log2((2**23 - 1) / max(farthest, 1e-9)))))
    if fraction < 4:
        raise InputError(what, f"positions up to {farthest:g}", f"at most {2**19:,} units, as SPZ holds",
                         "Move the scene to the origin, or export PLY.")  # fmt: skip
    whole = np.rint(means * 2**fraction).astype("<i4")
    positions = np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 3, 4)[..., :3]
    scales = splats.scales.detach().cpu().double().clamp_min(1e-20).log().numpy()
    streams = (
        positions,
        _bytes(splats.opacities.detach().cpu().double().numpy() * 255),
        _bytes((sh[:, 0] * spz.COLOR_SCALE + 0.5) * 255),
        _bytes((scales + 10) * 16),
        _smallest_three(quats),
        _harmonics(rest),
    )
    flags = spz.ANTIALIASED if rasterize_mode == "antialiased" else 0
    header = spz.LEGACY_HEADER.pack(spz.MAGIC, VERSION, len(splats), splats.sh_degree, fraction, flags, 0)
    return gzip.compress(header + b"".join(np.ascontiguousarray(s).tobytes() for s in streams), mtime=0)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _harmonics(rest: np.ndarray) -> np.ndarray:
    """Bytes of 128 + 128·v, rounded to five bits in degree 1 and four above, as SPZ's own packer does by default."""
    steps = np.where(np.arange(rest.shape[1]) < 3, 8, 16)[:, None]
    return (np.rint((rest * 128 + 128) / steps) * steps).clip(0, 255).astype(np.uint8)


def _smallest_three(quats: np.ndarray) -> np.ndarray:
    """Words of quaternions wxyz, the three smallest components of xyzw as a sign and nine bits each."""
    xyzw = quats[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(axis=1)
    sign = xyzw[np.arange(len(xyzw)), largest] < 0
    words = largest.astype(np.uint32)
    for component in range(4):
        values = xyzw[:, component]
        size = np.rint(np.abs(values) * 511 * np.sqrt(2)).clip(0, 511).astype(np.uint32)
        negative = ((values < 0) ^ sign).astype(np.uint32)
        words = np.where(largest == component, words, words << 10 | negative << 9 | size).astype(np.uint32)
    return words.astype("<u4")
