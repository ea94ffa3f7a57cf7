# SPDX-License-Identifier: Apache-2.0
"""Outlines, calibration and ids, against brute force, other libraries and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from panoptic_gs import InputError
from panoptic_gs.metrics import IdConsistency, LabelReliability, OutlineError, Reliability, outline_error

CATEGORY_OF = np.array([0, 1, 2, 2, 3])


def square(left: int, size: int = 12, number: int = 2) -> np.ndarray:
    ids = np.ones((24, 40), np.int64)
    ids[6 : 6 + size, left : left + size] = number
    return ids


class TestOutlines:
    def test_a_shifted_square_is_off_by_what_its_sides_are(self) -> None:
        """Shifted by 2: upright sides are 2 off; of a horizontal side the ends are 1 or 2 off, the rest fits."""
        error = outline_error(square(10), square(12), CATEGORY_OF, CATEGORY_OF)
        side = [2.0] * 12  # upright; the nearest point of the other outline lies straight across, or as far at a corner
        corner = math.hypot(0.5, 0.5)
        nearest = [min(d, math.hypot(d - 0.5, 0.5)) if d else 0.0 for d in (2, 1)]
        square_only = 2 * (2 * sum(side) + 2 * sum(nearest))
        wall = square_only  # the wall's outline is the square's
        assert error.points == 2 * 2 * 48
        assert error.distance <= square_only + wall + 1e-9
        assert error.distance == pytest.approx(brute_force(square(10), square(12)).distance)
        assert corner < error.mean < 2
        assert (error.found, error.true) == (2, 2)

    def test_equal_maps_have_no_error(self) -> None:
        error = outline_error(square(10), square(10), CATEGORY_OF, CATEGORY_OF)
        assert (error.mean, error.share_found) == (0.0, 1.0)

    def test_what_is_not_found_does_not_count(self) -> None:
        far = outline_error(square(25), square(5), CATEGORY_OF, CATEGORY_OF)
        assert (far.found, far.true) == (1, 2)  # the wall alone
        other_class = outline_error(square(10, number=4), square(10), CATEGORY_OF, CATEGORY_OF)
        assert other_class.found == 1
        assert math.isnan(OutlineError().mean)
        assert math.isnan(outline_error(square(5) * 0, square(5), CATEGORY_OF, CATEGORY_OF).mean)

    def test_outlines_at_void_truth_do_not_count(self) -> None:
        true, pred = square(10), square(10)
        true[:, :10] = 0  # what lies to the left of the square is not known
        pred[6:18, 4:10] = 2  # the prediction reaches into it
        assert outline_error(pred, true, CATEGORY_OF, CATEGORY_OF).mean == 0.0

    def test_random_maps_equal_brute_force(self) -> None:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            true = np.kron(rng.integers(0, 5, (4, 5)), np.ones((4, 4), int))
            pred = np.where(rng.uniform(size=true.shape) < 0.1, rng.integers(0, 5, true.shape), np.roll(true, 1, 1))
            found, expected = outline_error(pred, true, CATEGORY_OF, CATEGORY_OF), brute_force(pred, true)
            assert (found.points, found.found, found.true) == (expected.points, expected.found, expected.true)
            assert found.distance == pytest.approx(expected.distance)
            assert found + OutlineError() == found

    def test_sizes_must_agree(self) -> None:
        with pytest.raises(InputError, match="outlines"):
            outline_error(square(5)[1:], square(5), CATEGORY_OF, CATEGORY_OF)


def brute_force(pred: np.ndarray, true: np.ndarray) -> OutlineError:
    """The definition with loops over pixels."""
    height, width = true.shape

    def points(ids: np.ndarray, number: int) -> list[tuple[float, float]]:
        found = []
        for row, column in itertools.product(range(height), range(width)):
            for dr, dc in ((1, 0), (0, 1)):
                r, c = row + dr, column + dc
                if r >= height or c >= width or not true[row, column] or not true[r, c]:
                    continue
                if (ids[row, column] == number) != (ids[r, c] == number):
                    found.append((row + dr / 2, column + dc / 2))
        return found

    result = OutlineError(true=len({int(i) for i in true.ravel()} - {0}))
    for p, t in itertools.product(set(pred.ravel().tolist()) - {0}, set(true.ravel().tolist()) - {0}):
        seen = true > 0
        both = int(((pred == p) & (true == t)).sum())
        union = int((((pred == p) & seen) | (true == t)).sum())
        if CATEGORY_OF[p] != CATEGORY_OF[t] or 2 * both <= union:
            continue
        a, b = points(pred, p), points(true, t)
        distance = 0.0
        if a and b:
            distance = sum(min(math.dist(x, y) for y in b) for x in a) + sum(min(math.dist(x, y) for y in a) for x in b)
        result += OutlineError(distance, len(a) + len(b) if a and b else 0, 1, 0)
    return result


class TestCalibration:
    def test_it_equals_torchmetrics(self) -> None:
        rng = np.random.default_rng(0)
        for bins in (1, 10, 15):
            confidence = rng.uniform(size=500).astype(np.float32)
            correct = rng.uniform(size=500) < confidence**2
            reliability = Reliability.of(confidence, correct, bins=bins)
            given = torch.from_numpy(confidence), torch.from_numpy(correct).int()
            for norm, value in (("l1", reliability.expected_error), ("max", reliability.largest_error)):
                assert value == pytest.approx(float(binary_calibration_error(*given, n_bins=bins, norm=norm)), abs=1e-6)

    def test_half_sure_of_what_is_always_right_is_off_by_a_half(self) -> None:
        assert Reliability.of(np.full((4, 4), 0.5), np.ones((4, 4))).expected_error == pytest.approx(0.5)
        assert Reliability.of(np.ones(3), np.ones(3)).expected_error == 0.0
        assert math.isnan(Reliability.of(np.zeros(0), np.zeros(0)).expected_error)

    def test_sums_do_not_depend_on_the_order_or_the_split(self) -> None:
        rng = np.random.default_rng(1)
        confidence, correct = rng.uniform(size=(8, 30)), rng.uniform(size=(8, 30)) < 0.5
        views = [Reliability.of(c, r) for c, r in zip(confidence, correct)]
        forward, backward = views[0], views[-1]
        for view in views[1:]:
            forward += view
        for view in views[-2::-1]:
            backward += view
        assert forward == backward == Reliability.of(confidence, correct)
        valid = confidence > 0.5
        assert Reliability.of(confidence, correct, valid) == Reliability.of(confidence[valid], correct[valid])

    def test_the_diagram(self) -> None:
        low, high = Reliability.of(np.array([0.2, 0.4, 0.9]), np.array([True, False, True]), bins=2).bins
        assert (low.low, low.high, low.count, low.accuracy) == (0, 0.5, 2, 0.5)
        assert low.confidence == pytest.approx(0.3)
        assert high.confidence == pytest.approx(0.9)
        edge, other = Reliability.of(np.array([0.0, 0.5]), np.array([1, 1]), bins=2).bins
        assert (edge.count, other.count) == (2, 0)
        assert math.isnan(other.accuracy)

    @pytest.mark.parametrize("confidence", [[1.5], [-0.1], [math.nan]])
    def test_a_confidence_is_a_share(self, confidence: list[float]) -> None:
        with pytest.raises(InputError, match="confidence"):
            Reliability.of(np.array(confidence), np.array([True]))
        with pytest.raises(InputError, match="bins"):
            Reliability.of(np.ones(1), np.ones(1)) + Reliability.of(np.ones(1), np.ones(1), bins=3)

    def test_what_is_right_may_be_told_after_all_views(self) -> None:
        rng = np.random.default_rng(3)
        total, confidences, correct = LabelReliability(bins=10), [], []
        right = {(1, 4), (2, 5)}
        for _ in range(3):
            confidence = rng.uniform(size=(6, 7))
            pred, true = rng.integers(0, 4, (6, 7)), rng.integers(0, 3, (6, 7)) + 3
            true[true == 3] = 0
            total.add(confidence, pred, true)
            kept = (pred > 0) & (true > 0)
            confidences.append(confidence[kept])
            correct.append(np.array([(p, t) in right for p, t in zip(pred[kept], true[kept])]))
        expected = Reliability.of(np.concatenate(confidences), np.concatenate(correct), bins=10)
        assert total.finish(lambda pred, true: (pred, true) in right) == expected


class TestIds:
    def views(self, ids: list[tuple[int, int]]) -> IdConsistency:
        """Two objects, 7 and 9, a view each entry; the entry gives the predicted ids."""
        true = np.repeat([[7, 9, 1]], 100, axis=0).repeat([40, 40, 20], axis=1)
        result = IdConsistency()
        for one, other in ids:
            pred = np.select([true == 7, true == 9], [one, other], default=1)
            result += IdConsistency.of(pred, true, {7, 9})
        return result

    def test_an_id_each_in_all_views(self) -> None:
        perfect = self.views([(3, 4)] * 5)
        assert (perfect.precision, perfect.recall, perfect.f1) == (1, 1, 1)

    def test_two_objects_with_one_id(self) -> None:
        fused = self.views([(3, 3)] * 4)
        assert fused.recall == 1
        assert fused.precision == pytest.approx(2 * 6 / 28)  # of 8 observations of id 3

    def test_ids_of_their_own_in_every_view(self) -> None:
        anew = self.views([(2 * k + 3, 2 * k + 4) for k in range(4)])
        assert (anew.recall, anew.f1) == (0, 0)
        assert math.isnan(anew.precision)

    def test_swapped_once(self) -> None:
        """Of three views one has the ids exchanged: 2 of 6 pairs of an object agree, and 2 of 6 of an id."""
        swapped = self.views([(3, 4), (3, 4), (4, 3)])
        assert (swapped.recall, swapped.precision) == pytest.approx((2 / 6, 2 / 6))

    def test_objects_that_are_not_found_are_missed_pairs(self) -> None:
        missed = self.views([(3, 4), (0, 4), (3, 4)])
        assert missed.recall == pytest.approx((1 + 3) / 6)
        assert missed.precision == 1

    def test_it_equals_a_loop_over_all_pairs(self) -> None:
        for seed in range(100):
            rng = np.random.default_rng(seed)
            observed: list[tuple[int, int]] = []
            total = IdConsistency()
            for _ in range(int(rng.integers(1, 6))):
                true = np.kron(rng.integers(0, 5, (3, 3)), np.ones((3, 3), int))
                pred = np.kron(rng.integers(0, 4, (3, 3)), np.ones((3, 3), int))
                total += IdConsistency.of(pred, true, {2, 3, 4}, min_pixels=18)
                for thing in (2, 3, 4):
                    if (true == thing).sum() >= 18:
                        observed.append((thing, int(np.bincount(pred[true == thing]).argmax())))
            pairs = list(itertools.combinations(observed, 2))
            right = sum(a == b and a[1] > 0 for a, b in pairs)
            of_id, of_object = sum(a[1] == b[1] > 0 for a, b in pairs), sum(a[0] == b[0] for a, b in pairs)
            assert total.precision == pytest.approx(right / of_id if of_id else math.nan, nan_ok=True)
            assert total.recall == pytest.approx(right / of_object if of_object else math.nan, nan_ok=True)
