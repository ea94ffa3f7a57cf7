# SPDX-License-Identifier: Apache-2.0
"""Scoring the maps of one scene against those of another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from panoptic_gs.errors import InputError
from panoptic_gs.metrics.protocol import PROTOCOLS, Protocol
from panoptic_gs.metrics.scorer import SceneScores, Scorer
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.processes import ALONE, Processes


def evaluate_scenes(
    pred: PanopticScene,
    gt: PanopticScene,
    stems: Collection[str] | None = None,
    protocols: Sequence[str | Protocol] = PROTOCOLS,
    *,
    allow_missing: bool = False,
    processes: Processes = ALONE,
) -> dict[str, SceneScores]:
    """Score the predicted maps of a scene against the true ones, over all views together.

    Args:
        pred: predictions; of another size than the truth, they are resampled to it by nearest neighbour.
        gt: the truth; its category list is the one that is scored.
        stems: the views to score; by default all that have a true map.
        protocols: names or rules.
        allow_missing: a view without a prediction counts as entirely unpredicted, instead of being an error.
        processes: that score these views together; each gets the scores.

    Returns:
        Protocol name → scores.

    Raises:
        InputError: there is no view to score, a view lacks its truth or its prediction, the category lists disagree.
    """
    views = sorted(gt.maps if stems is None else stems, key=view_order)
    if not views:
        raise InputError("views", "none", "at least one view with a true map", "Check the split.")
    for stem in views:
        if stem not in gt.maps:
            raise InputError(
                gt.source or "truth",
                f"no map for view '{stem}'",
                "a true map of every scored view",
                "Correct the split, or add the map.",
            )
    missing = [stem for stem in views if stem not in pred.maps]
    if missing and (not allow_missing or len(missing) == len(views)):
        raise InputError(
            pred.source or "prediction",
            f"no map for {len(missing)} of {len(views)} views, the first '{missing[0]}'",
            "a predicted map of every scored view",
            "Score only the split that was predicted (--splits), name the maps as the images, or pass "
            "--allow-missing (allow_missing=True) to count these views as unpredicted.",
        )
    scorer = Scorer(pred, gt, protocols)
    for stem in processes.share(views):
        scorer.add(pred.maps.get(stem), gt.maps[stem])
    return processes.reduced(scorer).scores()


def view_order(stem: str) -> tuple[int, int, str]:
    """Sorts views by the integer that their name spells ("0_0007" is 7), others after them by name."""
    try:
        return 0, int(stem), stem
    except ValueError:
        return 1, 0, stem
