# SPDX-License-Identifier: Apache-2.0
"""A procedural room as frames, for writers that lay it out as a raw dataset, and what ``prepare`` has to give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.files import read_image, read_rgb
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import CATEGORIES, RoomRenderer, inward_path
from panoptic_gs.synthetic.raycast import camera_rays

WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True, eq=False)
class RoomFrame:
    """What a camera sees of a room."""

    stem: str
    camera: Camera
    rgb: np.ndarray  # [H, W, 3] uint8
    depth: np.ndarray  # [H, W] float32 metres along z
    classes: np.ndarray  # [H, W] int32 reduced class ids
    instances: np.ndarray  # [H, W] int64, 0 = none (stuff)

    @property
    def segments(self) -> np.ndarray:
        """[H, W] int64: a number for each thing and for each stuff class."""
        return np.where(self.instances > 0, 1000 + self.instances, self.classes)


def render_frames(
    renderer: RoomRenderer, views: int = 4, K: np.ndarray | None = None, stems: Sequence[str] | None = None,
    width: int = WIDTH, height: int = HEIGHT,
) -> list[RoomFrame]:  # fmt: skip
    """Frames from an inward-facing path.

    Args:
        renderer: of the room.
        views: how many.
        K: [3, 3] intrinsics instead of the path's own.
        stems: names; by default 0000, 0001, …
        width: in pixels.
        height: in pixels.
    """
    things = np.array([False, *(category.isthing for category in CATEGORIES)])
    frames = []
    for index, camera in enumerate(inward_path(renderer, views, width, height)):
        if K is not None:
            camera = Camera(camera.viewmat, K, width, height)
        origin, rays = camera_rays(camera)
        rays = rays.reshape(3, -1)
        depth, surface = renderer.cast(np.repeat(origin, rays.shape[1], axis=1), rays)
        rgb = paint(origin + rays * depth, surface)
        depth, surface = (values.reshape(height, width) for values in (depth.astype(np.float32), surface))
        classes, segments = renderer.room.surface_categories[surface], renderer.room.surface_segments[surface]
        instances = np.where(things[classes], segments, 0).astype(np.int64)
        stem = f"{index:04d}" if stems is None else stems[index]
        frames.append(RoomFrame(stem, camera, rgb.reshape(height, width, 3), depth, classes, instances))
    return frames


def paint(points: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """A smooth colour [n, 3] uint8 of every point [3, n]: cheaper than the room's light, and the same from any view."""
    tint = 40 * np.sin(surface[:, None] * [1.0, 2.3, 3.7])
    return np.rint(128 + 60 * np.sin(2 * points.T) + tint).astype(np.uint8)


def with_void(frame: RoomFrame) -> RoomFrame:
    """The frame with an unlabelled corner."""
    classes, instances = frame.classes.copy(), frame.instances.copy()
    classes[:6, :9] = instances[:6, :9] = 0
    return replace(frame, classes=classes, instances=instances)


def camera_to_world(camera: Camera) -> np.ndarray:
    """[4, 4] float64 camera-to-world pose in OpenCV axes."""
    return np.linalg.inv(camera.viewmat.double().numpy())


def assert_gives_back_the_room(
    folder: Path, frames: Sequence[RoomFrame], color_tolerance: float = 0.0, depth_tolerance: float = 0.00051
) -> Scene:
    """Check a prepared scene folder against the frames it was laid out from.

    Args:
        folder: the scene folder.
        frames: expected, of the same stems.
        color_tolerance: largest mean absolute difference of a frame's colours, 0…255.
        depth_tolerance: largest difference of depth in metres (half a millimetre is the format's).
    """
    scene = Scene.load(folder)
    truth = scene.load_panoptic("panoptic_gt")
    assert [frame.stem for frame in scene.frames] == sorted(frame.stem for frame in frames)
    for frame in frames:
        got = scene.frame(frame.stem)
        torch.testing.assert_close(got.camera.viewmat, frame.camera.viewmat, atol=1e-5, rtol=0)
        assert (got.camera.width, got.camera.height) == (frame.camera.width, frame.camera.height)
        assert np.abs(read_rgb(got.image_path).astype(float) - frame.rgb).mean() <= color_tolerance
        depth = read_image(folder / "depth" / f"{frame.stem}.png") / 1000
        np.testing.assert_allclose(depth, frame.depth, atol=depth_tolerance, rtol=0)
        assert_projects_to_its_pixel(got.camera, frame)
    assert_same_labels(truth, frames)
    assert_points_on_surfaces(scene, frames)
    return scene


def assert_projects_to_its_pixel(camera: Camera, frame: RoomFrame) -> None:
    """Points that the frame sees land within 0.1 px of where it sees them."""
    rows, columns = np.mgrid[: frame.camera.height, : frame.camera.width] + 0.5
    K = frame.camera.K.double().numpy()
    rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(rows)])
    pose = camera_to_world(frame.camera)
    world = pose[:3, :3] @ (rays * frame.depth).reshape(3, -1) + pose[:3, 3:]
    viewmat = camera.viewmat.double().numpy()
    seen = camera.K.double().numpy() @ (viewmat[:3, :3] @ world + viewmat[:3, 3:])
    error = np.abs(seen[:2] / seen[2] - np.stack([columns.ravel(), rows.ravel()])).max()
    assert error < 0.1


def assert_same_labels(truth: PanopticScene, frames: Sequence[RoomFrame]) -> None:
    """Equal segments up to their numbers, over all views together, and equal classes."""
    pairs = set()
    category_of = truth.category_of()
    for frame in frames:
        ids = truth.maps[frame.stem]
        np.testing.assert_array_equal(category_of[ids], frame.classes)
        pairs |= set(zip(ids.ravel().tolist(), frame.segments.ravel().tolist()))
    assert len({mine for mine, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)


def assert_points_on_surfaces(scene: Scene, frames: Sequence[RoomFrame]) -> None:
    """Every seed point that a frame sees inside its image is at, or hidden behind, the frame's depth."""
    assert scene.points is not None
    xyz, rgb = scene.points
    assert len(xyz) > 500
    touched = np.zeros(len(xyz), dtype=bool)
    for frame in frames:
        viewmat, K = frame.camera.viewmat.double().numpy(), frame.camera.K.double().numpy()
        local = xyz @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixel = local @ K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            column, row = np.floor(pixel[:, :2] / pixel[:, 2:]).T
        inside = (local[:, 2] > 0.1) & (column >= 0) & (column < frame.camera.width)
        inside &= (row >= 0) & (row < frame.camera.height)
        r, c = row[inside].astype(int), column[inside].astype(int)
        near = np.abs(local[inside, 2] - frame.depth[r, c]) < 0.002
        alike = np.abs(rgb[inside].astype(int) - frame.rgb[r, c]).max(axis=1) <= 40
        touched[np.flatnonzero(inside)[near & alike]] = True
    assert touched.mean() > 0.98
