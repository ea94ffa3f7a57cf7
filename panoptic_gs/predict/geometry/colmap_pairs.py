# SPDX-License-Identifier: Apache-2.0
"""Which matches of COLMAP to believe: two windows of one kind match, and would make one wall of two.

Matches on a repeated object agree with *some* cameras, so no single reconstruction gives them away; but they cover the
object alone, while photos that follow each other share most of what they show. So the pairs that share most are placed
by themselves first, as few as still connect the photos, and the others are believed where these cameras agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_GRID = 16  # cells of a photo along each side, in which matches are counted once
_PLANAR = 0.5  # what a pair is worth whose matches lie in one plane, as those on one picture or window do
_TRUSTED = 0.5  # of what the weakest link between the photos covers
_OFF = 4.0  # pixels from the epipolar line that a match may be off
_AGREE = 0.5  # of a pair's matches, for it to be believed
_FLAT = ("PLANAR", "PANORAMIC", "PLANAR_OR_PANORAMIC")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two photos, by COLMAP's numbers, and the places ``[M, 2]`` of what they have in common."""

    first: int
    second: int
    points1: np.ndarray
    points2: np.ndarray
    coverage: float
    """How many cells of a 16 × 16 grid hold a match, in the photo where they are fewer; half that in one plane."""


def verified_pairs(database: Path) -> list[Pair]:
    """The pairs of photos that COLMAP has verified."""
    import pycolmap

    with pycolmap.Database.open(database) as opened:
        numbers, geometries = opened.read_two_view_geometries()
        cameras = {camera.camera_id: camera for camera in opened.read_all_cameras()}
        images = {image.image_id: cameras[image.camera_id] for image in opened.read_all_images()}
        places = {number: np.asarray(opened.read_keypoints(number))[:, :2].astype(np.float64) for number in images}
    pairs = []
    for number, geometry in zip(numbers, geometries, strict=True):
        matches = np.asarray(geometry.inlier_matches)
        if not len(matches):
            continue
        a, b = pycolmap.pair_id_to_image_pair(number)
        points1, points2 = places[a][matches[:, 0]], places[b][matches[:, 1]]
        cells = min(_cells(points1, images[a]), _cells(points2, images[b]))
        flat = pycolmap.TwoViewGeometryConfiguration(geometry.config).name in _FLAT
        pairs.append(Pair(a, b, points1, points2, cells * (_PLANAR if flat else 1.0)))
    return pairs


def trusted_pairs(pairs: Sequence[Pair]) -> list[bool]:
    """Which pairs share at least half as much as the weakest link of a maximum spanning tree of their photos does."""
    parents: dict[int, int] = {}

    def root(photo: int) -> int:
        while parents.setdefault(photo, photo) != photo:
            parents[photo] = parents[parents[photo]]
            photo = parents[photo]
        return photo

    weakest: dict[int, float] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.coverage):
        a, b = root(pair.first), root(pair.second)
        if a != b:
            parents[b] = a
            weakest[a] = pair.coverage
    return [pair.coverage >= _TRUSTED * weakest[root(pair.first)] for pair in pairs]


def agreement(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """The share of each pair's matches that the cameras of a reconstruction agree with; NaN where one is not placed.

    A match agrees where Sampson's distance from its epipolar line is less than 4 pixels.
    """
    poses: Mapping[int, Any] = {
        number: (image.cam_from_world().matrix(), model.cameras[image.camera_id])
        for number, image in model.images.items()
        if image.has_pose
    }
    shares = []
    for pair in pairs:
        if pair.first not in poses or pair.second not in poses:
            shares.append(float("nan"))
            continue
        (one, camera1), (other, camera2) = poses[pair.first], poses[pair.second]
        rotation = other[:, :3] @ one[:, :3].T
        x, y, z = other[:, 3] - rotation @ one[:, 3]
        essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
        rays1, rays2 = _rays(pair.points1, camera1), _rays(pair.points2, camera2)
        lines2, lines1 = rays1 @ essential.T, rays2 @ essential
        gradient = (lines1[:, :2] ** 2).sum(1) + (lines2[:, :2] ** 2).sum(1)
        off = np.abs((rays2 * lines2).sum(1)) / np.sqrt(gradient.clip(1e-30))
        focal = np.sqrt(camera1.mean_focal_length() * camera2.mean_focal_length())
        shares.append(float((off * focal < _OFF).mean()))
    return shares


def believed_pairs(shares: Sequence[float]) -> list[bool]:
    """Which pairs do not contradict the cameras; those of photos that are not placed may still be right."""
    return [not share < _AGREE for share in shares]


def matches_that_agree(shares: Sequence[float], pairs: Sequence[Pair]) -> float:
    """How many of all matches the cameras agree with, 0…1; those of photos that are not placed do not."""
    counts = np.array([len(pair.points1) for pair in pairs], np.float64)
    return float((np.nan_to_num(np.asarray(shares)) * counts).sum() / max(counts.sum(), 1))


def _cells(points: np.ndarray, camera: Any) -> int:
    cells = (points * _GRID / (camera.width, camera.height)).astype(np.int64)
    return len(np.unique(cells[:, 0] * _GRID + cells[:, 1]))


def _rays(points: np.ndarray, camera: Any) -> np.ndarray:
    return np.concatenate([np.asarray(camera.cam_from_img(points)), np.ones((len(points), 1))], 1)
