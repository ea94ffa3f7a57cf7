# SPDX-License-Identifier: Apache-2.0
"""Hypersim (Roberts et al., ICCV 2021) as it is downloaded: HDF5 frames and CSV metadata."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.classes import NYU40, ClassList
from panoptic_gs.datasets.hdf5 import read_hdf5
from panoptic_gs.datasets.hypersim_lens import CameraParameters, HypersimLens, Pinhole
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_rgb

PARAMETERS_FILE = "metadata_camera_parameters.csv"
MAX_FRAMES = 100_000
"""Poses of a trajectory; Hypersim's have 100."""


@dataclass(frozen=True, eq=False)
class HypersimScene:
    """One scene, ``ai_VVV_NNN``, of one or more camera trajectories.

    Positions are in asset units, orientations take OpenGL camera axes (x right, y up, z back) to the world,
    ``depth_meters`` is the distance along the ray, classes are NYU40 with −1 for unlabelled, instances −1 for none.
    Frames are named by camera and number: ``0_0007`` is frame 7 of ``cam_00``.
    """

    root: Path
    name: str
    stems: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    poses: Mapping[str, np.ndarray] = field(repr=False)
    """Stem → ``[4, 4]`` camera to world in OpenGL axes and metres."""
    m_proj: np.ndarray = field(repr=False)
    parameters: str
    """Where ``m_proj`` comes from."""
    meters_per_asset_unit: float
    allow_tilt_shift: bool
    classes: ClassList = NYU40
    splits: Mapping[str, Sequence[str]] | None = None
    test_every: int = 6

    @property
    def source(self) -> str:
        """Dataset and scene."""
        return f"Hypersim {self.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from and how."""
        return {
            "layout": "hypersim", "raw": str(self.root.resolve()), "M_proj": self.m_proj.tolist(),
            "meters_per_asset_unit": self.meters_per_asset_unit, "allow_tilt_shift": self.allow_tilt_shift,
        }  # fmt: skip

    @classmethod
    def open(
        cls, root: Path, cameras: Sequence[str] = (), parameters: Path | None = None, allow_tilt_shift: bool = False
    ) -> HypersimScene:
        """List the frames and read the poses and the lens.

        Args:
            root: the scene's folder, with ``_detail`` and ``images``.
            cameras: trajectories to take, as in ``cam_00``; all by default.
            parameters: ``metadata_camera_parameters.csv``; by default it is looked for in ``root`` and above.
            allow_tilt_shift: turn and fit a pinhole where the lens is tilted, instead of refusing it.

        Raises:
            InputError: something that all frames need is missing, or the lens is tilted.
        """
        root = Path(root)
        name = root.resolve().name
        known = sorted(p.name for p in (root / "_detail").glob("cam_*") if p.is_dir())
        if not known:
            raise InputError(
                root, "no _detail/cam_XX", "a scene of Hypersim with _detail/ and images/",
                "Give the folder of one scene, as in ai_001_003.",
            )  # fmt: skip
        for camera in cameras:
            if camera not in known:
                raise InputError("--cameras", f"'{camera}'", f"one of {', '.join(known)}", "Choose another trajectory.")
        scale = _meters_per_asset_unit(root / "_detail" / "metadata_scene.csv")
        row = CameraParameters.read(find_parameters(root) if parameters is None else Path(parameters), name)
        poses: dict[str, np.ndarray] = {}
        dropped: list[Dropped] = []
        for camera in sorted(set(cameras or known)):
            dropped += _list_frames(root, camera, scale, poses)
        scene = cls(
            root, name, tuple(poses), tuple(dropped), (), poses, row.m_proj, str(row.file), scale, allow_tilt_shift
        )
        return scene._check_lens(row)

    def _check_lens(self, row: CameraParameters) -> HypersimScene:
        width, height = row.pixels("settings_output_img_width"), row.pixels("settings_output_img_height")
        try:
            lens = HypersimLens.from_opengl(self.m_proj, width, height)
        except InputError as error:
            raise error.inside(row.file) from error
        pinhole = lens.pinhole()
        if not pinhole.is_turned:
            return self
        what = f"a lens tilted by {lens.tilt:.1f}°"
        if not self.allow_tilt_shift:
            raise InputError(
                f"{self.parameters}, scene '{self.name}'", f"{what} (row 3 of M_proj)", "a lens without tilt",
                f"Leave the scene out, or pass --allow-tilt-shift: a camera turned to the image plane stands for it, "
                f"{pinhole.error:.2f} px off at most.",
            )  # fmt: skip
        note = f"{what} is given as a pinhole camera turned to the image plane: {pinhole.error:.2f} px off at most"
        return replace(self, notes=(note,))

    @cached_property
    def _lenses(self) -> dict[tuple[int, int], tuple[HypersimLens, Pinhole]]:
        return {}

    def _lens(self, width: int, height: int) -> tuple[HypersimLens, Pinhole]:
        if (width, height) not in self._lenses:
            lens = HypersimLens.from_opengl(self.m_proj, width, height)
            self._lenses[width, height] = (lens, lens.pinhole())
        return self._lenses[width, height]

    def read(self, stem: str) -> RawFrame:
        """Read one frame.

        Raises:
            InputError: a file is missing, corrupt or of another size.
        """
        camera, number = stem.split("_")
        images = self.root / "images"
        geometry = images / f"scene_cam_{int(camera):02d}_geometry_hdf5"
        rgb, encoded, notes = self._read_photo(f"cam_{int(camera):02d}", f"frame.{number}")
        height, width = rgb.shape[:2]
        lens, pinhole = self._lens(width, height)
        distance = read_hdf5(geometry / f"frame.{number}.depth_meters.hdf5", (height, width))
        z = np.einsum("i,ihw->hw", pinhole.rotation[2], lens.rays)
        depth = np.where(np.isfinite(distance), distance, 0) * z
        labels = geometry / f"frame.{number}.semantic.hdf5"
        classes = read_hdf5(labels, (height, width), "iu").astype(np.int64)
        instances = read_hdf5(geometry / f"frame.{number}.semantic_instance.hdf5", (height, width), "iu").astype(
            np.int64
        )
        turn = np.eye(4)
        turn[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ pinhole.rotation.T @ np.diag([1.0, -1.0, -1.0])
        try:
            view = Camera.from_opengl(self.poses[stem] @ turn, pinhole.K, width, height)
        except InputError as error:
            raise error.inside(self.root / "_detail" / f"cam_{int(camera):02d}") from error
        return RawFrame(
            view, rgb, depth.astype(np.float32),
            np.where(classes == -1, 0, classes), np.maximum(instances, 0), encoded, ".jpg", notes, str(labels),
        )  # fmt: skip

    def _read_photo(self, camera: str, frame: str) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
        images = self.root / "images"
        color = images / f"scene_{camera}_final_hdf5" / f"{frame}.color.hdf5"
        preview = images / f"scene_{camera}_final_preview" / f"{frame}.tonemap.jpg"
        if color.is_file() or not preview.is_file():
            return tone_map(read_hdf5(color, (None, None, 3))), None, ()
        return read_rgb(preview), preview.read_bytes(), ("the photo is the JPEG preview: color.hdf5 is missing",)

    def seed_points(self, count: int) -> Points | None:
        """None: they come from the depth."""
        return None


def tone_map(color: np.ndarray) -> np.ndarray:
    """Linear colour ``[H, W, 3]`` → uint8, clip(x^(1/2.2))."""
    linear = np.maximum(np.nan_to_num(color.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0), 0)
    return np.rint(255 * np.clip(linear ** (1 / 2.2), 0, 1)).astype(np.uint8)


def find_parameters(root: Path) -> Path:
    """``metadata_camera_parameters.csv`` in the scene's folder, its ``_detail``, or any folder above.

    Raises:
        InputError: it is in none of them.
    """
    folder = root.resolve()
    for candidate in (folder / "_detail", folder, *folder.parents):
        if (candidate / PARAMETERS_FILE).is_file():
            return candidate / PARAMETERS_FILE
    raise InputError(
        root, f"no {PARAMETERS_FILE} in it or above it", "the projection matrix of each scene",
        "Download it from contrib/mikeroberts3000 of apple/ml-hypersim and put it beside the scenes, or give its path "
        "with --camera-parameters.",
    )  # fmt: skip


def _meters_per_asset_unit(file: Path) -> float:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            values = {row[0].strip(): row[1] for row in csv.reader(lines) if len(row) > 1}
        scale = float(values["meters_per_asset_unit"])
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise InputError(
            file, f"no meters_per_asset_unit ({error})", "parameter_name,parameter_value", "Download the scene again."
        ) from error
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(file, f"meters_per_asset_unit = {scale}", "a positive number", "Download the scene again.")
    return scale


def _list_frames(root: Path, camera: str, scale: float, poses: dict[str, np.ndarray]) -> list[Dropped]:
    """Add the poses of a trajectory's frames; the frames whose pose cannot be used are returned."""
    images = root / "images"
    files = [*(images / f"scene_{camera}_final_hdf5").glob("frame.*"),
             *(images / f"scene_{camera}_final_preview").glob("frame.*.tonemap.jpg"),
             *(images / f"scene_{camera}_geometry_hdf5").glob("frame.*.hdf5")]  # fmt: skip
    present = {int(match[1]) for path in files if (match := re.match(r"frame\.(\d{1,9})\.", path.name, re.ASCII))}
    detail = root / "_detail" / camera
    positions = read_hdf5(detail / "camera_keyframe_positions.hdf5", (None, 3)).astype(np.float64)
    orientations = read_hdf5(detail / "camera_keyframe_orientations.hdf5", (None, 3, 3)).astype(np.float64)
    if len(orientations) != len(positions) or len(positions) > MAX_FRAMES:
        raise InputError(
            detail, f"positions of shape {list(positions.shape)}, orientations of shape {list(orientations.shape)}",
            f"[N, 3] and [N, 3, 3] of at most {MAX_FRAMES:,} frames", "Download the scene again.",
        )  # fmt: skip
    dropped = []
    for number in sorted(present | set(range(len(positions)))):
        stem = f"{int(camera.removeprefix('cam_'))}_{number:04d}"
        if number not in present:
            dropped.append(Dropped(stem, "no file of this frame: not downloaded, or not in the public release"))
        elif number >= len(positions):
            dropped.append(Dropped(stem, f"{detail}: {len(positions)} poses, none for frame {number}"))
        elif not (np.isfinite(positions[number]).all() and np.isfinite(orientations[number]).all()):
            dropped.append(Dropped(stem, f"{detail}: NaN or infinite pose of frame {number}"))
        else:
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = orientations[number], positions[number] * scale
            poses[stem] = pose
    return dropped
