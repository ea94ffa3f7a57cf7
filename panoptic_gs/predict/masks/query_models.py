# SPDX-License-Identifier: Apache-2.0
"""EoMT, Mask2Former and OneFormer through ``transformers``: query masks of one photo, merged by our own rules.

The library's panoptic post-processing is not used: it may give two segments one id where a stuff class repeats, and
counts ids and void differently by family.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.predict.masks.found import MaskOptions
from panoptic_gs.predict.masks.hub import announced, loaded, readable, require_at_hand
from panoptic_gs.predict.masks.label_sets import labels_of
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import MASKS
from panoptic_gs.raw_predictions import RawPredictions

CHECKPOINTS = {
    "eomt": "tue-mps/coco_panoptic_eomt_large_640",
    "mask2former": "facebook/mask2former-swin-large-coco-panoptic",
    "oneformer": "shi-labs/oneformer_coco_swin_large",
}

MIN_CLASS = 0.01
"""Queries less certain of every class are not kept."""


class QueryModel:
    """One of the families whose outputs are ``masks_queries_logits`` and ``class_queries_logits``.

    Raises:
        InputError: no checkpoint of it can be had, it is none for panoptic segmentation, or a class is not known.
    """

    def __init__(self, family: str, options: MaskOptions) -> None:
        from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation, AutoProcessor  # pyright: ignore[reportMissingImports]

        self.checkpoint = announced(MASKS[family], options.checkpoint, CHECKPOINTS[family], options.say)
        require_at_hand(self.checkpoint)
        self.device = options.device
        with readable(self.checkpoint):
            if family == "oneformer":
                whole = AutoProcessor.from_pretrained(self.checkpoint)
                self.processor, self._task = whole.image_processor, _task(whole)
            else:
                self.processor, self._task = AutoImageProcessor.from_pretrained(self.checkpoint), {}
        if getattr(self.processor, "do_split_image", False):
            raise InputError(
                self.checkpoint, "a checkpoint that looks at parts of a photo: one for semantic segmentation",
                "one for panoptic segmentation", "Give one with 'panoptic' in its name.",
            )  # fmt: skip
        self.model = loaded(AutoModelForUniversalSegmentation, self.checkpoint, self.device)
        labels = {int(index): str(label) for index, label in self.model.config.id2label.items()}
        self.labels = labels_of(labels, options.classes, self.checkpoint)
        if self.labels.label_set == "unknown" and options.classes is None:
            options.say(
                f"{self.checkpoint}: labels of no known set; all are taken for things. --classes says otherwise"
            )
        self._inputs: dict[tuple[int, int], tuple[tuple[int, int], np.ndarray]] = {}

    def predict(self, photo: Photo) -> RawPredictions:
        pixels = photo.read()
        size, to_original = self._input_of(photo.width, photo.height)
        values = self.processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            answer = self.model(pixel_values=values.to(self.device), **self._task)
        masks, classes = answer.masks_queries_logits[0].float().cpu(), answer.class_queries_logits[0].float().cpu()
        if classes.shape[-1] != len(self.model.config.id2label) + 1:
            raise InputError(
                self.checkpoint, f"{classes.shape[-1]} class logits for {len(self.model.config.id2label)} labels",
                "one for each label, and one for none", "Give a checkpoint for panoptic segmentation.",
            )  # fmt: skip
        # Patches at the right and lower border may reach beyond the input.
        size = tuple(round(side / cells) * cells for side, cells in zip(size, reversed(masks.shape[-2:]), strict=True))
        logits = self.labels.class_logits(classes)
        kept = _certain(logits)
        return RawPredictions(
            masks[kept][None].half(), logits[kept], (photo.raw_image,), self.labels.categories, self.checkpoint, size,
            to_original=torch.from_numpy(to_original)[None].float(), source=str(photo.path),
            class_activation="softmax",
        )  # fmt: skip

    def _input_of(self, width: int, height: int) -> tuple[tuple[int, int], np.ndarray]:
        if (width, height) not in self._inputs:
            self._inputs[width, height] = input_of(self.processor, width, height)
        return self._inputs[width, height]


def input_of(processor: Any, width: int, height: int) -> tuple[tuple[int, int], np.ndarray]:
    """How an image processor lays a photo into the network's input, found by giving it a photo of known slopes.

    Whatever it does (resize, pad, crop), and however a version of the library does it, each axis is a scale and a
    shift. The photo has a bright band across either axis; where the middles of its two slopes come out tells both.
    Slopes, and no steps, because some resize by picking pixels; bytes, because some go through images of 8 bits.

    Args:
        processor: of transformers; called without rescaling and normalising.
        width, height: of the photo.

    Returns:
        Width and height of the input, and ``[3, 3]`` float64 from its pixels to the photo's.
    """
    photo = np.ones((height, width, 3), np.float32)
    photo[..., 0], photo[..., 1] = _band(width), _band(height)[:, None]
    found = processor(
        photo, do_rescale=False, do_normalize=False, do_convert_rgb=False, input_data_format="channels_last",
        return_tensors="pt",
    )["pixel_values"]  # fmt: skip
    shown = np.asarray(found.reshape(-1, *found.shape[-3:])[0], np.float64)
    inside = shown[2] > 0.5  # padding is 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    to_original = np.eye(3)
    for axis, (places, across, side) in enumerate(((columns, rows, width), (rows, columns, height))):
        line = shown[0, across[len(across) // 2]] if axis == 0 else shown[1, :, across[len(across) // 2]]
        first, last = _slopes(line, places)
        scale = side * (_BAND[1] - _BAND[0]) / (last - first)
        to_original[axis, axis], to_original[axis, 2] = scale, side * _BAND[0] - scale * first
    return (shown.shape[2], shown.shape[1]), to_original


_BAND = (3 / 8, 5 / 8)  # the middles of the slopes; a processor that crops keeps the middle
_SLOPE = 1 / 16  # half of a slope's length


def _band(side: int) -> np.ndarray:  # [side]
    """0.25 outside, 0.75 in the middle: filters overshoot, and bytes end at 0 and 1."""
    place = (np.arange(side) + 0.5) / side
    height = np.clip((_BAND[1] - _BAND[0]) / 2 / (2 * _SLOPE) + 0.5 - np.abs(place - 0.5) / (2 * _SLOPE), 0, 1)
    # A quarter above a whole byte, so that neither cutting nor rounding moves it to another.
    return ((64 + np.round(128 * height) + 0.25) / 255).astype(np.float32)


def _slopes(line: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """Where the band begins and ends on a line of the input, in pixels: sums of what is bright on either side."""
    dark = line[places[len(places) // 16]]
    middle = places[len(places) // 2]
    bright = (line - dark) / (line[middle] - dark)
    left, right = places[places < middle], places[places >= middle]
    left, right = left[len(left) // 16 :], right[: len(right) - len(right) // 16]  # filters bend lines at the border
    return middle - float(bright[left].sum()), middle + float(bright[right].sum())


def _certain(logits: Tensor) -> Tensor:
    """The queries that may be of some class; the best one at least."""
    best = logits.softmax(-1)[:, :-1].amax(-1)
    kept = (best >= MIN_CLASS).nonzero()[:, 0]
    return kept if len(kept) else best.argmax()[None]


def _task(processor: Any) -> dict[str, Tensor]:
    """OneFormer asks which task it is to do."""
    tokens = processor._preprocess_text(["the task is panoptic"], max_length=processor.task_seq_length)
    return {"task_inputs": tokens}
