# SPDX-License-Identifier: Apache-2.0
"""The panel with the scene's cameras, their photos and predicted maps."""

from __future__ import annotations

import math
import time
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import viser
import viser.transforms

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene, resize_nearest
from panoptic_gs.scene import Frame
from panoptic_gs.viewer.appearance import label_colors
from panoptic_gs.viewer.gui_events import by_visitor

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page

MOST_CAMERAS = 60
"""Cameras that are shown, evenly chosen; each carries a picture."""

_PARAMETERS = signature(viser.SceneApi.add_camera_frustum).parameters
_THIN = {"thickness": 1.0, "thickness_units": "screen"} if "thickness_units" in _PARAMETERS else {}
"""Lines of one pixel. viser 0.2 makes rods of them, as thick as beams nearby; there they are drawn as lines."""
_OUTLINE = (0, 1, 2, 0, 3, 4, 0, 1, 4, 3, 2)  # of the tip and the four corners in turn, along every edge
_GREY = (200, 200, 205)
_WIDTH = 256  # of the pictures, in pixels


class CameraPanel:
    """Show the cameras as frusta; a click on one looks through it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.shown = False
        """Whether frusta are in the scene."""
        self._frusta: list[Any] = []
        self._outlines: list[Any] = []
        self._labelling: PanopticScene | None = None
        gui = page.server.gui
        if page.data is None:
            gui.add_markdown("Start with `--data SCENE`, the folder with photos and cameras, to see them here.")
            return
        frames = page.data.frames
        step = max(1, math.ceil(len(frames) / MOST_CAMERAS))
        self._frames = frames[::step]
        every = f", {len(self._frames)} of them shown" if step > 1 else ""
        gui.add_markdown(f"{len(frames)} cameras{every}. Click one to look through it.")
        self._show = gui.add_checkbox("Show cameras", False)
        self._picture = gui.add_dropdown("Picture", ("photo", "predicted map", "none"))
        self._scale = gui.add_slider("Size", min=0.05, max=1.0, step=0.05, initial_value=0.25)
        for control in (self._show, self._picture, self._scale):
            control.on_update(by_visitor(self._changed))

    def _changed(self, event: Any) -> None:
        page = self._page
        try:
            with page.lock:
                self._draw()
        except InputError as error:
            page.tell(event.client, f"Cannot show this: {error.found}", error.mend, "red")

    def _draw(self) -> None:
        for part in (*self._frusta, *self._outlines):
            part.remove()
        self._frusta, self._outlines = [], []
        self.shown = bool(self._show.value)
        if self.shown:
            with self._page.server.atomic():
                self._frusta = [self._add(frame) for frame in self._frames]

    def _add(self, frame: Frame) -> Any:
        camera = frame.camera
        pose = np.linalg.inv(camera.viewmat.double().numpy())
        name, scale, image = f"/cameras/{self._frames.index(frame)}", float(self._scale.value), self._image(frame)
        scene: Any = self._page.server.scene
        fov, aspect = 2 * math.atan(0.5 * camera.height / float(camera.K[1, 1])), camera.width / camera.height
        wxyz = tuple(map(float, viser.transforms.SO3.from_matrix(pose[:3, :3]).wxyz))
        if _THIN or image is None:
            frustum = scene.add_camera_frustum(
                name, fov=fov, aspect=aspect, scale=scale, color=_GREY, **_THIN, image=image, wxyz=wxyz,
                position=tuple(map(float, pose[:3, 3])),
            )  # fmt: skip
        else:
            half = np.array([math.tan(0.5 * fov) * aspect, math.tan(0.5 * fov), 1.0])
            half *= scale / np.cbrt(half.prod() / 3)  # as viser's own: frusta of one volume
            corners = np.array([[0, 0, 0], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]) * half
            points = corners[list(_OUTLINE)] @ pose[:3, :3].T + pose[:3, 3]
            self._outlines.append(scene.add_spline_catmull_rom(
                f"{name}/outline", points.astype(np.float32), color=_GREY, line_width=1.0, segments=len(points) - 1,
                tension=0.0,
            ))  # fmt: skip
            middle = pose[:3, :3] @ [0.0, 0.0, half[2]] + pose[:3, 3]
            frustum = scene.add_image(
                f"{name}/picture", image, render_width=float(2 * half[0]), render_height=float(2 * half[1]), wxyz=wxyz,
                position=tuple(map(float, middle)),
            )  # fmt: skip

        @frustum.on_click
        def _(event: Any) -> None:
            self._page.clicked_camera = time.monotonic()
            look_through(event.client, pose, 2 * math.atan(0.5 * camera.height / float(camera.K[1, 1])))

        return frustum

    def _image(self, frame: Frame) -> np.ndarray | None:
        height = max(1, round(_WIDTH * frame.camera.height / frame.camera.width))
        if self._picture.value == "photo":
            photo = frame.read_image()
            step = max(1, photo.shape[1] // _WIDTH)
            return np.ascontiguousarray(photo[::step, ::step])
        if self._picture.value == "predicted map":
            labelling, look = self._predictions(), self._page.session.look
            if frame.stem in labelling.maps:
                ids = resize_nearest(frame.fit_labels(labelling.maps[frame.stem]), _WIDTH, height)
                known = [segment.id for segment in labelling.segments]
                own = self._page.session.derived.colors
                colors = label_colors(ids.ravel(), known, look.palette, look.shuffle, own)
                return colors.reshape(*ids.shape, 3)
        return None

    def _predictions(self) -> PanopticScene:
        assert self._page.data is not None
        if self._labelling is None:
            self._labelling = self._page.data.load_panoptic()
        return self._labelling


def look_through(client: Any, pose: np.ndarray, fov_y: float) -> None:
    """Put a client's camera where a camera with this pose ``[4, 4]`` (to the world, OpenCV axes) is."""
    with client.atomic():
        client.camera.position = tuple(map(float, pose[:3, 3]))
        client.camera.look_at = tuple(map(float, pose[:3, 3] + pose[:3, 2]))
        client.camera.fov = fov_y
