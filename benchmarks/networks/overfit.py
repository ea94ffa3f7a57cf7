# SPDX-License-Identifier: Apache-2.0
"""Whether the network can learn two rooms by heart: what cannot be learned there is learned nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.networks.rooms import HEIGHT, WIDTH, MeasuredRoom
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.network.data.draws import Draws
from panoptic_gs.network.losses.objective import LossWeights
from panoptic_gs.network.recipe import Recipe
from panoptic_gs.network.train import batches, sources_of, starting_weights
from panoptic_gs.network.training import Training
from panoptic_gs.panoptic import PanopticScene

EVERY = 100
"""Steps between measurements."""


def ceiling(room: MeasuredRoom, stride: int, protocol: str) -> float:
    """Scene-PQ in percent of the truth itself, known as shares at every `stride` pixels like masks of the network."""
    segments = room.truth.segments
    ids = np.array([segment.id for segment in segments], np.int32)
    maps = {}
    for stem in room.seen:
        true = np.asarray(room.truth.maps[stem])
        inside = torch.from_numpy((true == ids[:, None, None]).astype(np.float32))[None]
        shares = functional.interpolate(functional.avg_pool2d(inside, stride), true.shape, mode="bilinear")
        maps[stem] = ids[shares[0].argmax(0).numpy()]
    found = PanopticScene(room.truth.categories, segments, maps, source="the truth at the masks' pixels")
    return 100 * evaluate_scenes(found, room.truth, room.seen, [protocol])[protocol].panoptic.pq


def overfit(
    rooms: list[MeasuredRoom], weights: Path, steps: int, bar: float, masks_of: Callable[..., float]
) -> dict[str, float]:
    """Go on training on the views of rooms, without other colours, until masks of the same views reach a bar.

    Args:
        rooms: with truth.
        weights: to begin with.
        steps: at most.
        bar: scene-PQ in percent.
        masks_of: the scene-PQ of a network on a room's views.
    """
    recipe = Recipe(
        folders=tuple(str(room.root.resolve()) for room in rooms), width=WIDTH, height=HEIGHT, views=(4, 6),
        partial=0.0, steps=steps, rate=6e-4, warmup=20, cooling=0.7, clip=2.0, average=0.98, pixels=3072, colours=0.0,
        workers=0,
        losses=LossWeights(world=0, local=0, rotation=0, place=0, pixels=1, alike=1, matches=0),
    )  # fmt: skip
    sources = sources_of(recipe, Path())
    training = Training(recipe, sources[0][0].classes, start=starting_weights(weights, recipe))
    draws = Draws(sources, recipe.seed, recipe.views, recipe.partial, recipe.scenes, 0, steps, colours=recipe.colours)
    begun, masks = time.perf_counter(), 0.0
    for samples in batches(draws, recipe.workers):
        training.advance(samples)
        if training.step % EVERY == 0 or training.step == steps:
            network = training.averaged()
            masks = sum(masks_of(network, room) for room in rooms) / len(rooms)
            print(f"step {training.step}: scene-PQ {masks:.1f}, {time.perf_counter() - begun:.0f} s", flush=True)
            if masks >= bar:
                break
    return {"steps": training.step, "masks": masks, "seconds": time.perf_counter() - begun}
