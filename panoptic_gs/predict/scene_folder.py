# SPDX-License-Identifier: Apache-2.0
"""Predictions as a scene folder: photos, cameras and seed points beside the network's output."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.predict.cameras import align_to_known
from panoptic_gs.predict.crop import crop
from panoptic_gs.predict.photos import Photo, exif_orientation
from panoptic_gs.predict.seed_points import select_seed_points
from panoptic_gs.progress import Progress, silent
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.replacing import replacing
from panoptic_gs.scene import Frame, Points, Scene, write_points
from panoptic_gs.scene.lens import Distortion

_JPEG = (".jpg", ".jpeg")
_SAME_SHAPE = 0.01  # how much the aspect ratios of a photo and of its camera may differ


@dataclass(frozen=True, eq=False)
class Alignment:
    """How well the network's cameras fit known ones: medians over views."""

    center_error: float
    """Distance of the centres, as a share of the spread of the known ones."""
    angle_error: float
    """Degrees."""


def with_known_cameras(
    raw: RawPredictions, photos: Sequence[Photo], known: Scene
) -> tuple[RawPredictions, Alignment | None]:
    """The predictions with a scene's cameras instead of estimated ones, and the point maps moved into its world.

    Returns:
        The predictions, and how well the network's own cameras fitted; None where it gave none.

    Raises:
        InputError: the cameras do not determine the similarity, or have nothing to do with the network's.
    """
    assert raw.to_original is not None
    cameras = [known_camera(photo, known.frame(photo.stem)) for photo in photos]
    viewmats = torch.stack([camera.viewmat for camera in cameras])
    points, alignment = raw.points, None
    if raw.viewmats is not None and points is not None:
        fitted, off, angle = align_to_known(raw.viewmats.double().numpy(), viewmats.double().numpy())
        points = [torch.from_numpy(fitted(view.numpy())) for view in points]
        alignment = Alignment(float(np.median(off)), float(np.median(angle)))
    Ks = torch.linalg.inv(raw.to_original) @ torch.stack([camera.K for camera in cameras])
    return replace(raw, points=points, viewmats=viewmats, Ks=Ks), alignment


def known_camera(photo: Photo, frame: Frame) -> Camera:
    """The scene's camera of a photo, at the photo's size.

    Raises:
        InputError: the photo is of another shape.
    """
    camera = frame.camera
    if abs(photo.width * camera.height / (photo.height * camera.width) - 1) > _SAME_SHAPE:
        raise InputError(
            photo.path,
            f"{photo.width}×{photo.height} pixels",
            f"the shape of {camera.width}×{camera.height}, which its camera has",
            "Give the photos that the cameras belong to.",
        )
    return camera.resized(photo.width, photo.height)


def photo_cameras(raw: RawPredictions) -> list[Camera]:
    """The cameras of the original photos, from those of the network's input.

    Raises:
        InputError: the network gave no point maps.
    """
    if raw.viewmats is None or raw.Ks is None or raw.to_original is None:
        raise InputError(
            f"output of {raw.network}",
            "no point maps, so no cameras",
            "points, points_local and confidence",
            "Give known cameras with --cameras SCENE, or use a network that finds them.",
        )
    Ks = raw.to_original.double() @ raw.Ks.double()
    return [Camera(v, K, image.width, image.height) for v, K, image in zip(raw.viewmats, Ks, raw.images, strict=True)]


def seed_points_of(raw: RawPredictions, photos: Sequence[Photo], count: int) -> Points | None:
    """Evenly spread points of the point maps, coloured from the photos; None without point maps or a wish for any."""
    if raw.points is None or raw.confidence is None or count == 0:
        return None
    sizes = raw.network_sizes
    return select_seed_points(
        [view.numpy() for view in raw.points], [view.numpy() for view in raw.confidence],
        lambda index: crop(photos[index].read(), sizes[index]), count,
    )  # fmt: skip


def write_estimated_scene(
    folder: Path,
    photos: Sequence[Photo],
    cameras: Sequence[Camera],
    points: Points | None,
    progress: Progress = silent,
) -> None:
    """Write ``images/``, ``transforms.json`` and ``points3D.ply`` of photos and their estimated cameras."""
    entries = []
    for number, (photo, camera) in enumerate(zip(photos, cameras, strict=True), 1):
        name = _copy_photo(photo, folder / "images")
        entries.append(_entry(f"images/{name}", camera, Distortion()))
        progress("Writing photos", number, len(photos))
    _write_transforms(folder, entries, points)


def write_known_scene(folder: Path, known: Scene, points: Points | None, progress: Progress = silent) -> None:
    """Write a scene anew with other seed points: photos, cameras and lenses, splits and true maps are copied.

    Without ``points`` the scene keeps its own.
    """
    entries = []
    for number, frame in enumerate(known.frames, 1):
        name = _copy_photo(Photo.open(frame.image_path, upright=False), folder / "images")
        entries.append(_entry(f"images/{name}", frame.camera, frame.distortion))
        progress("Writing photos", number, len(known.frames))
    _write_transforms(folder, entries, known.points if points is None else points)
    if known.splits:
        write_json(folder / "splits.json", {name: list(stems) for name, stems in known.splits.items()})
    if (known.root / "panoptic_gt").is_dir():
        shutil.copytree(known.root / "panoptic_gt", folder / "panoptic_gt")


def _copy_photo(photo: Photo, folder: Path) -> str:
    """Copy an upright photo, or write it anew where other programs would show it turned or transparent."""
    name, jpeg = photo.path.name, photo.path.suffix.lower() in _JPEG
    with Image.open(photo.path) as image:
        plain = image.mode in ("RGB", "L") and (jpeg or photo.path.suffix.lower() == ".png")
    # Readers differ in whether they follow EXIF: what lies in a scene folder says nothing about turning.
    if plain and photo.orientation == 1 and exif_orientation(photo.path) == 1:
        with replacing(folder / name) as temporary:
            shutil.copyfile(photo.path, temporary)
        return name
    name = name if jpeg else f"{photo.stem}.png"
    with replacing(folder / name) as temporary:
        picture = Image.fromarray(photo.read())
        if jpeg:
            picture.save(temporary, format="JPEG", quality=95, subsampling=0)
        else:
            picture.save(temporary, format="PNG", compress_level=4)
    return name


def _entry(file: str, camera: Camera, distortion: Distortion) -> dict[str, Any]:
    K = camera.K.tolist()
    lens: dict[str, Any] = {}
    if distortion:
        lens = {key: value for key, value in asdict(distortion).items() if key != "model"}
        lens["camera_model"] = "OPENCV_FISHEYE" if distortion.model == "fisheye" else "OPENCV"
    return {
        "file_path": file, "w": camera.width, "h": camera.height,
        "fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2], **lens,
        "transform_matrix": camera.to_opengl().tolist(),
    }  # fmt: skip


def _write_transforms(folder: Path, entries: list[dict[str, Any]], points: Points | None) -> None:
    document: dict[str, Any] = {"camera_model": "OPENCV"}
    if points is not None and len(points[0]):
        write_points(folder / "points3D.ply", points)
        document["ply_file_path"] = "points3D.ply"
    write_json(folder / "transforms.json", document | {"frames": entries})
