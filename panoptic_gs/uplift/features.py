# SPDX-License-Identifier: Apache-2.0
"""Feature maps from pixels to Gaussians: the same weighted average as for labels, with dense maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from panoptic_gs.backends import Blending, BlendingKeywords, FeatureSums, as_on, backend_of
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, sum_over_processes
from panoptic_gs.uplift.maps import Map, Weights, pixel_weights_of, weighted_views


class FeatureVotes(ViewSum):
    """The features of any number of views for a set of Gaussians: Σ w F and Σ w.

    Sums over views are float32 in the order in which views come, so another order, or another split over objects or
    processes, may change the last digits (those of :class:`~panoptic_gs.LabelVotes` are exact).

    Args:
        num_gaussians: N, the number of Gaussians.
        channels: D, of a feature.
        device: where the sums are, which is where the splats must be.
        blending: as for :class:`~panoptic_gs.LabelVotes`.
    """

    def __init__(
        self,
        num_gaussians: int,
        channels: int,
        device: torch.device | str = "cpu",
        **blending: Unpack[BlendingKeywords],
    ) -> None:
        self.blending = as_on(torch.device(device), Blending(**blending))
        self._sums = FeatureSums(
            torch.zeros(num_gaussians, channels, device=device), torch.zeros(num_gaussians, device=device)
        )

    @property
    def num_gaussians(self) -> int:
        """N, the number of Gaussians."""
        return len(self._sums.sums)

    @property
    def channels(self) -> int:
        """D, of a feature."""
        return self._sums.sums.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self._sums.sums.device

    def add(self, splats: Splats, camera: Camera, features: Map, weights: Map | None = None) -> None:
        """Add one view.

        Args:
            splats: the N Gaussians, on the sums' device.
            camera: where the features were seen from.
            features: ``[H, W, D]``.
            weights: ``[H, W]`` factors for each pixel, 0 or more; ones if not given.

        Raises:
            InputError: maps that do not fit the camera or each other, values that are not finite, splats of another
                number or on another device.
        """
        if len(splats) != self.num_gaussians or splats.means.device != self.device:
            raise InputError(
                "splats",
                f"{len(splats)} Gaussians on {splats.means.device}",
                f"{self.num_gaussians} on {self.device}, as the sums were made for",
                "Make a FeatureVotes for these splats.",
            )
        values = _features_of(camera, features, self.channels, self.device)
        factors = None if weights is None else pixel_weights_of(camera, weights, self.device)
        backend = backend_of(self.device)
        backend.add_features(self._sums, splats, camera, self.blending, values, factors)

    def merge(self, other: FeatureVotes) -> FeatureVotes:
        """Add the features of other views for the same Gaussians.

        Returns:
            These sums.

        Raises:
            InputError: the numbers of Gaussians or channels, or the rules of blending, differ.
        """
        ours, theirs = ((v.num_gaussians, v.channels, v.blending) for v in (self, other))
        if ours != theirs:
            raise InputError(
                "features",
                "sums for {} Gaussians, {} channels, {}".format(*theirs),
                "{} Gaussians, {} channels, {}".format(*ours),
                "Merge features for the same splats, blended alike.",
            )
        for total, more in zip(self._sums.drained(), other._sums.drained()):
            total += more.to(total.device)
        return self

    def all_reduce(self, group: Any = None) -> FeatureVotes:
        """Give every process of a ``torch.distributed`` group the sums of all of them; every process calls this.

        Returns:
            These sums.
        """
        sums, totals = self._sums.drained()
        self._sums = FeatureSums(sum_over_processes(sums, group), sum_over_processes(totals, group))
        return self

    def empty(self) -> FeatureVotes:
        """Sums of no views for the same Gaussians, blended alike."""
        return FeatureVotes(self.num_gaussians, self.channels, self.device, **asdict(self.blending))

    def finish(self) -> Tensor:
        """The weighted mean ``[N, D]`` float32 of each Gaussian; zeros for Gaussians that no pixel shows."""
        sums, totals = self._sums.drained()
        return sums / totals[:, None].clamp_min(1e-30)  # sums without weight are 0


def uplift_features(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    **blending: Unpack[BlendingKeywords],
) -> Tensor:
    r"""Uplift dense feature maps to Gaussians (LUDVIG, Eq. 7).

    .. math:: f_i = \sum_{(n,u)} w_i(n,u)\, F_n(u) / Z_i, \qquad Z_i = \sum_{(n,u)} w_i(n,u)

    with :math:`w_i(n,u) = α_i(u) T_i(u)` the blending weight of Gaussian i at pixel u of view n. Sums are taken in a
    fixed order (tiles within a view, views as they come) in float32, on CUDA as integers within a view, so a result
    does not depend on threads, blocks or the run; another order of views may change the last digits. Besides the
    result, one view and at most 128 MB are held, whatever D (16 channels of a view where those alone are more).

    Args:
        splats: N Gaussians.
        views: yields the camera and the features ``[H, W, D]`` of each view, any D, the same for all.
        weights: factors ``[H, W]`` for each view's pixels: one map (or None) for each view, in order, or a mapping
            from the view's position.
        blending: as for :class:`~panoptic_gs.LabelVotes`.

    Returns:
        ``[N, D]`` float32; zeros for Gaussians that no pixel shows.

    Raises:
        InputError: maps that do not fit their cameras or each other, values that are not finite, no views, fewer or
            more weights than views.
    """
    rules = Blending(**blending)
    votes: FeatureVotes | None = None
    for camera, features, factors in weighted_views(views, weights):
        if votes is None:
            channels = features.shape[-1] if features.ndim == 3 else 0
            votes = FeatureVotes(len(splats), channels, splats.means.device, **asdict(rules))
        votes.add(splats, camera, features, factors)
    if votes is None:
        raise InputError("views", "no views", "at least one view", "Pass the cameras and their feature maps.")
    sums, totals = votes._sums.drained()
    return sums.div_(totals[:, None].clamp_min(1e-30))  # in place: nobody needs the sums any more


def _features_of(camera: Camera, features: Map, channels: int, device: torch.device) -> Tensor:
    values = torch.as_tensor(features)
    if values.ndim != 3 or tuple(values.shape) != (camera.height, camera.width, channels) or channels == 0:
        raise InputError(
            "feature map",
            f"shape {list(values.shape)}",
            f"[{camera.height}, {camera.width}, {channels or 'D'}] (height, width, channels)",
            "Resample the features to the camera's size, or resize the camera.",
        )
    values = values.detach().to(device, torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise InputError(
            "feature map",
            "NaN or infinite values",
            "finite features",
            "Set missing features to 0 and give their pixels weight 0.",
        )
    return values
