# SPDX-License-Identifier: Apache-2.0
"""The learned methods with one component switched at a time; their scores on a case, and their seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.associating.cases import Case, pairs
from benchmarks.associating.resources import THING, Load, views_of_wall, wall
from panoptic_gs.associate import PANOPTIC_RECON, PANOPTIC_SPLATTING, LearnedOptions, associate_learned
from panoptic_gs.associate.learned import Learning
from panoptic_gs.associate.token_dynamics import TokenCensus

METHODS = {"PanopticRecon++": PANOPTIC_RECON, "PanopticSplatting": PANOPTIC_SPLATTING}
NEVER = 10**9
COMPONENTS: Mapping[str, Mapping[str, Any]] = {
    "prior": {"prior": False},
    "local-attention": {"local_attention": False},
    "prune": {"prune_every": NEVER},
    "split": {"split_every": NEVER},
    "dynamic-tokens": {"dynamic_tokens": False},
    "head": {"panoptic_head": False},
    "token-classes": {"token_classes": False},
    "blending": {"label_blending": False},
    "warping": {"warping": False},
    "start": {"start": "clusters"},
    "temperature": {"temperature": 1.0},
    "falling-rates": {"last_rate": 1.0},
}
"""What is ablated → the options that differ from a method's own. ``prune`` and ``split`` are the halves of
``dynamic-tokens``, which joins queries of one object at the end, too."""


def variants(method: str, components: tuple[str, ...]) -> dict[str, LearnedOptions]:
    """The method without each of these components, by what is changed; where it lacks one, with it."""
    own = METHODS[method]
    result: dict[str, LearnedOptions] = {}
    for component in components:
        if component == "warping":
            result["without warping" if own.warping else "with warping"] = replace(own, warping=not own.warping)
        elif component == "start":
            result["queries begin at the closed form's objects"] = replace(own, **COMPONENTS[component])
        elif component == "temperature":
            if own.masks == "softmax":  # the only masks that it enters
                result["τ = 1"] = replace(own, **COMPONENTS[component])
        else:
            result[f"without {component.replace('-', ' ')}"] = replace(own, **COMPONENTS[component])
    return result


def scored(case: Case, options: LearnedOptions) -> dict[str, Any]:
    """PQ in percent of held-out views, rendered from l_P (``labels``) and from the uplifted maps of the last matches
    (``maps``), of which precision and recall of pairs of masks, too; and what remains, and seconds."""
    start = time.perf_counter()
    found = associate_learned(case.splats, case.cameras, case.masks, case.categories, options)
    seconds = time.perf_counter() - start
    stuff = {entry.id for entry in found.objects if not entry.isthing}
    objects = {
        stem: np.array([o if o > 0 and o not in stuff else -1 for o in of.tolist()], np.int64)
        for stem, of in found.views.items()
    }
    precision, recall = pairs(case.true_objects(), objects)
    return {
        "labels": case.scores_of_labels(found.labels, found.labelling),
        "maps": case.scores(found.scene(case.masks)),
        "precision": precision,
        "recall": recall,
        "things": len(found.things),
        "tokens": len(found.tokens["ids"]),
        "seconds": seconds,
    }


def seconds_of(method: str, tokens: int, steps: int, load: Load) -> dict[str, Any]:
    """Learn a wall of tiles with a number of queries that stays as it is."""
    rng = np.random.default_rng(0)
    splats = wall(load, rng)
    views = {stem: (camera, masks) for stem, camera, masks in views_of_wall(load, rng)}
    cameras = {stem: camera for stem, (camera, _) in views.items()}
    masks = {stem: of_view for stem, (_, of_view) in views.items()}
    start = time.perf_counter()
    options = replace(METHODS[method], steps=steps, dynamic_tokens=False)
    learning = Learning(splats, cameras, masks, (THING,), options)
    learning.queries.select(torch.arange(tokens) % len(learning.queries), learning.optimizer)
    learning.census = TokenCensus(tokens)
    begun = time.perf_counter()
    for _ in range(steps):
        learning.step()
    end = time.perf_counter()
    return {"method": method, "tokens": len(learning.queries), "gaussians": load.gaussians, "views": load.views,
            "steps": steps, "threads": torch.get_num_threads(), "preparing_seconds": begun - start,
            "step_seconds": end - begun}  # fmt: skip
