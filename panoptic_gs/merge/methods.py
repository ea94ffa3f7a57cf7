# SPDX-License-Identifier: Apache-2.0
"""The ways to merge raw predictions: the QUBO of PanSt3R and the rules of MaskFormer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.merge.bound import bound_qubo
from panoptic_gs.merge.decoding import Merge, PixelCounts, count_pixels, segments_from
from panoptic_gs.merge.overlap import Overlaps
from panoptic_gs.merge.registry import DEFAULT, MergeOptions, merge_method
from panoptic_gs.merge.selection import qubo_objective, solve_qubo
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.progress import Progress
from panoptic_gs.raw_predictions import RawPredictions


@dataclass(frozen=True)
class MaskFormerRules:
    """Which queries MaskFormer's inference keeps."""

    class_threshold: float
    """Only queries whose best class probability exceeds it compete."""
    mask_threshold: float
    """Pixels whose winner's mask is below are void."""
    kept_share: float
    """A query is dropped when it keeps less than this share of the pixels where its mask is at least one half."""
    void_counts: bool
    """Whether pixels that a query wins below the mask threshold count as kept."""
    passes: int
    """How often survivors compete anew."""


RULES = {
    "standard": MaskFormerRules(0.1, 0.5, 0.8, void_counts=False, passes=1),
    "standard-v2": MaskFormerRules(0.1, 0.25, 0.5, void_counts=False, passes=2),
}
"""Those of PanSt3R's two releases."""


def qubo(
    predictions: RawPredictions,
    *,
    penalty: float = 2.0,
    seed: int = 0,
    void_threshold: float = 0.5,
    min_confidence: float = 0.01,
    bound: bool = False,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Merge:
    """Merge by choosing the queries that cover most and overlap least (PanSt3R, Sec. 3.2).

    Each pixel goes to the chosen query with the largest mask probability, and is void where that is below the
    threshold. A query's class is that of its largest class probability. A query is dropped, its pixels void, where its
    class probability times the mean mask probability over its pixels is below ``min_confidence``. Stuff queries of one
    class become one segment.

    Args:
        predictions: raw query masks; one view at a time is in memory.
        penalty: λ_p of :func:`solve_qubo`.
        seed: of the annealing.
        void_threshold: mask probability below which a pixel is void; 0 labels every pixel, as PanSt3R's own decoder.
        min_confidence: as above.
        bound: whether to compute how far the choice can be from the optimum, `Merge.bound` and `Merge.gap`; it takes up
            to 20 s.
        progress: called with each stage and how much of it is done.
        processes: that look at these views together; each gets the merge.

    Raises:
        InputError: NaN, nothing chosen, nothing left, options out of range.
    """
    _require_share("void_threshold", void_threshold)
    _require_share("min_confidence", min_confidence)
    table = Overlaps(predictions.num_queries)
    own = processes.share(range(len(predictions.images)))
    for number, index in enumerate(own):
        table.add(predictions.mask_logits[index])
        if progress is not None:
            progress("Comparing masks", number + 1, len(own))
    areas, overlaps = processes.reduced(table).means()
    selected = solve_qubo(areas, overlaps, penalty, seed)
    if not selected.any():
        raise InputError(
            f"{predictions.source}, mask_logits",
            "masks that are empty everywhere: no query is worth keeping",
            "logits before the sigmoid",
            "Check that they are logits, not probabilities or labels.",
        )
    contestants = selected.nonzero()[:, 0]
    weights = torch.ones(len(contestants))
    counts = count_pixels(predictions, contestants, weights, void_threshold, _stage(progress, "Deciding pixels"),
                          processes=processes)  # fmt: skip
    certainty = predictions.best_classes()[1][contestants]
    confidence = certainty * counts.kept_probability / counts.kept.clamp(min=1)
    empty = counts.kept == 0
    unsure = ~empty & (confidence < min_confidence)
    dropped = {
        f"no pixel of mask probability {void_threshold:g} or more": _queries(contestants, empty),
        f"class and mask confidence below {min_confidence:g}": _queries(contestants, unsure),
    }
    objective = qubo_objective(areas, overlaps, selected, penalty)
    return _finish(
        predictions, "qubo", contestants, weights, void_threshold, ~empty & ~unsure, counts,
        dropped, f"penalty {penalty:g}, seed {seed}, void threshold {void_threshold:g}, minimal confidence "
        f"{min_confidence:g}", objective, bound_qubo(areas, overlaps, penalty, objective) if bound else None,
    )  # fmt: skip


def maskformer(
    predictions: RawPredictions,
    rules: str | MaskFormerRules = "standard",
    *,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Merge:
    """Merge by MaskFormer's panoptic inference (Cheng et al. 2021), over all views together.

    Queries whose class probability exceeds a threshold compete for each pixel by class probability times mask
    probability. A query that keeps too small a share of the pixels where its mask is at least one half is dropped, its
    pixels void. Areas are sums over all views, counted at the size of the network's input, on interpolated mask
    probabilities, as PanSt3R does it.

    Args:
        predictions: raw query masks; one view at a time is in memory.
        rules: ``standard`` (class above 0.1, mask 0.5, share 0.8, one pass), ``standard-v2`` (class above 0.1, mask
            0.25, share 0.5, two passes: survivors compete anew), or numbers of your own.
        progress: called with each stage and how much of it is done.
        processes: that look at these views together; each gets the merge.

    Raises:
        InputError: no class above the threshold, nothing left, unknown rules.
    """
    name = rules if isinstance(rules, str) else "maskformer"
    if isinstance(rules, str):
        if rules not in RULES:
            raise InputError("rules", f"'{rules}'", " or ".join(RULES), "Choose one of these.")
        rules = RULES[rules]
    certainty = predictions.best_classes()[1]
    contestants = (certainty > rules.class_threshold).nonzero()[:, 0]
    if len(contestants) == 0:
        raise InputError(
            f"{predictions.source}, class_logits",
            f"no class probability above {rules.class_threshold:g}, the largest is {float(certainty.max()):.3g}",
            "a query that is sure of its class",
            "Choose the method qubo, or check that class_logits are logits before the sigmoid.",
        )
    why = f"kept less than {rules.kept_share:g} of the mask"
    dropped: dict[str, tuple[int, ...]] = {why: ()}
    passes = 0
    while True:
        passes += 1
        stage = "Deciding pixels" + (f", pass {passes}" if rules.passes > 1 else "")
        weights = certainty[contestants].float()
        counts = count_pixels(predictions, contestants, weights, rules.mask_threshold, _stage(progress, stage),
                              at_input_size=True, processes=processes)  # fmt: skip
        kept = counts.won if rules.void_counts else counts.kept
        alive = (counts.kept > 0) & (counts.own > 0) & (kept >= rules.kept_share * counts.own)
        dropped[why] += _queries(contestants, ~alive)
        if passes >= rules.passes or not alive.any():
            break
        contestants = contestants[alive]
    return _finish(predictions, name, contestants, weights, rules.mask_threshold, alive, counts, dropped)


def merge_predictions(
    predictions: RawPredictions,
    method: str = DEFAULT,
    *,
    options: MergeOptions | None = None,
    progress: Progress | None = None,
    processes: Processes = ALONE,
    **settings: Any,
) -> Merge:
    """Merge by the method of this name.

    Args:
        predictions: raw query masks; one view at a time is in memory.
        method: of :data:`panoptic_gs.merge.METHODS`, or ``auto``: what the predictions recommend, else QUBO.
        options: what can be set, by default `MergeOptions()`.
        progress: called with the stage and its completed share.
        processes: that look at these views together; each gets the merge.
        settings: fields of the options that differ, such as ``void_threshold=0``.

    Raises:
        InputError: see :func:`qubo` and :func:`maskformer`; an unknown method.
    """
    merge = merge_method(method, predictions.recommended_merge)[1].load()
    return merge(predictions, replace(options or MergeOptions(), **settings), progress, processes)


def merge_by_qubo(
    predictions: RawPredictions, options: MergeOptions, progress: Progress | None, processes: Processes = ALONE
) -> Merge:
    """:func:`qubo` with options."""
    return qubo(predictions, **asdict(options), progress=progress, processes=processes)


def merge_by_standard(
    predictions: RawPredictions, options: MergeOptions, progress: Progress | None, processes: Processes = ALONE
) -> Merge:
    """:func:`maskformer` by the rules of PanSt3R's first release."""
    return maskformer(predictions, "standard", progress=progress, processes=processes)


def merge_by_standard_v2(
    predictions: RawPredictions, options: MergeOptions, progress: Progress | None, processes: Processes = ALONE
) -> Merge:
    """:func:`maskformer` by the rules of PanSt3R's second release."""
    return maskformer(predictions, "standard-v2", progress=progress, processes=processes)


def _finish(
    predictions: RawPredictions,
    method: str,
    contestants: Tensor,
    weights: Tensor,
    mask_threshold: float,
    alive: Tensor,
    counts: PixelCounts,
    dropped: dict[str, tuple[int, ...]],
    settings: str = "",
    objective: float | None = None,
    bound: float | None = None,
) -> Merge:
    dropped = {why: queries for why, queries in dropped.items() if queries}
    if not alive.any():
        reasons = "; ".join(f"{len(queries)} {why}" for why, queries in dropped.items())
        raise InputError(predictions.source, f"no segment: of {len(contestants)} competing queries {reasons}",
                         "at least one", "Choose another method or lower thresholds.")  # fmt: skip
    segments, segment_of = segments_from(predictions, contestants, alive, counts)
    return Merge(predictions, method, contestants, weights, mask_threshold, segment_of, segments, dropped, settings,
                 objective, bound)  # fmt: skip


def _queries(contestants: Tensor, chosen: Tensor) -> tuple[int, ...]:
    return tuple(contestants[chosen].tolist())


def _stage(progress: Progress | None, name: str):
    return None if progress is None else (lambda done, total: progress(name, done, total))


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(name, f"{value}", "a number from 0 to 1", "Correct the option.")
