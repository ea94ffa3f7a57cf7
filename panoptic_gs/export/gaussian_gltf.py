# SPDX-License-Identifier: Apache-2.0
"""Labelled Gaussians as GLB: ``KHR_gaussian_splatting`` with a feature id a Gaussian and a table of the objects.

Feature ids (``EXT_mesh_features``) are rows of a property table (``EXT_structural_metadata``), so that a program that
picks a Gaussian knows whose it is. A node on top turns the scene upright, since glTF is y up; the Gaussians keep the
scene's own axes below it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptic_gs.errors import InputError
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.replacing import replacing
from panoptic_gs.splats.gaussians import RasterizeMode, Splats
from panoptic_gs.splats.gltf import EXTENSION, TO_SCENE
from panoptic_gs.splats.harmonics import SH_C0
from panoptic_gs.uplift import LabelledScene

_FLOAT, _VERTICES, _POINTS = 5126, 34962, 0
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
_FEATURES, _METADATA = "EXT_mesh_features", "EXT_structural_metadata"
_SPLATTING = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
              "sortingMethod": "cameraDistance"}  # fmt: skip
_LARGEST = (1 << 32) - 1


def write_gaussian_gltf(
    path: Path,
    scene: LabelledScene,
    objects: Sequence[PlacedObject],
    up: np.ndarray,
    rasterize_mode: RasterizeMode | None = None,
    *,
    node_each: bool = False,
) -> None:
    """Write all Gaussians of a scene as one GLB.

    Args:
        path: the file, replaced in one move.
        scene: the labelled scene.
        objects: the segments that have Gaussians, the rows of the table in this order.
        up: ``[3]`` direction away from the ground, which becomes +y.
        rasterize_mode: how the Gaussians were trained, kept in the asset's extras.
        node_each: a node of its own for each object (and one for what has no label), named after it.

    Raises:
        InputError: the file would be larger than glTF can hold.
    """
    best, share = scene.labels.best()
    rows = {entry.id: number for number, entry in enumerate(objects)}
    known, inverse = np.unique(best.numpy(), return_inverse=True)
    feature = np.array([rows.get(int(value), len(objects)) for value in known])[inverse]
    turn = _upright(up)
    document = _Document(objects)
    children = []
    for name, members, extras in _groups(feature, objects, node_each):
        index = torch.from_numpy(members)
        mesh = document.add_mesh(name, scene.splats.subset(index), feature[members], share.numpy()[members])
        children.append(document.add_node({"name": name, "mesh": mesh, **({"extras": extras} if extras else {})}))
    root = document.add_node({"name": "scene", "matrix": turn.T.ravel().tolist(), "children": children})
    extras: dict[str, Any] = {TO_SCENE: np.linalg.inv(turn).tolist()}
    if rasterize_mode is not None:
        extras["rasterize_mode"] = rasterize_mode
    document.save(path, root, extras)


def _upright(up: np.ndarray) -> np.ndarray:
    """The rotation ``[4, 4]`` by the smallest angle that takes ``up`` to +y."""
    a = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    b = np.array([0.0, 1.0, 0.0])
    matrix = np.eye(4)
    if np.dot(a, b) < -1 + 1e-12:
        matrix[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return matrix
    x, y, z = np.cross(a, b)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix[:3, :3] += skew + skew @ skew / (1 + np.dot(a, b))
    return matrix


def _groups(
    feature: np.ndarray, objects: Sequence[PlacedObject], node_each: bool
) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, Gaussians and extras of each node."""
    if not node_each:
        return [("gaussians", np.arange(len(feature)), {})]
    groups = [(entry.label, np.flatnonzero(feature == number), _entry(entry)) for number, entry in enumerate(objects)]
    rest = np.flatnonzero(feature == len(objects))
    groups += [("unlabelled", rest, {})] if len(rest) else []
    return [group for group in groups if len(group[1])]


def _entry(entry: PlacedObject) -> dict[str, Any]:
    row = entry.object
    return {"id": row.id, "name": row.name, "category_id": row.category.id, "category": row.category.name,
            "isthing": row.category.isthing, "confidence": round(row.confidence, 6)}  # fmt: skip


@dataclass
class _Document:
    """A GLB that is being put together."""

    objects: Sequence[PlacedObject]
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add_view(self, content: bytes, target: int | None = None) -> int:
        # The metadata extension wants its views at multiples of eight bytes.
        view = {"buffer": 0, "byteOffset": self.size, "byteLength": len(content)}
        self.views.append(view if target is None else view | {"target": target})
        padded = content + bytes(-len(content) % 8)
        self.parts.append(padded)
        self.size += len(padded)
        return len(self.views) - 1

    def add_accessor(self, values: np.ndarray, *, bounds: bool = False) -> int:
        """Of ``[N, W]`` floats."""
        values = np.ascontiguousarray(values, dtype="<f4")
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(values.tobytes(), _VERTICES), "componentType": _FLOAT,
            "count": len(values), "type": _TYPES[values.shape[1]],
        }  # fmt: skip
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_mesh(self, name: str, splats: Splats, feature: np.ndarray, confidence: np.ndarray) -> int:
        sh = splats.sh.detach().cpu().float().numpy()
        opacities = splats.opacities.detach().cpu().float().numpy()[:, None]
        base = (sh[:, 0] * SH_C0 + 0.5).clip(0, 1)
        attributes = {
            "POSITION": self.add_accessor(splats.means.detach().cpu().numpy(), bounds=True),
            "COLOR_0": self.add_accessor(np.concatenate([base, opacities], axis=1)),
            "_FEATURE_ID_0": self.add_accessor(feature[:, None]),
            "_CONFIDENCE": self.add_accessor(confidence[:, None]),
            f"{EXTENSION}:ROTATION": self.add_accessor(splats.quats.detach().cpu().numpy()[:, [1, 2, 3, 0]]),
            f"{EXTENSION}:SCALE": self.add_accessor(splats.scales.detach().cpu().numpy()),
            f"{EXTENSION}:OPACITY": self.add_accessor(opacities),
        }
        number = 0
        for degree in range(splats.sh_degree + 1):
            for order in range(2 * degree + 1):
                attributes[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{order}"] = self.add_accessor(sh[:, number])
                number += 1
        ids = {"featureCount": len(np.unique(feature[feature < len(self.objects)])), "attribute": 0,
               "nullFeatureId": len(self.objects), "label": "object", "propertyTable": 0}  # fmt: skip
        extensions: dict[str, Any] = {EXTENSION: _SPLATTING}
        if ids["featureCount"]:
            extensions[_FEATURES] = {"featureIds": [ids]}
        primitive = {"attributes": attributes, "mode": _POINTS, "extensions": extensions}
        self.meshes.append({"name": name, "primitives": [primitive]})
        return len(self.meshes) - 1

    def add_node(self, node: dict[str, Any]) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def metadata(self) -> dict[str, Any]:
        """Schema and table of the objects."""
        entries = [_entry(entry) for entry in self.objects]
        column = lambda name: [entry[name] for entry in entries]
        number = lambda name, dtype: {"values": self.add_view(np.array(column(name), dtype).tobytes())}
        bits = np.packbits(np.array(column("isthing"), bool), bitorder="little").tobytes()
        properties = {
            "id": number("id", "<u4"), "category_id": number("category_id", "<u4"),
            "confidence": number("confidence", "<f4"), "isthing": {"values": self.add_view(bits)},
            "name": self._texts(column("name")), "category": self._texts(column("category")),
        }  # fmt: skip
        described = {
            "id": _scalar("UINT32", "The segment's id"), "category_id": _scalar("UINT32", "The category's id"),
            "confidence": _scalar("FLOAT32", "Mean share of the object among its Gaussians' votes"),
            "isthing": {"type": "BOOLEAN", "required": True, "description": "A countable object, not stuff"},
            "name": {"type": "STRING", "required": True, "semantic": "NAME"},
            "category": {"type": "STRING", "required": True},
        }  # fmt: skip
        schema = {"id": "panoptic_gs", "classes": {"object": {"name": "Object", "properties": described}}}
        table = {"name": "objects", "class": "object", "count": len(entries), "properties": properties}
        return {"schema": schema, "propertyTables": [table]}

    def _texts(self, texts: Sequence[str]) -> dict[str, Any]:
        encoded = [text.encode("utf-8", errors="replace") for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4")
        content = b"".join(encoded) or b"\0"  # a view cannot be empty
        return {"values": self.add_view(content), "stringOffsets": self.add_view(offsets.tobytes())}

    def save(self, path: Path, root: int, extras: Mapping[str, Any]) -> None:
        metadata = self.metadata()
        document = {
            "asset": {"version": "2.0", "generator": "panoptic-gs", "extras": dict(extras)},
            "extensionsUsed": [EXTENSION, _FEATURES, _METADATA], "extensions": {_METADATA: metadata},
            "scene": 0, "scenes": [{"nodes": [root]}], "nodes": self.nodes, "meshes": self.meshes,
            "accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": self.size}],
        }  # fmt: skip
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + self.size
        if length > _LARGEST:
            raise InputError(path, f"{length:,} bytes", "a GLB of at most 4 GiB", "Export objects one by one, as PLY.")
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(struct.pack("<4sII", b"glTF", 2, length))
            file.write(struct.pack("<I4s", len(text), b"JSON") + text)
            file.write(struct.pack("<I4s", self.size, b"BIN\0"))
            file.writelines(self.parts)


def _scalar(kind: str, description: str) -> dict[str, Any]:
    return {"type": "SCALAR", "componentType": kind, "required": True, "description": description}
