# SPDX-License-Identifier: Apache-2.0
"""A scene whose masks are numbered image by image, and what an association of them is worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree

from panoptic_gs.associate import MaskEvidence, ViewMasks, associate_evidence
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.metrics.points import back_project
from panoptic_gs.panoptic import Category, Labelling, PanopticScene, Segment
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic, uplift_labels

PROTOCOLS = ("strict", "panoptic-lifting")


@dataclass(frozen=True, eq=False)
class Case:
    """Masks of training views, whose ids mean nothing beyond their image, and the truth of all views.

    Args:
        splats: the Gaussians.
        cameras: image stem → camera.
        masks: masks of the training views.
        truth: exact maps.
        test: the held-out views.
        rasterize_mode: how the Gaussians are drawn.
    """

    splats: Splats
    cameras: Mapping[str, Camera]
    masks: Mapping[str, ViewMasks]
    truth: PanopticScene
    test: Sequence[str]
    rasterize_mode: RasterizeMode = "classic"

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes."""
        return self.truth.categories

    def evidence(self) -> MaskEvidence:
        """What each mask saw."""
        evidence = MaskEvidence(self.splats, rasterize_mode=self.rasterize_mode)
        for stem, masks in self.masks.items():
            evidence.add(stem, self.cameras[stem], masks)
        return evidence

    def things(self, stem: str) -> np.ndarray:
        """Whether each mask ``[M]`` of a view is of a thing."""
        return np.array([self.truth.is_thing[c] for c in self.masks[stem].category_ids.tolist()], bool)

    def true_objects(self) -> dict[str, np.ndarray]:
        """The true thing ``[M]`` that each mask overlaps most (IoU); −1 for stuff and where it meets no thing."""
        is_thing = {segment.id: self.truth.is_thing[segment.category_id] for segment in self.truth.segments}
        result = {}
        for stem, masks in self.masks.items():
            true, things = np.asarray(self.truth.maps[stem]), self.things(stem)
            found = np.full(len(masks), -1)
            for number in np.flatnonzero(things):
                mask = masks.mask(int(number))
                ids, counts = np.unique(true[mask], return_counts=True)
                ious = [(n / ((true == i) | mask).sum(), int(i)) for i, n in zip(ids, counts) if is_thing.get(int(i))]
                if ious:
                    found[number] = max(ious)[1]
            result[stem] = found
        return result

    def closed_form(self, evidence: MaskEvidence) -> tuple[dict[str, np.ndarray], PanopticScene]:
        """The objects ``[M]`` of each view's masks, −1 where they abstain or are fused, and the scene-wide maps."""
        found = associate_evidence(evidence, self.categories)
        maps = found.scene(self.masks, lambda stem: found.shown(self.splats, self.cameras[stem], self.rasterize_mode))
        stuff = {entry.id for entry in found.objects if not entry.isthing}
        objects = {
            stem: np.array([o if o > 0 and o not in stuff else -1 for o in view.objects.tolist()], np.int64)
            for stem, view in found.views.items()
        }
        return objects, maps

    def maps_of(self, objects: Mapping[str, np.ndarray]) -> PanopticScene:
        """Scene-wide maps of masks with objects ``[M]`` (−1: none); stuff by its class, a class by most pixels."""
        area: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for stem, masks in self.masks.items():
            for o, c, a in zip(objects[stem].tolist(), masks.category_ids.tolist(), masks.areas().tolist()):
                if o >= 0:
                    area[o][c] += a
        first = max(category.id for category in self.categories) + 1
        number = {o: first + k for k, o in enumerate(sorted(area))}
        segments = {number[o]: max(of, key=lambda c: (of[c], -c)) for o, of in area.items()}
        maps = {}
        for stem, masks in self.masks.items():
            things, value = self.things(stem), np.zeros(len(masks), np.int64)
            for m, (o, c) in enumerate(zip(objects[stem].tolist(), masks.category_ids.tolist())):
                if o >= 0:
                    value[m] = number[o]
                elif not things[m]:
                    value[m] = c
                    segments[c] = c
            maps[stem] = masks.paint(value).astype(np.int32)
        return PanopticScene(self.categories, [Segment(i, c) for i, c in sorted(segments.items())], maps)

    def scores(self, maps: PanopticScene, objects: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
        """PQ in percent of the held-out views, rendered from the uplifted maps, and of pairs of masks."""
        views = [(self.cameras[stem], np.asarray(maps.maps[stem])) for stem in maps.stems]
        labels = uplift_labels(self.splats, views, rasterize_mode=self.rasterize_mode)
        result = self.scores_of_labels(labels, maps)
        if objects is not None:
            result["precision"], result["recall"] = pairs(self.true_objects(), objects)
        return result

    def scores_of_labels(self, labels: GaussianLabels, meaning: Labelling | PanopticScene) -> dict[str, Any]:
        """PQ in percent of the held-out views, rendered from labelled Gaussians."""
        rendered = {}
        for stem in self.test:
            shown = render_panoptic(self.splats, labels, self.cameras[stem], rasterize_mode=self.rasterize_mode)
            rendered[stem] = shown.ids.numpy().astype(np.int32)
        predicted = PanopticScene(meaning.categories, meaning.segments, rendered)
        found = evaluate_scenes(predicted, self.truth, list(self.test), PROTOCOLS)
        return {name: 100 * (found[name].panoptic.pq or 0.0) for name in PROTOCOLS}


def pairs(true: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Precision and recall in percent of the pairs of masks that are put into one object.

    Masks without a true thing are left out; a mask without an object (below 0) is paired with none.
    """
    t = np.concatenate([true[stem] for stem in true])
    o = np.concatenate([found[stem] for stem in true])[t > 0]
    t = t[t > 0]
    upper = np.triu_indices(len(t), 1)
    same_true = (t[:, None] == t)[upper]
    same_found = ((o[:, None] == o) & (o[:, None] >= 0))[upper]
    both = float((same_true & same_found).sum())
    return 100 * both / max(int(same_found.sum()), 1), 100 * both / max(int(same_true.sum()), 1)


def renumbered(predicted: PanopticScene, stems: Sequence[str], seed: int) -> dict[str, ViewMasks]:
    """The masks of views, with ids that are drawn anew in every image."""
    category = {segment.id: segment.category_id for segment in predicted.segments}
    result = {}
    for number, stem in enumerate(stems):
        ids = np.asarray(predicted.maps[stem])
        values, dense = np.unique(ids, return_inverse=True)
        names = np.random.default_rng([seed, 21, number]).permutation(1000 + len(values))[: len(values)] + 1
        names[values == 0] = 0
        of = {int(name): category[int(value)] for name, value in zip(names, values) if value}
        result[stem] = ViewMasks.from_label_map(names[dense.reshape(ids.shape)], of)
    return result


def surface_splats(
    cameras: Sequence[Camera], depths: Sequence[np.ndarray], voxel: float = 0.03, stride: int = 2
) -> Splats:
    """Round Gaussians on the surfaces that depth maps show, one a voxel: splats without any training.

    Args:
        cameras: the views.
        depths: ``[H, W]`` metres along z, 0 = none.
        voxel: metres.
        stride: every so manieth pixel counts.
    """
    points = []
    for camera, depth in zip(cameras, depths):
        every = back_project(camera, depth).reshape(*depth.shape, 3)[::stride, ::stride].reshape(-1, 3)
        points.append(every[depth[::stride, ::stride].ravel() > 0])
    found = np.concatenate(points)
    cell = np.unique(np.floor(found / voxel).astype(np.int64), axis=0, return_inverse=True)[1].ravel()
    count = np.bincount(cell)
    means = np.stack([np.bincount(cell, values) / count for values in found.T], axis=1)
    # Half the distance to the neighbours closes the surface without blurring it.
    near = KDTree(means).query(means, k=min(4, len(means)))[0][:, 1:].mean(axis=1).clip(0.5 * voxel, 2 * voxel)
    return Splats(
        torch.from_numpy(means).float(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(len(means), 1),
        torch.from_numpy(0.5 * near).float()[:, None].repeat(1, 3),
        torch.full((len(means),), 0.9),
        torch.zeros(len(means), 1, 3),
    )
