# SPDX-License-Identifier: Apache-2.0
"""Scene folders of the exact room, written as nerfstudio and COLMAP document them, not by the toolkit's writers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from benchmarks.captures.lenses import MODELS, Lens
from benchmarks.captures.room import CATEGORIES, CATEGORY_OF, WallSplats, poses, shoot, wall_points

Source = Literal["transforms", "colmap text", "colmap binary"]
PINHOLE = Lens("PINHOLE", 240, 160, 150.0)
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass
class Capture:
    """Photos and exact label maps of the room, before they are written.

    Args:
        cameras: camera-to-world poses ``[4, 4]`` (OpenGL axes) by name.
        lenses: of each photo.
        photos: ``[H, W, 3]`` or ``[H, W, 4]`` uint8 of each.
        maps: ``[H, W]`` int32 segment ids of each.
    """

    cameras: dict[str, np.ndarray]
    lenses: dict[str, Lens]
    photos: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)


def capture(
    lenses: Lens | Sequence[Lens] = PINHOLE,
    count: int = 12,
    roll: float = 0.0,
    name: Callable[[int], str] | None = None,
) -> Capture:
    """Photograph the room.

    Args:
        lenses: one for all photos, or several in turn.
        count: how many photos.
        roll: turn of every camera about its axis, in radians.
        name: of the photo of each number, without ending; by default 0000, 0001, …
    """
    kinds = [lenses] if isinstance(lenses, Lens) else list(lenses)
    rays = [lens.rays() for lens in kinds]
    result = Capture({}, {})
    for number, camera in enumerate(poses(count, roll)):
        stem = f"{number:04d}" if name is None else name(number)
        result.cameras[stem], result.lenses[stem] = camera, kinds[number % len(kinds)]
        result.maps[stem], result.photos[stem] = shoot(camera, rays[number % len(kinds)])
    return result


def write_capture(
    root: Path,
    made: Capture,
    source: Source = "transforms",
    *,
    ending: str = ".png",
    panoptic: bool = True,
    extra: Mapping[str, Any] | None = None,
    frame_extra: Callable[[str], Mapping[str, Any]] | None = None,
) -> Path:
    """Write a scene folder with photos, cameras, seed points and panoptic maps.

    Args:
        root: new folder.
        made: what to write.
        source: where the cameras are written.
        ending: of the photos.
        panoptic: whether to write the maps.
        extra: more fields of ``transforms.json``.
        frame_extra: more fields of the frame of each name.
    """
    for stem, photo in made.photos.items():
        file = root / "images" / f"{stem}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(file, quality=98, subsampling=0)  # what JPEG needs and PNG ignores
    if source == "transforms":
        write_points(root / "points3D.ply", *wall_points(4000)[:2])
        write_transforms(root / "transforms.json", made, ending, extra or {}, frame_extra or (lambda stem: {}))
    else:
        folder = root / "colmap" / "sparse" / "0"
        folder.mkdir(parents=True)
        (_write_colmap_text if source == "colmap text" else _write_colmap_binary)(folder, made, ending)
    if panoptic:
        write_maps(root / "panoptic", made.maps)
    return root


def write_maps(
    folder: Path, maps: Mapping[str, np.ndarray], categories: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """COCO panoptic maps: PNGs of ids in base 256 and ``panoptic.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (stem, labels) in enumerate(sorted(maps.items()), 1):
        file = f"{Path(stem).name}.png"
        ids = labels.astype(np.uint32)
        Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)).save(
            folder / file
        )
        images.append({"id": number, "file_name": file, "width": labels.shape[1], "height": labels.shape[0]})
        segments = []
        for segment in np.unique(labels):
            if segment:
                rows, columns = np.nonzero(labels == segment)
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                segments.append({
                    "id": int(segment), "category_id": CATEGORY_OF[int(segment)], "area": len(rows), "iscrowd": 0,
                    "bbox": [int(v) for v in box],
                })  # fmt: skip
        annotations.append({"image_id": number, "file_name": file, "segments_info": segments})
    document = {"images": images, "annotations": annotations, "categories": list(categories or CATEGORIES)}
    (folder / "panoptic.json").write_text(json.dumps(document))


def write_transforms(
    file: Path, made: Capture, ending: str, extra: Mapping[str, Any], frame_extra: Callable[[str], Mapping[str, Any]]
) -> None:
    """nerfstudio's ``transforms.json``; intrinsics stand above the frames where all photos share a lens."""
    shared = len(set(made.lenses.values())) == 1
    frames = []
    for stem, camera in made.cameras.items():
        frame: dict[str, Any] = {"file_path": f"images/{stem}{ending}", "transform_matrix": camera.tolist()}
        frames.append({**frame, **({} if shared else intrinsics(made.lenses[stem])), **frame_extra(stem)})
    top = intrinsics(next(iter(made.lenses.values()))) if shared else {}
    document = {**top, "ply_file_path": "points3D.ply", **extra, "frames": frames}
    file.write_text(json.dumps(document, indent=1))


def intrinsics(lens: Lens) -> dict[str, Any]:
    """A lens's fields in ``transforms.json``."""
    if lens.model == "EQUIRECTANGULAR":
        return {"camera_model": lens.model, "w": lens.width, "h": lens.height, "fl_x": lens.width, "fl_y": lens.height,
                "cx": lens.width / 2, "cy": lens.height / 2}  # fmt: skip
    cx, cy = lens.principal_point
    return {"camera_model": lens.model, "fl_x": lens.focal, "fl_y": lens.focal, "cx": cx, "cy": cy, "w": lens.width,
            "h": lens.height, **dict(lens.more)}  # fmt: skip


def write_points(file: Path, points: np.ndarray, rgb: np.ndarray, color: str = "u1", divisor: float = 1.0) -> None:
    """A coloured point cloud; ``color`` is the colours' type and ``divisor`` what they are divided by."""
    names = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", color), ("green", color), ("blue", color)]
    vertices = np.empty(len(points), dtype=names)
    for index, (name, _) in enumerate(names[:3]):
        vertices[name] = points[:, index]
    for index, (name, _) in enumerate(names[3:]):
        vertices[name] = rgb[:, index] / divisor if divisor != 1 else rgb[:, index]
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(file))


def splat_columns(splats: WallSplats, degree: int = 0) -> dict[str, np.ndarray]:
    """The properties of a 3DGS PLY (Kerbl et al. 2023), name → ``[N]`` float64."""
    columns = dict(zip("xyz", splats.means.T))
    columns |= {f"f_dc_{i}": (splats.rgb[:, i] / 255 - 0.5) / 0.28209479177387814 for i in range(3)}
    columns |= {f"f_rest_{i}": np.zeros(len(splats.means)) for i in range(3 * ((degree + 1) ** 2 - 1))}
    columns["opacity"] = np.log(splats.opacities / (1 - splats.opacities))
    columns |= {f"scale_{i}": np.log(splats.scales[:, i]) for i in range(3)}
    return columns | {f"rot_{i}": splats.quats[:, i] for i in range(4)}


def write_splats(
    file: Path, columns: Mapping[str, np.ndarray], *, dtype: str = "f4", text: bool = False,
    order: Literal["<", ">"] = "<", comments: Sequence[str] = (),
) -> Path:  # fmt: skip
    """A PLY of these properties."""
    vertices = np.empty(len(columns["x"]), dtype=[(name, dtype) for name in columns])
    for name, values in columns.items():
        vertices[name] = values
    element = PlyElement.describe(vertices, "vertex")
    PlyData([element], text=text, byte_order=order, comments=list(comments)).write(str(file))
    return file


def _pose(camera: np.ndarray) -> tuple[list[float], list[float]]:
    """COLMAP's quaternion (w, x, y, z) and translation, world to camera."""
    viewmat = np.linalg.inv(camera @ _OPENGL)
    x, y, z, w = Rotation.from_matrix(viewmat[:3, :3]).as_quat()
    return [float(v) for v in (w, x, y, z)], [float(v) for v in viewmat[:3, 3]]


def _numbered(made: Capture) -> dict[Lens, int]:
    return {lens: number for number, lens in enumerate(dict.fromkeys(made.lenses.values()), 1)}


def _write_colmap_text(folder: Path, made: Capture, ending: str) -> None:
    numbers = _numbered(made)
    lines = ["# Camera list with one line of data per camera:"]
    for lens, number in numbers.items():
        values = " ".join(repr(float(v)) for v in lens.parameters())
        lines.append(f"{number} {lens.model} {lens.width} {lens.height} {values}")
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:"]
    for number, (stem, camera) in enumerate(made.cameras.items(), 1):
        quaternion, translation = _pose(camera)
        values = " ".join(repr(v) for v in (*quaternion, *translation))
        lines += [f"{number} {values} {numbers[made.lenses[stem]]} {stem}{ending}", "10.5 20.25 1 30.0 40.0 -1"]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    points, rgb, *_ = wall_points(4000)
    rows = [
        f"{number} {' '.join(repr(float(v)) for v in point)} {' '.join(str(int(v)) for v in color)} 0.5 1 0 2 0"
        for number, (point, color) in enumerate(zip(points, rgb), 1)
    ]
    (folder / "points3D.txt").write_text("\n".join(["# 3D point list", *rows]) + "\n")


def _write_colmap_binary(folder: Path, made: Capture, ending: str) -> None:
    numbers = _numbered(made)
    data = struct.pack("<Q", len(numbers))
    for lens, number in numbers.items():
        values = lens.parameters()
        data += struct.pack(f"<IiQQ{len(values)}d", number, MODELS[lens.model][0], lens.width, lens.height, *values)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(made.cameras))
    for number, (stem, camera) in enumerate(made.cameras.items(), 1):
        quaternion, translation = _pose(camera)
        data += struct.pack("<I7dI", number, *quaternion, *translation, numbers[made.lenses[stem]])
        data += f"{stem}{ending}".encode() + b"\0" + struct.pack("<Q2dq2dq", 2, 10.5, 20.25, 1, 30.0, 40.0, -1)
    (folder / "images.bin").write_bytes(data)
    points, rgb, *_ = wall_points(4000)
    data = struct.pack("<Q", len(points))
    for number, (point, color) in enumerate(zip(points, rgb), 1):
        data += struct.pack("<Q3d3BdQ4I", number, *point, *(int(v) for v in color), 0.5, 2, 1, 0, 2, 0)
    (folder / "points3D.bin").write_bytes(data)
