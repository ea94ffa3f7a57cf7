# SPDX-License-Identifier: Apache-2.0
"""Objects and their boxes for robots and 3D programs: a JSON scene graph, a GLB of named boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from panoptic_gs.export.clouds import file_name
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.export.relations import Relation
from panoptic_gs.files import write_json
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects.boxes import Box
from panoptic_gs.palette import colors_of
from panoptic_gs.replacing import replacing

_BOX_ALPHA = 90


def write_scene_graph(
    path: Path,
    objects: Sequence[PlacedObject],
    relations: Sequence[Relation],
    up: np.ndarray,
    meters_per_unit: float = 1.0,
    source: str = "",
) -> None:
    """Write objects, their oriented boxes in metres and what touches what as JSON.

    A box's ``axes`` are three unit vectors, the last of them up; ``size`` are the full edge lengths along them.
    ``left_out`` is the share of the object that lies outside. A stuff class in several places has its ``pieces``, too.
    ``evidence`` says what speaks for an object. ``center``, ``size`` and ``distance`` are in metres in the scene's
    axes: world units times ``meters_per_unit``.
    """
    named = {entry.id: entry.label for entry in objects}
    write_json(path, {
        "info": {"source": source, "units": "metres", "meters_per_world_unit": meters_per_unit, "up": _rounded(up)},
        "objects": [_node(entry, meters_per_unit) for entry in objects],
        "relations": [
            {
                "subject": r.subject, "relation": r.relation, "object": r.object,
                "distance": round(r.distance * meters_per_unit, 4),
                "text": f"{named[r.subject]} {r.relation} {named[r.object]}",
            }
            for r in relations
        ],
    })  # fmt: skip


def write_boxes(
    path: Path,
    objects: Sequence[PlacedObject],
    meters_per_unit: float = 1.0,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write a GLB of translucent boxes, one named node an object, in the scene's axes and in metres.

    Each node's ``extras`` hold id, category and score. glTF programs take +y for up; the boxes keep the scene's axes so
    that they lie on its splats. ``colors`` are those of the scene's segments by id, as
    :func:`~panoptic_gs.palette.colors_of` gives them; by default a palette of these objects alone.
    """
    if colors is None:
        categories = {entry.object.category.id: entry.object.category for entry in objects}
        colors = colors_of(Labelling(tuple(categories.values()), tuple(entry.object.segment for entry in objects)))
    scene = trimesh.Scene()
    for entry in objects:
        color = colors[entry.id]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = entry.box.axes, entry.box.center * meters_per_unit
        mesh = trimesh.creation.box(extents=np.maximum(entry.box.size, 1e-4) * meters_per_unit)
        material = PBRMaterial(
            name=file_name(entry), baseColorFactor=[*color, _BOX_ALPHA], alphaMode="BLEND",
            doubleSided=True, metallicFactor=0.0, roughnessFactor=1.0,
        )  # fmt: skip
        mesh.visual = TextureVisuals(material=material)
        extras = {"id": entry.id, "category": entry.object.category.name, "isthing": entry.object.category.isthing}
        if entry.object.segment.score is not None:
            extras["score"] = round(entry.object.segment.score, 4)
        scene.add_geometry(mesh, node_name=entry.label, geom_name=file_name(entry), transform=pose,
                           metadata=extras)  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_bytes(bytes(export_glb(scene)))


def _node(entry: PlacedObject, meters_per_unit: float) -> dict[str, Any]:
    row = entry.object
    node: dict[str, Any] = {
        "id": entry.id,
        "name": row.name,
        "category": {"id": row.category.id, "name": row.category.name},
        "isthing": row.category.isthing,
        "score": None if row.segment.score is None else round(row.segment.score, 4),
        "confidence": round(row.confidence, 4),
        "gaussians": row.count,
        "evidence": {
            "uncertain": row.uncertain,
            "pixels": round(row.pixels),
            "agreement": None if row.agreement is None else round(row.agreement, 4),
        },
        "box": box_document(entry.box, meters_per_unit),
    }
    if len(entry.pieces) > 1:
        node["pieces"] = [box_document(box, meters_per_unit) for _, box in entry.pieces]
    return node


def box_document(box: Box, meters_per_unit: float) -> dict[str, Any]:
    """A box as files tell of it, in metres: centre, three unit vectors, edge lengths along them, share left out.

    ``resolved`` says of each edge length whether it is more than the blur of a thin thing's surface.
    """
    return {
        "center": _rounded(box.center * meters_per_unit),
        "axes": [_rounded(axis) for axis in box.axes.T],
        "size": _rounded(box.size * meters_per_unit),
        "resolved": [axis != box.unresolved for axis in range(3)],
        "left_out": round(box.left_out, 4),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
