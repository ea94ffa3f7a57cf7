# SPDX-License-Identifier: Apache-2.0
"""From a path to a page that is being served."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from panoptic_gs.errors import InputError
from panoptic_gs.mesh.reading import read_mesh
from panoptic_gs.objects.opening import data_of, open_scene
from panoptic_gs.objects.orientation import axis_named
from panoptic_gs.objects.survey import unit_of
from panoptic_gs.scene import Scene
from panoptic_gs.uplift.placement import place
from panoptic_gs.viewer.session import Session

try:
    from panoptic_gs.viewer.guard import guarded_server
    from panoptic_gs.viewer.list_socket import ListSocket
    from panoptic_gs.viewer.page import Page
except ImportError as error:
    if error.name is None or error.name.partition(".")[0] not in ("viser", "websockets"):
        raise
    raise InputError(
        "viser", "no viser installed", "viser 0.2.7 or newer", "Install it with `pip install viser`."
    ) from error


def start_viewer(
    scene: Path,
    data: Path | None = None,
    *,
    out: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    max_gaussians: int | None = None,
    up: str = "auto",
    mesh: Path | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> tuple[Page, str]:
    """Open a labelled scene and serve its page.

    Args:
        scene: what :func:`~panoptic_gs.objects.opening.open_scene` opens.
        data: the scene folder that it was made from; by default that of the training.
        out: where edits are saved, see :class:`~panoptic_gs.viewer.session.Session`.
        host, port: where to listen; port 0 takes any that is free.
        max_gaussians: a sample's size.
        up: ``auto`` or an axis as ``-y``.
        mesh: folder made by ``panoptic-gs mesh``, to be looked at beside the Gaussians.
        say: called with what there is to say of how the Gaussians fit the photos.

    Returns:
        The page and its address. It is served until ``page.close()``.

    Raises:
        InputError: the scene cannot be opened, or the port is in use.
    """
    opened = open_scene(scene, max_gaussians, sampled=True)
    data = data_of(scene) if data is None else data
    photos = None if data is None else Scene.load(data)
    if photos is not None:
        for note in photos.notes:
            say(note)
        placed = place(opened.scene.splats, photos, scene, refuse=False)
        opened = replace(opened, scene=opened.scene._replace(splats=placed.splats))
        for note in placed.notes:
            say(note)
    cameras = [] if photos is None else [frame.camera for frame in photos.frames]
    drawn = None if mesh is None else read_mesh(mesh)
    session = Session(opened, out, drawn, cameras, axis_named(up), unit_of(photos))
    for note in session.restore():
        say(note)
    socket = ListSocket()
    server = guarded_server(host, port, socket)
    try:
        page = Page(server, session, photos, socket)
    except BaseException:
        server.stop()
        raise
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return page, f"http://{name}:{server.get_port()}"
