# SPDX-License-Identifier: Apache-2.0
"""A procedural room laid out as a scene of ScanNet."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from room_frames import RoomFrame, camera_to_world

from panoptic_gs.datasets.classes import NYU40
from panoptic_gs.synthetic import CATEGORIES

SCENE = "scene0000_00"
NYU40_OF = {category.id: NYU40.ids.get(category.name, NYU40.ids["otherprop"]) for category in CATEGORIES}


def raw_label(category_id: int | np.ndarray) -> int | np.ndarray:
    """ScanNet's own label of a reduced class; beyond 8 bits, and 0 for void."""
    return category_id * 61


def instance_image(frame: RoomFrame) -> np.ndarray:
    """[H, W] uint8: as in ScanNet walls and floors are instances, too."""
    return np.where(frame.instances > 0, frame.instances, 200 + frame.classes).astype(np.uint8)


def write_scannet(
    root: Path, frames: Sequence[RoomFrame], poses: Sequence[np.ndarray] | None = None, exported: bool = False
) -> Path:
    """Lay the frames out as ``root/scans/scene0000_00``; frame i is number i.

    Args:
        root: where the table of labels lies.
        frames: the room.
        poses: camera-to-world matrices instead of the frames' own.
        exported: write ``color/ depth/ pose/ intrinsic/`` instead of the ``.sens`` stream.
    """
    folder = root / "scans" / SCENE
    folder.mkdir(parents=True)
    poses = [camera_to_world(frame.camera) for frame in frames] if poses is None else poses
    (write_exported if exported else write_sens)(folder, frames, poses)
    write_labels(folder, frames)
    write_table(root)
    return folder


def write_sens(
    folder: Path,
    frames: Sequence[RoomFrame],
    poses: Sequence[np.ndarray],
    color_compression: Literal["raw", "png", "jpeg"] = "jpeg",
    depth_compression: Literal["raw_ushort", "zlib_ushort"] = "zlib_ushort",
) -> None:
    """The stream; ScanNet's own is of JPEG colour and zlib depth."""
    height, width = frames[0].depth.shape
    name = b"StructureSensor"
    parts = [struct.pack("<IQ", 4, len(name)), name]
    for matrix in (intrinsics(frames[0]), np.eye(4), intrinsics(frames[0]), np.eye(4)):
        parts.append(matrix.astype("<f4").tobytes())
    kinds = ("raw", "png", "jpeg").index(color_compression), ("raw_ushort", "zlib_ushort").index(depth_compression)
    parts.append(struct.pack("<ii4IfQ", *kinds, width, height, width, height, 1000.0, len(frames)))
    for number, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
        color = {"raw": frame.rgb.tobytes(), "png": png(frame.rgb), "jpeg": jpeg(frame)}[color_compression]
        depth = millimetres(frame).tobytes()
        depth = zlib.compress(depth) if depth_compression == "zlib_ushort" else depth
        parts += [pose.astype("<f4").tobytes(), struct.pack("<4Q", 33 * number, 33 * number, len(color), len(depth))]
        parts += [color, depth]
    parts.append(struct.pack("<Q", 0))  # no inertial measurements
    (folder / f"{SCENE}.sens").write_bytes(b"".join(parts))


def write_exported(folder: Path, frames: Sequence[RoomFrame], poses: Sequence[np.ndarray]) -> None:
    """The folders that SensReader exports."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir()
    for number, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
        (folder / "color" / f"{number}.jpg").write_bytes(jpeg(frame))
        Image.fromarray(millimetres(frame)).save(folder / "depth" / f"{number}.png")
        np.savetxt(folder / "pose" / f"{number}.txt", pose, fmt="%.8f")
    for name in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{name}.txt", intrinsics(frames[0]), fmt="%.6f")
        np.savetxt(folder / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4), fmt="%.6f")


def write_labels(folder: Path, frames: Sequence[RoomFrame]) -> None:
    """The two label zips and the aggregation."""
    images = {
        "label-filt": [raw_label(frame.classes).astype(np.uint16) for frame in frames],
        "instance-filt": [instance_image(frame) for frame in frames],
    }
    for kind, maps in images.items():
        with zipfile.ZipFile(folder / f"{SCENE}_2d-{kind}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{kind}/", "")
            for number, labels in enumerate(maps):
                archive.writestr(f"{kind}/{number}.png", png(labels))
    names = {category.id: category.name for category in CATEGORIES}
    label_of = {}
    for frame in frames:
        pairs = np.stack([instance_image(frame), frame.classes], axis=-1).reshape(-1, 2)
        label_of |= {int(instance): names[int(category)] for instance, category in np.unique(pairs, axis=0)}
    groups = [{"id": i, "objectId": i - 1, "segments": [i], "label": label_of[i]} for i in sorted(label_of)]
    (folder / f"{SCENE}.aggregation.json").write_text(json.dumps({"sceneId": f"scannet.{SCENE}", "segGroups": groups}))


def write_table(root: Path) -> None:
    """``scannetv2-labels.combined.tsv``, its columns in another order than one might rely on."""
    rows = ["raw_category\tid\tcategory\tcount\tnyuClass\tnyu40class\tnyu40id"]
    for category in CATEGORIES:
        nyu40 = NYU40_OF[category.id]
        name = NYU40.categories[nyu40 - 1].name
        rows.append(f"{category.name}\t{raw_label(category.id)}\t{category.name}\t1\t{category.name}\t{name}\t{nyu40}")
    (root / "scannetv2-labels.combined.tsv").write_text("\n".join(rows) + "\n")


def intrinsics(frame: RoomFrame) -> np.ndarray:
    """[4, 4] with pixel centres on whole numbers."""
    matrix = np.eye(4)
    matrix[:3, :3] = frame.camera.K.double().numpy()
    matrix[:2, 2] -= 0.5
    return matrix


def millimetres(frame: RoomFrame) -> np.ndarray:
    """[H, W] uint16."""
    return np.rint(frame.depth * 1000).astype("<u2")


def jpeg(frame: RoomFrame) -> bytes:
    """The photo as ScanNet compresses it."""
    buffer = io.BytesIO()
    Image.fromarray(frame.rgb).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """Grey PNG of 8 or 16 bits, or a colour one."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
