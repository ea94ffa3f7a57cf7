# SPDX-License-Identifier: Apache-2.0
"""Association in closed form: masks that saw the same Gaussians are one object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from panoptic_gs.associate.association import AssociatedObject, Association, ViewAssociation
from panoptic_gs.associate.evidence import MaskEvidence, ViewEvidence
from panoptic_gs.associate.linkage import affinities, link
from panoptic_gs.associate.masks import ImageMasks, ViewMasks
from panoptic_gs.associate.refinement import NONE, refine
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.progress import Progress, silent
from panoptic_gs.splats import Splats

ROUNDS = 2
"""Rounds of refinement."""
LEAST_MASKS = 3
"""Objects of fewer masks are dropped."""


def associate(
    splats: Splats,
    views: Mapping[str, Camera],
    masks: Mapping[str, ViewMasks],
    categories: Collection[Category] | None = None,
    *,
    rasterize_mode: RasterizeMode = "classic",
    progress: Progress = silent,
) -> Association:
    """Give masks that are numbered image by image scene-wide objects, by the Gaussians that they saw.

    Args:
        splats: the Gaussians, of any training.
        views: image stem → camera; of views without masks nothing is asked.
        masks: image stem → masks, on their camera's pixels. See :func:`~panoptic_gs.associate.read_masks`.
        categories: what the masks' category ids mean; known of :class:`~panoptic_gs.associate.ImageMasks`.
        rasterize_mode: how the splats were trained.
        progress: called while it works.

    Raises:
        InputError: masks of unknown views or another size, no Gaussians under the masks.
    """
    if categories is None:
        if not isinstance(masks, ImageMasks):
            raise InputError("categories", "none", "the classes of the masks", "Pass categories=…")
        categories = masks.categories
    evidence = MaskEvidence(len(splats), rasterize_mode=rasterize_mode)
    for number, stem in enumerate(masks):
        if stem not in views:
            raise InputError(
                "masks", f"masks of '{stem}'", "masks of the views that are given", "Pass its camera, or leave it out."
            )
        evidence.add(stem, splats, views[stem], masks[stem])
        progress("Weighing masks", number + 1, len(masks))
    return associate_evidence(evidence, categories, getattr(masks, "source", ""), progress=progress)


def associate_evidence(
    evidence: MaskEvidence,
    categories: Collection[Category],
    source: str = "",
    *,
    progress: Progress = silent,
) -> Association:
    """Link masks to objects: agglomeration by overlap in 3D, then refinement against what the other views render.

    Stuff is associated by class. See ``docs/associating.md`` for the equations.

    Args:
        evidence: what each mask saw, from any number of views, added in any order.
        categories: what the masks' category ids mean.
        source: what made the masks, for the maps.
        progress: called while it works.

    Raises:
        InputError: no view, a category id that is not listed, or masks that see no Gaussians.
    """
    views = evidence.views
    everything = list(views.values())
    _require_overlap(views)
    isthing = {category.id: category.isthing for category in categories}
    for stem, view in views.items():
        unknown = sorted(set(view.category_ids.tolist()) - set(isthing))
        if unknown:
            raise InputError(
                f"masks of '{stem}'", f"category id {unknown[0]}", f"one of {sorted(isthing)}", "List the category."
            )
    thing = [np.array([isthing[c] for c in view.category_ids.tolist()], bool) for view in everything]

    progress("Linking masks", 0, 1)
    chosen = [np.flatnonzero(of) for of in thing]
    clusters = link(affinities(everything, chosen, evidence.num_gaussians))
    objects: list[np.ndarray] = []
    for view, masks in zip(everything, chosen):
        of = np.full(len(view.ids), NONE)
        of[masks], clusters = clusters[: len(masks)], clusters[len(masks) :]
        objects.append(of)
    progress("Linking masks", 1, 1)
    overlap = [np.zeros(len(of)) for of in objects]
    for number in range(ROUNDS):
        objects, count = _without_small(objects)
        if count == 0:
            break
        objects, overlap = refine(everything, objects, count, evidence.num_gaussians)
        objects = [np.where(of, o, NONE) for of, o in zip(thing, objects)]
        progress("Refining objects", number + 1, ROUNDS)
    return _association(views, thing, objects, overlap, tuple(categories), source)


def _without_small(objects: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Objects of at least :data:`LEAST_MASKS` masks, numbered anew, and their number."""
    flat = np.concatenate(objects)
    counts = np.bincount(flat[flat >= 0])
    number = np.full(len(counts) + 1, NONE)  # the last one stands for NONE
    number[:-1][counts >= LEAST_MASKS] = np.arange((counts >= LEAST_MASKS).sum())
    return [number[of] for of in objects], int((counts >= LEAST_MASKS).sum())


def _association(
    views: Mapping[str, ViewEvidence],
    thing: Sequence[np.ndarray],
    objects: Sequence[np.ndarray],
    overlap: Sequence[np.ndarray],
    categories: tuple[Category, ...],
    source: str,
) -> Association:
    """Ids in the order in which objects are met, stuff first; a class by the majority of pixels."""
    stuff = sorted({int(c) for view, of in zip(views.values(), thing) for c in view.category_ids[~of]})
    id_of_stuff = {category: number for number, category in enumerate(stuff, 1)}
    id_of: dict[int, int] = {}
    pixels: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    scores: dict[int, list[float]] = defaultdict(list)
    seen: dict[int, set[str]] = defaultdict(set)
    rows: dict[str, ViewAssociation] = {}
    for (stem, view), of, found, agreement in zip(views.items(), thing, objects, overlap):
        ids = np.zeros(len(view.ids), np.int64)
        reasons = []
        for mask, category in enumerate(view.category_ids.tolist()):
            if not of[mask]:
                ids[mask] = id_of_stuff[category]
                reasons.append("stuff, by its class")
            elif found[mask] >= 0:
                ids[mask] = id_of.setdefault(int(found[mask]), len(stuff) + len(id_of) + 1)
                reasons.append(f"overlaps its object in the other views by {agreement[mask]:.2f}")
            else:
                reasons.append(f"abstains: the best object overlaps it by {agreement[mask]:.2f} only")
                continue
            pixels[ids[mask]][category] += float(view.areas[mask])
            scores[ids[mask]].append(1.0 if not of[mask] else float(agreement[mask]))
            seen[ids[mask]].add(stem)
        rows[stem] = ViewAssociation(view.ids, ids, agreement.astype(np.float32), tuple(reasons))
    isthing = {category.id: category.isthing for category in categories}
    result = []
    for number in sorted(pixels):
        category = min(pixels[number], key=lambda c: (-pixels[number][c], c))
        result.append(
            AssociatedObject(
                int(number), category, isthing[category], len(scores[number]), len(seen[number]),
                float(np.mean(scores[number])), f"{len(scores[number])} masks in {len(seen[number])} views",
            )
        )  # fmt: skip
    return Association(categories, tuple(result), rows, source)


def _require_overlap(views: Mapping[str, ViewEvidence]) -> None:
    if not views:
        raise InputError("masks", "no view", "masks of at least one view", "Add views first.")
    if not any(len(view.ids) for view in views.values()):
        raise InputError("masks", "no mask in any view", "at least one mask", "Check what wrote them.")
    seen = sum(float(view.votes.sum()) for view in views.values())
    area = sum(float(view.areas.sum()) for view in views.values())
    if seen < 0.02 * area:
        raise InputError(
            "splats",
            f"Gaussians that cover {100 * seen / max(area, 1e-9):.1f}% of the masks' pixels",
            "splats of this scene, in the world frame of its cameras",
            "Give the splats that were trained on these photos, exported in the frame of transforms.json.",
        )
