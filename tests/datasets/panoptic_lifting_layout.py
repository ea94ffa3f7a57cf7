# SPDX-License-Identifier: Apache-2.0
"""Writes frames of a room in the processed layout of Panoptic Lifting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from room_frames import RoomFrame, camera_to_world

JPEG_LOSS = 4
"""Largest mean difference of colours that the JPEGs have at the tests' size."""


def write_panoptic_lifting(root: Path, frames: Sequence[RoomFrame], test: Sequence[str] | None = None) -> Path:
    """Lay out a scene, with a pickle that must never be loaded; its intrinsics are those of the first frame."""
    for name in ("color", "depth", "pose", "intrinsic", "rs_semantics", "rs_instance"):
        (root / name).mkdir(parents=True)
    for frame in frames:
        Image.fromarray(frame.rgb).save(root / "color" / f"{frame.stem}.jpg", quality=95, subsampling=0)
        depth = np.rint(1000 * frame.depth).astype(np.uint16)
        Image.fromarray(depth).save(root / "depth" / f"{frame.stem}.png")
        np.savetxt(root / "pose" / f"{frame.stem}.txt", camera_to_world(frame.camera))
        Image.fromarray(frame.classes.astype(np.uint8)).save(root / "rs_semantics" / f"{frame.stem}.png")
        Image.fromarray((300 * frame.instances).astype(np.uint16)).save(root / "rs_instance" / f"{frame.stem}.png")
    K = np.eye(4)
    K[:3, :3] = frames[0].camera.K.double().numpy()
    K[:2, 2] -= 0.5  # pixel centres are on whole numbers
    np.savetxt(root / "intrinsic" / "intrinsic_color.txt", K)
    if test is not None:
        train = [frame.stem for frame in frames if frame.stem not in test]
        (root / "splits.json").write_text(json.dumps({"train": train, "test": list(test)}))
    # Unpickling this would write a file: protocol 0 for os.mkdir(root / "unpickled").
    (root / "segmentation_data.pkl").write_bytes(b"cos\nmkdir\n(V" + str(root / "unpickled").encode() + b"\ntR.")
    return root
