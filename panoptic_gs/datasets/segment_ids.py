# SPDX-License-Identifier: Apache-2.0
"""From (class, instance) pairs to the segments of a scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from panoptic_gs.panoptic import Category, Segment


def count_pairs(classes: np.ndarray, instances: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that occur in a frame.

    Args:
        classes: ``[H, W]`` integers, 0 = void.
        instances: ``[H, W]`` integers, 0 = none; or None.

    Returns:
        pairs ``[P, 3]`` int64 (class, instance, pixels) and index ``[H, W]`` of each pixel's pair.
    """
    class_ids, class_index = distinct(classes)
    instance_ids, instance_index = distinct(np.zeros_like(classes) if instances is None else instances)
    joint = class_index * len(instance_ids) + instance_index
    keys, index = distinct(joint)
    counts = np.bincount(index.ravel(), minlength=len(keys))
    pairs = np.stack([class_ids[keys // len(instance_ids)], instance_ids[keys % len(instance_ids)], counts], axis=1)
    smallest = np.uint16 if len(keys) <= 1 << 16 else np.uint32
    return pairs.astype(np.int64), index.astype(smallest)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of an integer map in order, and the index of each pixel's value in the map's shape.

    As ``np.unique`` with ``return_inverse``, but without sorting the pixels where the values span little.
    """
    low, high = int(values.min()), int(values.max())
    if high - low > 1 << 20:
        found, index = np.unique(values, return_inverse=True)
        return found, index.reshape(values.shape)
    shifted = values.astype(np.int64) - low
    present = np.bincount(shifted.ravel()) > 0
    return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[shifted]


@dataclass(frozen=True, eq=False)
class SegmentIds:
    """The segments of a scene, and which of them a (class, instance) pair belongs to.

    An instance takes its majority class over all frames, unless each (class, instance) pair is an object of its own.
    Stuff is one segment a class; things are one segment an instance, and what has no instance is one segment a class.
    Void stays void.
    """

    segments: tuple[Segment, ...]
    instances: dict[int, int]
    """Segment id → the dataset's instance id, for things that have one."""
    _of_pair: dict[tuple[int, int], int]

    @classmethod
    def number(cls, pairs: Iterable[np.ndarray], categories: Collection[Category], majority: bool = True) -> SegmentIds:
        """Number the segments: stuff by class, then things by instance.

        Args:
            pairs: ``[P, 3]`` (class, instance, pixels) of each frame.
            categories: the classes.
            majority: whether an instance takes the class that most of its pixels have.
        """
        counts: Counter[tuple[int, int]] = Counter()
        for of_frame in pairs:
            for category_id, instance, pixels in of_frame.tolist():
                if category_id:
                    counts[category_id, instance] += pixels
        class_of: dict[int, int] = {}
        for (category_id, instance), _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
            if instance and majority:
                class_of.setdefault(instance, category_id)
        things = {category.id for category in categories if category.isthing}
        keys: dict[tuple[int, int], tuple[int, int]] = {}  # (class, instance) as labelled → as a segment
        for category_id, instance in counts:
            settled = class_of.get(instance, category_id)
            keys[category_id, instance] = (settled, instance if settled in things else 0)
        order = sorted(set(keys.values()), key=lambda key: (key[0] in things, key[1], key[0]))
        ids = {key: index for index, key in enumerate(order, 1)}
        return cls(
            tuple(Segment(index, category_id) for (category_id, _), index in ids.items()),
            {index: instance for (_, instance), index in ids.items() if instance},
            {pair: ids[key] for pair, key in keys.items()},
        )

    def map(self, pairs: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The segment ids ``[H, W]`` int32 of a frame, from what :func:`count_pairs` gave for it."""
        table = [self._of_pair.get((category_id, instance), 0) for category_id, instance, _ in pairs.tolist()]
        return np.array(table, dtype=np.int32)[index]
