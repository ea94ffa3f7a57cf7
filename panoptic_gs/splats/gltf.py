# SPDX-License-Identifier: Apache-2.0
"""glTF and GLB with ``KHR_gaussian_splatting``: point primitives whose attributes are Gaussians.

Read by the released text of the extension: linear scales, opacities in 0 … 1, quaternions xyzw, coefficients per degree
and order. Earlier drafts had logarithmic scales; a negative one tells them. Source: Khronos, "KHR_gaussian_splatting".
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.records import Array, Length, Name, Range, parse_record
from panoptic_gs.splats import spz
from panoptic_gs.splats.columns import SplatColumns, damaged, joined, moved, named, require_worth

MAGIC = b"glTF"
EXTENSION = "KHR_gaussian_splatting"
TO_SCENE = "scene_from_gltf"
"""Entry of the asset's extras: the rotation ``[4, 4]`` from glTF's axes to those of the splats that were exported."""
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_UNDERSTOOD = (EXTENSION, "KHR_mesh_quantization", "EXT_mesh_features", "EXT_structural_metadata",
               f"{EXTENSION}_compression_spz", f"{EXTENSION}_compression_spz_2")  # fmt: skip
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_MOST_NODES = 100_000
_DEEPEST = 500
_HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
_Index = Annotated[int, Range(0, 1 << 31)]
_Size = Annotated[int, Range(0, (1 << 53) - 1)]
_Mend = "Export it again with a current version of its program."


@dataclass(frozen=True)
class _Buffer:
    byteLength: _Size
    uri: Annotated[str, Length(0, 1 << 30)] | None = None


@dataclass(frozen=True)
class _View:
    buffer: _Index
    byteLength: _Size
    byteOffset: _Size = 0
    byteStride: Annotated[int, Range(1, 1 << 20)] | None = None


@dataclass(frozen=True)
class _Accessor:
    componentType: int
    count: _Size
    type: Name
    bufferView: _Index | None = None
    byteOffset: _Size = 0
    normalized: bool = False
    sparse: Any = None


@dataclass(frozen=True)
class _Primitive:
    attributes: dict[str, _Index]
    extensions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Mesh:
    primitives: tuple[_Primitive, ...]


@dataclass(frozen=True)
class _Node:
    children: tuple[_Index, ...] = ()
    mesh: _Index | None = None
    matrix: Annotated[np.ndarray, Array(16)] | None = None
    translation: Annotated[np.ndarray, Array(3)] | None = None
    rotation: Annotated[np.ndarray, Array(4)] | None = None
    scale: Annotated[np.ndarray, Array(3)] | None = None


@dataclass(frozen=True)
class _Scene:
    nodes: tuple[_Index, ...] = ()


@dataclass(frozen=True)
class _Asset:
    version: Name
    generator: Annotated[str, Length(0, 10_000)] = ""
    extras: Any = None


@dataclass(frozen=True)
class _Document:
    asset: _Asset
    meshes: tuple[_Mesh, ...] = ()
    nodes: tuple[_Node, ...] = ()
    scenes: tuple[_Scene, ...] = ()
    scene: _Index = 0
    accessors: tuple[_Accessor, ...] = ()
    bufferViews: tuple[_View, ...] = ()
    buffers: tuple[_Buffer, ...] = ()
    extensionsRequired: tuple[Name, ...] = ()


@dataclass(frozen=True)
class _Packed:
    bufferView: _Index


@dataclass(frozen=True)
class _Splatting:
    kernel: Name = "ellipse"
    colorSpace: Literal["srgb_rec709_display", "BT.709-sRGB"] = "srgb_rec709_display"
    extensions: dict[str, Any] = field(default_factory=dict)


def read(path: Path | str) -> SplatColumns:
    """The Gaussians of all nodes, in the file's world; in the scene's own axes where the file says how it was turned.

    Raises:
        InputError: no glTF 2, truncated, no Gaussians, extensions that are not understood.
    """
    path = Path(path)
    text, binary = _chunks(path)
    document = parse_record(text, _Document, path, mend=_Mend)
    if not document.asset.version.startswith("2."):
        raise InputError(path, f"glTF {document.asset.version[:20]}", "glTF 2.0", _Mend)
    foreign = [name for name in document.extensionsRequired if name not in _UNDERSTOOD]
    if foreign:
        raise InputError(
            path, f"the extension {foreign[0]}, which it requires", "glTF with uncompressed KHR_gaussian_splatting",
            "Export it without compression, or as PLY.",
        )  # fmt: skip
    reader = _Reader(path, document, binary)
    parts, notes = [], list[str]()
    for primitive, matrix in list(reader.primitives()):  # none is read before the nodes are known to end
        columns = reader.gaussians(primitive, notes)
        try:
            parts.append(moved(columns, matrix))
        except InputError as error:
            raise InputError(
                path, f"a node that shears, mirrors or stretches its Gaussians ({error.found[:200]})",
                "rotations, translations and one scale", "Apply the node's transform.",
            ) from error  # fmt: skip
        if len(parts) > 1:
            require_worth(path, sum(len(part["x"]) for part in parts), 0, reader.size)
    if not parts:
        raise InputError(path, "a glTF without Gaussians", f"a node with a mesh of {EXTENSION}",
                         "Export Gaussians, not a mesh or a point cloud.")  # fmt: skip
    columns = joined(parts)
    turn = _to_scene(document.asset, path, notes)
    extras = document.asset.extras if isinstance(document.asset.extras, dict) else {}
    mode = extras.get("rasterize_mode")
    known = mode if mode in ("classic", "antialiased") else None
    return SplatColumns(moved(columns, turn), tuple(dict.fromkeys(notes)), known)


def _to_scene(asset: _Asset, path: Path, notes: list[str]) -> np.ndarray:
    """The rotation from the file's axes to those of the splats that it was made from, where that is known."""
    extras = asset.extras if isinstance(asset.extras, dict) else {}
    if TO_SCENE in extras:
        matrix = parse_record(extras[TO_SCENE], Annotated[np.ndarray, Array(4, 4)], path)  # pyright: ignore[reportArgumentType]
        return np.asarray(matrix)
    if asset.generator.startswith("splat-transform"):
        notes.append("turned by half a turn about z: SplatTransform turns what it writes as glTF by this")
        return _HALF_TURN
    notes.append("glTF: in the file's own axes; programs that write y up turn the scene that they were given")
    return np.eye(4)


def _chunks(path: Path) -> tuple[Any, bytes | None]:
    """JSON and binary chunk of a GLB, or the JSON of a glTF."""
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            return read_json(path), None
    data = path.read_bytes()
    if len(data) < 20:
        raise damaged(path, "GLB", f"{len(data)} bytes")
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2:
        raise InputError(path, f"GLB of version {version}", "version 2", _Mend)
    if length > len(data):
        raise damaged(path, "GLB", f"{len(data):,} of {length:,} bytes: truncated")
    chunks, begin = [], 12
    while begin + 8 <= length and len(chunks) < 2:
        size, kind = struct.unpack_from("<II", data, begin)
        if size > length - begin - 8:
            raise damaged(path, "GLB", f"a chunk of {size:,} bytes in {length - begin - 8:,}: truncated")
        chunks.append((kind, data[begin + 8 : begin + 8 + size]))
        begin += 8 + size
    if not chunks or chunks[0][0] != _JSON:
        raise damaged(path, "GLB", "no JSON chunk")
    try:
        text = json.loads(chunks[0][1].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, "GLB", f"no valid JSON: {error}") from error
    return text, chunks[1][1] if len(chunks) > 1 and chunks[1][0] == _BINARY else None


class _Reader:
    """The nodes and arrays of one document."""

    def __init__(self, path: Path, document: _Document, binary: bytes | None) -> None:
        self.path, self.document, self._binary = path, document, binary
        self._buffers: dict[int, bytes] = {}
        self.size = path.stat().st_size

    def _entry(self, kind: str, index: int) -> Any:
        entries = getattr(self.document, kind)
        if index >= len(entries):
            raise damaged(self.path, "glTF", f"number {index} of {len(entries)} {kind}")
        return entries[index]

    def primitives(self) -> Iterator[tuple[_Primitive, np.ndarray]]:
        """Each primitive with Gaussians and its ``[4, 4]`` place in the world; without scenes all nodes are roots."""
        document = self.document
        if document.scenes:
            roots = self._entry("scenes", document.scene).nodes
        else:
            below = {child for node in document.nodes for child in node.children}
            roots = [index for index in range(len(document.nodes)) if index not in below]
        waiting = [(index, np.eye(4), 0) for index in reversed(roots)]
        visited = 0
        while waiting:
            index, above, depth = waiting.pop()
            visited += 1
            if visited > _MOST_NODES or depth > _DEEPEST:
                raise damaged(self.path, "glTF", "nodes that contain themselves, or too many")
            node = self._entry("nodes", index)
            matrix = above @ _matrix_of(node)
            if node.mesh is not None:
                for primitive in self._entry("meshes", node.mesh).primitives:
                    if EXTENSION in primitive.extensions:
                        yield primitive, matrix
            waiting.extend((child, matrix, depth + 1) for child in reversed(node.children))

    def gaussians(self, primitive: _Primitive, notes: list[str]) -> dict[str, np.ndarray]:
        """The columns of one primitive, in its own frame."""
        splatting = parse_record(primitive.extensions[EXTENSION], _Splatting, self.path, mend=_Mend)
        if splatting.kernel != "ellipse":
            raise InputError(self.path, f"Gaussians of the kernel '{splatting.kernel[:40]}'", "the kernel 'ellipse'",
                             "Export ellipsoids.")  # fmt: skip
        for name, packed in splatting.extensions.items():
            if name not in _UNDERSTOOD:
                raise InputError(self.path, f"Gaussians packed by {name[:80]}", "uncompressed ones, or SPZ",
                                 "Export it without compression, or as PLY.")  # fmt: skip
            view = parse_record(packed, _Packed, self.path, mend=_Mend).bufferView
            unpacked = spz.decode(bytes(self._view(view)), self.path, turn=False)
            notes.extend(unpacked.notes)
            return dict(unpacked.values)
        has = primitive.attributes
        attribute = lambda name, width: self._attribute(has, name, width)
        positions = attribute("POSITION", 3)
        require_worth(self.path, len(positions), 0, self.size)
        scales = attribute(f"{EXTENSION}:SCALE", 3)
        quats = attribute(f"{EXTENSION}:ROTATION", 4)[:, [3, 0, 1, 2]]
        opacities = attribute(f"{EXTENSION}:OPACITY", 1)[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            if (scales < 0).any():
                notes.append("logarithmic scales, as drafts of KHR_gaussian_splatting had them")
            else:
                scales = np.log(scales)
            if ((opacities < 0) | (opacities > 1)).any():
                raise InputError(self.path, "opacities outside 0 … 1", "opacities of KHR_gaussian_splatting",
                                 "Export it again; they may be logits.")  # fmt: skip
        sh = self._harmonics(has, notes, attribute)
        arrays = (positions, scales, quats, opacities, sh)
        if len({len(array) for array in arrays}) != 1:
            counts = ", ".join(str(len(array)) for array in arrays)
            raise damaged(self.path, "glTF", f"attributes of {counts} Gaussians in one primitive")
        return named(*arrays)

    def _harmonics(self, has: dict[str, int], notes: list[str], attribute: Any) -> np.ndarray:
        """``[N, K, 3]``: degrees are whole or missing."""
        sh = [attribute(f"{EXTENSION}:SH_DEGREE_0_COEF_0", 3)]
        for degree in (1, 2, 3):
            names = [f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{i}" for i in range(2 * degree + 1)]
            if not any(name in has for name in names):
                break
            sh += [attribute(name, 3) for name in names]
        if any(len(values) != len(sh[0]) for values in sh):
            raise damaged(self.path, "glTF", "coefficients of several numbers of Gaussians")
        return np.stack(sh, axis=1)

    def _attribute(self, has: dict[str, int], name: str, width: int) -> np.ndarray:
        """``[N, width]`` float32."""
        if name not in has:
            raise InputError(self.path, f"Gaussians without {name}", f"all attributes of {EXTENSION}", _Mend)
        accessor = self._entry("accessors", has[name])
        dtype = _TYPES.get(accessor.componentType)
        if accessor.sparse is not None or accessor.bufferView is None:
            raise InputError(self.path, f"a sparse accessor for {name}", "plain accessors", "Export it without.")
        if dtype is None or _WIDTHS.get(accessor.type) != width:
            kind = f"{accessor.type[:20]} of component type {accessor.componentType}"
            raise damaged(self.path, "glTF", f"{name} as {kind}")
        view = self._entry("bufferViews", accessor.bufferView)
        item = np.dtype((dtype, (width,)))
        stride = view.byteStride or item.itemsize
        content = self._view(accessor.bufferView)
        needed = accessor.byteOffset + stride * (accessor.count - 1) + item.itemsize if accessor.count else 0
        if stride < item.itemsize or needed > len(content):
            raise damaged(self.path, "glTF", f"{accessor.count:,} of {name} in {len(content):,} bytes: truncated")
        raw = np.ndarray((accessor.count, width), dtype, content, accessor.byteOffset,
                         (stride, np.dtype(dtype).itemsize))  # fmt: skip
        values = raw.astype(np.float32)
        if accessor.normalized and raw.dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(raw.dtype).max, -1)
        return values

    def _view(self, index: int) -> bytes | memoryview:
        view = self._entry("bufferViews", index)
        buffer = self._buffer(view.buffer)
        if view.byteOffset + view.byteLength > len(buffer):
            raise damaged(
                self.path, "glTF", f"bytes {view.byteOffset:,} + {view.byteLength:,} of a buffer of {len(buffer):,}"
            )
        return memoryview(buffer)[view.byteOffset : view.byteOffset + view.byteLength]

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            buffer = self._entry("buffers", index)
            self._buffers[index] = self._content(buffer.uri)
            self.size = max(self.size, len(self._buffers[index]))
        return self._buffers[index]

    def _content(self, uri: str | None) -> bytes:
        if uri is None:
            if self._binary is None:
                raise damaged(self.path, "glTF", "a buffer without content")
            return self._binary
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition("base64,")[2], validate=True)
            except (binascii.Error, ValueError) as error:
                raise damaged(self.path, "glTF", f"a buffer in the text: {error}") from error
        file = self.path.parent / uri
        try:
            inside = file.resolve().is_relative_to(self.path.parent.resolve())
            if inside and file.is_file():
                return file.read_bytes()
        except (OSError, ValueError):
            pass
        raise InputError(self.path, f"a buffer '{uri[:200]}' that is not beside it", "files in its own folder",
                         "Copy the whole folder again, or export a GLB.")  # fmt: skip


def _matrix_of(node: _Node) -> np.ndarray:
    """``[4, 4]`` from a node's frame to the one above."""
    if node.matrix is not None:
        return node.matrix.reshape(4, 4).T
    matrix = np.eye(4)
    if node.rotation is not None:
        x, y, z, w = node.rotation / max(float(np.linalg.norm(node.rotation)), 1e-30)
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    if node.scale is not None:
        matrix[:3, :3] *= node.scale
    if node.translation is not None:
        matrix[:3, 3] = node.translation
    return matrix
