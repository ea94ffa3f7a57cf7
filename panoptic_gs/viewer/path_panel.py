# SPDX-License-Identifier: Apache-2.0
"""The panel for a path of key views, and the video along it."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.export import VideoWriter, interpolate_cameras, render_path, side_by_side
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.viewer.gui_events import button_row, by_visitor
from panoptic_gs.viewer.outlines import screen_camera

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page

_SIZES = {"640 × 360": (640, 360), "960 × 540": (960, 540), "1280 × 720": (1280, 720), "1920 × 1080": (1920, 1080)}
_CONTENTS = ("colour", "panoptic", "side by side")
_RATE = 24
_MOST_VIEWS = 100
_TOLD_EVERY = 5  # percent


class PathPanel:
    """Key views one after the other, and a smooth video through them that the visitor's browser downloads."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.views: list[tuple[np.ndarray, np.ndarray, float]] = []
        """Orientation (wxyz, camera to world, OpenCV axes), position and vertical field of view of each key view."""
        self._busy = threading.Lock()
        gui = page.server.gui
        self._told = gui.add_markdown("")
        self._buttons = button_row(gui, "Key views", ("Add this view", "Remove last"))
        self._seconds = gui.add_slider("Seconds a leg", min=0.5, max=10.0, step=0.5, initial_value=2.0)
        self._content = gui.add_dropdown("Video of", _CONTENTS, initial_value="side by side")
        self._size = gui.add_dropdown("Size", tuple(_SIZES), initial_value="960 × 540")
        self._make = gui.add_button("Make a video", hint="Rendered here, with what is hidden left out, and downloaded.")
        self._buttons.on_click(by_visitor(self._pressed))
        self._make.on_click(by_visitor(self._made))
        self._tell()

    def _tell(self) -> None:
        count = len(self.views)
        self._told.content = f"A path of {count} key view{'s' * (count != 1)}." + (
            "" if count > 1 else " A video needs two or more: go somewhere, add the view, go on."
        )

    def _pressed(self, event: Any) -> None:
        with self._page.lock:
            if self._buttons.value == "Remove last":
                del self.views[-1:]
            elif len(self.views) >= _MOST_VIEWS:
                self._page.tell(event.client, "Cannot do this", f"A path has at most {_MOST_VIEWS} key views.", "red")
            else:
                camera = event.client.camera
                self.views.append((np.array(camera.wxyz), np.array(camera.position), float(camera.fov)))
            self._tell()

    def path(self, size: tuple[int, int], seconds: float) -> dict[str, Camera]:
        """The cameras of all frames.

        Args:
            size: width and height of the video.
            seconds: from one key view to the next.

        Raises:
            InputError: fewer than two key views.
        """
        if len(self.views) < 2:
            raise InputError("path", f"{len(self.views)} key views", "two or more", "Add views to the path.")
        return interpolate_cameras([screen_camera(*view, size) for view in self.views], max(1, round(_RATE * seconds)))

    def _made(self, event: Any) -> None:
        page, client = self._page, event.client
        if not self._busy.acquire(blocking=False):
            page.tell(client, "A video is being made", "Wait until it is there.", "yellow")
            return
        try:
            with page.lock:
                path = self.path(_SIZES[self._size.value], float(self._seconds.value))
                session = page.session
                visible = torch.from_numpy(session.visible())
                scene = session.scene
                shown = LabelledScene(scene.splats.subset(visible), scene.labels.subset(visible), scene.labelling)
                content, mode = self._content.value, session.opened.rasterize_mode
        except InputError as error:
            self._busy.release()
            page.tell(client, f"Cannot do this: {error.found}", f"Expected {error.expected}. {error.mend}", "red")
            return
        work = (client, shown, path, content, mode)
        threading.Thread(target=self._film, args=work, daemon=True, name="video").start()

    def _film(self, client: Any, scene: LabelledScene, path: dict[str, Camera], content: str, mode: Any) -> None:
        page, told = self._page, 0
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "path.mp4"
                with VideoWriter(file, _RATE) as video:
                    for number, view in enumerate(render_path(scene, path, mode), start=1):
                        pictures = {"colour": view.rgb, "panoptic": view.panoptic}
                        video.add(pictures[content] if content in pictures else side_by_side(view))
                        percent = 100 * number // len(path)
                        if percent >= told + _TOLD_EVERY:
                            told = percent
                            self._told.content = f"Frame {number} of {len(path)}."
                client.send_file_download("path.mp4", file.read_bytes())
            page.tell(client, "The video is made", "The browser has it as path.mp4.", "green")
        except (InputError, OSError, RuntimeError) as error:
            page.tell(client, "No video", str(error), "red")
        finally:
            self._busy.release()
            with page.lock:
                self._tell()
