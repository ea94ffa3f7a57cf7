# SPDX-License-Identifier: Apache-2.0
"""The list of objects: search it, tick what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from panoptic_gs.viewer.gui_events import button_row, by_visitor
from panoptic_gs.viewer.markdown import unmarked

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page

LONGEST_LIST = 60
"""Objects that are listed at once; a search narrows them down."""


class ObjectPanel:
    """A search field and one tick box an object."""

    def __init__(self, page: Page) -> None:
        self._page = page
        gui = page.server.gui
        self._search = gui.add_text("Search", "", hint="Name, category or id")
        self._found = gui.add_markdown("")
        self._actions = button_row(gui, "All found", ("Show", "Hide", "Only"))
        self._folder = gui.add_folder("Shown")
        self._listed: list[tuple[int, str]] = []
        self._boxes: dict[int, Any] = {}

        @self._search.on_update
        @by_visitor
        def _(event: Any) -> None:
            page.refresh()

        @self._actions.on_click
        def _(event: Any) -> None:
            with page.change(event.client) as session:
                found = {row.id for row in session.table.search(self._search.value)}
                if self._actions.value == "Show":
                    session.look.hidden -= found
                elif self._actions.value == "Hide":
                    session.look.hidden |= found
                else:
                    session.show_only(found)

    def refresh(self) -> None:
        """List what the search finds."""
        session = self._page.session
        found = session.table.search(self._search.value)
        shown = found[:LONGEST_LIST]
        more = f"; the first {len(shown)} are listed, search to narrow them down" if len(found) > len(shown) else ""
        self._found.content = f"{len(found)} of {len(session.table.search(''))} objects{more}"
        listed = [(row.id, unmarked(row.title)) for row in shown]
        if listed != self._listed:
            self._list(listed)
        for segment_id, box in self._boxes.items():
            visible = segment_id not in session.look.hidden
            if box.value != visible:
                box.value = visible

    def _list(self, listed: list[tuple[int, str]]) -> None:
        for box in self._boxes.values():
            box.remove()
        self._listed, self._boxes = listed, {}
        with self._folder:
            for segment_id, title in listed:
                self._boxes[segment_id] = self._tick_box(segment_id, title)

    def _tick_box(self, segment_id: int, title: str) -> Any:
        page = self._page
        box = page.server.gui.add_checkbox(title, segment_id not in page.session.look.hidden)

        @box.on_update
        @by_visitor
        def _(event: Any) -> None:
            with page.change() as session:
                (session.look.hidden.discard if box.value else session.look.hidden.add)(segment_id)

        return box
