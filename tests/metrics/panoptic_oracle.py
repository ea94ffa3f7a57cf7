# SPDX-License-Identifier: Apache-2.0
"""Slow, literal versions of the scoring protocols: sets of pixels and loops, one function a protocol."""

from fractions import Fraction

VOID = "void"


def pixels_of(maps):
    """Four maps of equal shape → a list of ((pred class, pred instance), (gt class, gt instance)) over all pixels."""
    pred_category, pred_segment, gt_category, gt_segment = (labels.ravel().tolist() for labels in maps)
    return [((pc, ps), (gc, gs)) for pc, ps, gc, gs in zip(pred_category, pred_segment, gt_category, gt_segment)]


def segments(labels):
    """Label → the set of the pixels that carry it."""
    result = {}
    for pixel, label in enumerate(labels):
        result.setdefault(label, set()).add(pixel)
    return result


def quality(iou_sum, tp, fp, fn):
    denominator = tp + Fraction(fp, 2) + Fraction(fn, 2)
    if denominator == 0:
        return 0.0, 0.0, 0.0
    return float(iou_sum / denominator), float(iou_sum / tp) if tp else 0.0, float(tp / denominator)


def panoptic_lifting(pixels, things, classes, min_share):
    """Class → (PQ, SQ, RQ), steps 2 to 7 of the protocol; class 0 is what was not predicted."""
    pixels = [(p, g) for p, g in pixels if g[0] != 0]
    kept, dropped = [], []
    for c in [0, *classes]:
        in_pred, in_gt = sum(p[0] == c for p, _ in pixels), sum(g[0] == c for _, g in pixels)
        if in_pred == in_gt == 0:
            continue
        weak = any(n > 0 and Fraction(n, len(pixels)) < Fraction(str(min_share)) for n in (in_pred, in_gt))
        (dropped if weak else kept).append(c)

    def clean(label):
        category, instance = label
        if category in dropped:
            return VOID
        return (category, instance if category in things else 0)

    pred, gt = segments([clean(p) for p, _ in pixels]), segments([clean(g) for _, g in pixels])
    pred_void, gt_void = pred.pop(VOID, set()), gt.pop(VOID, set())
    result = {}
    for c in kept:
        pred_here = {k: v for k, v in pred.items() if k[0] == c}
        gt_here = {k: v for k, v in gt.items() if k[0] == c}
        iou_sum, matches = Fraction(0), []
        for p, p_set in pred_here.items():
            for g, g_set in gt_here.items():
                union = len(p_set) - len(p_set & gt_void) + len(g_set) - len(g_set & pred_void) - len(p_set & g_set)
                if p_set & g_set and Fraction(len(p_set & g_set), union) > Fraction(1, 2):
                    iou_sum += Fraction(len(p_set & g_set), union)
                    matches.append((p, g))
        fp = sum(p not in [m[0] for m in matches] and 2 * len(s & gt_void) <= len(s) for p, s in pred_here.items())
        fn = sum(g not in [m[1] for m in matches] and 2 * len(s & pred_void) <= len(s) for g, s in gt_here.items())
        result[c] = quality(iou_sum, len(matches), fp, fn)
    return result


def coco(pixels, things, classes, threshold=Fraction(1, 2), absent_is_zero=False, crowds=()):
    """Class → (PQ, SQ, RQ) by the COCO panoptic API's rules, all pixels in one image; crowds are ids of true segments.

    A crowd is neither matched nor missed, and a predicted segment of its class is not false where more than half of it
    lies on void and the crowd; the crowd's pixels stay in the union of other matches.
    """

    def clean(label):
        category, instance = label
        return VOID if category == 0 else (category, instance if category in things else 0)

    pred, gt = segments([clean(p) for p, _ in pixels]), segments([clean(g) for _, g in pixels])
    pred.pop(VOID, None)
    gt_void = gt.pop(VOID, set())
    crowd_pixels = {c: set() for c in classes}
    for pixel, (_, (category, instance)) in enumerate(pixels):
        if instance in crowds and category in crowd_pixels:
            crowd_pixels[category].add(pixel)
    gt = {g: rest for g in gt if (rest := gt[g] - crowd_pixels[g[0]])}
    result = {}
    for c in classes:
        iou_sum, tp, matched = Fraction(0), 0, set()
        for g in [g for g in gt if g[0] == c]:
            for p in [p for p in pred if p[0] == c]:
                iou = Fraction(len(pred[p] & gt[g]), len((pred[p] - gt_void) | gt[g]))
                if iou > threshold:
                    iou_sum, tp = iou_sum + iou, tp + 1
                    matched |= {("p", p), ("g", g)}
        excused = gt_void | crowd_pixels[c]
        fp = sum(p[0] == c and ("p", p) not in matched and 2 * len(pred[p] & excused) <= len(pred[p]) for p in pred)
        fn = sum(g[0] == c and ("g", g) not in matched for g in gt)
        if absent_is_zero or tp + fp + fn:
            result[c] = quality(iou_sum, tp, fp, fn)
    return result


def iou_per_class(pixels, classes, min_share):
    """Class → IoU; class 0 among the classes is what was not predicted."""
    pixels = [(p[0], g[0]) for p, g in pixels if g[0] != 0]
    result = {}
    for c in classes:
        pred, gt = {i for i, (p, _) in enumerate(pixels) if p == c}, {i for i, (_, g) in enumerate(pixels) if g == c}
        largest = max(len(pred), len(gt))
        if largest and Fraction(largest, len(pixels)) >= Fraction(str(min_share)):
            result[c] = len(pred & gt) / len(pred | gt)
    return result


def frame_means(frames, classes):
    """(mIoU, mAcc) of frames given as lists of pixels: per frame and class, mean over frames that show it, then over
    classes."""
    ious, accuracies = {}, {}
    for pixels in frames:
        shown = {g[0] for _, g in pixels} - {0}
        iou = iou_per_class(pixels, classes, 0)
        for c in shown:
            ious.setdefault(c, []).append(iou[c])
            mine = [p[0] == c for p, g in pixels if g[0] == c]
            accuracies.setdefault(c, []).append(sum(mine) / len(mine))
    return tuple(mean([mean(v) for v in scores.values()]) for scores in (ious, accuracies))


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def coverages(pixels, things, crowds=()):
    """(IoU with the predicted thing of largest intersection, area) of each true thing that is no crowd."""
    pixels = [(p, g) for p, g in pixels if g[0] != 0]
    pred, gt = segments([p for p, _ in pixels]), segments([g for _, g in pixels])
    result = []
    for g in [g for g in gt if g[0] in things and g[1] not in crowds]:
        best = (0, 0.0)
        for p in [p for p in pred if p[0] in things]:
            best = max(best, (len(pred[p] & gt[g]), len(pred[p] & gt[g]) / len(pred[p] | gt[g])))
        result.append((best[1], len(gt[g])))
    return result
