# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs prepare``: a scene of a public dataset as a scene folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Union

import tyro

from panoptic_gs.cli.prepare_scene import PrepareScene
from panoptic_gs.progress import Progress

if TYPE_CHECKING:
    from panoptic_gs.datasets.raw_scene import RawScene


Layout = Literal["raw", "panoptic-lifting"]


@dataclass(frozen=True)
class PrepareHypersim(PrepareScene):
    """Hypersim: a scene's folder ai_VVV_NNN with _detail/ and images/."""

    layout: Layout = "raw"
    """As downloaded, or as processed by Panoptic Lifting."""
    cameras: tuple[str, ...] = ()
    """Camera trajectories to take, as in cam_00 cam_01; by default all."""
    camera_parameters: Path | None = None
    """metadata_camera_parameters.csv; by default it is looked for in the scene's folder and above it."""
    allow_tilt_shift: bool = False
    """Where the lens is tilted, take the pinhole camera nearest to it, and say how far off it is."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.hypersim import HypersimScene
        from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene

        if self.layout == "panoptic-lifting":
            return PanopticLiftingScene.open(self.raw, test_every=6)
        return HypersimScene.open(self.raw, self.cameras, self.camera_parameters, self.allow_tilt_shift)


@dataclass(frozen=True)
class PrepareReplica(PrepareScene):
    """Replica as rendered for Semantic-NeRF: rgb/, depth/, semantic_class/, semantic_instance/, traj_w_c.txt."""

    layout: Layout = "raw"
    """As rendered for Semantic-NeRF, or as processed by Panoptic Lifting."""
    semantic_info: Path | None = None
    """info_semantic.json; by default it is looked for in the scene's folder and in semantic_info/ beside it."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene
        from panoptic_gs.datasets.replica import ReplicaScene

        if self.layout == "panoptic-lifting":
            return PanopticLiftingScene.open(self.raw, test_every=4)
        return ReplicaScene.open(self.raw, self.semantic_info)


@dataclass(frozen=True)
class PrepareScanNet(PrepareScene):
    """ScanNet: <id>.sens (or color/, depth/, pose/, intrinsic/), the two label zips, aggregation, _vh_clean_2.ply."""

    layout: Layout = "raw"
    """As downloaded, or as processed by Panoptic Lifting."""
    labels: Path | None = None
    """scannetv2-labels.combined.tsv; by default it is looked for in the scene's folder and above it."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene
        from panoptic_gs.datasets.scannet import ScanNetScene

        if self.layout == "panoptic-lifting":
            return PanopticLiftingScene.open(self.raw, test_every=5)
        return ScanNetScene.open(self.raw, self.labels, self.jobs, lambda done, total: report("sharpness", done, total))


@dataclass(frozen=True)
class PrepareScanNetPP(PrepareScene):
    """ScanNet++: a scene's folder with scans/ and dslr/ or iphone/. The truth is rasterised from the annotated mesh."""

    classes: str = "scannetpp100"
    """Classes of the truth: scannetpp100 (the semantic benchmark's) or reduced21 (the 21 of the PanLift benchmark)."""
    device: Literal["dslr", "iphone"] = "dslr"
    """Whose photos to take."""
    metadata: Path | None = None
    """Folder metadata/semantic_benchmark; by default it is looked for in the scene's folder and above it."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.scannetpp import ScanNetPPScene

        return ScanNetPPScene.open(self.raw, self.device, self.metadata)


@dataclass(frozen=True)
class PreparePanopticLifting(PrepareScene):
    """The processed layout of Panoptic Lifting: color/, depth/, pose/, intrinsic/, rs_semantics/, rs_instance/."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene

        return PanopticLiftingScene.open(self.raw)


Dataset = Union[  # noqa: UP007 (tyro reads the annotations)
    Annotated[PrepareHypersim, tyro.conf.subcommand("hypersim")],
    Annotated[PrepareReplica, tyro.conf.subcommand("replica")],
    Annotated[PrepareScanNet, tyro.conf.subcommand("scannet")],
    Annotated[PrepareScanNetPP, tyro.conf.subcommand("scannetpp")],
    Annotated[PreparePanopticLifting, tyro.conf.subcommand("panoptic-lifting")],
]


@dataclass(frozen=True)
class Prepare:
    """Make a scene folder of one scene of a public dataset: photos, cameras, depth, seed points, true panoptic maps.

    Frames that cannot be used are dropped and named, with exit code 1. An interrupted run goes on where it stopped.
    """

    dataset: Dataset

    def run(self) -> None:
        self.dataset.run()
