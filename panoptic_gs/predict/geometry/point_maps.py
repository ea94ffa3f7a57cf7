# SPDX-License-Identifier: Apache-2.0
"""What geometry networks have in common: crops of the photos in, cameras and points of the crops out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.predict.cameras import valid_points
from panoptic_gs.predict.crop import Size, crop, crop_to_original, input_size
from panoptic_gs.predict.geometry.found import Geometry, pinhole, require_most, turned_upright
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.seed_points import select_seed_points


def crops_of(photos: Sequence[Photo], longest: int, multiple: int) -> tuple[list[np.ndarray], Size]:
    """All photos cropped to one size: the usual shape of them, sides multiples of a number, the longer one given."""
    ratios = [k / (longest // multiple) for k in range(longest // multiple // 3, longest // multiple + 1)]
    size = input_size(photos, [(longest, round(ratio * longest / multiple) * multiple) for ratio in ratios])
    return [crop(photo.read(), size) for photo in photos], size


def geometry_of(
    photos: Sequence[Photo],
    size: Size,
    viewmats: np.ndarray,
    Ks: np.ndarray,
    points: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray],
    *,
    source: str,
    metric: bool,
    seed_points: int,
    notes: tuple[str, ...] = (),
) -> Geometry:
    """Cameras of the photos and evenly spread seed points, from those of their crops.

    Args:
        photos: N of them.
        size: width and height of the crops.
        viewmats: ``[N, 4, 4]`` world to camera, OpenCV axes; NaN where there is none.
        Ks: ``[N, 3, 3]`` in pixels of the crops.
        points: N of ``[H, W, 3]`` in the world, at any resolution of the whole crop.
        confidence: N of ``[H, W]``.
        source: of messages.
        metric: whether the unit is the metre.
        seed_points: most of them.
        notes: for the user.

    Raises:
        InputError: shapes that do not fit, or cameras of less than half of the photos.
    """
    count = len(photos)
    if viewmats.shape != (count, 4, 4) or Ks.shape != (count, 3, 3) or len(points) != count:
        raise InputError(
            source, f"poses {list(viewmats.shape)}, intrinsics {list(Ks.shape)}, {len(points)} point maps",
            f"{count} of each", "This version answers otherwise than the one that is known; install that one.",
        )  # fmt: skip
    usable = np.isfinite(viewmats).all((1, 2)) & np.isfinite(Ks).all((1, 2)) & (Ks[:, 0, 0] > 0)
    usable &= np.array([valid_points(p, c).any() for p, c in zip(points, confidence, strict=True)])
    left_out = {photo.stem: "not placed" for photo, fine in zip(photos, usable, strict=True) if not fine}
    require_most(photos, left_out, source, "Take photos that overlap more.")
    rows = np.flatnonzero(usable)
    placed = [photos[row] for row in rows]
    moved, _, turn = turned_upright(viewmats[rows].astype(np.float64), np.zeros((1, 3)))
    world = [turn(points[row].astype(np.float32)) for row in rows]

    def colors(index: int) -> np.ndarray:
        height, width = world[index].shape[:2]
        return crop(placed[index].read(), (width, height))

    seeds = select_seed_points(world, [confidence[row] for row in rows], colors, seed_points) if seed_points else None
    cameras = {}
    for photo, viewmat, K in zip(placed, moved, Ks[rows].astype(np.float64), strict=True):
        cameras[photo.stem] = pinhole(viewmat, crop_to_original(photo.width, photo.height, size) @ K, photo)
    scale = "metres" if metric else "an arbitrary unit"
    return Geometry(cameras, seeds, left_out=left_out, metric=metric, notes=(*notes, f"lengths are in {scale}"))
