# SPDX-License-Identifier: Apache-2.0
"""The scene folder: posed photos, seed points, splits and the panoptic maps beside them.

``transforms.json`` is nerfstudio's format; where it is missing a COLMAP model under ``colmap/sparse/0`` is read. The
layout is described in ``docs/formats.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_json, write_json, write_png
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.ply import Points, read_points, write_points
from panoptic_gs.scene.colmap import read_colmap
from panoptic_gs.scene.confidence import FOLDER as CONFIDENCE
from panoptic_gs.scene.confidence import ConfidenceMaps
from panoptic_gs.scene.frame import Frame
from panoptic_gs.scene.lens import Distortion
from panoptic_gs.scene.transforms import write_transforms


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene folder that was read. ``points`` is None where it has no seed points."""

    root: Path
    frames: tuple[Frame, ...]
    points: Points | None
    splits: Mapping[str, tuple[str, ...]]

    def frame(self, stem: str) -> Frame:
        """The frame with this name."""
        for frame in self.frames:
            if frame.stem == stem:
                return frame
        raise InputError(self.root, f"no image named '{stem}'", f"one of {len(self.frames)} images", "Check the name.")

    def split(self, name: str) -> tuple[Frame, ...]:
        """The frames of a split of ``splits.json``; ``all`` is every frame.

        Raises:
            InputError: there is no such split, or it is empty.
        """
        if name == "all":
            return self.frames
        if not self.splits.get(name):
            raise InputError(
                self.root / "splits.json",
                f"no split '{name}'",
                f"'all' or one of {sorted(self.splits)}",
                'Add it to splits.json, as in {"train": ["0001"], "test": ["0002"]}.',
            )
        return tuple(self.frame(stem) for stem in self.splits[name])

    def load_panoptic(self, folder: str = "panoptic") -> PanopticScene:
        """Read the panoptic maps of a subfolder; maps of unknown images are refused."""
        return PanopticScene.load(self.root / folder, stems=[frame.stem for frame in self.frames])

    def load_confidence(self, folder: str = "panoptic") -> ConfidenceMaps:
        """The confidence maps beside the panoptic maps of a subfolder.

        Raises:
            InputError: there are none, or some of unknown images.
        """
        return ConfidenceMaps(self.root / folder / CONFIDENCE, [frame.stem for frame in self.frames])

    @classmethod
    def load(cls, root: Path | str) -> Scene:
        """Read a scene folder; photos and maps are opened later.

        Raises:
            InputError: a missing or malformed file, an unreadable photo, a bad pose, a zero focal length, two photos
                of one name, no photos at all.
        """
        root = Path(root)
        if not root.is_dir():
            raise InputError(root, "no such folder", "a scene folder", "Check the path.")
        points: Points | None = None
        if (root / "transforms.json").is_file():
            frames, points = _read_transforms(root)
        elif _colmap_model(root).is_dir():
            frames, points = _read_colmap_scene(root)
        else:
            raise InputError(
                root,
                "neither transforms.json nor colmap/sparse/0",
                "a scene folder with camera poses",
                "Run ns-process-data on the photos, or COLMAP.",
            )
        stems: set[str] = set()
        for frame in frames:
            if frame.stem in stems:
                raise InputError(
                    root,
                    f"two images named '{frame.stem}'",
                    "one name an image",
                    "Rename one; label maps are matched by name without folder and ending.",
                )
            stems.add(frame.stem)
        if not frames:
            raise InputError(root, "no images", "at least one posed image", "Run ns-process-data on the photos.")
        return cls(root, tuple(frames), points, _read_splits(root, stems))


def has_cameras(root: Path) -> bool:
    """Whether a folder has what makes it a scene folder: ``transforms.json`` or a COLMAP model."""
    return (root / "transforms.json").is_file() or _colmap_model(root).is_dir()


def _colmap_model(root: Path) -> Path:
    return root / "colmap" / "sparse" / "0"


def write_scene(
    root: Path,
    cameras: Mapping[str, Camera],
    images: Mapping[str, np.ndarray],
    points: Points,
    splits: Mapping[str, list[str]],
) -> None:
    """Write ``transforms.json``, ``images/``, ``points3D.ply`` and ``splits.json`` into ``root``.

    Args:
        root: a folder, made where it is missing.
        cameras: stem → camera.
        images: stem → ``[H, W, 3]`` uint8 photo.
        points: seed points, positions and colours.
        splits: ``train`` and ``test`` → stems.
    """
    for stem in cameras:
        write_png(root / "images" / f"{stem}.png", images[stem])
    write_points(root / "points3D.ply", points)
    write_json(root / "splits.json", dict(splits))
    frames = {stem: (f"images/{stem}.png", camera) for stem, camera in cameras.items()}
    write_transforms(root / "transforms.json", frames, points="points3D.ply")


def _read_transforms(root: Path) -> tuple[list[Frame], Points | None]:
    file = root / "transforms.json"
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        raise InputError(file, "no list of frames", "nerfstudio's transforms.json", "Run ns-process-data again.")
    frames: list[Frame] = []
    for entry in document["frames"]:
        name = entry.get("file_path") if isinstance(entry, dict) else None
        if not isinstance(name, str) or "transform_matrix" not in entry:
            raise InputError(
                file,
                f"a frame without file_path or transform_matrix ({name})",
                "both in every frame",
                "Run ns-process-data again.",
            )
        path = root / name
        width, height = image_size(path)
        values = {**document, **entry}
        if (int(values.get("w", width)), int(values.get("h", height))) != (width, height):
            raise InputError(
                path,
                f"{width}×{height} pixels",
                f"{values.get('w')}×{values.get('h')} as transforms.json says",
                "Restore the original photo, or correct w, h and the intrinsics.",
            )
        try:
            if "fl_x" in values:
                fx = float(values["fl_x"])
            else:
                fx = 0.5 * width / float(np.tan(0.5 * float(values["camera_angle_x"])))
            K = [
                [fx, 0.0, float(values.get("cx", width / 2))],
                [0.0, float(values.get("fl_y", fx)), float(values.get("cy", height / 2))],
                [0.0, 0.0, 1.0],
            ]
            fisheye = values.get("camera_model") == "OPENCV_FISHEYE"
            lens = Distortion(
                **{k: float(values.get(k, 0.0)) for k in ("k1", "k2", "k3", "k4", "p1", "p2")},
                model="fisheye" if fisheye else "opencv",
            )
            camera = Camera.from_opengl(
                np.asarray(entry["transform_matrix"], dtype=np.float64), np.asarray(K), width, height
            )
        except InputError as error:
            raise InputError(f"{file}, frame '{name}'", error.found, error.expected, error.mend) from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{file}, frame '{name}'",
                f"a missing or malformed field ({error})",
                "fl_x (or camera_angle_x) and a 4×4 transform_matrix",
                "Run ns-process-data again.",
            ) from error
        frames.append(Frame(path.stem, path, camera, lens))
    frames.sort(key=lambda frame: frame.stem)
    seed = document.get("ply_file_path")
    return frames, read_points(root / seed) if seed else None


def _read_colmap_scene(root: Path) -> tuple[list[Frame], Points | None]:
    model = read_colmap(_colmap_model(root))
    frames = []
    for name, camera, lens in model.images:
        path = root / "images" / name
        if image_size(path) != (camera.width, camera.height):
            raise InputError(
                path,
                "{}×{} pixels".format(*image_size(path)),
                f"{camera.width}×{camera.height} as COLMAP says",
                "Use the photos that the COLMAP model was made from.",
            )
        frames.append(Frame(path.stem, path, camera, lens))
    frames.sort(key=lambda frame: frame.stem)
    return frames, model.points


def _read_splits(root: Path, stems: set[str]) -> dict[str, tuple[str, ...]]:
    file = root / "splits.json"
    if not file.is_file():
        return {}
    document = read_json(file)
    if not isinstance(document, dict) or not all(isinstance(names, list) for names in document.values()):
        raise InputError(file, "no lists of names", '{"train": [stems], "test": [stems]}', "Write it in this form.")
    splits = {str(name): tuple(str(stem) for stem in names) for name, names in document.items()}
    for name, members in splits.items():
        for stem in members:
            if stem not in stems:
                raise InputError(
                    file,
                    f"'{stem}' in split '{name}'",
                    "names of the scene's images",
                    "Correct the name (without folder and ending) or remove it.",
                )
    return splits
