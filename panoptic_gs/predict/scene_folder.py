# SPDX-License-Identifier: Apache-2.0
"""Predictions as a scene folder: photos, cameras and seed points beside the network's output."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import opened_image, write_json, write_png
from panoptic_gs.predict.cameras import align_to_known
from panoptic_gs.predict.crop import crop
from panoptic_gs.predict.photos import HEIF, Photo
from panoptic_gs.predict.seed_points import select_seed_points
from panoptic_gs.progress import Progress, silent
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.replacing import replacing
from panoptic_gs.scene import Frame, Points, Scene, write_points
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.masks import read_mask
from panoptic_gs.scene.orientation import exif_orientation, turned
from panoptic_gs.scene.photo import read_photo
from panoptic_gs.scene.transforms import PosedPhoto, write_transforms

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


def photo_of(frame: Frame) -> Photo:
    """The photo of a scene, the way round that its camera is, under the scene's name for it."""
    return Photo.open(frame.image_path, upright=frame.orientation != 1, name=frame.stem)


def known_camera(photo: Photo, frame: Frame) -> Camera:
    """The scene's camera of a photo, at the photo's size.

    Raises:
        InputError: the photo is of another shape.
    """
    camera = frame.sensor
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
    lenses: Mapping[str, Distortion] | None = None,
) -> None:
    """Write ``images/``, ``transforms.json`` and ``points3D.ply`` of photos and their estimated cameras.

    Args:
        folder: the scene folder.
        photos: to copy.
        cameras: of the upright photos.
        points: to start training from.
        progress: called after each photo.
        lenses: photo's stem → its distortion, where there is any.
    """
    entries = []
    for number, (photo, camera) in enumerate(zip(photos, cameras, strict=True), 1):
        name = copy_photo(photo, folder / "images")
        entries.append(PosedPhoto(f"images/{name}", camera, (lenses or {}).get(photo.stem, Distortion())))
        progress("Writing photos", number, len(photos))
    _write_transforms(folder, entries, points)


def write_known_scene(folder: Path, known: Scene, points: Points | None, progress: Progress = silent) -> None:
    """Write a scene anew with other seed points: photos, cameras and lenses, splits and true maps are copied.

    Without ``points`` the scene keeps its own.
    """
    entries = []
    for number, frame in enumerate(known.frames, 1):
        photo = photo_of(frame)
        name = copy_photo(photo, folder / "images", keep_alpha=True)
        camera = frame.sensor.resized(photo.width, photo.height)  # which may have been shrunk
        entries.append(PosedPhoto(f"images/{name}", camera, frame.distortion, _copy_mask(frame, folder)))
        progress("Writing photos", number, len(known.frames))
    _write_transforms(folder, entries, known.points if points is None else points)
    if known.splits:
        write_json(folder / "splits.json", {name: list(stems) for name, stems in known.splits.items()})
    if not (known.root / "panoptic_gt").is_dir():
        return
    if any(exif_orientation(frame.image_path) > 1 for frame in known.frames):
        known.load_panoptic("panoptic_gt").save(folder / "panoptic_gt")  # the way round that the new photos are
    else:
        shutil.copytree(known.root / "panoptic_gt", folder / "panoptic_gt")


def copy_photo(photo: Photo, folder: Path, stem: str | None = None, *, keep_alpha: bool = False) -> str:
    """Copy an upright photo, or write it anew where other programs would show it turned or transparent.

    Args:
        photo: what to copy.
        folder: where to.
        stem: its new name without ending, which may be in a subfolder; by default its own.
        keep_alpha: leave what is transparent as it is.
    """
    stem = stem or photo.stem
    name, jpeg = stem + photo.path.suffix, photo.path.suffix.lower() in _JPEG
    with opened_image(photo.path) as image:
        modes = ("RGB", "L", "RGBA") if keep_alpha else ("RGB", "L")
        plain = image.mode in modes and (jpeg or photo.path.suffix.lower() == ".png")
    # Readers differ in whether they follow EXIF: what lies in a scene folder says nothing about turning.
    if plain and photo.orientation == 1 and exif_orientation(photo.path) == 1:
        with replacing(folder / name) as temporary:
            shutil.copyfile(photo.path, temporary)
        return name
    pixels = turned(read_photo(photo.path), photo.orientation) if keep_alpha else photo.read()
    # What a phone wrote with losses would be ten times as large without.
    lossy = jpeg or (photo.path.suffix.lower() in HEIF and pixels.shape[2] == 3)
    name = name if jpeg else f"{stem}.jpg" if lossy else f"{stem}.png"
    with replacing(folder / name) as temporary:
        picture = Image.fromarray(pixels)
        if lossy:
            picture.save(temporary, format="JPEG", quality=95, subsampling=0)
        else:
            picture.save(temporary, format="PNG", compress_level=4)
    return name


def _copy_mask(frame: Frame, folder: Path) -> str | None:
    """Write the mask of a photo, the way round that the photo is, and give its path in the folder."""
    if frame.mask_path is None:
        return None
    name = f"masks/{frame.stem}.png"
    write_png(folder / name, frame.upright(read_mask(frame.mask_path), frame.mask_path).astype(np.uint8) * 255)
    return name


def _write_transforms(folder: Path, entries: list[PosedPhoto], points: Points | None) -> None:
    seeds = points is not None and len(points[0]) > 0
    if points is not None and seeds:
        write_points(folder / "points3D.ply", points)
    write_transforms(folder / "transforms.json", entries, "points3D.ply" if seeds else None)
