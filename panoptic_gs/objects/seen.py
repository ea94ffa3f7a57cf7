# SPDX-License-Identifier: Apache-2.0
"""Which points of a scene lie on a surface that its views show, and which float before it or are buried behind it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.objects.rendered_views import SurfaceRenderer, facing, pixel_rays
from panoptic_gs.uplift import LabelledScene

_WIDTH = 320  # of the depth maps; a pixel of them is the unit in which points lie off a surface
_VIEWS = 40
_OFF = 1.5  # standard deviation of what still is on the surface, in pixels
_BEFORE = 1.5  # of these standard deviations before the surface from which a point hangs in the air
_DOUBT = 1.0  # views that speak against every point from the start
_NEAR = 0.05  # world units before a camera in which it sees nothing
_UNMOVED = 0.9  # of an object's Gaussians that must lie where the views saw them
_CELL = 1.5  # usual pixels, as wide as they are on the surfaces that they show


class SeenView(NamedTuple):
    """What a view shows, ``[H, W]`` each."""

    depth: np.ndarray
    """Along z; 0 where it shows no surface."""
    cosine: np.ndarray
    """Between ray and surface; 0 on outlines and where there is no surface."""
    gaussian: np.ndarray
    """The Gaussian that is the surface, -1 where there is none."""


class SurfaceCells(NamedTuple):
    """All pixels of all views, in cells of space that are about as wide as they."""

    gaussian: np.ndarray
    """``[S]`` the Gaussian that each pixel shows."""
    weight: np.ndarray
    """``[S]`` what the pixel counts: the cosine between its ray and the surface."""
    cell: np.ndarray
    """``[S]`` the cell that it lies in."""
    mass: np.ndarray
    """``[C]`` sum of the weights in each cell."""
    tree: KDTree
    """Of the cells' middles."""
    size: float
    """The edge length of a cell in world units."""


class SeenSurfaces:
    """The surfaces of a scene as some of its views show them, rendered when they are first asked for.

    Gaussians lie before and behind the surface that they draw, by more where training kept their opacities small. The
    depth at which a ray is half absorbed does not. A view that shows a point on its surface speaks for it; one that
    shows it before the surface, in free air, against it; one that shows it behind says nothing. Distances are those
    along the ray times its cosine with the surface, so a grazing view is no witness of a small one.

    Args:
        scene: its Gaussians. Labels do not matter, so these surfaces hold for every labelling of them.
        cameras: of the views; at most forty of them, evenly chosen.
        rasterize_mode: how the Gaussians were trained.
    """

    def __init__(
        self, scene: LabelledScene, cameras: Sequence[Camera], rasterize_mode: RasterizeMode = "classic"
    ) -> None:
        chosen = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), _VIEWS)).astype(int)) if cameras else []
        self._cameras = [_small(cameras[number]) for number in chosen]
        self._scene = scene
        self._mode: RasterizeMode = rasterize_mode
        self._views: list[SeenView] | None = None
        self._cells: SurfaceCells | None = None
        self._places: np.ndarray | None = None
        self._lock = threading.Lock()

    def share(self, points: np.ndarray, means: np.ndarray) -> np.ndarray | None:
        """How far the views are for each point ``[P]``, 0 … 1: on / (on + before + 1), counted in views.

        None where they say nothing of these points: there are no views, or the Gaussians were moved since.

        Args:
            points: ``[P, 3]``.
            means: ``[M, 3]`` float32 centres of the Gaussians whose points these are.
        """
        if not self.knows(means):
            return None
        on, before = np.zeros(len(points)), np.zeros(len(points))
        for camera, (depth, cosine, _) in zip(self._cameras, self._rendered()):
            pose, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
            local = points @ (K @ pose[:3, :3]).T + K @ pose[:3, 3]
            z = local[:, 2]
            ahead = np.flatnonzero(z > _NEAR)
            column, row = np.floor(local[ahead, :2] / z[ahead, None]).T
            inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
            ahead, at = ahead[inside], (row[inside].astype(int), column[inside].astype(int))
            weight = cosine[at]
            off = (z[ahead] - depth[at]) * weight / (_OFF * z[ahead] / K[0, 0])
            on[ahead] += weight * np.exp(-0.5 * off**2)
            before[ahead] += weight * (off < -_BEFORE)
        return on / (on + before + _DOUBT)

    def cells(self) -> SurfaceCells | None:
        """The views' pixels in cells of space; None where no view shows a surface."""
        views = self._rendered()
        with self._lock:
            if self._cells is None and any((view.cosine > 0).any() for view in views):
                self._cells = _in_cells(self._cameras, views)
            return self._cells

    def labels_as_seen(self, means: np.ndarray, segment_of: np.ndarray) -> np.ndarray:
        """The labels ``[N]`` of the Gaussians that the views show, 0 for what is not there any more.

        Args:
            means: ``[M, 3]`` float32 centres of the Gaussians as they are now.
            segment_of: ``[M]`` labels of these.
        """
        shown = self._scene.splats.means.numpy()
        if shown.shape == means.shape and np.array_equal(shown, means):
            return segment_of
        places = _as_one(means)
        order = np.argsort(places)
        wanted = _as_one(shown)
        at = order[np.searchsorted(places, wanted, sorter=order).clip(max=len(places) - 1)]
        return np.where(places[at] == wanted, segment_of[at], 0)

    def _rendered(self) -> list[SeenView]:
        with self._lock:
            if self._views is None:
                renderer = SurfaceRenderer(self._scene, self._mode)
                self._views = []
                for camera in self._cameras:
                    depth, gaussian = renderer.surface(camera)
                    self._views.append(SeenView(depth.numpy(), facing(camera, depth).numpy(), gaussian.numpy()))
            return self._views

    def knows(self, means: np.ndarray) -> bool:
        """Whether there are views, and most of the Gaussians at ``means [M, 3]`` float32 lie where these saw them."""
        if not self._cameras:
            return False
        with self._lock:
            if self._places is None:
                self._places = np.sort(_as_one(self._scene.splats.means.numpy()))
        wanted = _as_one(means)
        at = np.searchsorted(self._places, wanted).clip(max=len(self._places) - 1)
        return bool((self._places[at] == wanted).mean() >= _UNMOVED)


def _in_cells(cameras: Sequence[Camera], views: Sequence[SeenView]) -> SurfaceCells:
    points, gaussians, weights, widths = [], [], [], []
    for camera, view in zip(cameras, views):
        shown = (view.cosine > 0) & (view.gaussian >= 0)
        depth, pose = view.depth[shown], camera.viewmat.numpy()
        local = pixel_rays(camera).numpy()[shown] * depth[:, None]
        points.append((local - pose[:3, 3]) @ pose[:3, :3])
        gaussians.append(view.gaussian[shown])
        weights.append(view.cosine[shown])
        widths.append(depth / float(camera.K[0, 0]))
    point, weight = np.concatenate(points), np.concatenate(weights)
    size = _CELL * float(np.median(np.concatenate(widths)))
    index = np.floor((point - point.min(axis=0)) / size).astype(np.int64)
    dims = index.max(axis=0) + 1
    cell = np.unique((index[:, 0] * dims[1] + index[:, 1]) * dims[2] + index[:, 2], return_inverse=True)[1].ravel()
    mass = np.bincount(cell, weight)
    middles = np.stack([np.bincount(cell, weight * point[:, axis]) for axis in range(3)], axis=1) / mass[:, None]
    return SurfaceCells(
        np.concatenate(gaussians), weight, cell.astype(np.int32), mass, KDTree(middles, balanced_tree=False), size
    )


def _small(camera: Camera) -> Camera:
    if camera.width <= _WIDTH:
        return camera.to("cpu")
    return camera.resized(_WIDTH, max(1, round(_WIDTH * camera.height / camera.width))).to("cpu")


def _as_one(means: np.ndarray) -> np.ndarray:
    """The positions ``[N, 3]`` as one sortable number each ``[N]``; two places hardly ever share one."""
    bits = np.ascontiguousarray(means, dtype=np.float32).view(np.uint32).astype(np.uint64)
    one = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    for axis in (1, 2):
        one = ((one >> np.uint64(29)) ^ one ^ bits[:, axis]) * np.uint64(0xBF58476D1CE4E5B9)
    return one
