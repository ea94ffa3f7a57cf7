# SPDX-License-Identifier: Apache-2.0
"""The list of objects beside the scene: what it shows, and what comes of a visitor's clicks in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.objects.survey import counted, sides
from panoptic_gs.objects.table import ObjectTable, SceneObject
from panoptic_gs.viewer import commands
from panoptic_gs.viewer.appearance import ColorBy
from panoptic_gs.viewer.doubting import Question, mend, questions
from panoptic_gs.viewer.edits import BRUSHING
from panoptic_gs.viewer.finding import Finder
from panoptic_gs.viewer.list_socket import ListSocket
from panoptic_gs.viewer.markdown import unmarked
from panoptic_gs.viewer.operations import Clean, Lasso, Merge, Rename
from panoptic_gs.viewer.outlines import screen_ray

if TYPE_CHECKING:
    from panoptic_gs.viewer.page import Page

_COLORS: tuple[ColorBy, ...] = ("panoptic", "category", "colour", "confidence")
_BRUSHES: tuple[Literal["off", "add", "cut", "delete"], ...] = ("off", "add", "cut", "delete")
_T = TypeVar("_T")
_TELL_AGAIN = 1.0  # seconds after which sizes that are known by then are shown


class ObjectList:
    """Serves the list to all pages of a viewer.

    Args:
        page: the viewer's page.
        socket: the connection of its list.
    """

    def __init__(self, page: Page, socket: ListSocket) -> None:
        self._page, self._socket = page, socket
        self._sized: ObjectTable | None = None
        self._doubts: list[Question] | None = None
        self._doubts_number = 0
        self._settled: set[int] = set()
        self._finder = Finder(page.session.opened.folder, page.session.up, meters_per_unit=page.session.meters_per_unit)
        socket.state, socket.heard = self.state, self.heard

    def refresh(self) -> None:
        """Have the pages show the session's state."""
        self._socket.refresh()

    def close(self) -> None:
        """Serve nothing more."""
        self._sized = None
        self._socket.close()

    # What it shows

    def state(self) -> dict[str, Any]:
        """The document that pages show."""
        page = self._page
        with page.lock:
            session = page.session
            table, look, history = session.table, session.look, session.history
            swatches = session.swatches()
            objects = [self._entry(row, swatches[row.id], table) for row in table if row.count]
            document = {
                "show": "state", "title": unmarked(page.title, 120), "counted": counted(table),
                "objects": objects, "selected": look.selected,
                "hidden": sorted(look.hidden), "unlabelled": look.unlabelled, "colorBy": look.color_by,
                "editable": not session.opened.thinned, "undo": history.undoable, "redo": history.redoable,
                "unsaved": history.unsaved, "photos": 0 if page.photos is None else len(page.photos.frames),
                "measure": page.ruler.document(),
                "brush": {"how": page.brush_use or "off", "radius": page.brush_radius},
                "metersPerUnit": session.meters_per_unit,
                "lasso": {"on": page.brush_lasso, "through": page.brush_through},
                "doubts": self._doubt_entries(table),
            }  # fmt: skip
        if self._sized is not table:
            self._sized = table
            threading.Thread(target=self._fit_boxes, args=(table,), daemon=True).start()
        return document

    def _entry(self, row: SceneObject, color: tuple[int, int, int], table: ObjectTable) -> dict[str, Any]:
        session = self._page.session
        box = table.fitted_box(row.id, session.up)
        return {
            "id": row.id, "name": unmarked(row.name, 120), "category": unmarked(row.category.name, 120),
            "color": list(color), "gaussians": row.count, "confidence": round(row.confidence, 4),
            "group": "uncertain" if row.uncertain else "thing" if row.category.isthing else "stuff",
            "size": None if box is None else [round(side, 4) for side in sides(box, session.meters_per_unit)],
        }  # fmt: skip

    def _fit_boxes(self, table: ObjectTable) -> None:
        told = time.monotonic()
        for row in table:
            if self._sized is not table:
                return
            if row.count:
                table.box(row.id, self._page.session.up)
            if time.monotonic() - told > _TELL_AGAIN:
                self.refresh()
                told = time.monotonic()
        self.refresh()

    def _doubt_entries(self, table: ObjectTable) -> dict[str, Any] | None:
        if self._doubts is None:
            return None
        entries = []
        for place, doubt in enumerate(self._doubts):
            rows = [table.get(segment_id) for segment_id in doubt.segments]
            if place in self._settled or not all(row is not None and row.count for row in rows):
                continue
            entries.append({
                "place": place, "kind": doubt.kind, "ids": list(doubt.segments), "share": round(doubt.share, 3),
                "basis": doubt.basis, "names": [unmarked(row.title, 60) for row in rows if row],
                "mends": list(doubt.mends),
            })  # fmt: skip
        return {"list": self._doubts_number, "entries": entries}

    # What visitors do

    def heard(self, message: Any) -> dict[str, Any] | None:
        """Do what a page says; gives an answer for that page alone, or None."""
        page = self._page
        client = page.client(message.get("client") if isinstance(message, dict) else None)
        try:
            command = commands.read_command(message)
            return self._do(command, client)
        except InputError as error:
            return {"show": "message", "bad": True,
                    "text": f"Cannot do this: {error.found}. Expected {error.expected}. {error.mend}"}  # fmt: skip

    def _do(self, command: commands.Command, client: Any) -> dict[str, Any] | None:
        page = self._page
        if isinstance(command, commands.GoTo):
            page.go_to(client, command.id)
            return None
        if isinstance(command, commands.Click):
            if client is not None:
                page.clicked(client, *screen_ray(client.camera, command.at))
            return None
        if isinstance(command, commands.Photo | commands.StandThere):
            return self._photo(command, client)
        if isinstance(command, commands.Doubts):
            return self._look_for_doubts()
        if isinstance(command, commands.Find):
            with page.lock:
                scene, table = page.session.scene, page.session.table
            found = self._finder.find(command.text, scene, table)
            return {"show": "found", "text": command.text, "ids": list(found.ids), "by": unmarked(found.by, 120),
                    "note": unmarked(found.note, 400)}  # fmt: skip
        with page.lock:
            answer = self._lasso(command, client) if isinstance(command, commands.Lasso) else self._change(command)
        page.refresh()
        return answer

    def _change(self, command: commands.Command) -> dict[str, Any] | None:
        session = self._page.session
        look = session.look
        match command:
            case commands.Select(id=segment_id):
                session.select(segment_id)
            case commands.Hide(ids=ids, hidden=hidden):
                look.hidden = look.hidden | set(ids) if hidden else look.hidden - set(ids)
                look.hidden &= {row.id for row in session.table}
            case commands.Only(ids=ids):
                session.show_only(set(ids))
            case commands.ShowAll():
                session.show_all()
            case commands.Color(by=by):
                look.color_by = _after(look.color_by, _COLORS) if by == "next" else by
            case commands.Measure(on=on):
                self._page.ruler.switch(on)
                self._page.brush_use = None
            case commands.Brush(how=how, radius=radius, lasso=lasso, through=through):
                page = self._page
                page.ruler.switch(False)
                how = _after(page.brush_use or "off", _BRUSHES) if how == "next" else how
                page.brush_use = None if how == "off" else how
                page.brush_radius = radius or page.brush_radius
                page.brush_lasso = page.brush_lasso if lasso is None else lasso
                page.brush_through = page.brush_through if through is None else through
            case commands.Rename(id=segment_id, name=name):
                row = self._row(segment_id)
                if name.strip() not in (row.segment.name or "", row.name):
                    session.edit(f"rename {row.title}", Rename(row.id, name))
            case commands.Merge(id=segment_id, into=into):
                self._merge(segment_id, into)
            case commands.Clean(id=segment_id):
                row = self._row(segment_id)
                strays = session.strays(row.id)
                session.edit(f"clean {row.title}", Clean(row.id, strays))
                return _said(f"{len(strays):,} stray Gaussians no longer belong to {row.title}.")
            case commands.History(do="save"):
                return _said(f"Saved in {session.save()}.")
            case commands.History(do=do):
                description = session.undo() if do == "undo" else session.redo()
                took = "Took back" if do == "undo" else "Did again"
                return _said(f"{took}: {description}." if description else f"Nothing to {do}.")
            case commands.Settle():
                return self._settle(command)
        return None

    def _lasso(self, command: commands.Lasso, client: Any) -> dict[str, Any]:
        """Work on what lies inside an outline, as the page that drew it sees the scene."""
        page = self._page
        how, row = page.brush_use, page.session.table.get(page.session.look.selected)
        if how is None or row is None or client is None:
            raise InputError("lasso", "no object, or nothing to do with it", "a selected object and a brush",
                             "Select an object, then choose Add, Cut or Erase.")  # fmt: skip
        look, camera, before = page.session.look, client.camera, row.count
        operation = Lasso(
            row.id, command.outline, np.asarray(camera.wxyz, dtype=np.float64),
            np.asarray(camera.position, dtype=np.float64), float(camera.fov), float(camera.aspect), how,
            page.brush_through, tuple(sorted(look.hidden)), look.min_confidence, look.unlabelled,
        )  # fmt: skip
        page.session.edit(f"{BRUSHING[how]} {row.title}", operation)
        changed = abs(page.session.table[row.id].count - before)
        return _said(f"{changed:,} Gaussians {'more' if how == 'add' else 'less'} in {row.title}.")

    def _row(self, segment_id: int) -> SceneObject:
        row = self._page.session.table.get(segment_id)
        if row is None:
            raise InputError("object", f"id {segment_id}", "an object of the list", "Choose a listed one.")
        return row

    def _merge(self, segment_id: int, into: int) -> None:
        one, other = self._row(segment_id), self._row(into)
        session = self._page.session
        session.edit(f"merge {one.title} into {other.title}", Merge(one.id, other.id))
        session.select(other.id)

    # Photos

    def _photo(self, command: commands.Photo | commands.StandThere, client: Any) -> dict[str, Any] | None:
        page = self._page
        photos = page.photos
        if photos is None:
            raise InputError("photos", "no scene folder", "the folder with photos and cameras",
                             "Start the viewer with --data SCENE.")  # fmt: skip
        number, sight = command.number, None
        if isinstance(command, commands.Photo) and number is None:
            if command.id is not None:
                self._row(command.id)
                found = photos.sights(page.session, command.id)
                if not found:
                    raise InputError("photo", f"none that shows object {command.id}", "a photo that shows it",
                                     "It may be hidden in all of them; try Go to.")  # fmt: skip
                number, sight = found[0].view, found[0]
            else:
                number = 0 if client is None else photos.nearest(
                    np.asarray(client.camera.position), _forward(client)
                )  # fmt: skip
        if number is None or number >= len(photos.frames):
            raise InputError("photo", f"number {number}", f"0 to {len(photos.frames) - 1}", "Choose another one.")
        if isinstance(command, commands.StandThere):
            if client is not None:
                page.stand_at(client, photos.frames[number].camera)
            return None
        pictures = photos.pictures(page.session, number)
        if sight is not None:
            pictures["sees"] = f"{sight.pixels:,.0f} of its pixels show the object"
        return {"show": "photo", **pictures}

    # Doubts

    def _look_for_doubts(self) -> dict[str, Any] | None:
        page = self._page
        found = questions(page.session.scene, page.data)
        with page.lock:
            self._doubts, self._settled = found, set()
            self._doubts_number += 1
        self.refresh()
        return None

    def _settle(self, command: commands.Settle) -> dict[str, Any] | None:
        session = self._page.session
        if command.list != self._doubts_number or self._doubts is None or command.place >= len(self._doubts):
            raise InputError("doubt", "one of an earlier list", "one of the present list", "Look for doubts again.")
        doubt = self._doubts[command.place]
        if command.how != "fine":
            titles = " and ".join(self._row(segment_id).title for segment_id in doubt.segments)
            strays = session.strays(doubt.segments[0]) if command.how == "clean" else None
            operation = mend(doubt, command.how, strays)
            session.edit(f"{command.how} {titles}", operation)
            session.select(doubt.segments[1] if isinstance(operation, Merge) else session.scene.segments[-1].id)
        self._settled.add(command.place)
        return None


def _after(one: _T, every: Sequence[_T]) -> _T:
    """The one that comes next, the first after the last."""
    return every[(every.index(one) + 1) % len(every)]


def _said(text: str) -> dict[str, Any]:
    return {"show": "message", "bad": False, "text": unmarked(text, 300)}


def _forward(client: Any) -> np.ndarray:
    way = np.asarray(client.camera.look_at, dtype=np.float64) - np.asarray(client.camera.position, dtype=np.float64)
    return way / max(float(np.linalg.norm(way)), 1e-9)
