# SPDX-License-Identifier: Apache-2.0
"""The page of a viewer: splats, what is lit up, and the panel beside them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import viser

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.objects.opening import scene_name
from panoptic_gs.objects.orientation import first_standpoint
from panoptic_gs.objects.survey import counted
from panoptic_gs.objects.visibility import open_side
from panoptic_gs.scene import Scene
from panoptic_gs.viewer.appearance import COLOR_MODES
from panoptic_gs.viewer.camera_panel import CameraPanel, look_through
from panoptic_gs.viewer.drawing import BoxNode, MeshNode, SplatNode, introduce
from panoptic_gs.viewer.edit_panel import EditPanel
from panoptic_gs.viewer.edits import BRUSHING, BrushUse
from panoptic_gs.viewer.gui_events import by_visitor
from panoptic_gs.viewer.list_socket import ListSocket
from panoptic_gs.viewer.look_panel import LookPanel
from panoptic_gs.viewer.markdown import plain, unmarked
from panoptic_gs.viewer.object_list import ObjectList
from panoptic_gs.viewer.operations import Brush
from panoptic_gs.viewer.path_panel import PathPanel
from panoptic_gs.viewer.photos import Photos
from panoptic_gs.viewer.ruler import Ruler
from panoptic_gs.viewer.selection_panel import SelectionPanel
from panoptic_gs.viewer.session import Session

_SPOTLIGHT = (255, 214, 70)
_WHOLE = 0.5  # of an object that a photo has in its frame that is stood at


class Page:
    """Puts a session on a viser server and keeps both in step.

    viser calls back on many threads; all that touches the session holds ``lock``. Drawing happens on a thread of its
    own that always draws the latest state, so a slider that is dragged never queues up work.

    Args:
        server: a server without content.
        session: the scene.
        data: the scene folder that the scene was made from, for its cameras; optional.
        socket: the connection of the list of objects; by default one that no page reaches.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        session: Session,
        data: Scene | None = None,
        socket: ListSocket | None = None,
    ) -> None:
        self.server: Any = server  # viser's types differ from version to version
        self.session, self.data = session, data
        self.lock = threading.RLock()
        self.clicked_camera = 0.0
        """When a camera was clicked last; the same click reaches the scene behind it."""
        cameras = [] if data is None else [frame.camera for frame in data.frames]
        means = session.scene.splats.means.numpy()
        self.up = session.up
        self.standpoint = first_standpoint(session.table, means, self.up, cameras)
        self.title = scene_name(session.opened, None if data is None else data.root)
        self.photos = None if data is None else Photos(data)
        self.ruler = Ruler(server, session.meters_per_unit)
        self.brush_use: BrushUse | None = None
        """What a click does to the Gaussians of the selected object around it; None where it selects."""
        self.brush_lasso = self.brush_through = False
        """Whether an outline is drawn in place of clicks, and whether it means what is hidden behind others, too."""
        extent = np.ptp(np.quantile(means, [0.02, 0.98], axis=0), axis=0)
        self.brush_radius = max(0.01 * float(np.linalg.norm(extent)), 1e-6)
        socket = ListSocket() if socket is None else socket
        self._splats = SplatNode(server, session.scene.splats, socket.paint)
        self._mesh = None if session.mesh is None else MeshNode(server, session.mesh.vertices)
        self._box = BoxNode(server, "/selected/box", _SPOTLIGHT)
        self._label: Any = None
        self._geometry: Any = session.scene.splats
        self._stale = threading.Event()
        self.draws = 0
        """How often the splats, or their colours, were sent."""

        # The share button is hidden by object_panel.css: on a narrow page viser 0.2 falls over when it is switched off.
        self.server.gui.configure_theme(dark_mode=True, control_layout="collapsible", control_width="large",
                                   show_logo=False, brand_color=(66, 120, 190))  # fmt: skip
        self.server.gui.set_panel_label("panoptic-gs")
        self.server.scene.set_up_direction(tuple(float(v) for v in self.up))
        self._header = self.server.gui.add_markdown("")
        self._add_mode()
        self.selection = SelectionPanel(self)
        tabs = self.server.gui.add_tab_group()
        with tabs.add_tab("Look"):
            self.looks = LookPanel(self)
        with tabs.add_tab("Edit"):
            self.edit = EditPanel(self)
        with tabs.add_tab("Cameras"):
            self.cameras = CameraPanel(self)
        with tabs.add_tab("Video"):
            self.video = PathPanel(self)
        self.objects = ObjectList(self, socket)
        self.server.on_client_connect(self._welcome)
        self.refresh()
        self._closed = False
        self._drawing = threading.Thread(target=self._keep_drawing, daemon=True)
        self._drawing.start()

    def close(self) -> None:
        """Stop drawing and serving."""
        self._closed = True
        self._stale.set()
        with self.lock:
            self.session.close()
        self.objects.close()
        self._drawing.join(timeout=10)
        self.server.stop()

    # For the panels

    @contextmanager
    def change(self, client: Any = None) -> Iterator[Session]:
        """Change the session and show what came of it; bad input becomes a message on the client's page."""
        try:
            with self.lock:
                yield self.session
        except InputError as error:
            self.tell(client, f"Cannot do this: {error.found}", f"Expected {error.expected}. {error.mend}", "red")
        self.refresh()

    def refresh(self) -> None:
        """Bring panels and picture up to the session's state."""
        with self.lock:
            session = self.session
            table, look = session.table, session.look
            name = unmarked(self.title)
            sample = f" of {session.opened.num_gaussians:,}" if session.opened.thinned else ""
            hidden = f", {len(look.hidden)} hidden" if look.hidden else ""
            counts = f"{len(table.segment_of):,}{sample} Gaussians, {counted(table)}{hidden}"
            self._header.content = f"**{plain(name)}**  \n{counts}"
            for panel in (self.selection, self.looks, self.edit, self.objects):
                panel.refresh()
            if self._mode.value != look.color_by:
                self._mode.value = look.color_by
            self._light_up()
        self._stale.set()

    def tell(self, client: Any, title: str, body: str, color: str = "blue") -> None:
        """Show a message for some seconds, to one client or to all."""
        for one in [client] if client is not None else self.server.get_clients().values():
            one.add_notification(unmarked(title, 120), unmarked(body, 400), color=color, auto_close=6000)

    def client(self, number: Any) -> Any:
        """viser's handle of a page by its number, the only page there is where that is not known, else None."""
        clients = self.server.get_clients()
        if isinstance(number, int) and number in clients:
            return clients[number]
        return next(iter(clients.values())) if len(clients) == 1 else None

    def go_to(self, client: Any, segment_id: int) -> None:
        """Bring a client's camera close to an object: from where the photo was taken that sees it best, or else from a
        side on which it is hidden least.

        Raises:
            InputError: no such object.
        """
        with self.lock:
            session = self.session
            row = session.table.get(segment_id)
            if row is None or not row.count:
                raise InputError("object", f"id {segment_id}", "an object of the list", "Choose a listed one.")
            box = session.table.box(segment_id, self.up)
            session.look.hidden.discard(segment_id)
            drawn = session.drawn()
        if box is None or client is None:
            return
        seen = [] if self.photos is None else self.photos.sights(session, segment_id)
        if self.photos is not None and seen and seen[0].inside > _WHOLE:
            # Nothing stands between the photo's place and the object, so neither does on the way there.
            offset = self.photos.frames[seen[0].view].camera.center.double().numpy() - box.center
            distance = max(float(np.linalg.norm(offset)), 1e-9)
            eye = box.center + offset / distance * min(distance, 1.6 * float(np.linalg.norm(box.size)))
        else:
            eye = open_side(drawn, segment_id, box, self.up, np.asarray(client.camera.position, dtype=np.float64))
        with client.atomic():
            client.camera.position = tuple(map(float, eye))
            client.camera.look_at = tuple(map(float, box.center))
        self.refresh()

    def stand_at(self, client: Any, camera: Camera) -> None:
        """Put a client's camera where a photo was taken."""
        pose = np.linalg.inv(camera.viewmat.double().numpy())
        look_through(client, pose, 2 * math.atan(0.5 * camera.height / float(camera.K[1, 1])))

    # Content

    def _add_mode(self) -> None:
        self._mode = self.server.gui.add_dropdown("Colour by", COLOR_MODES, initial_value=self.session.look.color_by)

        @self._mode.on_update
        @by_visitor
        def _(event: Any) -> None:
            with self.change() as session:
                session.look.color_by = self._mode.value

    def _light_up(self) -> None:
        selected = self.session.look.selected
        shown = selected and selected not in self.session.look.hidden
        box = self.session.table.box(selected, self.up) if shown else None
        self._box.draw(box)
        if self._label is not None:
            self._label.remove()
            self._label = None
        if box is not None:
            top = box.center + box.axes[:, 2] * (0.5 * box.size[2] + 0.1 * float(np.linalg.norm(box.size)))
            text = unmarked(self.session.table[selected].title)
            self._label = self.server.scene.add_label("/selected/label", text, position=tuple(map(float, top)))

    def _keep_drawing(self) -> None:
        while True:
            self._stale.wait()
            if self._closed:
                return
            self._stale.clear()
            with self.lock:
                splats = self.session.scene.splats
                colors, visible = self.session.colors(), self.session.visible()
                mesh, alone = self.session.drawn_mesh(), self.session.look.shown == "mesh"
            if splats is not self._geometry:
                self._splats.take(splats)
                self._geometry = splats
            if alone:
                self._splats.clear()
            else:
                self._splats.draw(colors, visible)
            if self._mesh is not None:
                self._mesh.draw(mesh)
            self.draws += 1

    # Events

    def _welcome(self, client: Any) -> None:
        introduce(client)
        eye, target = self.standpoint
        with client.atomic():
            client.camera.up_direction = tuple(map(float, self.up))
            client.camera.position = tuple(map(float, eye))
            client.camera.look_at = tuple(map(float, target))
        if self.session.restored and self.session.history.unsaved:
            self.tell(client, "Unsaved edits", f"{self.session.restored} Undo takes them back; Save keeps them.")

    def _brush(self, client: Any, origin: np.ndarray, direction: np.ndarray, fov: float) -> None:
        with self.change(client) as session:
            point = session.pick_point(origin, direction, fov)
            row = session.table.get(session.look.selected)
            if point is not None and row is not None and self.brush_use is not None:
                session.edit(
                    f"{BRUSHING[self.brush_use]} {row.title}", Brush(row.id, point, self.brush_radius, self.brush_use)
                )

    def clicked(self, client: Any, origin: np.ndarray, direction: np.ndarray) -> None:
        """Do what a click into the scene does now: measure, brush, or select.

        viser's own clicks are of no use: with them a drag does not turn the scene but ends in a click.

        Args:
            client: viser's handle of the page that it is from.
            origin: ``[3]`` where the page looks from.
            direction: ``[3]`` where it was clicked.
        """
        fov = client.camera.fov
        if self.cameras.shown:
            time.sleep(0.1)
            if time.monotonic() - self.clicked_camera < 0.5:
                return
        if self.ruler.on:
            with self.change(client) as session:
                point = session.pick_point(origin, direction, fov)
                if point is not None:
                    self.ruler.add(point)
            return
        if self.brush_use is not None and self.session.look.selected:
            if not self.brush_lasso:
                self._brush(client, origin, direction, fov)
            return
        with self.change(client) as session:
            found = session.pick(origin, direction, fov)
            session.select(0 if found == session.look.selected else found)
