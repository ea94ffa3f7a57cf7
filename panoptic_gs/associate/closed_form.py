# SPDX-License-Identifier: Apache-2.0
"""Association in closed form: Gaussians that views put under one mask are one object."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from panoptic_gs.associate.association import Association, association_of
from panoptic_gs.associate.consensus import agglomerate, divide, settle
from panoptic_gs.associate.evidence import MaskEvidence, ViewEvidence
from panoptic_gs.associate.masks import LEAST_SEEN, ImageMasks, ViewMasks, foreign_splats, no_masks
from panoptic_gs.associate.refinement import refine
from panoptic_gs.associate.superpoints import sums_of, superpoints
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.progress import Progress, silent
from panoptic_gs.splats import Splats


def associate(
    splats: Splats,
    views: Mapping[str, Camera],
    masks: Mapping[str, ViewMasks],
    categories: Collection[Category] | None = None,
    *,
    rasterize_mode: RasterizeMode = "classic",
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Association:
    """Give masks that are numbered image by image scene-wide objects, by the Gaussians that they saw.

    Args:
        splats: the Gaussians, of any training.
        views: image stem → camera; of views without masks nothing is asked.
        masks: image stem → masks, on their camera's pixels. See :func:`~panoptic_gs.associate.read_masks`.
        categories: what the masks' category ids mean; known of :class:`~panoptic_gs.associate.ImageMasks`.
        rasterize_mode: how the splats were trained.
        processes: that weigh these views' masks together; each gets the association.
        progress: called while it works.

    Raises:
        InputError: masks of unknown views or another size, no Gaussians under the masks.
    """
    if categories is None:
        if not isinstance(masks, ImageMasks):
            raise InputError("categories", "none", "the classes of the masks", "Pass categories=…")
        categories = masks.categories
    evidence = MaskEvidence(splats, rasterize_mode=rasterize_mode)
    own = processes.share(list(masks))
    for number, stem in enumerate(own):
        if stem not in views:
            raise InputError(
                "masks", f"masks of '{stem}'", "masks of the views that are given", "Pass its camera, or leave it out."
            )
        evidence.add(stem, views[stem], masks[stem])
        progress("Weighing masks", number + 1, len(own))
    return associate_evidence(processes.reduced(evidence), categories, getattr(masks, "source", ""), progress=progress)


def associate_evidence(
    evidence: MaskEvidence,
    categories: Collection[Category],
    source: str = "",
    *,
    progress: Progress = silent,
) -> Association:
    """Patches of Gaussians joined to objects by the masks of all views, and masks assigned to these objects.

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
    _require_overlap(views, source)
    isthing = {category.id: category.isthing for category in categories}
    for stem, view in views.items():
        unknown = sorted(set(view.category_ids.tolist()) - set(isthing))
        if unknown:
            raise InputError(
                f"masks of '{stem}'", f"category id {unknown[0]}", f"one of {sorted(isthing)}", "List the category."
            )
    everything = list(views.values())
    things = [np.array([isthing[c] for c in view.category_ids.tolist()], bool) for view in everything]

    progress("Linking masks", 0, 3)
    sums = sums_of(everything, things, evidence.num_gaussians)
    means = evidence.splats.means.detach().cpu().double().numpy()
    patch = superpoints(means, sums)
    patches = sums.grouped(patch, int(patch.max(initial=-1)) + 1)
    inside = patch >= 0
    members = np.bincount(patch[inside], minlength=1)
    centers = np.stack([np.bincount(patch[inside], values) for values in means[inside].T], axis=1) / members[:, None]
    progress("Linking masks", 1, 3)
    objects, cut = np.zeros(0, np.int64), False
    if len(centers):  # masks of stuff alone leave no patch
        tree = agglomerate(patches)
        progress("Linking masks", 2, 3)
        divided = divide(tree, patches, centers)
        objects, cut = settle(divided.objects, patches), divided.cut
    progress("Linking masks", 3, 3)
    of_gaussian = np.r_[objects, -1][patch]
    assignments, votes = refine(everything, things, of_gaussian, evidence.num_gaussians, cut=cut, progress=progress)
    return association_of(views, things, assignments, votes, tuple(categories), source)


def _require_overlap(views: Mapping[str, ViewEvidence], source: str) -> None:
    if not views:
        raise InputError(source or "masks", "no view", "masks of at least one view", "Add views first.")
    if not any(len(view.ids) for view in views.values()):
        raise no_masks(source)
    seen = sum(float(view.votes.sum()) for view in views.values())
    area = sum(float(view.areas.sum()) for view in views.values())
    if seen < LEAST_SEEN * area:
        raise foreign_splats(f"Gaussians that cover {100 * seen / max(area, 1e-9):.1f}% of the masks' pixels")
