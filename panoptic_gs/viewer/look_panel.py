# SPDX-License-Identifier: Apache-2.0
"""The panel for palettes and for what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from panoptic_gs.viewer.appearance import PALETTES, SHOWN
from panoptic_gs.viewer.gui_events import by_visitor

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page


class LookPanel:
    """Confidence filter, unlabelled Gaussians, palette, shading."""

    def __init__(self, page: Page) -> None:
        self._page = page
        gui, look = page.server.gui, page.session.look
        self._shown: Any = None
        if page.session.mesh is not None:
            self._shown = gui.add_dropdown("Show", SHOWN, initial_value=look.shown,
                                           hint="The Gaussians, the mesh that was made of them, or both.")  # fmt: skip
            self._shown.on_update(by_visitor(self._changed))
        self._confidence = gui.add_slider(
            "Min. confidence", min=0.0, max=1.0, step=0.01, initial_value=look.min_confidence,
            hint="Hides Gaussians whose label has a smaller share of their votes.",
        )  # fmt: skip
        self._share = gui.add_markdown("")
        self._unlabelled = gui.add_checkbox("Unlabelled", look.unlabelled, hint="Draw Gaussians without a label.")
        self._palette = gui.add_dropdown("Palette", PALETTES, initial_value=look.palette)
        self._shuffle = gui.add_button("Shuffle the colours")
        self._shaded = gui.add_checkbox("Shading", look.shaded, hint="Keep the photo's light and dark.")
        for control in (self._confidence, self._unlabelled, self._palette, self._shaded):
            control.on_update(by_visitor(self._changed))

        @self._shuffle.on_click
        def _(event: Any) -> None:
            with page.change() as session:
                session.look.palette = "shuffled"
                session.look.shuffle += 1

    def _changed(self, event: Any) -> None:
        with self._page.change() as session:
            look = session.look
            look.min_confidence = float(self._confidence.value)
            look.unlabelled = bool(self._unlabelled.value)
            look.palette = self._palette.value
            if self._shown is not None:
                look.shown = self._shown.value
            look.shaded = bool(self._shaded.value)

    def refresh(self) -> None:
        """Show the session's look."""
        session = self._page.session
        visible = session.visible()
        self._share.content = f"{int(visible.sum()):,} of {len(visible):,} Gaussians are drawn."
        pairs = ((self._shown, session.look.shown), (self._unlabelled, session.look.unlabelled),
                 (self._palette, session.look.palette))  # fmt: skip
        for control, value in pairs:
            if control is not None and control.value != value:
                control.value = value
