# SPDX-License-Identifier: Apache-2.0
"""The panel that mends labels: rename, recategorise, merge, split, move, delete, undo, save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import viser.transforms

from panoptic_gs.objects.boxes import Box
from panoptic_gs.viewer.drawing import BoxNode
from panoptic_gs.viewer.gui_events import button_row
from panoptic_gs.viewer.markdown import plain, unmarked
from panoptic_gs.viewer.operations import Delete, Merge, Move, Recategorise, Rename, SplitBox

if TYPE_CHECKING:
    from panoptic_gs.objects.table import SceneObject
    from panoptic_gs.viewer.page import Page

_HANDLE = (90, 200, 255)


class EditPanel:
    """Edits of the selected object."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._shown_for: tuple[int, str, int] | None = None
        self._handle: tuple[Literal["split", "move"], int, Any] | None = None
        self._start = Box(np.zeros(3), np.eye(3), np.ones(3))
        self._lift = 0.0  # of the handle over the middle of its box
        self._node = BoxNode(page.server, "/handle_box", _HANDLE)
        gui = page.server.gui
        categories = page.session.scene.categories
        self._category_ids = {unmarked(f"{category.name} ({category.id})"): category.id for category in categories}
        self._category_titles = {category_id: title for title, category_id in self._category_ids.items()}

        self._history = button_row(gui, "All edits", ("Undo", "Redo", "Save"))
        self._state = gui.add_markdown("")
        self._hint = gui.add_markdown("Select an object to edit it.")
        self._name = gui.add_text("Name", "")
        self._rename = gui.add_button("Rename")
        self._category = gui.add_dropdown("Category", tuple(self._category_ids) or ("–",))
        self._recategorise = gui.add_button("Change category")
        self._other = gui.add_dropdown("Merge into", ("–",))
        self._merge = gui.add_button("Merge")
        self._shape = button_row(gui, "Shape", ("Split", "Move", "Delete"))
        self._size = gui.add_vector3("Box size", (1.0, 1.0, 1.0), min=(1e-4,) * 3, step=0.01, visible=False)
        confirms: dict[Literal["split", "move"], str] = {"split": "Split off what is inside", "move": "Put it here"}
        self._confirms = {
            purpose: gui.add_button(title, color="green", visible=False) for purpose, title in confirms.items()
        }
        self._cancel = gui.add_button("Cancel", color="gray", visible=False)
        self._others: dict[str, int] = {}

        self._history.on_click(self._step)
        self._rename.on_click(self._on_rename)
        self._recategorise.on_click(self._on_recategorise)
        self._merge.on_click(self._on_merge)
        self._shape.on_click(self._on_shape)
        self._size.on_update(lambda event: self._draw_handle())
        for button in self._confirms.values():
            button.on_click(self._on_confirm)
        self._cancel.on_click(lambda event: self._let_go())

    def refresh(self) -> None:
        """Show what can be done to the selected object."""
        session = self._page.session
        history = session.history
        row = session.table.get(session.look.selected)
        lines = [f"Undo: {plain(history.undoable)}"] if history.undoable else []
        lines += [f"Redo: {plain(history.redoable)}"] if history.redoable else []
        lines += [f"Unsaved; saving writes {plain(session.out.name)}/"] if history.unsaved else []
        if history.unsaved and session.journal.trouble is not None:
            lines += [f"A crash would lose them: {plain(session.journal.trouble.found)}"]
        if session.opened.thinned:
            lines = ["A sample of a larger scene cannot be edited. Start without --max-gaussians."]
        self._state.content = "  \n".join(lines) or "No edits yet."
        self._history.visible = not session.opened.thinned
        editable = row is not None and not session.opened.thinned
        self._hint.visible = row is None and not session.opened.thinned
        for control in (
            self._name,
            self._rename,
            self._category,
            self._recategorise,
            self._other,
            self._merge,
            self._shape,
        ):
            control.visible = editable
        if self._handle is not None and (row is None or row.id != self._handle[1]):
            self._let_go()
        if row is None:
            self._shown_for = None
            return
        self._others = {unmarked(o.title): o.id for o in session.table.search("") if o.id != row.id}
        options = tuple(self._others) or ("–",)
        if tuple(self._other.options) != options:
            self._other.options = options
        shown_for = (row.id, row.segment.name or "", row.category.id)
        if shown_for != self._shown_for:  # else what a visitor is typing would be overwritten
            self._shown_for = shown_for
            self._name.value = row.segment.name or ""
            self._category.value = self._category_titles[row.category.id]

    def _selected(self) -> SceneObject | None:
        session = self._page.session
        return session.table.get(session.look.selected)

    def _step(self, event: Any) -> None:
        page = self._page
        self._let_go()
        with page.change(event.client) as session:
            if self._history.value == "Save":
                folder = session.save()
                page.tell(event.client, "Saved", f"{folder}", "green")
                return
            undo = self._history.value == "Undo"
            description = session.undo() if undo else session.redo()
            title = f"{'Took back' if undo else 'Did again'}: {description}" if description else "Nothing to do"
            page.tell(event.client, title, "")

    def _on_rename(self, event: Any) -> None:
        with self._page.change(event.client) as session:
            if (row := self._selected()) and self._name.value.strip() not in (row.segment.name or "", row.name):
                session.edit(f"rename {row.title}", Rename(row.id, self._name.value))

    def _on_recategorise(self, event: Any) -> None:
        with self._page.change(event.client) as session:
            category_id = self._category_ids.get(self._category.value, 0)
            if (row := self._selected()) and row.category.id != category_id:
                session.edit(f"change the category of {row.title}", Recategorise(row.id, category_id))

    def _on_merge(self, event: Any) -> None:
        with self._page.change(event.client) as session:
            into = session.table.get(self._others.get(self._other.value, 0))
            if (row := self._selected()) and into:
                session.edit(f"merge {row.title} into {into.title}", Merge(row.id, into.id))
                session.select(into.id)

    def _on_shape(self, event: Any) -> None:
        with self._page.change(event.client) as session:
            if not (row := self._selected()):
                return
            if self._shape.value == "Delete":
                session.edit(f"delete {row.title}", Delete(row.id))
                return
            box = session.table.box(row.id, self._page.up)
            if box is not None:
                self._take_up("split" if self._shape.value == "Split" else "move", row.id, box)

    # A handle to drag: the box to split off, or the object to move

    def _take_up(self, purpose: Literal["split", "move"], segment_id: int, box: Box) -> None:
        self._let_go()
        split = purpose == "split"
        self._start = Box(box.center, box.axes, box.size * 0.5) if split else box
        wxyz = viser.transforms.SO3.from_matrix(box.axes).wxyz
        scale = max(0.5 * float(box.size.max()), 1e-3)
        # viser draws splats over a handle among them; over the box there is air.
        self._lift = 0.5 * float(self._start.size[2]) + 0.8 * scale
        position = box.center + self._lift * box.axes[:, 2]
        controls = self._page.server.scene.add_transform_controls(
            "/handle", scale=scale, disable_rotations=not split,
            position=tuple(map(float, position)), wxyz=tuple(map(float, wxyz)),
        )  # fmt: skip
        self._handle = (purpose, segment_id, controls)
        controls.on_update(lambda _: self._draw_handle())
        self._size.value = tuple(float(edge) for edge in self._start.size)
        self._size.visible = split
        self._confirms[purpose].visible = self._cancel.visible = True
        self._draw_handle()

    def _box(self) -> Box | None:
        """The box as the handle holds it."""
        if self._handle is None:
            return None
        purpose, _, controls = self._handle
        axes = viser.transforms.SO3(np.asarray(controls.wxyz)).as_matrix()
        size = np.asarray(self._size.value) if purpose == "split" else self._start.size
        center = np.asarray(controls.position, dtype=np.float64) - self._lift * axes[:, 2]
        return Box(center, axes, size)

    def _draw_handle(self) -> None:
        with self._page.lock:
            self._node.draw(self._box())

    def _on_confirm(self, event: Any) -> None:
        with self._page.change(event.client) as session:
            box = self._box()
            if self._handle is None or box is None:
                return
            purpose, segment_id, _ = self._handle
            row = session.table[segment_id]
            if purpose == "move":
                shift = box.center - self._start.center
                strays = session.strays(segment_id)
                session.edit(f"move {row.title}", Move(segment_id, shift, strays))
                if len(strays):
                    self._page.tell(
                        event.client,
                        f"Moved {row.title}",
                        f"{len(strays):,} Gaussians stay: floaters, and what it had of its surroundings.",
                    )
            else:
                session.edit(f"split {row.title}", SplitBox.of(segment_id, box))
                session.select(session.scene.segments[-1].id)
            self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            self._handle[2].remove()
        self._handle = None
        self._size.visible = self._cancel.visible = False
        for button in self._confirms.values():
            button.visible = False
        self._node.draw(None)
