# SPDX-License-Identifier: Apache-2.0
"""SAM 2 through ``transformers``: masks of everything in a photo, without classes, that may overlap.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024. A grid of points asks for masks; those that the
network is sure of and that stay the same under other thresholds are kept (Kirillov et al., "Segment Anything", ICCV
2023).
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.predict.masks.found import MaskOptions
from panoptic_gs.predict.masks.hub import announced, loaded, readable, require_at_hand
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import MASKS

CHECKPOINT = "facebook/sam2.1-hiera-large"
POINTS_PER_SIDE = 32
"""Of the grid."""
POINTS_PER_BATCH = 64
"""How many are asked at once: what bounds the memory."""
MIN_IOU = 0.8
"""Masks of which the network expects less are left out, as in SAM 2's own generator."""
MIN_STABILITY = 0.95
"""Least IoU of a mask under thresholds one above and one below the network's."""


class Sam2:
    """SAM 2's automatic masks.

    Raises:
        InputError: no checkpoint of it can be had, or classes are asked for.
    """

    def __init__(self, family: str, options: MaskOptions) -> None:
        if options.classes is not None:
            raise InputError(
                "--classes", "classes for SAM 2, whose masks have none", "no --classes",
                "Leave it out: all are things of class 'object'. For classes take --masks eomt, or sam3.",
            )  # fmt: skip
        from transformers import AutoImageProcessor, Sam2Model, pipeline  # pyright: ignore[reportMissingImports]

        self.checkpoint = announced(MASKS[family], options.checkpoint, CHECKPOINT, options.say)
        require_at_hand(self.checkpoint)
        with readable(self.checkpoint):
            processor = AutoImageProcessor.from_pretrained(self.checkpoint)
        self.model = loaded(Sam2Model, self.checkpoint, options.device)
        self._generate = pipeline(
            "mask-generation", model=self.model, image_processor=processor, device=torch.device(options.device)
        )

    def masks(self, photo: Photo) -> list[dict[str, Any]]:
        """The masks of a photo in the layout of SAM's automatic masks, run-length encoded on the photo's pixels.

        Raises:
            InputError: the photo cannot be read.
        """
        with torch.inference_mode():
            found = self._generate(
                Image.fromarray(photo.read()), points_per_crop=POINTS_PER_SIDE, points_per_batch=POINTS_PER_BATCH,
                pred_iou_thresh=MIN_IOU, stability_score_thresh=MIN_STABILITY, output_rle_mask=True,
                output_bboxes_mask=True,
            )  # fmt: skip
        return [
            {
                "segmentation": {
                    "size": [int(side) for side in rle["size"]],
                    "counts": [int(run) for run in rle["counts"]],
                },
                "area": int(sum(rle["counts"][1::2])),
                "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
                "predicted_iou": float(score),
            }
            for rle, score, box in zip(found["rle_mask"], found["scores"], found["bounding_boxes"], strict=True)
        ]
