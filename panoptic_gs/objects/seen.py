# SPDX-License-Identifier: Apache-2.0
"""Which points of a scene lie on a surface that its views show, and which float before it or are buried behind it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.objects.rendered_views import SurfaceRenderer, facing
from panoptic_gs.uplift import LabelledScene

_WIDTH = 320  # of the depth maps; a pixel of them is the unit in which points lie off a surface
_VIEWS = 40
_OFF = 1.5  # standard deviation of what still is on the surface, in pixels
_BEFORE = 1.5  # of these standard deviations before the surface from which a point hangs in the air
_DOUBT = 1.0  # views that speak against every point from the start
_NEAR = 0.05  # world units before a camera in which it sees nothing
_UNMOVED = 0.9  # of an object's Gaussians that must lie where the views saw them


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
        self._maps: list[tuple[np.ndarray, np.ndarray]] | None = None
        self._places: np.ndarray | None = None
        self._lock = threading.Lock()

    def share(self, points: np.ndarray, means: np.ndarray) -> np.ndarray | None:
        """How far the views are for each point ``[P]``, 0 … 1: on / (on + before + 1), counted in views.

        None where they say nothing of these points: there are no views, or the Gaussians were moved since.

        Args:
            points: ``[P, 3]``.
            means: ``[M, 3]`` float32 centres of the Gaussians whose points these are.
        """
        if not self._cameras or not self._unmoved(means):
            return None
        on, before = np.zeros(len(points)), np.zeros(len(points))
        for camera, (depth, cosine) in zip(self._cameras, self._rendered()):
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

    def _rendered(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Depth ``[H, W]`` and the cosine ``[H, W]`` of ray and surface of each view; 0 where it shows none."""
        with self._lock:
            if self._maps is None:
                renderer = SurfaceRenderer(self._scene, self._mode)
                depths = [renderer.surface_depth(camera) for camera in self._cameras]
                self._maps = [(d.numpy(), facing(c, d).numpy()) for c, d in zip(self._cameras, depths)]
            return self._maps

    def _unmoved(self, means: np.ndarray) -> bool:
        """Whether most of these Gaussians lie where the views saw them."""
        with self._lock:
            if self._places is None:
                self._places = np.sort(_as_one(self._scene.splats.means.numpy()))
        wanted = _as_one(means)
        at = np.searchsorted(self._places, wanted).clip(max=len(self._places) - 1)
        return bool((self._places[at] == wanted).mean() >= _UNMOVED)


def _small(camera: Camera) -> Camera:
    if camera.width <= _WIDTH:
        return camera.to("cpu")
    return camera.resized(_WIDTH, max(1, round(_WIDTH * camera.height / camera.width))).to("cpu")


def _as_one(means: np.ndarray) -> np.ndarray:
    """The positions ``[N, 3]`` as one sortable value each ``[N]``."""
    return np.ascontiguousarray(means, dtype=np.float32).view([("x", "f4"), ("y", "f4"), ("z", "f4")])[:, 0]
