# SPDX-License-Identifier: Apache-2.0
"""ScanNet (Dai et al., CVPR 2017): RGB-D video, poses of BundleFusion, labels projected from the annotated mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.classes import NYU40, ClassList
from panoptic_gs.datasets.mesh import read_mesh
from panoptic_gs.datasets.pose_files import HALF_PIXEL, posed_camera
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.scannet_labels import (
    LabelArchive,
    find_label_table,
    read_aggregation,
    read_label_table,
)
from panoptic_gs.datasets.scannet_recording import Recording, open_recording, sharpest
from panoptic_gs.datasets.seed_points import Points, points_from_mesh
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import resize_nearest

MOST_FRAMES = 900
"""Longer recordings are thinned to the sharpest frames, as for the PanLift benchmark."""


@dataclass(frozen=True, eq=False)
class ScanNetLabels:
    """A scene's label images, what their values mean, and the instances that the aggregation lists."""

    classes: LabelArchive
    instances: LabelArchive
    nyu40: np.ndarray = field(repr=False)
    """Lookup ``[65536]`` int32: raw label id → NYU40 id, 0 = void; otherprop where the table does not list it."""
    known: np.ndarray = field(repr=False)
    """The raw label ids that the table lists, and 0."""
    table: Path
    listed: frozenset[int]
    """Instance ids of the aggregation; empty without one."""

    @classmethod
    def open(cls, root: Path, name: str, table: Path | None) -> ScanNetLabels | None:
        """Open the label images of a scene; None where it has none, as the scenes of the hidden test set."""
        archives = [root / f"{name}_2d-{kind}-filt.zip" for kind in ("label", "instance")]
        folders = [root / f"{kind}-filt" for kind in ("label", "instance")]
        aggregation = root / f"{name}.aggregation.json"
        if not any(path.exists() for path in (*archives, *folders, aggregation)):
            return None
        opened = [LabelArchive.open(archive, folder) for archive, folder in zip(archives, folders, strict=True)]
        table = find_label_table(root) if table is None else table
        nyu40 = np.full(1 << 16, NYU40.ids["otherprop"], dtype=np.int32)
        nyu40[0] = 0
        known = [0]
        for raw, reduced in read_label_table(table).items():
            if 0 < raw < len(nyu40):
                nyu40[raw] = reduced
                known.append(raw)
        listed = read_aggregation(aggregation) if aggregation.is_file() else {}
        return cls(*opened, nyu40=nyu40, known=np.array(known), table=table, listed=frozenset(listed))

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """NYU40 ids and instance ids ``[H, W]`` of a frame, and what the user should know.

        Raises:
            InputError: an image is missing or broken, or has labels of more than 16 bits.
        """
        raw, instances = self.classes.read(number), self.instances.read(number)
        if instances.shape != raw.shape:
            instances = resize_nearest(instances, raw.shape[1], raw.shape[0])
        if raw.min() < 0 or raw.max() >= len(self.nyu40):
            raise InputError(
                f"{self.classes.path}, {self.classes.members[number]}",
                f"labels from {raw.min()} to {raw.max()}", "raw labels of 16 bits", "Download the archive again.",
            )  # fmt: skip
        nyu40 = self.nyu40[raw]
        notes = []
        if not np.isin(raw, self.known).all():
            notes.append(f"labels that {self.table.name} does not list count as 'other'")
        if self.listed and not set(np.unique(instances).tolist()) <= self.listed | {0}:
            notes.append("instances that aggregation.json does not list")
        return nyu40, instances, notes


@dataclass(frozen=True, eq=False)
class ScanNetScene:
    """One scene: ``<id>.sens`` or ``color/ depth/ pose/ intrinsic/``, the two label zips, aggregation and mesh."""

    root: Path
    recording: Recording = field(repr=False)
    stems: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    poses: Mapping[str, np.ndarray] = field(repr=False)
    labels: ScanNetLabels | None = field(repr=False)
    mesh: Path | None
    classes: ClassList = NYU40
    splits: Mapping[str, Sequence[str]] | None = None
    test_every: int = 5

    @property
    def source(self) -> str:
        """Dataset and scene."""
        return f"ScanNet {self.root.resolve().name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from."""
        table = str(self.labels.table) if self.labels else None
        return {"layout": "scannet", "raw": str(self.root.resolve()), "labels": table, "most_frames": MOST_FRAMES}

    @classmethod
    def open(
        cls,
        root: Path,
        labels: Path | None = None,
        jobs: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> ScanNetScene:
        """List the frames: of more than 900 the sharpest of each window in time, then those with a finite pose.

        Windows are taken over all frames, as for the PanLift benchmark: one whose sharpest frame has no pose is empty.

        Args:
            root: the scene's folder.
            labels: the table of raw labels, the first or the later one, where it does not lie in the folder or above.
            jobs: photos to decode at a time when the sharpest are looked for.
            progress: is told how many of the photos are done.

        Raises:
            InputError: no recording, an unreadable stream, archive or table, one of the two label zips missing.
        """
        if not root.is_dir():
            raise InputError(root, "no such folder", "the folder of one scene of ScanNet", "Check the path.")
        recording = open_recording(root)
        poses, missing = recording.poses, dict(recording.missing)
        missing |= {number: "its pose is not finite: tracking was lost" for number, pose in poses.items()
                    if not np.isfinite(pose).all()}  # fmt: skip
        everything = sorted({*poses, *missing})
        chosen = sharpest(recording, everything, MOST_FRAMES, jobs, progress)
        kept = [number for number in chosen if number not in missing]
        digits = max(4, len(str(max(everything, default=0))))
        notes = []
        if len(chosen) < len(everything):
            notes.append(f"{len(everything)} frames: the sharpest {len(chosen)} were kept, one of each window in time")
        if not recording.registered:
            notes.append("the extrinsics of photo and depth differ; they are not applied to the depth")
        name = _scene_name(root)
        opened = ScanNetLabels.open(root, name, labels)
        if opened is None:
            notes.append("no label archives: the scene folder has no ground truth")
        mesh, note = _usable_mesh(root / f"{name}_vh_clean_2.ply")
        return cls(
            root, recording,
            tuple(f"{number:0{digits}d}" for number in kept),
            tuple(Dropped(f"{number:0{digits}d}", reason) for number, reason in sorted(missing.items())),
            (*notes, *note),
            {f"{number:0{digits}d}": poses[number] for number in kept},
            opened, mesh,
        )  # fmt: skip

    def read(self, stem: str) -> RawFrame:
        """Read one frame."""
        number = int(stem)
        rgb, stored = self.recording.color(number), self.recording.encoded(number)
        height, width = rgb.shape[:2]
        # The rasters have pixel centres on whole numbers: the depth's cx is 319.5 for 640 columns.
        K = self.recording.intrinsic_color + HALF_PIXEL
        camera = posed_camera(self.poses[stem], K, width, height, f"{self.root}, pose of frame {number}")
        notes: list[str] = []
        depth = self.recording.depth(number)
        if depth is None:
            notes.append("no depth")
        else:
            depth = resample_depth(depth, self.recording.intrinsic_depth + HALF_PIXEL, camera)
        classes = instances = None
        if self.labels is not None:
            classes, instances, more = self.labels.read(number)
            notes += more
        return RawFrame(
            camera, rgb, depth, classes, instances,
            encoded=None if stored is None else stored[0],
            suffix=".png" if stored is None else stored[1],
            notes=tuple(notes),
        )  # fmt: skip

    def seed_points(self, count: int) -> Points | None:
        """Points spread over the reconstructed mesh; None without one."""
        if self.mesh is None:
            return None
        mesh = read_mesh(self.mesh)
        colors = np.full((len(mesh.vertices), 3), 128, np.uint8) if mesh.colors is None else mesh.colors
        return points_from_mesh(mesh.vertices, mesh.faces, colors, count, np.random.default_rng(0))


def resample_depth(depth: np.ndarray, K: np.ndarray, camera: Camera) -> np.ndarray:
    """Depth of one camera on the rays of another at the same place, by nearest neighbour, in the depth's own size.

    Colour and depth of ScanNet are registered: the extrinsics between them are the identity.

    Args:
        depth: ``[h, w]``, 0 = none.
        K: ``[3, 3]`` of the depth, pixel centres at one half.
        camera: the photo's.
    """
    height, width = depth.shape
    ray = camera.resized(width, height).K.double().numpy()
    x = (np.arange(width) + 0.5 - ray[0, 2]) / ray[0, 0]
    y = (np.arange(height) + 0.5 - ray[1, 2]) / ray[1, 1]
    column = np.floor(K[0, 0] * x + K[0, 2]).astype(np.int64)
    row = np.floor(K[1, 1] * y + K[1, 2]).astype(np.int64)
    inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
    sampled = depth[row.clip(0, height - 1)[:, None], column.clip(0, width - 1)]
    return np.where(inside, sampled, 0).astype(np.float32)


def _scene_name(root: Path) -> str:
    """The scene's id, which its files begin with; the folder may be named otherwise."""
    for ending in (".sens", "_2d-label-filt.zip", "_2d-instance-filt.zip", "_vh_clean_2.ply"):
        for path in sorted(root.glob(f"*{ending}")):
            return path.name.removesuffix(ending)
    return root.resolve().name


def _usable_mesh(path: Path) -> tuple[Path | None, list[str]]:
    if not path.is_file():
        return None, [f"no {path.name}: seed points from depth"]
    try:
        read_mesh(path)
    except InputError as error:
        return None, [f"{error} Seed points from depth."]
    return path, []
