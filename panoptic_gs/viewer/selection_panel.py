# SPDX-License-Identifier: Apache-2.0
"""The panel that tells what is selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from panoptic_gs.objects.survey import said_size
from panoptic_gs.viewer.gui_events import button_row, by_visitor
from panoptic_gs.viewer.markdown import plain, unmarked

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page

_NOTHING = "– none –"


class SelectionPanel:
    """Choose an object by name, read about it, hide it, show it alone, go to it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        gui = page.server.gui
        self._ids: dict[str, int] = {}
        self._choice = gui.add_dropdown("Object", (_NOTHING,), hint="Click an object in the scene, or choose it here.")
        self._about = gui.add_markdown("")
        self._actions = button_row(gui, "Selected", ("Hide", "Isolate", "Go to", "Clear"))
        self._show_all = gui.add_button("Show all objects")

        @self._choice.on_update
        @by_visitor
        def _(event: Any) -> None:
            with page.change() as session:
                session.select(self._ids.get(self._choice.value, 0))

        @self._actions.on_click
        def _(event: Any) -> None:
            self._act(self._actions.value, event.client)

        @self._show_all.on_click
        def _(event: Any) -> None:
            with page.change() as session:
                session.show_all()

    def refresh(self) -> None:
        """Show the session's selection."""
        session = self._page.session
        self._ids = {unmarked(row.title): row.id for row in session.table.search("")}
        options = (_NOTHING, *self._ids)
        if tuple(self._choice.options) != options:
            self._choice.options = options
        row = session.table.get(session.look.selected)
        value = _NOTHING if row is None else unmarked(row.title)
        if self._choice.value != value:
            self._choice.value = value
        self._about.content = "Click an object in the scene." if row is None else self._describe(row.id)
        self._actions.visible = row is not None
        self._show_all.visible = bool(session.look.hidden) or not session.look.unlabelled

    def _describe(self, segment_id: int) -> str:
        session = self._page.session
        row = session.table[segment_id]
        box = session.table.box(segment_id, self._page.up)
        size = "–" if box is None else said_size(box, session.meters_per_unit)
        score = "–" if row.segment.score is None else f"{row.segment.score:.2f}"
        kind = "thing" if row.category.isthing else "stuff"
        hidden = " (hidden)" if segment_id in session.look.hidden else ""
        return (
            f"**{plain(row.name)}**{hidden}, id {row.id}  \n"
            f"category: {plain(row.category.name)} ({kind})  \n"
            f"score {score}, mean confidence {row.confidence:.2f}  \n"
            f"{row.count:,} Gaussians  \n"
            f"size {size}"
        )

    def _act(self, action: str, client: Any) -> None:
        page = self._page
        if action == "Go to":
            if selected := page.session.look.selected:
                with page.change(client):
                    page.go_to(client, selected)
            return
        with page.change(client) as session:
            selected = session.look.selected
            if not selected:
                return
            if action == "Hide":
                session.look.hidden ^= {selected}
            elif action == "Isolate":
                session.show_only({selected})
            elif action == "Clear":
                session.select(0)
