# SPDX-License-Identifier: Apache-2.0
"""Writes frames of a room as Replica rendered for Semantic-NeRF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from room_frames import RoomFrame, camera_to_world

from panoptic_gs.datasets.classes import REDUCED21

# One Replica class for each reduced one, with its id in the dataset; nobody lives in Replica.
REPLICA = {
    "wall": (93, "wall"), "floor": (40, "floor"), "cabinet": (18, "cabinet"), "bed": (7, "bed"), "chair": (20, "chair"),
    "sofa": (76, "sofa"), "table": (34, "desk"), "door": (37, "door"), "window": (97, "window"),
    "counter": (33, "countertop"), "shelves": (71, "shelf"), "curtain": (30, "curtain"), "ceiling": (31, "ceiling"),
    "refrigerator": (67, "refrigerator"), "television": (87, "tv-screen"), "toilet": (84, "toilet"),
    "sink": (74, "sink"), "lamp": (47, "lamp"), "bag": (1, "backpack"), "other": (44, "indoor-plant"),
}  # fmt: skip
EXTRA = {14: "bottle", 100: "bag"}


def intrinsics(width: int, height: int) -> np.ndarray:
    """[3, 3] with a horizontal field of view of 90°, centred."""
    return np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])


def write_replica(root: Path, frames: Sequence[RoomFrame], first_instance: int = 1) -> Path:
    """Lay out ``root/room_9/Sequence_1``; frames are numbered in order.

    Args:
        root: folder of scenes.
        frames: without people.
        first_instance: the smallest id of an object.

    Returns:
        The sequence's folder.
    """
    sequence = root / "room_9" / "Sequence_1"
    for name in ("rgb", "depth", "semantic_class", "semantic_instance"):
        (sequence / name).mkdir(parents=True)
    ids = np.zeros(len(REDUCED21.categories) + 1, dtype=np.uint8)
    for name, (replica_id, _) in REPLICA.items():
        ids[REDUCED21.ids[name]] = replica_id
    objects = np.unique(np.concatenate([np.unique(_objects(frame)) for frame in frames]))
    number = {int(value): first_instance + index for index, value in enumerate(reversed(objects[objects > 0].tolist()))}
    for index, frame in enumerate(frames):
        Image.fromarray(frame.rgb).save(sequence / "rgb" / f"rgb_{index}.png")
        Image.fromarray(np.rint(1000 * frame.depth).astype(np.uint16)).save(sequence / "depth" / f"depth_{index}.png")
        classes = Image.fromarray(ids[frame.classes])
        classes.save(sequence / "semantic_class" / f"semantic_class_{index}.png")
        instances = np.vectorize(lambda value: number.get(value, 0))(_objects(frame)).astype(np.uint8)
        Image.fromarray(instances).save(sequence / "semantic_instance" / f"semantic_instance_{index}.png")
    rows = [" ".join(repr(v) for v in camera_to_world(frame.camera).ravel().tolist()) for frame in frames]
    (sequence / "traj_w_c.txt").write_text("\n".join(rows) + "\n")
    names = dict(REPLICA.values()) | EXTRA
    info = {
        "classes": [{"id": replica_id, "name": name} for replica_id, name in names.items()],
        "objects": [{"id": value, "class_name": "?"} for value in number.values()],
    }
    (sequence.parent / "info_semantic.json").write_text(json.dumps(info))
    return sequence


def _objects(frame: RoomFrame) -> np.ndarray:
    """Ids of objects; in Replica walls are objects, too."""
    return np.where(frame.classes > 0, frame.segments, 0)
