# SPDX-License-Identifier: Apache-2.0
"""The photos and cameras of a ScanNet++ scene: DSLR, undistorted or fisheye, and iPhone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.raw_scene import Dropped
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.records import MAX_SIDE, Array, Range, parse_record, read_record
from panoptic_gs.scene.colmap import read_colmap
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.lens_names import lens_from_transforms

# nerfstudio turns COLMAP's world, which is the mesh's, into (y, x, -z) or, in later versions, (x, z, -y).
_TRANSFORMS_WORLDS = {
    "(y, x, -z)": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]]),
    "(x, y, z)": np.eye(3),
    "(x, z, -y)": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
_CENTRES_AGREE = 0.01  # metres
_MEND = "Download the scene's cameras again."


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo's file and the camera that took it, in the world of the mesh."""

    path: Path
    camera: Camera = field(repr=False)
    lens: Distortion = field(repr=False)


@dataclass(frozen=True, eq=False)
class Capture:
    """The photos of one camera by stem, those that cannot be used, and the split, if the dataset has one."""

    description: str
    photos: Mapping[str, Photo]
    dropped: tuple[Dropped, ...]
    splits: Mapping[str, tuple[str, ...]] | None

    @classmethod
    def open(cls, root: Path, device: Literal["dslr", "iphone"]) -> Capture:
        """Find the photos and cameras of a device.

        DSLR: ``transforms_undistorted.json`` with ``resized_undistorted_images/``, else ``transforms.json`` (fisheye)
        with ``resized_images/``. iPhone: ``nerfstudio/transforms.json``, else ``colmap/``, with ``rgb/``.

        Raises:
            InputError: no cameras or no photos, malformed cameras, or cameras that contradict the COLMAP model.
        """
        folder = root / device
        if device == "iphone":
            candidates = [("nerfstudio/transforms.json", "rgb"), ("colmap", "rgb")]
        else:
            candidates = [
                ("nerfstudio/transforms_undistorted.json", "resized_undistorted_images"),
                ("nerfstudio/transforms.json", "resized_images"),
            ]
        for cameras, images in candidates:
            if (folder / cameras).exists() and (folder / images).is_dir():
                break
        else:
            raise InputError(
                folder,
                "no cameras with photos",
                " or ".join(f"{cameras} with {images}/" for cameras, images in candidates),
                "Download them; frames of iphone/rgb.mp4 have to be extracted to iphone/rgb first.",
            )
        colmap = _colmap_photos(folder / "colmap", folder / images)
        if cameras == "colmap":
            if not colmap:
                raise InputError(folder / "colmap", "no registered images", "a COLMAP model", _MEND)
            capture = cls(f"{device}, cameras of COLMAP", colmap, (), None)
        else:
            capture = _read_transforms(folder, cameras, images, colmap, device)
        missing = [stem for stem, photo in capture.photos.items() if not photo.path.is_file()]
        kept = {stem: photo for stem, photo in sorted(capture.photos.items()) if photo.path.is_file()}
        absent = [Dropped(stem, f"{images}/{capture.photos[stem].path.name} is missing") for stem in missing]
        dropped = sorted([*capture.dropped, *absent], key=lambda entry: entry.stem)
        return replace(capture, photos=kept, dropped=tuple(dropped))


def _read_transforms(folder: Path, cameras: str, images: str, colmap: Mapping[str, Photo], device: str) -> Capture:
    file = folder / cameras
    written = read_json(file)
    document = parse_record(written, _Transforms, file, mend=_MEND)
    lens, _ = lens_from_transforms(str(file), written)
    photos: dict[str, Photo] = {}
    dropped: list[Dropped] = []
    lists: dict[str, list[str]] = {"train": [], "test": []}
    entries = [("train", entry) for entry in document.frames] + [("test", entry) for entry in document.test_frames]
    for name, entry in entries:
        path = folder / images / Path(entry.file_path).name
        lists[name].append(path.stem)
        if entry.is_bad:
            dropped.append(Dropped(path.stem, f"{file.name} marks it as bad"))
            continue
        try:
            camera = Camera.from_opengl(_matrix(entry, path), document.K, document.w, document.h)
            photos[path.stem] = Photo(path, camera, lens)
        except InputError as error:
            dropped.append(Dropped(path.stem, f"an unusable camera: {error.found}"))
    world = _world(file, document, photos, colmap)
    photos = {stem: replace(photo, camera=_turned(photo.camera, world)) for stem, photo in photos.items()}
    splits = None
    if device == "dslr":
        splits, unposed = _splits(folder / "train_test_lists.json", lists)
        known = {*photos, *(entry.stem for entry in dropped)}
        dropped += [Dropped(stem, f"{unposed} lists it, {file.name} does not") for members in splits.values()
                    for stem in members if stem not in known]  # fmt: skip
        splits = {name: tuple(members) for name, members in splits.items()} if splits["test"] else None
    kind = "undistorted photos" if not lens else f"photos with {lens.model} distortion, taken out"
    return Capture(f"{device}, {kind}", photos, tuple(dropped), splits)


@dataclass(frozen=True)
class _Entry:
    file_path: str
    transform_matrix: Any
    is_bad: bool = False


def _matrix(entry: _Entry, path: Path) -> np.ndarray:
    """The pose as it is written; a frame whose matrix is none is left out, and the others are read."""
    try:
        matrix = np.asarray(entry.transform_matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape != (4, 4):
        raise InputError(path, "a transform_matrix that is no 4×4 matrix", "a 4×4 camera-to-world pose", _MEND)
    return matrix


@dataclass(frozen=True)
class _Transforms:
    """What is read of nerfstudio's transforms.json as the dataset has it."""

    frames: tuple[_Entry, ...]
    fl_x: Annotated[float, Range(above=0)]
    cx: float
    cy: float
    w: Annotated[int, Range(1, MAX_SIDE)]
    h: Annotated[int, Range(1, MAX_SIDE)]
    fl_y: Annotated[float, Range(above=0)] | None = None
    test_frames: tuple[_Entry, ...] = ()
    applied_transform: Annotated[np.ndarray, Array(None, 4)] | None = None

    @property
    def K(self) -> np.ndarray:
        return np.array([[self.fl_x, 0, self.cx], [0, self.fl_y or self.fl_x, self.cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class _Lists:
    train: tuple[str, ...]
    test: tuple[str, ...]


def _world(file: Path, document: _Transforms, photos: Mapping[str, Photo], colmap: Mapping[str, Photo]) -> np.ndarray:
    """The rotation ``[3, 3]`` from the mesh's world to that of the transforms.

    The dataset's transforms are in nerfstudio's world. Where the COLMAP model, which is in the mesh's world, lies
    beside them, it decides.
    """
    common = sorted(set(photos) & set(colmap))
    if common:
        here = np.stack([photos[stem].camera.center.double().numpy() for stem in common])
        there = np.stack([colmap[stem].camera.center.double().numpy() for stem in common])
        errors = {
            name: float(np.linalg.norm(there @ world.T - here, axis=1).max())
            for name, world in _TRANSFORMS_WORLDS.items()
        }
        best = min(errors, key=errors.__getitem__)
        if errors[best] > _CENTRES_AGREE:
            raise InputError(
                file,
                f"cameras up to {errors[best]:.3g} m from those of the COLMAP model",
                "the same cameras, perhaps in nerfstudio's axes",
                "Download both again, or remove colmap/ if the transforms are right.",
            )
        return _TRANSFORMS_WORLDS[best]
    if document.applied_transform is not None:
        rotation = document.applied_transform[:3, :3]
        if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise InputError(file, "an applied_transform that is no rotation", "a 3×4 rigid transform", _MEND)
        return rotation
    return _TRANSFORMS_WORLDS["(y, x, -z)"]


def _turned(camera: Camera, world: np.ndarray) -> Camera:
    viewmat = camera.viewmat.double().clone()
    viewmat[:3, :3] = viewmat[:3, :3] @ viewmat.new_tensor(world)
    return Camera(viewmat, camera.K, camera.width, camera.height)


def _colmap_photos(folder: Path, images: Path) -> dict[str, Photo]:
    """The registered images of a COLMAP model; none where there is no model."""
    if not any((folder / f"images.{ending}").is_file() for ending in ("bin", "txt")):
        return {}
    model = read_colmap(folder, points=False)
    return {Path(name).stem: Photo(images / Path(name).name, camera, lens) for name, camera, lens in model.images}


def _splits(file: Path, lists: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], str]:
    """Train and test stems, and the file that lists them."""
    if not file.is_file():
        return {name: list(members) for name, members in lists.items()}, "test_frames"
    document = read_record(file, _Lists, mend=_MEND)
    return {name: [Path(entry).stem for entry in getattr(document, name)] for name in ("train", "test")}, file.name
