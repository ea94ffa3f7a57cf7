# SPDX-License-Identifier: Apache-2.0
"""Click to identify an object in nerfstudio's own viewer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from nerfstudio.viewer.viewer_elements import ViewerClick, ViewerControl

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects.picking import pick
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelledScene
from panoptic_gs.viewer.markdown import plain

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

_HINT = "Click an object to identify it."
_OFF = "Dragging turns the view."
_NO_LABELS = "No labels yet: they are uplifted while the training goes on, where the scene has panoptic maps."

Labelled = Callable[[], tuple[Splats, GaussianLabels, Labelling] | None]
"""Gives the Gaussians as they are, their labels and what these mean, or None where there are none yet."""


class ClickToIdentify(ViewerControl):
    """Tells name, category, id and Gaussian count of the object that a click meets, while its checkbox is on.

    While viser listens for clicks, its page keeps the camera from turning, so it is off at first.

    nerfstudio's viewer finds it among a model's attributes and sets it up; without a viewer it does nothing.

    Args:
        labelled: gives the model's labelled Gaussians.
        rasterize_mode: how the model renders them.
    """

    def __init__(self, labelled: Labelled, rasterize_mode: RasterizeMode = "classic") -> None:
        self._labelled = labelled
        self._rasterize_mode: RasterizeMode = rasterize_mode

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        gui = viewer.viser_server.gui
        wanted = gui.add_checkbox("Identify by click", False, order=-2.0, hint="The view cannot be turned meanwhile.")
        self._about = gui.add_markdown(_OFF, order=-1.0)

        @wanted.on_update
        def _(_: object) -> None:
            if wanted.value:
                self.register_pointer_cb("click", self._clicked)
            else:
                self.unregister_pointer_cb()
            self._about.content = _HINT if wanted.value else _OFF

    def identify(self, click: ViewerClick, fov_y: float = 1.3) -> str:
        """Markdown about the object under a click."""
        labelled = self._labelled()
        if labelled is None:
            return _NO_LABELS
        splats, labels, meaning = labelled
        found = pick(splats, labels, click.origin, click.direction, fov_y, rasterize_mode=self._rasterize_mode)
        scene = LabelledScene(splats.to("cpu"), labels.to("cpu"), meaning)
        row = ObjectTable(scene).get(found)
        if row is None:
            return f"Nothing there. {_HINT}"
        kind = "thing" if row.category.isthing else "stuff"
        return (
            f"**{plain(row.name)}**, id {row.id}  \n"
            f"category: {plain(row.category.name)} ({kind})  \n"
            f"{row.count:,} Gaussians, mean confidence {row.confidence:.2f}"
        )

    def _clicked(self, click: ViewerClick) -> None:
        # Training moves and splits Gaussians on another thread.
        with self.viewer.train_lock if self.viewer.train_lock is not None else contextlib.nullcontext():
            self._about.content = self.identify(click)
