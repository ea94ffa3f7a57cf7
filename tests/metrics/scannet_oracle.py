# SPDX-License-Identifier: Apache-2.0
"""A slow, literal version of ScanNet's instance evaluation: sets of points and loops, one scene."""

import numpy as np


def evaluate(pred, truth, scores, things, min_points, threshold):
    """Class → (AP, precision, recall) from lists of (category, segment), one entry a point."""

    def sets(labels, c):
        result = {}
        for point, (category, segment) in enumerate(labels):
            if category == c and segment != 0:
                result.setdefault(segment, set()).add(point)
        return dict(sorted(result.items()))

    unannotated = {point for point, (category, segment) in enumerate(truth) if category not in things or segment == 0}
    result = {}
    for c in things:
        gts = sets(truth, c)
        preds = {p: points for p, points in sets(pred, c).items() if len(points) >= min_points}
        true, score, missed, visited = [], [], 0, set()
        for gt_points in gts.values():
            if len(gt_points) < min_points:
                continue
            best = None
            for p, pred_points in preds.items():
                if p in visited or len(pred_points & gt_points) / len(pred_points | gt_points) <= threshold:
                    continue
                if best is None:
                    best = scores[p]
                    visited.add(p)
                else:
                    true.append(0)
                    score.append(min(best, scores[p]))
                    best = max(best, scores[p])
            if best is None:
                missed += 1
            else:
                true.append(1)
                score.append(best)
        for p, points in preds.items():
            if any(len(points & other) / len(points | other) > threshold for other in gts.values()):
                continue
            ignored = len(points & unannotated)
            ignored += sum(len(points & other) for other in gts.values() if len(other) < min_points)
            if ignored / len(points) <= threshold:
                true.append(0)
                score.append(scores[p])
        if sum(true) + missed:
            result[c] = curve(np.array(true), np.array(score), missed)
    return result


def curve(true, score, missed):
    """The area by the benchmark's own convolution of the recalls, then precision and recall at the lowest score."""
    if len(true) == 0:
        return 0.0, 0.0, 0.0
    order = np.argsort(score, kind="stable")
    true, score = true[order], score[order]
    _, firsts = np.unique(score, return_index=True)
    cumulated = np.append(np.cumsum(true), 0)
    precision, recall = np.zeros(len(firsts) + 1), np.zeros(len(firsts) + 1)
    for index, first in enumerate(firsts):
        below = cumulated[first - 1]
        tp = true.sum() - below
        fp, fn = len(true) - first - tp, below + missed
        precision[index], recall[index] = tp / (tp + fp), tp / (tp + fn) if tp + fn else 0.0
    precision[-1], recall[-1] = 1.0, 0.0
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ np.convolve(padded, [-0.5, 0, 0.5], "valid")), precision[0], recall[0]
