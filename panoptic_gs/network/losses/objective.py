# SPDX-License-Identifier: Apache-2.0
"""All losses of a step's scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from panoptic_gs.network.data.draws import Plan, Sample
from panoptic_gs.network.geometry import everyone
from panoptic_gs.network.losses.dense import DenseSupervision
from panoptic_gs.network.losses.masks import MaskWeights, mask_losses
from panoptic_gs.network.losses.matches import match_loss
from panoptic_gs.network.losses.points import TruePoints, point_losses, true_points
from panoptic_gs.network.losses.sampling import features_at, sample_pixels
from panoptic_gs.network.model import PanopticNetwork, Seen, Views
from panoptic_gs.network.points import PointMaps


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts.

    Args:
        masks: of the matched queries.
        world, local: of points in the first view's frame and in each view's own.
        rotation, place: of cameras, where the head says them.
        pixels, alike: of the dense features themselves.
        matches: of descriptors, by which pixels are found again in other views.
    """

    masks: MaskWeights = field(default_factory=MaskWeights)
    world: float = 5.0
    local: float = 5.0
    rotation: float = 2.0
    place: float = 2.0
    pixels: float = 1.0
    alike: float = 0.5
    matches: float = 0.5


def objective(
    network: PanopticNetwork,
    supervision: DenseSupervision,
    samples: Sequence[Sample],
    plan: Plan,
    weights: LossWeights,
    pixels: int,
    balanced: float,
    seed: int,
    amp: bool = False,
) -> dict[str, Tensor]:
    """The weighted losses, each the mean over the scenes; their sum is what is trained.

    Args:
        network: in training.
        supervision: of its dense features.
        samples: B scenes with the same number of views and classes.
        plan: of the step.
        weights: of the losses.
        pixels: drawn a scene for the losses of masks.
        balanced: share of them that are drawn equally often from each segment.
        seed: of those pixels.
        amp: whether the network runs in bfloat16 where that is safe.
    """
    images = torch.stack([sample.images for sample in samples])
    device = next(network.parameters()).device
    views = Views.padded(images.to(device), network.patch)
    keyframes = None if plan.keyframes == plan.views else range(plan.keyframes)
    reach = None if keyframes is None else everyone(plan.views, keyframes, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=amp):
        seen = network.look(views, reach)
        predictions = network.ask(seen, keyframes)
    names = samples[0].classes
    losses: dict[str, Tensor] = {}

    def add(name: str, value: Tensor, weight: float) -> None:
        losses[name] = losses.get(name, value.new_zeros(())) + weight * value / len(samples)

    embeddings = network.vocabulary(names)
    for index, sample in enumerate(samples):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + sample.number)
        drawn = sample_pixels(sample.segments, sample.categories, pixels, balanced, generator)
        if len(drawn.ids):
            where = (drawn.view.to(device), drawn.row.to(device), drawn.column.to(device))
            features = features_at(seen.features[index].float(), *where, network.config.masks.stride)
            truth = type(drawn.masks)(drawn.masks.inside.to(device), drawn.masks.classes.to(device))
            for queries in predictions:
                own = type(queries)(
                    *(part[index : index + 1] for part in (queries.masks, queries.classes, queries.tokens))
                )
                parts = mask_losses(
                    network.class_logits(own, names)[0],
                    network.mask_logits(own, features[None])[0],
                    truth,
                    weights.masks,
                )
                for name, value in parts.items():
                    add(name, value, 1 / len(predictions))
            segment = drawn.segment.to(device)
            dense = supervision(features, truth.classes[segment], segment, embeddings)
            add("pixels", dense["pixels"], weights.pixels)
            add("alike", dense["alike"], weights.alike)
        if seen.descriptors is not None and plan.views > 1:
            matches = match_loss(
                seen.descriptors[index], sample.depth.to(device), sample.viewmats.to(device), sample.Ks.to(device),
                network.config.masks.stride, generator,
            )  # fmt: skip
            if matches is not None:
                add("matches", matches, weights.matches)
        found, true = _points_of(seen, sample, index, network)
        if bool(true.valid.any()):
            for name, value in point_losses(found, true).items():
                add(name, value, getattr(weights, name))
    return losses


def _points_of(seen: Seen, sample: Sample, index: int, network: PanopticNetwork) -> tuple[PointMaps, TruePoints]:
    """Found and true points of one scene of a batch."""
    part = slice(index, index + 1)
    poses = None if seen.points.poses is None else seen.points.poses[part]
    found = PointMaps(seen.points.world[part], seen.points.local[part], seen.points.confidence[part], poses)
    rows, columns = found.world.shape[2:4]
    device = found.world.device
    true = true_points(
        sample.depth[None].to(device), sample.viewmats[None].to(device), sample.Ks[None].to(device),
        network.config.geometry.point_stride, rows, columns,
    )  # fmt: skip
    return found, true
