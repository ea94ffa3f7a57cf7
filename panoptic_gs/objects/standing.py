# SPDX-License-Identifier: Apache-2.0
"""What is a floor, and boxes that go on to it where the thin lower end of an object does."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from panoptic_gs.objects.boxes import Box
from panoptic_gs.panoptic import Category

_FLOORS = {"floor", "flooring", "rug", "carpet", "ground", "mat", "doormat"}
_MOST = 0.45  # of an object's height over the floor that its box may lack where few Gaussians say so
_FEW = 5  # Gaussians that say nothing
_LAST = 1 / 3  # of what is lacking, next to the floor, in which some of the object must be
_MARGIN = 0.05  # of a box's plan, around it


def is_floor(category: Category) -> bool:
    """Whether things stand on what is of this category: its name has a word for it, the last one where it is a thing.

    So `floor-wood` is a floor, a `floor lamp`, a `mattress` and the `background` are none.
    """
    words = re.findall(r"[a-z]+", category.name.casefold())
    return not _FLOORS.isdisjoint(words[-1:] if category.isthing else words)


def down_to_floor(box: Box, points: np.ndarray, floor: np.ndarray) -> Box:
    """The box, down to the floor where the object goes on to it.

    Legs under a table are seen in few views, so what is there of them is as thin as haze, and was trimmed. Haze ends
    somewhere: where Gaussians of the object lie below its box and in the lowest third of what is lacking, too, it
    stands on the floor. A box that lacks more than it has, as of a table's top alone, goes down where they lie in each
    third.

    Args:
        box: upright, its third axis is up.
        points: ``[N, 3]`` of all the object's Gaussians.
        floor: ``[F, 3]`` of the floor's.
    """
    up = box.axes[:, 2]
    low, high = float(box.center @ up) - 0.5 * box.size[2], float(box.center @ up) + 0.5 * box.size[2]
    around = np.abs((floor - box.center) @ box.axes[:, :2]) <= 0.5 * box.size[:2] + float(np.linalg.norm(box.size))
    if around.all(axis=1).sum() < _FEW:
        return box
    ground = float(np.median(floor[around.all(axis=1)] @ up))
    lacking = low - ground
    if not lacking > 0:
        return box
    inside = (np.abs((points - box.center) @ box.axes[:, :2]) <= (0.5 + _MARGIN) * box.size[:2]).all(axis=1)
    heights = (points[inside] @ up - ground) / lacking  # 0 on the floor, 1 where the box ends
    below = heights[(heights < 1) & (heights > -_LAST)]
    short = lacking <= _MOST * (high - ground)
    ends = short and len(below) >= _FEW and (below < _LAST).sum() >= _FEW - 2
    throughout = np.histogram(heights, 3, (0, 1))[0].min() >= _FEW
    if not (ends or throughout):
        return box
    return replace(box, center=box.center - 0.5 * lacking * up, size=box.size + lacking * np.array([0.0, 0.0, 1.0]))
