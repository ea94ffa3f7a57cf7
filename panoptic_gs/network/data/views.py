# SPDX-License-Identifier: Apache-2.0
"""Some views of one scene with their truth: what every source of training data gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panoptic_gs.errors import InputError


@dataclass(frozen=True, eq=False)
class SceneViews:
    """N views of one scene, all of one size.

    Args:
        images: ``[N, H, W, 3]`` uint8, RGB.
        depth: ``[N, H, W]`` float32 along each camera's z axis; 0 where unknown.
        segments: ``[N, H, W]`` integer scene-wide segment ids; 0 is void.
        categories: ``[N, H, W]`` integer index into `classes`; anything where the segment is 0.
        viewmats: ``[N, 4, 4]`` float64, world to camera, OpenCV axes.
        Ks: ``[N, 3, 3]`` float64 in pixels.
        classes: the names of the classes that the truth tells apart.

    Raises:
        InputError: shapes that do not fit each other.
    """

    images: np.ndarray
    depth: np.ndarray
    segments: np.ndarray
    categories: np.ndarray
    viewmats: np.ndarray
    Ks: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        views, height, width = self.depth.shape if self.depth.ndim == 3 else (0, 0, 0)
        expected = {
            "images": (views, height, width, 3),
            "depth": (views, height, width),
            "segments": (views, height, width),
            "categories": (views, height, width),
            "viewmats": (views, 4, 4),
            "Ks": (views, 3, 3),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape or not views:
                raise InputError(
                    f"SceneViews.{name}", f"shape {list(getattr(self, name).shape)}", f"{list(shape)}",
                    "One entry for each view, all of one size.",
                )  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, views: Sequence[int]) -> SceneViews:
        """Some of the views, in the order of their indices."""
        index = np.asarray(views, np.int64)
        return SceneViews(
            self.images[index], self.depth[index], self.segments[index], self.categories[index],
            self.viewmats[index], self.Ks[index], self.classes,
        )  # fmt: skip

    def mirrored(self) -> SceneViews:
        """The mirror image of the scene, seen in a mirror: left and right change places in every view.

        A camera's x axis and the world's change sign together, so rotations stay rotations.
        """
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        Ks = self.Ks.copy()
        Ks[:, 0, 2] = self.images.shape[2] - Ks[:, 0, 2]
        return SceneViews(
            self.images[:, :, ::-1], self.depth[:, :, ::-1], self.segments[:, :, ::-1], self.categories[:, :, ::-1],
            flip @ self.viewmats @ flip, Ks, self.classes,
        )  # fmt: skip
