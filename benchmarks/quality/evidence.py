# SPDX-License-Identifier: Apache-2.0
"""How near an uplift comes to what its splats and classes allow: literal, ours, refined, and the ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.baselines import hard_labels
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Labelling, Segment
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.refine import label_gaussians
from panoptic_gs.scene import Frame, Scene
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic, uplift_labels

PROTOCOLS = ("panoptic-lifting", "strict")
ROWS = ("literal", "average", "sharpened", "weighed", "hard", "refined", "ceiling")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Splats of a scene, its predictions, and the truth of the views that are held out.

    Raises:
        InputError: no truth for the training views: the ceiling needs their outlines.
    """

    splats: Splats
    scene: Scene
    predicted: PanopticScene
    truth: PanopticScene

    def __post_init__(self) -> None:
        missing = [frame.stem for frame in self.train if frame.stem not in self.truth.maps]
        if missing:
            raise InputError(self.scene.root, f"no true map of '{missing[0]}'", "true maps of all training views",
                             "The ceiling is made of the true outlines; leave the scene out.")  # fmt: skip

    @property
    def train(self) -> list[Frame]:
        """Training views with a prediction."""
        return [frame for frame in self.scene.split("train") if frame.stem in self.predicted.maps]

    @property
    def test(self) -> list[Frame]:
        """Held-out views with truth."""
        return [frame for frame in self.scene.split("test") if frame.stem in self.truth.maps]

    def scores(self) -> dict[str, dict[str, float]]:
        """PQ of the held-out views in percent by row and protocol, and what the rows recovered of the gap.

        Rows: void as a label (``literal``), void abstaining (``average``), the same with squared shares
        (``sharpened``), each view as one witness (``weighed``), the strongest label of each Gaussian alone (``hard``),
        each map held against all others (``refined``), and the true outlines with the predicted classes (``ceiling``).
        """
        rows: dict[str, tuple[GaussianLabels, Labelling]] = {}
        meaning = self.predicted.labelling
        for how in ("literal", "average", "sharpened", "weighed", "refined"):
            rows[how] = label_gaussians(how, self.splats, list(self._views(self.predicted)), None, meaning), meaning
        rows["hard"] = hard_labels(rows["average"][0]), meaning
        rows["ceiling"] = uplift_labels(self.splats, self._views(self.truth)), self.with_predicted_classes()
        return {name: self._scored(*rows[name]) for name in ROWS}

    def with_predicted_classes(self) -> Labelling:
        """The true segments, each of the class that most of its pixels were predicted to have."""
        category_of, true_class = self.predicted.category_of(), self.truth.category_of()
        most = max(self.truth.segment_ids, default=0) + 1
        classes = int(max(category_of.max(initial=0), true_class.max(initial=0))) + 1
        counts = np.zeros((most, classes), dtype=np.int64)
        for frame in self.train:
            true = frame.fit_labels(self.truth.maps[frame.stem]).astype(np.int64)
            seen = category_of[frame.fit_labels(self.predicted.maps[frame.stem])]
            counts += np.bincount((true * classes + seen).ravel(), minlength=most * classes).reshape(most, classes)
        counts[:, 0] = 0
        segments = [
            Segment(s.id, int(counts[s.id].argmax()) if counts[s.id].any() else s.category_id)
            for s in self.truth.segments
        ]
        return Labelling(self.predicted.categories, tuple(segments), "true outlines, predicted classes")

    def _views(self, maps: PanopticScene) -> Iterator[tuple]:
        return ((frame.camera, frame.fit_labels(maps.maps[frame.stem])) for frame in self.train)

    def _scored(self, labels: GaussianLabels, meaning: Labelling) -> dict[str, float]:
        maps = {f.stem: render_panoptic(self.splats, labels, f.camera).ids.numpy() for f in self.test}
        scene = PanopticScene(meaning.categories, meaning.segments, maps)
        found = evaluate_scenes(scene, self.truth, sorted(maps), PROTOCOLS)
        return {protocol: 100 * found[protocol].panoptic.pq for protocol in PROTOCOLS}


def recovered(scores: dict[str, dict[str, float]], row: str, protocol: str) -> float:
    """(PQ − literal) ÷ (ceiling − literal) in percent; NaN where the ceiling is no higher."""
    literal, ceiling = scores["literal"][protocol], scores["ceiling"][protocol]
    return 100 * (scores[row][protocol] - literal) / (ceiling - literal) if ceiling > literal else float("nan")
