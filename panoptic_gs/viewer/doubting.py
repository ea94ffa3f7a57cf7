# SPDX-License-Identifier: Apache-2.0
"""What the viewer asks a person to look at: objects that may be two, pairs that may be one, and what mends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.refine import find_doubts
from panoptic_gs.refine.disagreement import PART, WHOLE
from panoptic_gs.scene import Scene
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.operations import Clean, Merge, Operation, SplitPieces, SplitVotes

LEAST_VOTES = 0.3
"""Share of a thing's votes for another thing of its class from which on both may be one."""
Mend = Literal["merge", "split", "clean"]


@dataclass(frozen=True)
class Question:
    """Something a person should decide.

    Args:
        kind: as of :class:`~panoptic_gs.refine.Doubt`.
        segments: the object, and the one that it is taken for, if any.
        share: of the views, votes or Gaussians that speak for the doubt, see ``basis``.
        basis: what ``share`` is a share of.
        mends: what can be done, the likeliest first.
    """

    kind: Literal["may be two", "may be one", "class in dispute", "in pieces"]
    segments: tuple[int, ...]
    share: float
    basis: str
    mends: tuple[Mend, ...]


def questions(scene: LabelledScene, data: Scene | None = None) -> list[Question]:
    """The doubts of a scene, the strongest first.

    With the photos' panoptic maps that the labels are from, what each view says
    (:func:`~panoptic_gs.refine.find_doubts`); else what the Gaussians' votes say.

    Args:
        scene: as it is now.
        data: the scene folder, whose ``panoptic/`` is looked at.

    Raises:
        InputError: the maps cannot be read.
    """
    maps = _maps_of(scene, data)
    if maps is not None and data is not None:
        known = np.zeros(1 + max((int(m.max(initial=0)) for m in maps.maps.values()), default=0), dtype=bool)
        known[[i for i in scene.labelling.segment_ids if i < len(known)]] = True
        views = []
        for frame in data.frames:
            if frame.stem in maps.maps:
                ids = frame.fit_labels(maps.maps[frame.stem])
                views.append((frame.camera, np.where(known[ids], ids, 0).astype(np.int32)))
        if views:
            found = [
                Question(d.kind, d.segments, d.share, "Gaussians" if d.kind == "in pieces" else "views", _MENDS[d.kind])
                for d in find_doubts(scene.splats, views, scene.labelling)
            ]
            return sorted(found, key=lambda q: (q.kind == "in pieces", -q.share))
    return _by_votes(scene)


def mend(question: Question, how: Mend, strays: np.ndarray | None = None) -> Operation:
    """The edit that settles a question.

    Args:
        question: it.
        how: one of its mends.
        strays: for ``clean``, what the object has that is none of it.

    Raises:
        InputError: this does not settle it.
    """
    if how not in question.mends:
        raise InputError("doubt", f"'{how}' of '{question.kind}'", f"one of {', '.join(question.mends)}",
                         "Select the object and edit it.")  # fmt: skip
    if how == "merge":
        return Merge(question.segments[0], question.segments[1])
    if how == "clean":
        return Clean(question.segments[0], np.zeros(0, np.int64) if strays is None else strays)
    if question.kind == "in pieces":
        return SplitPieces(question.segments[0])
    return SplitVotes(question.segments[0], question.segments[1])


_MENDS: dict[str, tuple[Mend, ...]] = {
    "may be one": ("merge",),
    "may be two": ("split", "merge"),
    "class in dispute": ("merge",),
    "in pieces": ("split", "clean"),
}


def _maps_of(scene: LabelledScene, data: Scene | None) -> PanopticScene | None:
    """The maps of the scene folder, where they have the ids that this scene was labelled with."""
    if data is None or not (data.root / "panoptic" / "panoptic.json").is_file():
        return None
    maps = data.load_panoptic()
    theirs = {(s.id, s.category_id) for s in maps.segments}
    ours = {(s.id, s.category_id) for s in scene.segments}
    return maps if len(ours & theirs) >= 0.9 * len(ours) else None  # edits change a few


def _by_votes(scene: LabelledScene) -> list[Question]:
    """Doubts by the label distributions of the Gaussians alone."""
    labels, size = scene.labels, max(scene.labelling.segment_ids, default=0) + 1
    best = labels.best()[0].numpy()
    row, label, weight = labels.rows().numpy(), labels.label.numpy(), labels.weight.numpy()
    weighed = weight * scene.splats.opacities.numpy()[row]
    said = np.zeros((size, size))
    np.add.at(said, (best[row], label), weighed)
    class_of = {s.id: s.category_id for s in scene.segments}
    things = [s.id for s in scene.segments if scene.labelling.is_thing[s.category_id] and said[s.id].sum() > 0]
    found = []
    for thing in things:
        shares = said[thing] / said[thing].sum()
        for other in np.flatnonzero(shares >= PART).tolist():
            if other in (0, thing) or other not in class_of:
                continue
            share = float(shares[other])
            if class_of[other] == class_of[thing]:
                if share >= LEAST_VOTES:
                    found.append(Question("may be one", (thing, other), share, "votes", ("merge", "split")))
            elif share >= 0.5 * WHOLE:
                found.append(Question("class in dispute", (thing, other), share, "votes", ("merge", "split")))
        share = _largest_place(scene, thing)
        if share < 1 - PART:
            found.append(Question("in pieces", (thing,), share, "Gaussians", ("split", "clean")))
    return sorted(found, key=lambda q: (q.kind == "in pieces", -q.share))


def _largest_place(scene: LabelledScene, thing: int) -> float:
    """The weight of the largest place where a thing lies, as a share of those worth an object of their own."""
    mass = edits.places(scene, thing)
    large = mass[mass >= edits.PIECE * mass.max()]
    return float(large.max() / large.sum())
