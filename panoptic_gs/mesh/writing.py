# SPDX-License-Identifier: Apache-2.0
"""The panoptic mesh on disk: PLY with labels a vertex, GLB with a node an object, and JSON that says what is what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from plyfile import PlyData, PlyElement
from trimesh.exchange.gltf import export_glb
from trimesh.visual import ColorVisuals

from panoptic_gs.export.clouds import file_name
from panoptic_gs.export.scene_graph import box_document
from panoptic_gs.files import write_json
from panoptic_gs.labelling import Labelling
from panoptic_gs.mesh.reconstruction import PanopticMesh
from panoptic_gs.mesh.solids import Solid
from panoptic_gs.mesh.surface import LabelledMesh

_VERTEX = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"),
           ("segment_id", "i4"), ("category_id", "i4"), ("confidence", "f4"), ("weight", "f4")]  # fmt: skip


def write_mesh_ply(path: Path, mesh: LabelledMesh, labelling: Labelling, scale: float) -> None:
    """Write a binary PLY of triangles; vertices carry colour, segment_id, category_id, confidence and weight."""
    vertices = np.zeros(len(mesh.vertices), dtype=_VERTEX)
    for axis, name in enumerate("xyz"):
        vertices[name] = mesh.vertices[:, axis] * scale
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = mesh.color[:, channel]
    vertices["segment_id"], vertices["confidence"], vertices["weight"] = mesh.segment, mesh.confidence, mesh.weight
    vertices["category_id"] = labelling.category_of()[mesh.segment]
    faces = np.zeros(len(mesh.faces), dtype=[("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = mesh.faces
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    path.parent.mkdir(parents=True, exist_ok=True)
    PlyData(elements, byte_order="<").write(str(path))


def write_panoptic_mesh(
    folder: Path, mesh: PanopticMesh, labelling: Labelling, scale: float, info: dict[str, Any]
) -> dict[str, str]:
    """Write ``mesh.ply``, ``mesh.glb``, ``shell.ply``, ``objects/`` and ``mesh.json`` into a folder.

    Args:
        folder: there already.
        mesh: in world units.
        labelling: what segments mean.
        scale: metres of a world unit.
        info: what ``mesh.json`` says about how it was made.

    Returns:
        File → what it is, for people.
    """
    write_mesh_ply(folder / "mesh.ply", mesh.surface, labelling, scale)
    write_mesh_ply(folder / "shell.ply", mesh.shell.mesh, labelling, scale)
    names = object_names(mesh)
    for solid in mesh.solids:
        write_mesh_ply(folder / "objects" / f"{names[solid.id]}.ply", solid.mesh, labelling, scale)
    _write_glb(folder / "mesh.glb", mesh, scale)
    write_json(folder / "mesh.json", {"info": info, **_document(mesh, names, scale)})
    written = {
        "mesh.ply": f"{len(mesh.surface.faces):,} triangles with segment_id, category_id, confidence",
        "mesh.glb": f"a node for the shell and for each of {len(mesh.solids)} objects",
        "shell.ply": f"the room without them, {sum(p.filled for p in mesh.shell.planes) * scale**2:.2f} m² filled in",
        "mesh.json": "objects, supports, how each is closed",
    }
    if mesh.solids:
        written["objects/"] = f"{len(mesh.solids)} closed meshes"
    return written


def object_names(mesh: PanopticMesh) -> dict[int, str]:
    """Segment → the name of its files."""
    return {entry.id: file_name(entry) for entry in mesh.objects}


def _write_glb(path: Path, mesh: PanopticMesh, scale: float) -> None:
    scene = trimesh.Scene()
    labels = {entry.id: entry.label for entry in mesh.objects}
    parts = [("shell", 0, mesh.shell.mesh)]
    parts += [(labels[solid.id], solid.id, solid.mesh) for solid in mesh.solids]
    for name, segment, part in parts:
        if not len(part.faces):
            continue
        geometry = trimesh.Trimesh(part.vertices * scale, part.faces, process=False)
        geometry.visual = ColorVisuals(geometry, vertex_colors=part.color)
        scene.add_geometry(geometry, node_name=name, geom_name=name, metadata={"id": segment})
    path.write_bytes(bytes(export_glb(scene)))


def _document(mesh: PanopticMesh, names: dict[int, str], scale: float) -> dict[str, Any]:
    by_id = {solid.id: solid for solid in mesh.solids}
    return {
        "objects": [
            {
                "id": entry.id,
                "name": entry.object.name,
                "category": {"id": entry.object.category.id, "name": entry.object.category.name},
                "box": box_document(entry.box, scale),
                **_closed(by_id[entry.id], names, scale),
            }
            for entry in mesh.objects
            if entry.id in by_id
        ],
        "without_surface": list(mesh.without_surface),
        "shell": [
            {
                "segment": plane.segment,
                "normal": _rounded(plane.normal),
                "offset": round(plane.offset * scale, 5),
                "area": round(plane.area * scale**2, 4),
                "filled_area": round(plane.filled * scale**2, 4),
            }
            for plane in mesh.shell.planes
        ],
    }


def _closed(solid: Solid, names: dict[int, str], scale: float) -> dict[str, Any]:
    low, high = solid.mesh.vertices.min(axis=0) * scale, solid.mesh.vertices.max(axis=0) * scale
    support = None
    if solid.support is not None:
        support = {"id": solid.support.id, "height": round(solid.support.height * scale, 5)}
    return {
        "file": f"objects/{names[solid.id]}.ply",
        "stands_on": support,
        "surface": {name: round(share, 4) for name, share in solid.closed_by.items()},
        "volume": round(solid.volume * scale**3, 6),
        "bounds": [_rounded(low), _rounded(high)],
        "triangles": len(solid.mesh.faces),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
