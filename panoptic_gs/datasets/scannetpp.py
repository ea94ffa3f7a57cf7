# SPDX-License-Identifier: Apache-2.0
"""ScanNet++ (Yeshwanth et al., ICCV 2023): photos registered to a laser scan; the truth is rasterised from its mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from panoptic_gs.datasets.classes import ClassList
from panoptic_gs.datasets.mesh import rasterize_mesh
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.scannetpp_annotation import AnnotatedMesh, Benchmark, find_benchmark
from panoptic_gs.datasets.scannetpp_capture import Capture
from panoptic_gs.datasets.seed_points import Points, points_from_mesh
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_rgb
from panoptic_gs.scene.rectification import undistort_photo


@dataclass(frozen=True, eq=False)
class ScanNetPPScene:
    """One scene: ``scans/`` with the annotated mesh, ``dslr/`` or ``iphone/`` with photos and cameras."""

    root: Path
    device: Literal["dslr", "iphone"]
    classes: ClassList
    capture: Capture = field(repr=False)
    annotation: AnnotatedMesh = field(repr=False)
    metadata: Path
    test_every: int = 5

    @property
    def source(self) -> str:
        """Dataset, scene and device."""
        return f"ScanNet++ {self.root.resolve().name}, {self.device}"

    @property
    def stems(self) -> tuple[str, ...]:
        """The usable photos."""
        return tuple(self.capture.photos)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Photos that are missing or marked as bad."""
        return self.capture.dropped

    @property
    def notes(self) -> tuple[str, ...]:
        """Which photos, and what the benchmark has no class for."""
        unlisted = self.annotation.unlisted
        notes = [self.capture.description]
        if unlisted:
            some = ", ".join(f"'{label}'" for label in unlisted[:5]) + (", …" if len(unlisted) > 5 else "")
            notes.append(f"void: objects of {len(unlisted)} labels without a class in the benchmark ({some})")
        return tuple(notes)

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]] | None:
        """The DSLR photos' own split."""
        return self.capture.splits

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from."""
        return {
            "layout": "scannetpp", "raw": str(self.root.resolve()), "device": self.device,
            "metadata": str(self.metadata.resolve()), "photos": self.capture.description,
        }  # fmt: skip

    @classmethod
    def open(
        cls, root: Path, device: Literal["dslr", "iphone"] = "dslr", metadata: Path | None = None
    ) -> ScanNetPPScene:
        """Read the mesh, its annotation and the cameras.

        Args:
            root: the scene's folder.
            device: whose photos to take.
            metadata: ``metadata/semantic_benchmark``, where it does not lie above the scene's folder.

        Raises:
            InputError: a file is missing or malformed, or the annotation does not belong to the mesh.
        """
        if not root.is_dir():
            raise InputError(root, "no such folder", "the folder of one scene of ScanNet++", "Check the path.")
        metadata = find_benchmark(root) if metadata is None else metadata
        benchmark = Benchmark.open(metadata)
        capture = Capture.open(root, device)
        annotation = AnnotatedMesh.open(root / "scans", benchmark)
        return cls(root, device, benchmark.classes, capture, annotation, metadata)

    def read(self, stem: str) -> RawFrame:
        """Read one frame: depth, classes and objects are those of the mesh at the pixels' centres."""
        photo = self.capture.photos[stem]
        camera = photo.camera
        rgb = read_rgb(photo.path)
        if rgb.shape[:2] != (camera.height, camera.width):
            raise InputError(
                photo.path,
                f"{rgb.shape[1]}×{rgb.shape[0]} pixels",
                f"{camera.width}×{camera.height} as its camera says",
                "Download the photos that the cameras belong to.",
            )  # fmt: skip
        face, depth = rasterize_mesh(self.annotation.mesh, camera)
        seen = face >= 0
        notes = () if seen.any() else ("no surface of the mesh is in sight",)
        encoded = None
        if photo.lens:
            rgb, inside = undistort_photo(rgb, camera.K.double().numpy(), photo.lens)
            seen &= inside
            depth = np.where(inside, depth, 0)
        elif photo.path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            encoded = photo.path.read_bytes()
        return RawFrame(
            camera, rgb, depth,
            np.where(seen, self.annotation.face_classes[face], 0),
            np.where(seen, self.annotation.face_objects[face], 0),
            encoded=encoded, suffix=photo.path.suffix.lower(), notes=notes,
        )  # fmt: skip

    def seed_points(self, count: int) -> Points | None:
        """Points spread over the mesh."""
        mesh = self.annotation.mesh
        colors = np.full((len(mesh.vertices), 3), 128, np.uint8) if mesh.colors is None else mesh.colors
        return points_from_mesh(mesh.vertices, mesh.faces, colors, count, np.random.default_rng(0))
