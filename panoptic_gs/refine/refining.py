# SPDX-License-Identifier: Apache-2.0
"""Label maps made consistent over views, and the labels of Gaussians that are uplifted from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from typing_extensions import Unpack

from panoptic_gs.backends import BlendingKeywords
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Labelling
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.refine.disagreement import Doubt
from panoptic_gs.refine.leave_one_out import LeaveOneOut
from panoptic_gs.refine.neighbours import lean_on_neighbours
from panoptic_gs.refine.uniting import touching, united
from panoptic_gs.refine.weighing import weighed_and_parts
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelVotes, render_panoptic, uplift_labels
from panoptic_gs.uplift.maps import Map, Weights, label_map_of, weighted_views

LabelRule = Literal["weighed", "sharpened", "refined", "average", "literal"]
"""How label maps become labels of Gaussians, see :func:`label_gaussians`."""
VOID_AMONG_THINGS = 0.2
"""What void counts where no label is stuff: a network that misses a thing in four of five views still shows it."""

SMALL_IMAGE = 240
"""Images less than this wide and high are asked about pixel by pixel, see :attr:`RefineOptions.step`."""


@dataclass(frozen=True)
class RefineOptions:
    """When the other views overrule a pixel.

    Raises:
        InputError: shares, power or step out of range, no rounds.
    """

    overrule: float = 0.65
    """A pixel takes the label that has more than this share of what all other views say of its Gaussians."""
    fill: float = 0.3
    """The same of a pixel without a label."""
    power: float = 2.0
    """Of the shares of a Gaussian's labels, before they are rendered into a view: above 1, pixels beside an
    outline say less about what lies on its other side."""
    step: int | None = None
    """The others' say is rendered for one pixel out of step × step: it is a matter of whole masks, and beside outlines
    nobody is sure. By default 2, and 1 where images are less than 240 pixels wide and high."""
    rounds: int = 1
    """How often all maps are cleaned, each time by what became of the others."""

    def __post_init__(self) -> None:
        for name in ("overrule", "fill"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"RefineOptions.{name}", f"{value:g}", "a share from 0 to 1", "Choose one, as 0.65.")
        if not 1 <= self.power <= 64:
            raise InputError("RefineOptions.power", f"{self.power:g}", "1 to 64", "1 leaves the shares as they are.")
        if self.step is not None and not 1 <= self.step <= 16:
            raise InputError("RefineOptions.step", str(self.step), "1 to 16 pixels", "1 renders every pixel.")
        if self.rounds < 1:
            raise InputError("RefineOptions.rounds", str(self.rounds), "1 or more", "Choose 1.")


class CleanedMap(NamedTuple):
    """A label map after the other views were asked."""

    ids: np.ndarray  # [H, W] int32, 0 = void
    share: np.ndarray  # [H, W] float32: how much of the other views' say the strongest label there has, 0 … 1


OnUnited = Callable[[Sequence[Doubt]], None]
"""Is handed the pairs of things that became one."""
OnCleaned = Callable[[int, CleanedMap], None]
"""Is handed the position of a view and its cleaned map."""


def refine_labels(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    options: RefineOptions | None = None,
    on_cleaned: OnCleaned | None = None,
    **blending: Unpack[BlendingKeywords],
) -> GaussianLabels:
    """Uplift label maps after each was held against all others.

    A network errs in whole masks: an object is missed in one view, and swallowed by its neighbour in the next. So the
    votes of all views but one are rendered into that view; where they agree on another label, they overrule the view's
    own. Then the cleaned maps are uplifted as ever (LUDVIG, Eq. 7). A view's own votes are taken out exactly, so it
    never confirms itself; and neither threads nor the order of views change a bit on the CPU.

    Args:
        splats: the Gaussians.
        views: camera and label map ``[H, W]`` (integers, 0 = void) of each view. They are gone through twice, and twice
            more for each further round; an iterator is kept in memory for that.
        weights: factors ``[H, W]`` for the votes of each view's pixels, as for :func:`~panoptic_gs.uplift_labels`. A
            void pixel of weight 0 stays void.
        options: when a pixel is overruled.
        on_cleaned: is handed each cleaned map of the last round, in the order of views.
        blending: as for :class:`~panoptic_gs.LabelVotes`.

    Returns:
        The label distribution of each Gaussian, without void, on the splats' device.

    Raises:
        InputError: as :func:`~panoptic_gs.uplift_labels`.
    """
    options = options or RefineOptions()
    views = list(views) if isinstance(views, Iterator) else views
    weights = list(weights) if isinstance(weights, Iterator) else weights
    for last in range(options.rounds - 1, -1, -1):
        votes = LabelVotes(len(splats), **blending)
        kept: list[tuple[Camera, Map]] = []
        cleaned = clean_maps(splats, views, weights, options, **blending)
        for position, ((camera, _, factors), view) in enumerate(zip(weighted_views(views, weights), cleaned)):
            if last:
                kept.append((camera, view.ids))
                continue
            votes.add(splats, camera, view.ids, factors)
            if on_cleaned is not None:
                on_cleaned(position, view)
        if not last:
            return votes.finish().to(splats.means.device)
        views = kept
    raise AssertionError("there is always a last round")


def clean_maps(
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights,
    options: RefineOptions,
    **blending: Unpack[BlendingKeywords],
) -> Iterator[CleanedMap]:
    """One round: each view's map after all others were asked, in the order of views.

    See :func:`refine_labels` for the arguments; ``views`` are gone through twice.
    """
    evidence = LeaveOneOut(splats, views, weights, **blending)
    device = splats.means.device
    for position, (camera, label_map, factors) in enumerate(weighted_views(views, weights)):
        own = evidence.pairs_of(position, splats, (camera, label_map), factors)
        others = evidence.labels(evidence.without(own), options.power)
        step = options.step or (2 if max(camera.width, camera.height) >= SMALL_IMAGE else 1)
        rendered = render_panoptic(splats, others.to(device), _coarse(camera, step), **blending)
        ids = label_map_of(camera, label_map, torch.device("cpu")).numpy()
        other, share = (_enlarged(values.cpu().numpy(), step, ids.shape) for values in rendered[:2])
        yield _overruled(ids, other, share, factors, options)


def _coarse(camera: Camera, step: int) -> Camera:
    """The same view with one pixel for ``step`` × ``step``; the last ones reach beyond where that does not divide."""
    K = camera.K.clone()
    K[:2] /= step
    return replace(camera, K=K, width=-(-camera.width // step), height=-(-camera.height // step))


def _enlarged(values: np.ndarray, step: int, shape: tuple[int, ...]) -> np.ndarray:
    return values.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]]


def _overruled(
    ids: np.ndarray, other: np.ndarray, share: np.ndarray, factors: Map | None, options: RefineOptions
) -> CleanedMap:
    void = ids == 0
    changes = (other > 0) & (share > np.where(void, options.fill, options.overrule))
    if factors is not None:
        changes &= ~(void & (torch.as_tensor(factors).cpu().numpy() == 0))
    return CleanedMap(np.where(changes, other, ids).astype(np.int32), share)


def label_gaussians(
    how: LabelRule,
    splats: Splats,
    views: Iterable[tuple[Camera, Map]],
    weights: Weights = None,
    meaning: Labelling | None = None,
    processes: Processes = ALONE,
    unite: bool = True,
    on_united: OnUnited | None = None,
    **blending: Unpack[BlendingKeywords],
) -> GaussianLabels:
    """Uplift label maps in one of the ways that commands and methods offer.

    Maps of things alone leave walls and floors void, so that void means something: without a word on it, the strays of
    a thing's outlines would be all that is known of a wall, and the thing would cover it. Where ``meaning`` has no
    stuff, void is a label, too, and :data:`VOID_AMONG_THINGS` of its weight counts for ``"average"``,
    ``"sharpened"`` and ``"weighed"``.

    Args:
        how: ``"average"`` (:func:`~panoptic_gs.uplift_labels`), ``"sharpened"`` (:func:`sharpened` of it),
            ``"weighed"`` (:func:`uplift_weighed`, then :func:`lean_on_neighbours`; parts of one object
            united), ``"refined"``
            (:func:`refine_labels`), or ``"literal"`` (the average with void as a label of its own, the paper's literal
            normalisation).
        splats, views, weights, blending: as for :func:`refine_labels`.
        meaning: what the labels are.
        processes: that have the other views; each gets the labels of all.
        unite: whether ``"weighed"`` gives things that touch, and that enough views show as one, one label. Without a
            ``meaning`` it cannot.
        on_united: is told which.

    Raises:
        InputError: as :func:`~panoptic_gs.uplift_labels`; ``"refined"`` on more than one process.
    """
    if how == "refined":
        if processes.count > 1:
            raise InputError("labels", f"'refined' on {processes.count} processes", "one process, or another way",
                             "Each map is held against all others there: run it without torchrun.")  # fmt: skip
        return refine_labels(splats, views, weights, **blending)
    things_alone = meaning is not None and all(meaning.is_thing[entry.category_id] for entry in meaning.segments)
    if how == "weighed":
        void = VOID_AMONG_THINGS if things_alone else 0.0
        unites = unite and meaning is not None
        labels, evidence = weighed_and_parts(splats, views, weights, void, processes, parts=unites, **blending)
        if meaning is not None and evidence is not None:
            parts = touching(evidence.pairs(meaning), labels, splats)
            labels = united(labels, parts)
            if on_united is not None and parts:
                on_united(parts)
        del evidence
        return lean_on_neighbours(labels, splats)
    treated = "label" if how == "literal" or things_alone else "abstain"
    labels = uplift_labels(splats, views, weights, treated, processes, **blending)
    if things_alone and how != "literal":
        labels = _with_less_void(labels, VOID_AMONG_THINGS)
    return sharpened(labels) if how == "sharpened" else labels


def _with_less_void(labels: GaussianLabels, share: float) -> GaussianLabels:
    """The same rows with only a share of the weight of label 0, and summing to one again."""
    rows = labels.rows().cpu().numpy()
    weight = labels.weight.cpu().numpy() * np.where(labels.label.cpu().numpy() == 0, share, 1.0)
    weight /= np.bincount(rows, weight, len(labels))[rows]
    values = torch.from_numpy(weight.astype(np.float32)).to(labels.device)
    return GaussianLabels.from_kernel(labels.indptr, labels.label, values, labels.total, labels.void)


def sharpened(labels: GaussianLabels, power: float = 2.0) -> GaussianLabels:
    """The same rows with each share raised to a power, and summing to one again.

    A Gaussian that lies across an outline, or that some views labelled wrong, leans to its strongest label when rows
    are blended: between the average (1) and one label per Gaussian (large powers). The strongest label stays.

    Args:
        labels: of any Gaussians.
        power: 1 or more.

    Raises:
        InputError: a power below 1 or above 64.
    """
    if not 1 <= power <= 64:
        raise InputError("power", f"{power:g}", "1 to 64", "1 leaves the shares as they are.")
    rows = labels.rows().cpu().numpy()
    # Relative to the row's strongest share, a power of it cannot vanish; sums are taken in order of the entries.
    strongest = labels.best()[1].cpu().numpy().astype(np.float64)
    weight = (labels.weight.cpu().numpy() / strongest[rows]) ** power
    weight /= np.bincount(rows, weight, len(labels))[rows]
    values = torch.from_numpy(weight.astype(np.float32)).to(labels.device)
    return GaussianLabels.from_kernel(labels.indptr, labels.label, values, labels.total, labels.void)
