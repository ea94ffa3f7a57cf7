# SPDX-License-Identifier: Apache-2.0
"""Objects as SOG bundles, which have no room for labels, with an index that says what each is.

Source: PlayCanvas, "The SOG Format", version 2 (developer.playcanvas.com).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from panoptic_gs.export.indexed_objects import write_indexed_objects
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.replacing import replacing
from panoptic_gs.splats.gaussians import RasterizeMode, Splats
from panoptic_gs.uplift import LabelledScene

VERSION = 2
_CODES = 256
_SAMPLE = 200_000  # values that a codebook is fitted to
_PALETTE = 4096  # rows of harmonics, at most
_FITTED = 40_000  # rows that a palette is fitted to
_ROUNDS = 8  # of Lloyd's algorithm
_PALETTE_WIDTH = 64


def write_sog_objects(
    folder: Path, scene: LabelledScene, objects: Sequence[PlacedObject], rasterize_mode: RasterizeMode | None = None
) -> list[Path]:
    """One SOG bundle for each object and ``index.json``: file, id, name, category, confidence, number of Gaussians."""
    return write_indexed_objects(
        folder, scene, objects, f"SOG {VERSION}", ".sog",
        lambda path, splats: write_sog(path, splats, rasterize_mode),
    )  # fmt: skip


def write_sog(path: Path, splats: Splats, rasterize_mode: RasterizeMode | None = None) -> None:
    """Write Gaussians as a SOG bundle, quantised: positions to 16 bits, scales and colours to codebooks of 256 values,
    rotations and opacities to 8 bits, harmonics above degree 0 to the nearest of a palette of at most 4,096 rows."""
    images, meta = _encoded(splats)
    meta |= {"version": VERSION, "asset": {"generator": "panoptic_gs"}, "count": len(splats),
             "antialias": rasterize_mode == "antialiased"}  # fmt: skip
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bundle:
        for name, pixels in images.items():
            bundle.writestr(name, _webp(pixels))
        bundle.writestr("meta.json", json.dumps(meta))


def _encoded(splats: Splats) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The images ``[H, W, 4]`` uint8 by name, and what ``meta.json`` says of them."""
    means = splats.means.cpu().numpy().astype(np.float64)
    where = np.sign(means) * np.log1p(np.abs(means))
    mins, maxs = where.min(axis=0), where.max(axis=0)
    fixed = np.round((where - mins) / np.where(maxs > mins, maxs - mins, 1) * 65535).astype(np.uint16)
    images = {"means_l.webp": _image(fixed & 255), "means_u.webp": _image(fixed >> 8)}
    meta: dict[str, Any] = {"means": {"mins": mins.tolist(), "maxs": maxs.tolist(), "files": list(images)}}
    images["quats.webp"] = _image(_smallest_three(splats.quats.cpu().numpy().astype(np.float64)))
    meta["quats"] = {"files": ["quats.webp"]}
    codes, pixels = _coded(np.log(splats.scales.cpu().numpy()))
    images["scales.webp"] = _image(pixels)
    meta["scales"] = {"codebook": codes.tolist(), "files": ["scales.webp"]}
    sh = splats.sh.cpu().numpy()
    codes, pixels = _coded(sh[:, 0])
    opacity = np.round(255 * splats.opacities.cpu().numpy()).astype(np.uint8)
    images["sh0.webp"] = _image(np.concatenate([pixels, opacity[:, None]], axis=1))
    meta["sh0"] = {"codebook": codes.tolist(), "files": ["sh0.webp"]}
    if splats.sh_degree > 0:
        coefficients = sh.shape[1] - 1
        palette, nearest = _palette(sh[:, 1:].reshape(len(sh), -1))
        codes, pixels = _coded(palette)
        rows = np.zeros((-(-len(palette) // _PALETTE_WIDTH) * _PALETTE_WIDTH, coefficients, 3), dtype=np.uint8)
        rows[: len(palette)] = pixels.reshape(-1, coefficients, 3)
        wide = rows.reshape(-1, _PALETTE_WIDTH * coefficients, 3)
        images["shN_centroids.webp"] = np.concatenate([wide, np.full((*wide.shape[:2], 1), 255, np.uint8)], axis=2)
        images["shN_labels.webp"] = _image(np.stack([nearest & 255, nearest >> 8, np.zeros_like(nearest)], axis=1))
        meta["shN"] = {"count": len(palette), "bands": splats.sh_degree, "codebook": codes.tolist(),
                       "files": ["shN_centroids.webp", "shN_labels.webp"]}  # fmt: skip
    return images, meta


def _image(values: np.ndarray) -> np.ndarray:
    """Pixels ``[N, 3 or 4]`` as an image ``[H, W, 4]``, row by row; what is left over is 0."""
    count, channels = values.shape
    width = 4 * max(1, -(-int(np.ceil(np.sqrt(count))) // 4))
    pixels = np.zeros((-(-count // width) * width, 4), dtype=np.uint8)
    pixels[:, 3] = 255
    pixels[:count, :channels] = values
    return pixels.reshape(-1, width, 4)


def _webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def _smallest_three(quats: np.ndarray) -> np.ndarray:
    """wxyz ``[N, 4]`` as three bytes of the smallest components, in ±1/√2, and 252 + the number of the largest."""
    quats = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    which = np.abs(quats).argmax(axis=1)
    quats = quats * np.where(np.take_along_axis(quats, which[:, None], axis=1) < 0, -1, 1)
    small = np.array([[i for i in range(4) if i != largest] for largest in range(4)])[which]
    shares = np.take_along_axis(quats, small, axis=1) * np.sqrt(2) * 0.5 + 0.5
    return np.concatenate([np.round(255 * shares.clip(0, 1)), 252 + which[:, None]], axis=1).astype(np.uint8)


def _coded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """256 ascending values, and the nearest of them for each value, uint8 in the shape of ``values``.

    Lloyd's algorithm on a line, from quantiles, for what is frequent, and from even steps, for what is rare.
    """
    flat = np.sort(values.ravel().astype(np.float64))
    flat = flat[:: -(-len(flat) // _SAMPLE)]
    half = np.linspace(0, 1, _CODES // 2)
    codes = np.sort(np.concatenate([np.quantile(flat, half), flat[0] + half * (flat[-1] - flat[0])]))
    for _ in range(_ROUNDS):
        ends = np.searchsorted(flat, (codes[1:] + codes[:-1]) / 2)
        sums = np.diff(np.concatenate([[0.0], np.cumsum(flat)])[np.concatenate([[0], ends, [len(flat)]])])
        counts = np.diff(np.concatenate([[0], ends, [len(flat)]]))
        codes = np.where(counts > 0, sums / np.maximum(counts, 1), codes)
    codes = np.sort(codes).astype(np.float32)
    middles = (codes[1:].astype(np.float64) + codes[:-1]) / 2
    return codes, np.searchsorted(middles, values.astype(np.float64)).astype(np.uint8)


def _palette(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 4,096 rows ``[P, C]`` that stand for all rows ``[N, C]``, and which one each is, by Lloyd's algorithm."""
    if len(rows) <= _PALETTE:
        return rows, np.arange(len(rows))
    rng = np.random.default_rng(0)
    fitted = torch.from_numpy(rows[rng.permutation(len(rows))[:_FITTED]]).float()
    centers = fitted[:_PALETTE].clone()
    for _ in range(_ROUNDS):
        nearest = _nearest(fitted, centers)
        sums = torch.zeros_like(centers).index_add_(0, nearest, fitted)
        counts = torch.bincount(nearest, minlength=len(centers))
        centers = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centers)
    return centers.numpy(), _nearest(torch.from_numpy(rows).float(), centers).numpy()


def _nearest(rows: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """The nearest centre ``[N]`` of each row, by |c|² − 2 r·c."""
    squares = (centers**2).sum(dim=1)
    return torch.cat([(squares - 2 * chunk @ centers.T).argmin(dim=1) for chunk in rows.split(4096)])
