# SPDX-License-Identifier: Apache-2.0
"""Parts that belong to one object: labels that enough views, independently of each other, show as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Labelling
from panoptic_gs.refine.disagreement import WHOLE, Doubt, Owners, Said, disagreements, said_of
from panoptic_gs.refine.leave_one_out import VotePairs
from panoptic_gs.refine.neighbours import NEIGHBOURS
from panoptic_gs.splats import Splats
from panoptic_gs.sums import ViewSum, rows_of_others
from panoptic_gs.uplift import GaussianLabels

ENOUGH = 3
"""So many views have to show two as one; fewer, where some take the first for the second, and some the reverse."""
ALONE = 0.5
"""This share of them has to stand alone: the nearest other view of the object does not say so, too."""
TOUCHING = 0.05
"""This share of a part's Gaussians has to have one of the other among its 8 nearest."""

REACH = 3.0
"""Centres are at most so many radii apart; a radius is the median distance of an object's Gaussians from its centre."""


_ROW = np.dtype([("object", np.int32), ("label", np.int32), ("units", np.float64)])
"""What a view says of an object: two thirds of :meth:`Owners.sums`, of which long captures have ten million."""


class PartEvidence(ViewSum):
    """What each view says of the objects that all views together have found.

    Args:
        owner: ``[N]`` int64: the object of each Gaussian, 0 for none.
    """

    def __init__(self, owner: np.ndarray) -> None:
        self._owners = Owners(owner)
        self._sums: dict[int, np.ndarray] = {}
        self._center: dict[int, tuple[float, ...]] = {}

    def add(self, number: int, camera: Camera, view: VotePairs) -> None:
        """Add what a view says.

        Args:
            number: of the view, another for each view of all processes.
            camera: the view's.
            view: its votes, pairs that ascend.
        """
        self._sums[number] = _packed(self._owners.sums(view))
        self._center[number] = tuple(camera.center.double().tolist())

    def merge(self, other: PartEvidence) -> PartEvidence:
        """Add what other views say of the same objects.

        Returns:
            This object.

        Raises:
            InputError: the objects have other Gaussians.
        """
        mine, theirs = (part._owners.names[part._owners.number] for part in (self, other))
        if not np.array_equal(mine, theirs):
            raise InputError("evidence", "objects of other Gaussians", "the same owner of each Gaussian",
                             "Merge evidence on the same objects.")  # fmt: skip
        self._sums.update(other._sums)
        self._center.update(other._center)
        return self

    def empty(self) -> PartEvidence:
        """The same objects, of which no view has said anything."""
        return PartEvidence(self._owners.names[self._owners.number])

    @property
    def rows(self) -> Tensor:
        """What is said, ``[n, 4]`` float64: view, object, label, and the weight of the object's Gaussians wholly under
        it; ascending."""
        parts = [np.insert(_unpacked(self._sums[number]), 0, number, axis=1) for number in sorted(self._sums)]
        rows = np.concatenate([np.zeros((0, 4)), *parts])
        return torch.from_numpy(rows[np.lexsort(rows.T[2::-1])])

    def all_reduce(self, group: Any = None) -> PartEvidence:
        """Give every process of a ``torch.distributed`` group what the views of all say; every process calls this.

        Returns:
            This object.
        """
        places = torch.tensor([(number, *center) for number, center in self._center.items()],
                              dtype=torch.float64).reshape(-1, 4)  # fmt: skip
        for part in _of_others(self.rows, group):
            numbers = part[:, 0].long().numpy()
            for number in np.unique(numbers).tolist():
                found = _packed(part[:, 1:].numpy()[numbers == number])
                self._sums[number] = np.concatenate([self._sums.get(number, np.zeros(0, _ROW)), found])
        for part in _of_others(places, group):
            for number, *center in part.tolist():
                self._center[int(number)] = tuple(center)
        return self

    def pairs(self, labelling: Labelling) -> list[Doubt]:
        """Things of which enough views say that they are one with another of their class (``may be one``).

        Errors that last over neighbouring views, as those of a tracker, are one error, so of the views that say so
        most have to stand alone.
        """
        numbers = sorted(self._center)
        told = self._told_as_another(labelling)
        views = (self._sums[number] for number in numbers)
        said = [said_of(_unpacked(rows[np.isin(rows["object"], told)])) for rows in views]
        found = disagreements(said, self._owners.present.intersection(told.tolist()), labelling)
        found = [doubt for doubt in found if doubt.kind == "may be one"]
        named = {doubt.segments for doubt in found}
        centers = np.array([self._center[number] for number in numbers]).reshape(-1, 3)
        return [
            doubt for doubt in found
            if (len(doubt.views) >= ENOUGH or doubt.segments[::-1] in named)
            and _stand_alone(doubt, said, centers) >= ALONE
        ]  # fmt: skip

    def _told_as_another(self, labelling: Labelling) -> np.ndarray:
        """The objects that two views or more give wholly to the same other of their class, and those others: ``[n]``.

        One view is never enough to say that two are one, and of many objects each is taken for some other once.
        """
        class_of = labelling.category_of().astype(np.int64)
        keys = [np.zeros(0, np.int64)]
        for rows in self._sums.values():
            thing, which = np.unique(rows["object"], return_inverse=True)
            total = np.bincount(which.ravel(), rows["units"], len(thing))[which.ravel()]
            # A hair less than is asked of them later, so that another order of sums loses none.
            whole = rows[(rows["units"] >= (1 - 1e-9) * WHOLE * total) & (rows["object"] != rows["label"])]
            whole = whole[class_of[whole["object"]] == class_of[whole["label"]]]
            keys.append(whole["object"].astype(np.int64) << 32 | whole["label"])
        pair, views = np.unique(np.concatenate(keys), return_counts=True)
        pair = pair[views > 1]
        return np.unique(np.concatenate([pair >> 32, pair & 0xFFFFFFFF]))


def _packed(rows: np.ndarray) -> np.ndarray:
    """Rows ``[n, 3]`` of object, label and weight in two thirds of the memory, ``[n]`` of :data:`_ROW`."""
    packed = np.empty(len(rows), _ROW)
    for column, name in enumerate(_ROW.names or ()):
        packed[name] = rows[:, column]
    return packed


def _unpacked(rows: np.ndarray) -> np.ndarray:
    """What :func:`_packed` was given."""
    return np.stack([rows[name].astype(np.float64) for name in _ROW.names or ()], axis=1)


def _of_others(rows: Tensor, group: Any) -> list[Tensor]:
    return list(rows_of_others(len(rows), lambda first, last: rows[first:last], rows[:0], group))


def _stand_alone(doubt: Doubt, said: Sequence[Said], centers: np.ndarray) -> float:
    """The share of the views that say so of which the nearest view with one of the two objects does not."""
    first, second = doubt.segments
    seeing = np.array([k for k, view in enumerate(said) if first in view or second in view])
    alone = 0
    for k in doubt.views:
        others = seeing[seeing != k]
        if not len(others):
            return 0.0
        nearest = int(others[((centers[others] - centers[k]) ** 2).sum(1).argmin()])
        alone += nearest not in doubt.views
    return alone / len(doubt.views)


def sentences(pairs: Sequence[Doubt], labelling: Labelling) -> list[str]:
    """What became one, and by how many views, for people."""
    names, category_of = labelling.category_names, labelling.category_of()
    told: dict[tuple[int, ...], str] = {}
    for doubt in pairs:
        if doubt.segments[::-1] not in told:
            first, second = (f"{names[int(category_of[i])]} {i}" for i in doubt.segments)
            views = f"{len(doubt.views)} views ({100 * doubt.share:.0f} %)"
            told[doubt.segments] = f"{first} and {second} are one: {views} show the first as the second"
    return list(told.values())


def touching(pairs: Sequence[Doubt], labels: GaussianLabels, splats: Splats) -> list[Doubt]:
    """Those pairs whose Gaussians lie side by side, and not at one border of them alone.

    Where two things have swapped their labels in some views, a part of each carries the other's, and lies side by side
    with the rest; but their centres are far apart.

    Args:
        pairs: of objects.
        labels: of the Gaussians; each belongs to its strongest.
        splats: the Gaussians.
    """
    if not pairs:
        return []
    best = labels.best()[0].cpu().numpy()
    known = np.flatnonzero(best > 0)
    owner, points = best[known], splats.means.detach().cpu().numpy()[known].astype(np.float64)
    tree = KDTree(points)
    kept = []
    for doubt in pairs:
        first, second = doubt.segments
        mine, other = np.flatnonzero(owner == first), np.flatnonzero(owner == second)
        if len(mine) and len(other) and _within_reach(points[mine], points[other]):
            near = tree.query(points[mine], min(NEIGHBOURS + 1, len(known)), workers=torch.get_num_threads())[1]
            if (owner[near.reshape(len(mine), -1)] == second).any(1).mean() >= TOUCHING:
                kept.append(doubt)
    return kept


def _within_reach(first: np.ndarray, second: np.ndarray) -> bool:
    centers = [np.median(points, axis=0) for points in (first, second)]
    radii = [np.median(np.linalg.norm(points - center, axis=1))
             for points, center in zip((first, second), centers, strict=True)]  # fmt: skip
    return bool(np.linalg.norm(centers[0] - centers[1]) <= REACH * sum(radii))


def united(labels: GaussianLabels, pairs: Sequence[Doubt]) -> GaussianLabels:
    """The labels with each pair's two as one: the one that has more of the Gaussians' weight.

    Args:
        labels: of any Gaussians.
        pairs: objects that are one; chains of them are one, too.

    Returns:
        Rows whose shares are sums of what the united labels had. Neither threads nor runs change a bit.
    """
    if not pairs:
        return labels
    label, weight = labels.label.cpu().numpy().astype(np.int64), labels.weight.cpu().numpy().astype(np.float64)
    names = sorted({segment for doubt in pairs for segment in doubt.segments})
    rows = labels.rows().cpu().numpy().astype(np.int64)
    total = labels.total.cpu().numpy().astype(np.float64)
    size = {name: float((weight * total[rows])[label == name].sum()) for name in names}
    leader = {name: name for name in names}

    def leads(name: int) -> int:
        while leader[name] != name:
            name = leader[name]
        return name

    for doubt in pairs:
        first, second = (leads(segment) for segment in doubt.segments)
        if first != second:
            small, large = sorted((first, second), key=lambda name: (size[name], -name))
            leader[small] = large
            size[large] += size[small]
    for name in names:
        label[label == name] = leads(name)
    key = rows << 32 | label
    order = np.argsort(key, kind="stable")
    key, weight = key[order], weight[order]
    first_of = np.flatnonzero(np.diff(key, prepend=-1))
    counts = np.bincount(key[first_of] >> 32, minlength=len(labels))
    made = (np.concatenate([[0], counts.cumsum()]), (key[first_of] & 0xFFFFFFFF).astype(np.int32),
            np.add.reduceat(weight, first_of).astype(np.float32))  # fmt: skip
    indptr, kept, shares = (torch.from_numpy(values).to(labels.device) for values in made)
    return GaussianLabels.from_kernel(indptr, kept, shares, labels.total, labels.void)
