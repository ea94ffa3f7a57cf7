# SPDX-License-Identifier: Apache-2.0
"""Writes frames of a room as Hypersim is downloaded."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from room_frames import RoomFrame, camera_to_world

from panoptic_gs.datasets.classes import NYU40, REDUCED21

METERS_PER_ASSET_UNIT = 0.0254
UNLABELLED = -1

# One NYU40 class for each reduced one; "other" has many.
NYU40_NAME = {name: name for name in REDUCED21.ids} | {"other": "otherprop"}
NYU40_ID = np.array([UNLABELLED, *(NYU40.ids[NYU40_NAME[name]] for name in REDUCED21.ids)])


def opengl_projection(K: np.ndarray, width: int, height: int) -> np.ndarray:
    """[4, 4] OpenGL projection of a pinhole."""
    near, far = 1.0, 1000.0
    return np.array([
        [2 * K[0, 0] / width, 0, 1 - 2 * K[0, 2] / width, 0],
        [0, 2 * K[1, 1] / height, 2 * K[1, 2] / height - 1, 0],
        [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
        [0, 0, -1, 0],
    ])  # fmt: skip


def write_parameters(file: Path, scene: str, m_proj: np.ndarray, width: int, height: int) -> None:
    """metadata_camera_parameters.csv with the scene's row between others."""
    plain = opengl_projection(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]), width, height)
    with file.open("w", newline="") as lines:
        names = ["settings_output_img_height", "settings_output_img_width", "camera_physical_bmpaperture_tex"]
        writer = csv.writer(lines)
        writer.writerow(["scene_name", *names, *(f"M_proj_{i}{j}" for i in range(4) for j in range(4))])
        for name, matrix in (("ai_001_001", plain), (scene, m_proj), ("ai_055_010", plain)):
            writer.writerow([name, float(height), float(width), "AColor(0, 0, 0, 0)", *matrix.ravel().tolist()])


def write_hypersim(
    root: Path, frames: Sequence[RoomFrame], m_proj: np.ndarray, lens_to_camera: np.ndarray | None = None
) -> Path:
    """Lay out a scene; frames are named as ``1_0003``: frame 3 of cam_01.

    Args:
        root: folder of scenes; the scene becomes ``root/ai_099_001``.
        frames: frames; the cameras that took them are the lens's.
        m_proj: [4, 4] the scene's projection.
        lens_to_camera: [3, 3] from the frames' cameras to Hypersim's, both in OpenCV axes, for a tilted lens.

    Returns:
        The scene's folder.
    """
    scene = root / "ai_099_001"
    (scene / "_detail").mkdir(parents=True)
    height, width = frames[0].depth.shape
    write_parameters(root / "metadata_camera_parameters.csv", scene.name, m_proj, width, height)
    (scene / "_detail" / "metadata_scene.csv").write_text(
        f"parameter_name,parameter_value\nmeters_per_asset_unit,{METERS_PER_ASSET_UNIT}\n"
    )
    turn = np.eye(3) if lens_to_camera is None else lens_to_camera
    for camera in sorted({frame.stem.split("_")[0] for frame in frames}):
        members = [frame for frame in frames if frame.stem.split("_")[0] == camera]
        name = f"cam_{int(camera):02d}"
        (scene / "_detail" / name).mkdir()
        poses = [camera_to_world(frame.camera) for frame in members]
        axes = turn.T @ np.diag([1.0, -1.0, -1.0])
        _write(scene / "_detail" / name / "camera_keyframe_orientations.hdf5", [p[:3, :3] @ axes for p in poses])
        _write(
            scene / "_detail" / name / "camera_keyframe_positions.hdf5",
            [p[:3, 3] / METERS_PER_ASSET_UNIT for p in poses],
        )
        for frame in members:
            _write_frame(scene / "images", name, frame)
    return scene


def _write_frame(images: Path, camera: str, frame: RoomFrame) -> None:
    stem = f"frame.{frame.stem.split('_')[1]}"
    geometry = images / f"scene_{camera}_geometry_hdf5"
    (images / f"scene_{camera}_final_hdf5").mkdir(parents=True, exist_ok=True)
    geometry.mkdir(parents=True, exist_ok=True)
    color = (frame.rgb / 255.0) ** 2.2
    color[frame.rgb == 255] = 7.5  # brighter than white
    _write(images / f"scene_{camera}_final_hdf5" / f"{stem}.color.hdf5", color.astype(np.float16))
    K = frame.camera.K.double().numpy()
    rows, columns = np.mgrid[: frame.camera.height, : frame.camera.width] + 0.5
    slant = np.sqrt(((columns - K[0, 2]) / K[0, 0]) ** 2 + ((rows - K[1, 2]) / K[1, 1]) ** 2 + 1)
    _write(geometry / f"{stem}.depth_meters.hdf5", (frame.depth * slant).astype(np.float32))
    # Walls and floors are instances, too; ids are far beyond 255.
    labelled = frame.classes > 0
    instances = np.where(frame.instances > 0, 300 * frame.instances, 50_000 + frame.classes)
    classes = NYU40_ID[frame.classes]
    stray = np.flatnonzero(frame.instances == frame.instances.max())[:1]
    classes.ravel()[stray] = NYU40.ids["wall"]  # of an instance whose other pixels are of another class
    _write(geometry / f"{stem}.semantic.hdf5", classes.astype(np.int16))
    _write(geometry / f"{stem}.semantic_instance.hdf5", np.where(labelled, instances, -1).astype(np.int32))


def _write(path: Path, values: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=np.asarray(values))
