# SPDX-License-Identifier: Apache-2.0
"""Whether confidence is what it says: reliability diagrams and the expected calibration error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from panoptic_gs.errors import InputError

_ONE = 1 << 30
"""Confidences are summed as integers of this unit, so that sums do not depend on the order of views."""


class ReliabilityBin(NamedTuple):
    """What lies in one bin of confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean; NaN in an empty bin."""
    accuracy: float
    """Share that is right; NaN in an empty bin."""


@dataclass(frozen=True, eq=False)
class Reliability:
    r"""A reliability diagram: bins of equal width over confidence, a sum over views.

    The expected calibration error is :math:`\sum_b \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|` over bins
    :math:`(b/B, (b+1)/B]` (0 lies in the first).

    Args:
        counts: ``[B, 3]`` int64 of each bin: how many, how many of them right, summed confidence in units of 2⁻³⁰.

    Reference: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """

    counts: np.ndarray

    @classmethod
    def of(
        cls, confidence: np.ndarray, correct: np.ndarray, valid: np.ndarray | None = None, bins: int = 15
    ) -> Reliability:
        """Count pixels, Gaussians or objects.

        Args:
            confidence: 0…1, of any shape.
            correct: whether each is right, in the same shape.
            valid: which count, in the same shape; all by default.
            bins: how many.

        Raises:
            InputError: shapes differ, a confidence that counts is not in 0…1, no bins.
        """
        confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
        valid = np.ones(confidence.shape, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
        if not confidence.shape == correct.shape == valid.shape or bins < 1:
            shapes = [list(values.shape) for values in (confidence, correct, valid)]
            raise InputError("calibration", f"shapes {shapes}, {bins} bins", "equal shapes, 1 bin or more", "Mend.")
        confidence, correct = confidence[valid], correct[valid]
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise InputError(
                "confidence", f"values from {confidence.min()} to {confidence.max()}", "0 … 1", "Normalise it."
            )
        index = (np.ceil(confidence * bins).astype(np.int64) - 1).clip(0, bins - 1)
        counts = np.zeros((bins, 3), dtype=np.int64)
        fixed = np.rint(confidence * _ONE).astype(np.int64)
        for column, values in enumerate((np.ones_like(index), correct.astype(np.int64), fixed)):
            np.add.at(counts[:, column], index, values)
        return cls(counts)

    def __add__(self, other: Reliability) -> Reliability:
        if len(self.counts) != len(other.counts):
            raise InputError("calibration", f"{len(self.counts)} and {len(other.counts)} bins", "equal ones", "Mend.")
        return Reliability(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reliability) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    @property
    def bins(self) -> list[ReliabilityBin]:
        """The diagram."""
        number = len(self.counts)
        return [
            ReliabilityBin(
                b / number, (b + 1) / number, int(count),
                total / _ONE / count if count else math.nan, right / count if count else math.nan,
            )
            for b, (count, right, total) in enumerate(self.counts.tolist())
        ]  # fmt: skip

    @property
    def expected_error(self) -> float:
        """The expected calibration error, 0…1; NaN of nothing."""
        total = int(self.counts[:, 0].sum())
        if not total:
            return math.nan
        return math.fsum(abs(right - confidence / _ONE) for _, right, confidence in self.counts.tolist()) / total

    @property
    def largest_error(self) -> float:
        """The largest difference of accuracy and confidence over the bins; NaN of nothing."""
        return max((abs(b.accuracy - b.confidence) for b in self.bins if b.count), default=math.nan)


class LabelReliability:
    """Reliability of labels whose being right is known only when all views were seen: which predicted segment stands
    for which true one is a matter of the whole scene. Counts pixels for each pair of ids; a sum over views.

    Args:
        bins: of confidence.
    """

    def __init__(self, bins: int = 15) -> None:
        self._bins = bins
        self._of_pair: dict[tuple[int, int], Reliability] = {}

    def add(self, confidence: np.ndarray, pred: np.ndarray, true: np.ndarray) -> None:
        """Count the pixels of a view that have a label on both sides.

        Args:
            confidence: ``[H, W]``, 0…1.
            pred: predicted segment ids ``[H, W]``, 0 = void.
            true: true segment ids ``[H, W]``, 0 = void.
        """
        labelled = (pred != 0) & (true != 0)
        pairs, index = np.unique(np.stack([pred[labelled], true[labelled]], axis=1), axis=0, return_inverse=True)
        order = np.argsort(index.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(index.ravel(), minlength=len(pairs)))
        for (one, other), members in zip(pairs.tolist(), np.split(confidence[labelled][order], ends[:-1])):
            here = Reliability.of(members, np.ones(len(members)), bins=self._bins)
            before = self._of_pair.get((one, other))
            self._of_pair[one, other] = here if before is None else before + here

    def finish(self, right: Callable[[int, int], bool]) -> Reliability:
        """The diagram of all pixels; ``right`` tells whether a predicted id is the right label for a true one."""
        total = np.zeros((self._bins, 3), dtype=np.int64)
        for (one, other), reliability in self._of_pair.items():
            total += reliability.counts * np.array([1, int(right(one, other)), 1])
        return Reliability(total)
