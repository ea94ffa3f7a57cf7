# SPDX-License-Identifier: Apache-2.0
"""Poses, depth and ids of a multi-view network, each as a share that is right."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

NEAR_DEGREES = 15.0
NEAR_RATIO = 1.25


def relative_pose_share(found: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> float:
    """Share of pairs of views whose relative rotation and direction of translation are both within 15 degrees.

    Args:
        found: ``[4, 4]`` world to camera by view; a view that is missing makes its pairs wrong.
        true: the same of all views.
    """
    names = sorted(true)
    right = count = 0
    for a, first in enumerate(names):
        for second in names[a + 1 :]:
            count += 1
            if first not in found or second not in found:
                continue
            moved = [views[second] @ np.linalg.inv(views[first]) for views in (found, true)]
            cosine = (np.trace(moved[0][:3, :3].T @ moved[1][:3, :3]) - 1) / 2
            rotation = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            s, t = (m[:3, 3] / max(np.linalg.norm(m[:3, 3]), 1e-12) for m in moved)
            direction = np.degrees(np.arccos(np.clip(s @ t, -1, 1)))
            right += rotation < NEAR_DEGREES and direction < NEAR_DEGREES
    return right / max(count, 1)


def depth_share(found: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> float:
    """Share of pixels whose depth is within a ratio of 1.25, after one scale for all views (the median of ratios)."""
    ratios = np.concatenate([(true[name] / np.clip(found[name], 1e-6, None)).ravel() for name in found])
    known = np.concatenate([(true[name] > 0).ravel() for name in found])
    ratios = ratios[known] / np.median(ratios[known])
    return float(np.mean(np.maximum(ratios, 1 / np.clip(ratios, 1e-9, None)) < NEAR_RATIO))


def id_consistency(found: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray], things: Collection[int]) -> float:
    """Share of the pixels of true things whose id is the one that most of their object's pixels have in all views.

    Args:
        found: ids ``[H, W]`` by view, 0 for none, which is never right.
        true: the same of the truth.
        things: true ids of things.
    """
    right = count = 0
    for thing in things:
        ids = np.concatenate([found[name][true[name] == thing].ravel() for name in true])
        count += len(ids)
        named = ids[ids > 0]
        if len(named):
            right += int(np.bincount(named).max())
    return right / max(count, 1)
