# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs prepare``: a scene of a public dataset as a scene folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

import tyro

from panoptic_gs.cli.prepare_scene import PrepareScene

if TYPE_CHECKING:
    from panoptic_gs.datasets.preparation import Progress
    from panoptic_gs.datasets.raw_scene import RawScene


@dataclass(frozen=True)
class PrepareReplica(PrepareScene):
    """Replica as rendered for Semantic-NeRF: rgb/, depth/, semantic_class/, semantic_instance/, traj_w_c.txt."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.replica import ReplicaScene

        return ReplicaScene.open(self.raw)


@dataclass(frozen=True)
class PrepareScanNet(PrepareScene):
    """ScanNet: <id>.sens (or color/, depth/, pose/, intrinsic/), the two label zips, aggregation, _vh_clean_2.ply."""

    labels: Path | None = None
    """scannetv2-labels.combined.tsv; by default it is looked for in the scene's folder and above it."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.scannet import ScanNetScene

        return ScanNetScene.open(self.raw, self.labels, self.jobs, lambda done, total: report("sharpness", done, total))


@dataclass(frozen=True)
class PreparePanopticLifting(PrepareScene):
    """The processed layout of Panoptic Lifting: color/, depth/, pose/, intrinsic/, rs_semantics/, rs_instance/."""

    def open(self, report: Progress) -> RawScene:
        from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene

        return PanopticLiftingScene.open(self.raw)


Dataset = Union[  # noqa: UP007 (tyro reads the annotations)
    Annotated[PrepareReplica, tyro.conf.subcommand("replica")],
    Annotated[PrepareScanNet, tyro.conf.subcommand("scannet")],
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
