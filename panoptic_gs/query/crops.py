# SPDX-License-Identifier: Apache-2.0
"""The views that show an object best, cut out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.progress import Progress, silent
from panoptic_gs.scene import Frame
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.view import render_view

_MARGIN = 0.15  # of the box, on each side
_LEAST = 24  # pixels a side of a crop
_SEARCH_WIDTH = 320  # of the views that are searched
_CUT = 0.5  # what an object counts that the picture's border cuts


@dataclass(frozen=True)
class Sighting:
    """Where a view shows an object: the view's name, and left, top, right, bottom as shares of the picture."""

    view: str
    box: tuple[float, float, float, float]
    score: float


def find_sightings(
    scene: LabelledScene,
    frames: Sequence[Frame],
    ids: Sequence[int],
    most: int,
    mode: RasterizeMode = "classic",
    progress: Progress = silent,
) -> dict[int, list[Sighting]]:
    """The ``most`` views in which most of each object is seen, the best first.

    A view counts by the root of the object's pixels there; half where the border cuts it, so that a whole small view
    stands before a large part.
    """
    found: dict[int, list[Sighting]] = {segment: [] for segment in ids}
    for number, frame in enumerate(frames):
        camera = frame.camera
        width = min(_SEARCH_WIDTH, camera.width)
        small = camera.resized(width, max(1, round(camera.height * width / camera.width)))
        seen = render_view(scene, small, mode).ids.numpy()
        for segment in np.unique(seen):
            if int(segment) in found:
                found[int(segment)].append(_sighting(frame.stem, seen == segment))
        progress("Looking for objects", number + 1, len(frames))
    return {segment: sorted(sightings, key=lambda s: (-s.score, s.view))[:most] for segment, sightings in found.items()}


def _sighting(view: str, mask: np.ndarray) -> Sighting:
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cut = top == 0 or left == 0 or bottom == height or right == width
    score = float(np.sqrt(mask.sum())) * (_CUT if cut else 1.0)
    return Sighting(view, (left / width, top / height, right / width, bottom / height), score)


def cut_out(picture: np.ndarray, sighting: Sighting) -> np.ndarray:
    """The part of a picture ``[H, W, 3]`` that shows an object, with a margin, as square as the picture allows."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (v * s for v, s in zip(sighting.box, (width, height, width, height)))
    side = max(right - left, bottom - top) * (1 + 2 * _MARGIN)
    spans = []
    for low, high, size in ((left, right, width), (top, bottom, height)):
        length = min(size, max(side, _LEAST))
        start = min(max(0.0, 0.5 * (low + high - length)), size - length)
        spans.append(slice(int(start), max(int(start) + 1, int(np.ceil(start + length)))))
    return picture[spans[1], spans[0]]


def crops_of(
    sightings: Mapping[int, Sequence[Sighting]],
    frames: Sequence[Frame],
    scene: LabelledScene | None = None,
    mode: RasterizeMode = "classic",
) -> dict[int, list[np.ndarray]]:
    """The pictures of sightings, from the photos, or rendered where ``scene`` is given; each view is opened once."""
    wanted: dict[str, list[tuple[int, int]]] = {}
    for segment, some in sightings.items():
        for place, sighting in enumerate(some):
            wanted.setdefault(sighting.view, []).append((segment, place))
    crops: dict[int, dict[int, np.ndarray]] = {segment: {} for segment in sightings}
    for frame in frames:
        if frame.stem not in wanted:
            continue
        picture = frame.read_image() if scene is None else _rendered(scene, frame, mode)
        for segment, place in wanted[frame.stem]:
            crops[segment][place] = np.ascontiguousarray(cut_out(picture, sightings[segment][place]))
    return {segment: [some[place] for place in sorted(some)] for segment, some in crops.items()}


@torch.no_grad()
def _rendered(scene: LabelledScene, frame: Frame, mode: RasterizeMode) -> np.ndarray:
    return render_view(scene, frame.camera, mode).rgb_bytes
