# SPDX-License-Identifier: Apache-2.0
"""Edits of a labelled scene as pure functions, and a history that takes them back.

Each edit gives a new :class:`~panoptic_gs.uplift.LabelledScene` and leaves the one it was given as it is; tensors that
an edit does not touch are shared. "The Gaussians of an object" are those whose strongest label it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import MAX_SEGMENT_ID, Segment
from panoptic_gs.objects.boxes import Box, clusters
from panoptic_gs.uplift import GaussianLabels, LabelledScene
from panoptic_gs.viewer.outlines import outlined

PIECE = 0.1
"""Share of the largest place's weight from which on a place where an object lies is worth an object of its own."""
PART = 0.2
"""Share of a Gaussian's votes by which it may belong to another object."""
_GAP = 0.1  # of an object's radius that parts it into places, at least
BrushUse = Literal["add", "cut", "delete"]
BRUSHING: dict[BrushUse, str] = {"add": "add to", "cut": "cut from", "delete": "erase from"}
"""What brush and lasso do to an object, in words."""
LONGEST_NAME = 80
"""Letters of an object's name."""


def rename(scene: LabelledScene, segment_id: int, name: str) -> LabelledScene:
    """Call an object ``name``; an empty one lets it go by its category again.

    Raises:
        InputError: no such object, or a name that is too long or not printable.
    """
    name = name.strip()
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(
            "name", f"{len(name)} characters", f"at most {LONGEST_NAME} printable ones", "Choose a shorter name."
        )
    return _with_segment(scene, replace(segment_of(scene, segment_id), name=name or None))


def recategorise(scene: LabelledScene, segment_id: int, category_id: int) -> LabelledScene:
    """Give an object another category.

    Raises:
        InputError: no such object or category, or a stuff category that another segment has already.
    """
    category = next((category for category in scene.categories if category.id == category_id), None)
    if category is None:
        raise InputError(
            "category", f"id {category_id}", f"one of {len(scene.categories)} categories", "Choose a listed one."
        )
    taken = [s.id for s in scene.segments if s.category_id == category_id and s.id != segment_id]
    if not category.isthing and taken:
        raise InputError(
            f"category '{category.name}'",
            f"segment {taken[0]} of it",
            "one segment for each stuff category",
            f"Merge the object into segment {taken[0]} instead.",
        )
    return _with_segment(scene, replace(segment_of(scene, segment_id), category_id=category_id))


def merge(scene: LabelledScene, segment_id: int, into: int) -> LabelledScene:
    """Make one object of two; ``into`` keeps its id, name, category and score, and the votes of both are summed.

    Raises:
        InputError: no such objects, or twice the same.
    """
    for each in (segment_id, into):
        segment_of(scene, each)
    if segment_id == into:
        raise InputError("merge", f"object {into} twice", "two objects", "Choose another object.")
    every = torch.ones(len(scene.labels), dtype=torch.bool)
    segments = tuple(segment for segment in scene.segments if segment.id != segment_id)
    return scene._replace(labels=_relabel(scene.labels, every, segment_id, into)).with_segments(segments)


def split_box(scene: LabelledScene, segment_id: int, box: Box) -> tuple[LabelledScene, int]:
    """Make what lies inside a box a new object of the same category.

    Returns:
        The new scene and the id of the new object.

    Raises:
        InputError: no such object, none or all of its Gaussians inside the box, or no id left.
    """
    segment = segment_of(scene, segment_id)
    inside = torch.from_numpy(box.contains(scene.splats.means.numpy()))
    best, _ = scene.labels.best()
    own = best == segment_id
    count = int((inside & own).sum())
    if count == 0 or count == int(own.sum()):
        raise InputError(
            "box",
            f"{'none' if count == 0 else 'all'} of the object's {int(own.sum()):,} Gaussians inside",
            "a part of the object",
            "Move the box or change its size.",
        )
    new = _next_id(scene)
    labels = _relabel(scene.labels, inside, segment_id, new)
    part = Segment(new, segment.category_id, segment.score)
    return scene._replace(labels=labels).with_segments((*scene.segments, part)), new


def split_pieces(scene: LabelledScene, segment_id: int) -> tuple[LabelledScene, list[int]]:
    """Make each place where an object lies, apart from its largest, a new object of the same category.

    Places with less than a tenth of the largest one's weight are floaters and stay with it.

    Returns:
        The new scene and the ids of the new objects.

    Raises:
        InputError: no such object, it lies in one place, or no id is left.
    """
    segment = segment_of(scene, segment_id)
    members, cluster, mass = _clusters(scene, segment_id)
    large = [number for number in np.argsort(-mass) if mass[number] >= PIECE * mass.max()][1:]
    if not large:
        raise InputError("split", f"object {segment_id}, which lies in one place", "an object in several places",
                         "Split it with a box.")  # fmt: skip
    ids = []
    for number in large:
        new = _next_id(scene)
        rows = torch.zeros(len(scene.labels), dtype=torch.bool)
        rows[torch.from_numpy(members[cluster == number])] = True
        part = Segment(new, segment.category_id, segment.score)
        labels = _relabel(scene.labels, rows, segment_id, new)
        scene = scene._replace(labels=labels).with_segments((*scene.segments, part))
        ids.append(new)
    return scene, ids


def split_votes(scene: LabelledScene, segment_id: int, other: int) -> tuple[LabelledScene, int]:
    """Make the part of an object that some views gave to another one a new object of the same category.

    It is the Gaussians with at least a fifth of their votes for the other one.

    Returns:
        The new scene and the id of the new object.

    Raises:
        InputError: no such objects, no such part, or no id is left.
    """
    segment = segment_of(scene, segment_id)
    segment_of(scene, other)
    best, _ = scene.labels.best()
    says = (scene.labels.label == other) & (scene.labels.weight >= PART)
    rows = torch.zeros(len(scene.labels), dtype=torch.bool)
    rows[scene.labels.rows()[says]] = True
    rows &= best == segment_id
    count, own = int(rows.sum()), int((best == segment_id).sum())
    if count in (0, own):
        raise InputError("split", f"{count} of the object's {own:,} Gaussians with votes for object {other}",
                         "a part of it", "Split it with a box.")  # fmt: skip
    new = _next_id(scene)
    part = Segment(new, segment.category_id, segment.score)
    labels = _relabel(scene.labels, rows, segment_id, new)
    return scene._replace(labels=labels).with_segments((*scene.segments, part)), new


def clean(scene: LabelledScene, segment_id: int, strays: Sequence[int] | np.ndarray) -> LabelledScene:
    """Take an object's label from Gaussians that are none of it, which get their next strongest label, or none.

    Args:
        scene: it.
        segment_id: the object.
        strays: ``[S]`` its floaters, and what it took of the floor under it or the wall behind it, as
            :func:`~panoptic_gs.objects.cut_out.strays` finds them: what an export with ``--clean`` leaves out.

    Raises:
        InputError: no such object, no strays, others than its Gaussians, or all of them.
    """
    rows = _strays(scene, segment_id, strays)
    if not rows.any():
        raise InputError("clean", f"object {segment_id} without floaters or halo", "one with some",
                         "There is nothing to clean.")  # fmt: skip
    return scene._replace(labels=_without_label(scene.labels, segment_id, rows))


def brush(
    scene: LabelledScene, segment_id: int, center: Sequence[float] | np.ndarray, radius: float, how: BrushUse
) -> tuple[LabelledScene, int]:
    """Work on the Gaussians whose centres lie within a ball.

    ``add`` gives all of them to the object, whatever they were; ``cut`` takes the object's label from its own, which
    get their next strongest label, or none; ``delete`` removes the object's Gaussians there from the scene.

    Args:
        scene: it.
        segment_id: the object.
        center: of the ball ``[3]``.
        radius: of it.
        how: what to do.

    Returns:
        The new scene and the number of Gaussians that changed.

    Raises:
        InputError: no such object, a ball without Gaussians to change, or nothing of the object would stay.
    """
    segment_of(scene, segment_id)
    middle = torch.as_tensor(np.asarray(center, dtype=np.float32))
    if middle.shape != (3,) or not torch.isfinite(middle).all() or not (np.isfinite(radius) and radius > 0):
        raise InputError("brush", f"a ball of radius {radius} around {list(center)}",
                         "three finite numbers and a radius", "Click again.")  # fmt: skip
    near = (scene.splats.means - middle).norm(dim=1) <= radius
    return _worked(scene, segment_id, near, how, "brush", "the ball")


def lasso(
    scene: LabelledScene,
    segment_id: int,
    camera: Camera,
    outline: np.ndarray,
    how: BrushUse,
    through: bool = False,
    drawn: Tensor | None = None,
) -> tuple[LabelledScene, int]:
    """Work on the Gaussians inside an outline that was drawn on a picture, as :func:`brush` does on those in a ball.

    Args:
        scene: it.
        segment_id: the object.
        camera: that the picture is from.
        outline: ``[P, 2]`` its corners in pixels.
        how: what to do.
        through: work on what others hide there, too.
        drawn: which Gaussians ``[N]`` bool the picture shows; by default all. The others stay as they are.

    Returns:
        The new scene and the number of Gaussians that changed.

    Raises:
        InputError: no such object, no outline, nothing in it to change, or nothing of the object would stay.
    """
    segment_of(scene, segment_id)
    if len(outline) < 3 or not np.isfinite(outline).all():
        raise InputError("lasso", f"{len(outline)} points", "an outline of at least three", "Draw around something.")
    shown = torch.ones(len(scene.splats), dtype=torch.bool) if drawn is None else drawn
    rows = shown.clone()
    rows[shown] = outlined(scene.splats.subset(shown), camera, outline, through)
    return _worked(scene, segment_id, rows, how, "lasso", "the outline")


def _worked(
    scene: LabelledScene, segment_id: int, chosen: Tensor, how: BrushUse, tool: str, where: str
) -> tuple[LabelledScene, int]:
    """What a tool does to the Gaussians ``[N]`` bool that it was used on."""
    own = scene.labels.best()[0] == segment_id
    rows = chosen & (~own if how == "add" else own)
    count = int(rows.sum())
    if count == 0 or (how != "add" and count == int(own.sum())):
        found = "none" if count == 0 else "all"
        raise InputError(tool, f"{found} of {'the other' if how == 'add' else 'its'} Gaussians within {where}",
                         "some of them", "Try another size or place.")  # fmt: skip
    if how == "delete":
        kept = ~rows
        return scene._replace(splats=scene.splats.subset(kept), labels=scene.labels.subset(kept)), count
    if how == "cut":
        return scene._replace(labels=_without_label(scene.labels, segment_id, rows)), count
    return scene._replace(labels=_given(scene.labels, segment_id, rows)), count


def places(scene: LabelledScene, segment_id: int) -> np.ndarray:
    """The weight ``[C]`` of each place where an object lies; places do not touch.

    Raises:
        InputError: the object has no Gaussians.
    """
    return _clusters(scene, segment_id)[2]


def delete(scene: LabelledScene, segment_id: int) -> LabelledScene:
    """Remove an object and its Gaussians.

    Where another Gaussian was seen with this label, too, these votes count as void from now on.

    Raises:
        InputError: no such object, or nothing would be left.
    """
    segment_of(scene, segment_id)
    best, _ = scene.labels.best()
    kept = best != segment_id
    if not kept.any():
        raise InputError("delete", "the only object", "at least one Gaussian left", "Keep this one.")
    return scene._replace(
        splats=scene.splats.subset(kept), labels=_without_label(scene.labels.subset(kept), segment_id)
    ).with_segments([segment for segment in scene.segments if segment.id != segment_id])


def move(
    scene: LabelledScene,
    segment_id: int,
    translation: Sequence[float] | np.ndarray,
    strays: Sequence[int] | np.ndarray = (),
) -> LabelledScene:
    """Shift an object's Gaussians by ``translation [3]`` in world units.

    Its strays stay where they are, and belong to what they were seen as next, as after :func:`clean`.

    Raises:
        InputError: no such object, a shift that is not finite, or strays that :func:`clean` would not take.
    """
    segment_of(scene, segment_id)
    shift = torch.as_tensor(np.asarray(translation, dtype=np.float32))
    if shift.shape != (3,) or not torch.isfinite(shift).all():
        raise InputError("translation", str(list(translation)), "three finite numbers", "Give x, y and z.")
    if len(strays):
        scene = clean(scene, segment_id, strays)
    best, _ = scene.labels.best()
    means = scene.splats.means + (best == segment_id)[:, None] * shift.to(scene.splats.means)
    return scene._replace(splats=replace(scene.splats, means=means))


def segment_of(scene: LabelledScene, segment_id: int) -> Segment:
    """The segment with this id.

    Raises:
        InputError: there is none.
    """
    for segment in scene.segments:
        if segment.id == segment_id:
            return segment
    raise InputError("object", f"id {segment_id}", f"one of {len(scene.segments)} objects", "Choose a listed object.")


class History:
    """The scene as it is now, and the ones before and after it.

    Args:
        scene: where it starts.
        limit: edits that can be taken back; older ones are forgotten, so that memory stays bounded.
    """

    def __init__(self, scene: LabelledScene, limit: int = 50) -> None:
        self.current = scene
        self.limit = limit
        self._saved = scene
        self._undo: list[tuple[str, LabelledScene]] = []
        self._redo: list[tuple[str, LabelledScene]] = []

    def apply(self, description: str, scene: LabelledScene) -> None:
        """Take an edited scene as the current one."""
        self._undo.append((description, self.current))
        del self._undo[: -self.limit]
        self._redo.clear()
        self.current = scene

    def undo(self) -> str | None:
        """Go back by one edit; its description, or None where there is none."""
        return self._step(self._undo, self._redo)

    def redo(self) -> str | None:
        """Do the last edit that was taken back again; its description, or None where there is none."""
        return self._step(self._redo, self._undo)

    def _step(self, source: list[tuple[str, LabelledScene]], target: list[tuple[str, LabelledScene]]) -> str | None:
        if not source:
            return None
        description, scene = source.pop()
        target.append((description, self.current))
        self.current = scene
        return description

    def mark_saved(self) -> None:
        """Remember that the current scene is on disk."""
        self._saved = self.current

    @property
    def unsaved(self) -> bool:
        """Whether the current scene differs from the one on disk."""
        return self.current is not self._saved

    @property
    def undoable(self) -> str | None:
        """What :meth:`undo` would take back."""
        return self._undo[-1][0] if self._undo else None

    @property
    def redoable(self) -> str | None:
        """What :meth:`redo` would do again."""
        return self._redo[-1][0] if self._redo else None


def _next_id(scene: LabelledScene) -> int:
    new = max(other.id for other in scene.segments) + 1
    if new > MAX_SEGMENT_ID:
        raise InputError("segments", f"id {new - 1}", f"ids below {MAX_SEGMENT_ID}", "Number the segments anew.")
    return new


def _clusters(scene: LabelledScene, segment_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Gaussians ``[M]`` of an object, the place ``[M]`` that each lies in, and the weight ``[C]`` of each place."""
    best, share = scene.labels.best()
    members = np.flatnonzero((best == segment_id).numpy())
    if not len(members):
        raise InputError(f"object {segment_id}", "no Gaussians", "an object with some", "Choose another one.")
    weights = (scene.splats.opacities * share).numpy()[members].astype(np.float64)
    points = scene.splats.means.numpy()[members].astype(np.float64)
    radius = float(np.quantile(np.linalg.norm(points - np.median(points, axis=0), axis=1), 0.8))
    # Gaussians touch where their centres are apart by what they reach, two standard deviations from either side.
    reach = 4 * float(np.median(scene.splats.scales.numpy()[members].max(axis=1)))
    cluster, mass = clusters(points, weights, max(_GAP * radius, reach, 1e-9))
    return members, cluster, mass


def _strays(scene: LabelledScene, segment_id: int, strays: Sequence[int] | np.ndarray) -> Tensor:
    """Which Gaussians ``[N]`` bool they are: some of the object's."""
    segment_of(scene, segment_id)
    own = scene.labels.best()[0] == segment_id
    numbers = torch.as_tensor(np.asarray(strays, dtype=np.int64))
    known = numbers.ndim == 1 and bool(((numbers >= 0) & (numbers < len(own))).all())
    if not known or not bool(own[numbers].all()):
        raise InputError("strays", "Gaussians of something else", f"some of object {segment_id}'s", "Find them anew.")
    rows = torch.zeros(len(own), dtype=torch.bool)
    rows[numbers] = True
    if int(rows.sum()) == int(own.sum()):
        raise InputError("strays", f"all Gaussians of object {segment_id}", "some of them", "Delete the object.")
    return rows


def _with_segment(scene: LabelledScene, segment: Segment) -> LabelledScene:
    return scene.with_segments([segment if old.id == segment.id else old for old in scene.segments])


def _relabel(labels: GaussianLabels, rows: Tensor, old: int, new: int) -> GaussianLabels:
    """Turn ``old`` into ``new`` in the rows ``[N]`` bool; where a row has both, their weights are summed."""
    row_of = labels.rows()
    label = labels.label.long()
    label = torch.where((label == old) & rows[row_of], new, label)
    keys, entry = torch.unique((row_of << 32) | label, return_inverse=True)
    weight = torch.zeros(len(keys)).index_add_(0, entry, labels.weight)
    return _rebuilt(labels, keys >> 32, keys & 0xFFFFFFFF, weight, labels.void)


def _given(labels: GaussianLabels, segment_id: int, rows: Tensor) -> GaussianLabels:
    """The rows ``[N]`` bool with this label alone."""
    row_of = labels.rows()
    kept = ~rows[row_of]
    given = rows.nonzero()[:, 0]
    row = torch.cat([row_of[kept], given])
    label = torch.cat([labels.label[kept].long(), torch.full_like(given, segment_id)])
    weight = torch.cat([labels.weight[kept], torch.ones(len(given))])
    order = torch.argsort(row, stable=True)
    # What was void there has been decided by hand.
    return _rebuilt(labels, row[order], label[order], weight[order], torch.where(rows, 0.0, labels.void))


def _without_label(labels: GaussianLabels, gone: int, rows: Tensor | None = None) -> GaussianLabels:
    """Drop a label, in the rows ``[N]`` bool or in all: its votes become void ones, and the other labels of a row sum
    to one again."""
    row_of = labels.rows()
    kept = labels.label != gone
    if rows is not None:
        kept |= ~rows[row_of]
    lost = torch.zeros(len(labels)).index_add_(0, row_of[~kept], labels.weight[~kept]).clamp_max(1.0)
    left = torch.zeros(len(labels)).index_add_(0, row_of[kept], labels.weight[kept])
    weight = labels.weight[kept] / left[row_of[kept]].clamp_min(1e-12)
    void = labels.void + lost * (labels.total - labels.void)
    return _rebuilt(labels, row_of[kept], labels.label[kept], weight, void)


def _rebuilt(labels: GaussianLabels, row_of: Tensor, label: Tensor, weight: Tensor, void: Tensor) -> GaussianLabels:
    indptr = torch.zeros(len(labels) + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(row_of, minlength=len(labels)).cumsum(0)
    return GaussianLabels(indptr, label.int(), weight, labels.total, void)
