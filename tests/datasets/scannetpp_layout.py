# SPDX-License-Identifier: Apache-2.0
"""A procedural room laid out as a scene of ScanNet++."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from colmap_layout import write_colmap
from PIL import Image
from room_frames import RoomFrame, paint
from room_mesh import room_mesh, write_mesh

from panoptic_gs.camera import Camera
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.synthetic import CATEGORIES, Room, RoomRenderer

SCENE = "0a5c013435"
PINHOLE = Distortion()
FISHEYE = Distortion(k1=0.031, k2=-0.012, k3=0.004, k4=-0.001, model="fisheye")
RADIAL = Distortion(k1=0.06, k2=-0.02, p1=0.001, p2=-0.002)
CLASS = {
    "counter": "kitchen counter",
    "shelves": "bookshelf",
    "television": "tv",
    "lamp": "table lamp",
    "other": "object",
}
"""What the benchmark calls some of the reduced classes; the others have the same name."""
LABEL = {"sofa": "couch", "television": "TV set"}
"""What annotators call some of the reduced classes, otherwise as the benchmark does."""


def stem_of(index: int, device: str = "dslr") -> str:
    """Names as the cameras give them."""
    return f"DSC{1500 + 3 * index:05d}" if device == "dslr" else f"frame_{10 * index:06d}"


def write_scannetpp(root: Path, room: Room) -> Path:
    """Lay out metadata and the annotated mesh as ``root/data/<scene>``."""
    metadata = root / "metadata" / "semantic_benchmark"
    metadata.mkdir(parents=True)
    (metadata / "top100.txt").write_text(
        "".join(f"{CLASS.get(category.name, category.name)}\n" for category in CATEGORIES)
    )
    things = [CLASS.get(category.name, category.name) for category in CATEGORIES if category.isthing]
    (metadata / "top100_instance.txt").write_text("\n".join(things))
    rows = ["class,count,semantic_map_to,instance_map_to"]
    rows += [f"{LABEL[name]},5,{CLASS.get(name, name)},{name}" for name in LABEL] + [
        "wall,9,,None",
        "split,2,None,None",
    ]
    (metadata / "map_benchmark.csv").write_text("\n".join(rows) + "\n")
    scene = root / "data" / SCENE
    (scene / "scans").mkdir(parents=True)
    mesh, surfaces = room_mesh(room)
    write_mesh(scene / "scans" / "mesh_aligned_0.05.ply", mesh)
    write_annotation(scene / "scans", room, surfaces)
    return scene


def write_annotation(scans: Path, room: Room, surfaces: np.ndarray) -> None:
    """Each surface is a segment; walls, floor, ceiling and each object are an object."""
    segment_of = 7 + 3 * surfaces
    (scans / "segments.json").write_text(json.dumps({"sceneId": SCENE, "segIndices": segment_of.tolist()}))
    names = {category.id: category.name for category in CATEGORIES}
    object_of = room.object_of_primitive
    groups: list[tuple[str, list[int]]] = [("wall", [0]), ("floor", [1]), ("ceiling", [2])]
    for number, item in enumerate(room.objects):
        label = names[item.category_id]
        groups.append((LABEL.get(label, CLASS.get(label, label)), (3 + np.flatnonzero(object_of == number)).tolist()))
    entries = [
        {"id": i, "objectId": i, "partId": i, "label": label, "segments": [7 + 3 * surface for surface in members]}
        for i, (label, members) in enumerate(groups)
    ]
    (scans / "segments_anno.json").write_text(json.dumps({"sceneId": SCENE, "segGroups": entries}))


def write_dslr(
    scene: Path,
    frames: Sequence[RoomFrame],
    test: Sequence[int],
    photos: Sequence[np.ndarray] | None = None,
    lens: Distortion = PINHOLE,
) -> None:
    """Photos and nerfstudio's transforms, undistorted or with a lens, and the lists of the split."""
    name, images = ("transforms_undistorted.json", "resized_undistorted_images")
    if lens:
        name, images = "transforms.json", "resized_images"
    _write_photos(scene / "dslr" / images, frames, photos, "dslr", ".JPG")
    write_transforms(scene / "dslr" / "nerfstudio" / name, frames, test, lens, "dslr", ".JPG")
    files = [f"{stem_of(index)}.JPG" for index in range(len(frames))]
    lists = {"train": [f for i, f in enumerate(files) if i not in test], "test": [files[i] for i in test]}
    (scene / "dslr" / "train_test_lists.json").write_text(json.dumps(lists | {"has_masks": False}))


def write_iphone(scene: Path, frames: Sequence[RoomFrame], photos: Sequence[np.ndarray], transforms: bool = True,
                 binary: bool = False) -> None:  # fmt: skip
    """Photos with a little distortion, a COLMAP model and, if wanted, nerfstudio's transforms."""
    _write_photos(scene / "iphone" / "rgb", frames, photos, "iphone", ".jpg")
    write_model(scene / "iphone" / "colmap", frames, RADIAL, "iphone", ".jpg", binary)
    if transforms:
        write_transforms(scene / "iphone" / "nerfstudio" / "transforms.json", frames, (), RADIAL, "iphone", ".jpg")


def write_model(folder: Path, frames: Sequence[RoomFrame], lens: Distortion, device: str = "dslr",
                ending: str = ".JPG", binary: bool = False) -> None:  # fmt: skip
    """The COLMAP model in the world of the mesh."""
    images = {f"{stem_of(index, device)}{ending}": frame.camera for index, frame in enumerate(frames)}
    write_colmap(folder, images, lens, np.array([[0.25, 0.5, 1.0], [1, 2, 3]]), binary)


def write_transforms(file: Path, frames: Sequence[RoomFrame], test: Sequence[int], lens: Distortion, device: str,
                     ending: str) -> None:  # fmt: skip
    """In nerfstudio's world, which is (y, x, -z) of the mesh's."""
    camera = frames[0].camera
    K = camera.K.double().tolist()
    coefficients = {name: getattr(lens, name) for name in ("k1", "k2", "k3", "k4", "p1", "p2")}
    document: dict[str, Any] = {
        "fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2], "w": camera.width, "h": camera.height,
        **coefficients, "camera_model": "OPENCV_FISHEYE" if lens.model == "fisheye" else "OPENCV",
        "has_mask": False, "frames": [], "test_frames": [],
    }  # fmt: skip
    for index, frame in enumerate(frames):
        pose = frame.camera.to_opengl().numpy()[[1, 0, 2, 3]]
        pose[2] *= -1
        entry = {"file_path": f"{stem_of(index, device)}{ending}", "transform_matrix": pose.tolist(), "is_bad": False}
        document["test_frames" if index in test else "frames"].append(entry)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def distorted_photo(renderer: RoomRenderer, camera: Camera, lens: Distortion) -> np.ndarray:
    """[H, W, 3] uint8: what the camera sees of the painted room through the lens."""
    K = camera.K.double().numpy()
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    x, y = (columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1]
    ideal_x, ideal_y = x.copy(), y.copy()
    for _ in range(60):  # the inverse as a fixed point
        seen_x, seen_y = lens.distort(ideal_x, ideal_y)
        ideal_x, ideal_y = ideal_x + 0.8 * (x - seen_x), ideal_y + 0.8 * (y - seen_y)
    assert np.abs(np.stack(lens.distort(ideal_x, ideal_y)) - [x, y]).max() < 1e-9
    viewmat = camera.viewmat.double().numpy()
    rays = viewmat[:3, :3].T @ np.stack([ideal_x, ideal_y, np.ones_like(x)]).reshape(3, -1)
    origins = np.repeat((-viewmat[:3, :3].T @ viewmat[:3, 3])[:, None], rays.shape[1], axis=1)
    depth, surface = renderer.cast(origins, rays)
    return paint(origins + rays * depth, surface).reshape(camera.height, camera.width, 3)


def _write_photos(folder: Path, frames: Sequence[RoomFrame], photos: Sequence[np.ndarray] | None, device: str,
                  ending: str) -> None:  # fmt: skip
    folder.mkdir(parents=True)
    pictures = [frame.rgb for frame in frames] if photos is None else photos
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{stem_of(index, device)}{ending}", "JPEG", quality=95, subsampling=0)
