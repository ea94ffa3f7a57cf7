# SPDX-License-Identifier: Apache-2.0
"""What was changed in a map, region by region, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import ndimage

Reason = Literal["void filled", "outline moved", "object swallowed", "part relabelled"]

OUTLINE = 3
"""A region of which no pixel is further than this from its outline, in pixels, is an outline that moved."""


@dataclass(frozen=True)
class Change:
    """A connected region of one map whose label was changed, because the other views show another one there."""

    reason: Reason
    """``void filled``: it had no label. ``outline moved``: a strip at most 2 × :data:`OUTLINE` pixels wide. ``object
    swallowed``: the new label was nowhere else in the map. ``part relabelled``: anything else."""
    old: int
    """Its segment id before, 0 = void."""
    new: int
    """Its segment id now."""
    area: int
    """In pixels."""
    box: tuple[int, int, int, int]
    """x, y, width and height in pixels."""
    share: float
    """The mean share of the region's blending weight that votes for the new label by all other views, 0 … 1."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"reason": self.reason, "old": self.old, "new": self.new, "area": self.area, "box": list(self.box),
                "share": round(self.share, 4)}  # fmt: skip


def changes_between(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> list[Change]:
    """The changes from one map to another, the largest first.

    Args:
        old: ``[H, W]`` ids before.
        new: ``[H, W]`` ids after.
        share: ``[H, W]`` share of the other views' votes that the new id has in each pixel.
    """
    changed = old != new
    pairs, kind = np.unique(np.stack([old[changed], new[changed]]), axis=1, return_inverse=True)
    kinds = np.zeros(old.shape, dtype=np.int64)
    kinds[changed] = kind.reshape(-1) + 1
    there_before = set(np.unique(old).tolist())
    found: list[Change] = []
    for number, box in enumerate(ndimage.find_objects(kinds)):
        before, after = (int(value) for value in pairs[:, number])
        regions = np.zeros(kinds[box].shape, dtype=np.int32)
        ndimage.label(kinds[box] == number + 1, output=regions)
        for region, (rows, columns) in enumerate(ndimage.find_objects(regions), start=1):
            mask = regions[rows, columns] == region
            y, x = box[0].start + rows.start, box[1].start + columns.start
            height, width = mask.shape
            reason = _reason(before, after not in there_before, mask)
            mean = float(share[y : y + height, x : x + width][mask].mean())
            found.append(Change(reason, before, after, int(mask.sum()), (x, y, width, height), mean))
    return sorted(found, key=lambda change: (-change.area, change.box, change.old, change.new))


def _reason(old: int, is_new: bool, mask: np.ndarray) -> Reason:
    if old == 0:
        return "void filled"
    if is_new:
        return "object swallowed"
    padded = np.pad(mask, 1)
    return (
        "outline moved" if np.max(np.asarray(ndimage.distance_transform_edt(padded))) <= OUTLINE else "part relabelled"
    )
