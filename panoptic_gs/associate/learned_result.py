# SPDX-License-Identifier: Apache-2.0
"""What learned queries say: the object of each mask, scene-wide maps, and the labels of the Gaussians themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.associate.association import AssociatedObject
from panoptic_gs.associate.head import instance_shares
from panoptic_gs.associate.masks import ViewMasks
from panoptic_gs.associate.matching import pairwise_dice
from panoptic_gs.associate.token_dynamics import LARGEST_WEIGHT
from panoptic_gs.panoptic import Category, Labelling, PanopticScene, Segment
from panoptic_gs.uplift import GaussianLabels

if TYPE_CHECKING:
    from panoptic_gs.associate.learned import Learning
    from panoptic_gs.associate.learned_views import LearnedView

LEAST_VIEWS = 3
"""A query that fewer views match is dropped at the end; it rests half open and claims pixels."""
PART = 0.5
"""A left-over mask takes an object that fills more than this part of it."""
SAME_OBJECT = 0.7
"""Queries are one object where more than this part of each lies in the other's masks."""
LEAST_SHARE = 0.02
"""Smaller shares of a Gaussian's labels are left out."""


@dataclass(frozen=True, eq=False)
class LearnedAssociation:
    """The objects that were learned, and which of them each mask shows.

    Args:
        categories: the classes.
        objects: stuff classes and objects, ids 1, 2, ….
        views: image stem → the object's id ``[M]`` int64 of each of its masks, 0 where it abstains.
        labels: l_P of each Gaussian, its shares of the objects: rendered, it is the first output of the methods. A
            Gaussian that no view shows has none.
        tokens: the queries in the world frame: ``ids``, ``category_ids``, ``centers``, ``quats`` (wxyz), ``scales``,
            ``features``, a row for each. An object may have several.
        source: what made the masks.
    """

    categories: tuple[Category, ...]
    objects: tuple[AssociatedObject, ...]
    views: Mapping[str, np.ndarray]
    labels: GaussianLabels
    tokens: Mapping[str, Tensor]
    source: str = ""

    @property
    def things(self) -> tuple[AssociatedObject, ...]:
        """The countable objects."""
        return tuple(entry for entry in self.objects if entry.isthing)

    @property
    def labelling(self) -> Labelling:
        """What the objects' ids mean."""
        segments = tuple(Segment(entry.id, entry.category_id, round(entry.score, 4)) for entry in self.objects)
        return Labelling(self.categories, segments, self.source)

    def label_map(self, stem: str, masks: ViewMasks) -> np.ndarray:
        """The scene-wide map ``[H, W]`` int32 of a view: 0 under no mask and where the mask on top abstains.

        Of masks that overlap, one that shows an object lies above one that abstains, and a small one above a large one.
        """
        objects = self.views[stem]
        rank = np.empty(len(masks), np.int64)
        rank[np.lexsort((-masks.areas(), objects > 0))] = np.arange(len(masks))
        return masks.paint(objects, rank).astype(np.int32)

    def scene(self, masks: Mapping[str, ViewMasks]) -> PanopticScene:
        """The scene-wide maps of all views: with ``uplift_labels``, the second output of the methods."""
        maps = {stem: self.label_map(stem, masks[stem]) for stem in self.views}
        return PanopticScene(self.categories, self.labelling.segments, maps, source=self.source)


def result_of(learning: Learning) -> LearnedAssociation:
    """Match all views a last time, and name what remains."""
    views = learning.views
    counts = torch.zeros(len(learning.queries), dtype=torch.int64)
    for view in views.values():
        counts[learning.draw(view, strict=True).matching.queries] += 1
    least = min(LEAST_VIEWS, sum(len(view.thing_masks) > 0 for view in views.values()))
    learning.queries.select((counts >= max(least, 1)).nonzero()[:, 0], learning.optimizer)
    group = groups_of(learning) if learning.options.dynamic_tokens else torch.arange(len(learning.queries))
    found = {stem: _matched(learning, view, group) for stem, view in views.items()}

    channels = learning.channels
    named = [c for c in range(channels.stuff) if channels.category_ids[c] and _shown(views, c)]
    id_of_stuff = torch.zeros(channels.stuff, dtype=torch.int64)
    id_of_stuff[named] = torch.arange(1, len(named) + 1)
    number = int(group.max()) + 1 if len(group) else 0
    ids = torch.arange(number) + len(named) + 1
    classes = _classes(learning, group)
    isthing = {category.id: category.isthing for category in learning.categories}
    objects = [_stuff_object(learning, channel, int(id_of_stuff[channel])) for channel in named]
    for query in range(number):
        scores = [1 - float(dice) for masks, dice in found.values() for dice in dice[masks == query]]
        seen = sum(bool((masks == query).any()) for masks, _ in found.values())
        category = channels.category_ids[channels.stuff + int(classes[query])]
        objects.append(AssociatedObject(
            int(ids[query]), category, isthing[category], len(scores), seen,
            float(np.mean(scores)) if scores else 0.0, f"{len(scores)} masks in {seen} views",
        ))  # fmt: skip
    rows = {stem: _objects_of_masks(learning, stem, masks, ids, id_of_stuff) for stem, (masks, _) in found.items()}
    queries = learning.queries
    tokens = {
        "ids": ids[group],
        "category_ids": torch.tensor([entry.category_id for entry in objects[len(named) :]], dtype=torch.int64)[group],
        "centers": queries.centers.detach() * learning.unit + learning.origin,
        "quats": torch.nn.functional.normalize(queries.quats.detach(), dim=-1),
        "scales": queries.log_scales.detach().exp() * learning.unit,
        "features": queries.features.detach().clone(),
    }
    labels = _labels(learning, group, ids, id_of_stuff)
    return LearnedAssociation(learning.categories, tuple(objects), rows, labels, tokens, learning.source)


def groups_of(learning: Learning) -> Tensor:  # [Q] int64, numbered from 0 as queries come
    """Queries that are parts of one object: what one shows lies in the other's masks, and no view tells them apart.

    With m_a(n) the mask that view n matches to query a, the share of b in a is Σ_n Σ_u M_b(n, u) m_a(n, u) /
    Σ_n Σ_u M_b(n, u), over the views that match a.
    """
    count = len(learning.queries)
    inside, shown, together = torch.zeros(count, count), torch.zeros(count, count), torch.zeros(count, count)
    for view in learning.views.values():
        drawn = learning.draw(view, strict=True)
        of = drawn.matching.queries
        if len(of):
            inside[of] += view.masks()[:, drawn.matching.masks].T @ drawn.masks
            shown[of] += drawn.masks.sum(0)
            together[of[:, None], of[None]] = 1
    share = inside / shown.clamp_min(1e-6)
    agree = torch.minimum(share, share.T)
    group = torch.arange(count)
    pairs = (agree.triu(1) > SAME_OBJECT).nonzero()
    for a, b in pairs[agree[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)].tolist():
        first, second = group == group[a], group == group[b]
        if group[a] != group[b] and not together[first][:, second].any():
            group[first | second] = torch.minimum(group[a], group[b])
    return torch.unique(group, return_inverse=True)[1]


def _matched(learning: Learning, view: LearnedView, group: Tensor) -> tuple[Tensor, Tensor]:
    """The object of each thing mask, −1 where it has none, and its dice with its query."""
    drawn = learning.draw(view, strict=True)
    count = len(view.thing_masks)
    query, dice = torch.full((count,), -1), torch.ones(count)
    query[drawn.matching.masks], dice[drawn.matching.masks] = drawn.matching.queries, drawn.matching.dice
    left = (query < 0).nonzero()[:, 0]
    if learning.options.parts and len(left) and drawn.masks.shape[1]:
        masks = view.masks()[:, left]
        inside = (drawn.masks.T @ masks) / masks.sum(0).clamp_min(1)
        share, best = inside.max(dim=0)
        taken = share > PART
        query[left[taken]] = best[taken]
        dice[left[taken]] = pairwise_dice(drawn.masks, masks)[best, torch.arange(len(left))][taken]
    return torch.cat([group, group.new_full((1,), -1)])[query], dice


def _shown(views: Mapping[str, LearnedView], channel: int) -> bool:
    return any(bool((view.channel_of_pixel == channel).any()) for view in views.values())


def _stuff_object(learning: Learning, channel: int, number: int) -> AssociatedObject:
    category = learning.channels.category_ids[channel]
    masks = [int((of == category).sum()) for of in learning.category_ids.values()]
    seen = sum(count > 0 for count in masks)
    return AssociatedObject(number, category, False, sum(masks), seen, 1.0, "stuff, by its class")


def _objects_of_masks(
    learning: Learning, stem: str, query: Tensor, ids: Tensor, id_of_stuff: Tensor
) -> np.ndarray:  # [M]
    category_ids = learning.category_ids[stem]
    objects = np.zeros(len(category_ids), np.int64)
    objects[learning.views[stem].thing_masks.numpy()] = torch.cat([ids, ids.new_zeros(1)])[query].numpy()
    for channel in range(learning.channels.stuff):
        objects[category_ids == learning.channels.category_ids[channel]] = int(id_of_stuff[channel])
    return objects


def _classes(learning: Learning, group: Tensor) -> Tensor:  # [O]
    """Channels among things of each object: what its queries learned, or what most of their Gaussians are."""
    stuff = learning.channels.stuff
    votes = torch.zeros(len(group), len(learning.channels.category_ids) - stuff)
    if not len(group):
        return torch.zeros(0, dtype=torch.int64)
    if learning.options.token_classes:
        votes = learning.classifier(learning.queries.classes).log_softmax(-1)
    else:
        weight = learning.total.clamp(max=LARGEST_WEIGHT)
        for part in (learning.total > 0).nonzero()[:, 0].split(16384):
            shares = learning.decoder(learning.semantics[part])[:, stuff:]
            votes += (learning.attention(part) * weight[part, None]).T @ shares
    return torch.zeros(int(group.max()) + 1, votes.shape[1]).index_add_(0, group, votes).argmax(-1)


def _labels(learning: Learning, group: Tensor, ids: Tensor, id_of_stuff: Tensor) -> GaussianLabels:
    """l_P of the Gaussians that some view shows; without the panoptic head, class shares beside the attention.

    Where void is a class it stays one, label 0, so that what lies under no mask is nobody's.
    """
    stuff, count = learning.channels.stuff, len(learning.total)
    label_of = torch.cat([id_of_stuff, ids])
    named = label_of > 0
    named[0] |= learning.channels.void_is_a_class
    rows, labels, weights = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)]
    for part in (learning.total > 0).nonzero()[:, 0].split(16384):
        shares, attended = learning.decoder(learning.semantics[part]), learning.attention(part)
        if learning.options.panoptic_head:
            attended = shares[:, stuff:].sum(-1, keepdim=True) * instance_shares(attended)
        attended = torch.zeros(len(part), len(ids)).index_add_(1, group, attended)
        spread = torch.cat([shares[:, :stuff], attended], dim=1) * named
        spread = spread / spread.sum(1, keepdim=True).clamp_min(1e-9)
        spread[spread < LEAST_SHARE] = 0
        spread = spread / spread.sum(1, keepdim=True).clamp_min(1e-9)
        row, column = spread.nonzero(as_tuple=True)
        rows.append(part[row])
        labels.append(label_of[column])
        weights.append(spread[row, column])
    row = torch.cat(rows)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(row, minlength=count).cumsum(0)])
    return GaussianLabels(indptr, torch.cat(labels).int(), torch.cat(weights), learning.total, torch.zeros(count))
