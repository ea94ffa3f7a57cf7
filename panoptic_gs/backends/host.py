# SPDX-License-Identifier: Apache-2.0
"""CPU tensors: our host kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.backends.backend import FeatureSums, LabelRows, LabelSums, RasterJob, RenderedLabels
from panoptic_gs.backends.blending import Blending
from panoptic_gs.backends.host_rasterization import projected_as, rasterize
from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats


class HostBackend:
    """Everything through :mod:`panoptic_gs.kernels`."""

    @property
    def alpha_max(self) -> float:
        """gsplat's until 1.5."""
        return kernels.ALPHA_MAX

    def rasterize(self, job: RasterJob) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """See :class:`~panoptic_gs.backends.Backend`."""
        return rasterize(job)

    def add_votes(
        self,
        sums: LabelSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        labels: Tensor,
        weights: Tensor | None,
    ) -> None:
        """See :class:`~panoptic_gs.backends.Backend`."""
        sums.store.add_view(view_of(splats, camera, blending), labels, weights)

    def add_features(
        self,
        sums: FeatureSums,
        splats: Splats,
        camera: Camera,
        blending: Blending,
        features: Tensor,
        weights: Tensor | None,
    ) -> None:
        """See :class:`~panoptic_gs.backends.Backend`."""
        kernels.add_feature_votes(view_of(splats, camera, blending), sums.sums, sums.totals, features, weights)

    def render_labels(self, splats: Splats, camera: Camera, blending: Blending, labels: LabelRows) -> RenderedLabels:
        """See :class:`~panoptic_gs.backends.Backend`."""
        view = view_of(splats, camera, blending)
        return RenderedLabels(*kernels.render_panoptic(view, labels.indptr, labels.label, labels.weight))


def view_of(splats: Splats, camera: Camera, blending: Blending) -> kernels.View:
    """The splats projected into the camera, sorted by tile and depth, on the CPU: what the host kernels traverse."""
    return kernels.view_of(
        splats.means, splats.quats, splats.scales, splats.opacities, camera.viewmat.cpu(), camera.K.cpu(),
        camera.width, camera.height, **projected_as(blending),
    )  # fmt: skip
