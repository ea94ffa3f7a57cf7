# SPDX-License-Identifier: Apache-2.0
"""SAM 3 through ``transformers``: masks of the classes that are asked for by name, one photo at a time.

Carion et al., "SAM 3: Segment Anything with Concepts", 2025. Each class is a prompt of its own, which all queries
answer; a query's probability is that of the query times that of the class being in the photo at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category
from panoptic_gs.predict.masks.found import MaskOptions
from panoptic_gs.predict.masks.hub import announced, loaded, readable, require_at_hand
from panoptic_gs.predict.masks.query_models import MIN_CLASS, input_of
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import MASKS
from panoptic_gs.raw_predictions import RawPredictions

CHECKPOINT = "facebook/sam3"
_NEVER = 1e-6


def prompts_of(classes: Sequence[Category] | None) -> tuple[tuple[Category, ...], list[tuple[int, str]]]:
    """The classes by their own names, and what is asked for: number of a class, a word of it (``seat=chair|sofa``).

    Raises:
        InputError: no classes are asked for.
    """
    if classes is None:
        raise InputError(
            "--classes", "nothing", "the classes that SAM 3 is asked for",
            "Say --classes wall:stuff,chair:thing; several words for one class: seat=chair|sofa:thing.",
        )  # fmt: skip
    named = [category.name.partition("=") for category in classes]
    categories = tuple(
        Category(category.id, name, category.isthing, category.color)
        for category, (name, _, _) in zip(classes, named, strict=True)
    )
    words = [(column, word.strip()) for column, (name, _, of) in enumerate(named) for word in (of or name).split("|")]
    return categories, words


class Sam3:
    """SAM 3 with text prompts.

    Raises:
        InputError: no checkpoint of it can be had, or no classes are asked for.
    """

    def __init__(self, family: str, options: MaskOptions) -> None:
        self.categories, self._prompts = prompts_of(options.classes)
        from transformers import Sam3Model, Sam3Processor  # pyright: ignore[reportMissingImports]

        self.checkpoint = announced(MASKS[family], options.checkpoint, CHECKPOINT, options.say)
        require_at_hand(self.checkpoint)
        self.device = options.device
        with readable(self.checkpoint):
            self.processor = Sam3Processor.from_pretrained(self.checkpoint)
        self.model = loaded(Sam3Model, self.checkpoint, self.device)

    def predict(self, photo: Photo) -> RawPredictions:
        """The queries of all prompts that may be of their class."""
        image = Image.fromarray(photo.read())
        size, to_original = input_of(self.processor.image_processor, photo.width, photo.height)
        values = self.processor.image_processor(image, return_tensors="pt")["pixel_values"].to(self.device)
        masks, logits = [], []
        with torch.inference_mode():
            seen = self.model.get_vision_features(pixel_values=values)
            for column, word in self._prompts:
                words = self.processor.tokenizer(word, return_tensors="pt", padding="max_length", max_length=32)
                answer = self.model(
                    vision_embeds=seen, input_ids=words["input_ids"].to(self.device),
                    attention_mask=words["attention_mask"].to(self.device),
                )  # fmt: skip
                probability = probabilities(answer.pred_logits, answer.presence_logits)[0].float().cpu()
                kept = (probability >= MIN_CLASS).nonzero()[:, 0]
                if len(kept) == 0:
                    kept = probability.argmax()[None]
                masks.append(answer.pred_masks[0].float().cpu()[kept].half())
                logits.append(class_logits(probability[kept], column, len(self.categories)))
        return RawPredictions(
            torch.cat(masks)[None], torch.cat(logits), (photo.raw_image,), self.categories, self.checkpoint, size,
            to_original=torch.from_numpy(to_original)[None].float(), source=str(photo.path),
            class_activation="softmax",
        )  # fmt: skip


def probabilities(queries: Tensor, presence: Tensor) -> Tensor:
    """That queries ``[B, Q]`` are of the class that is asked for, there by ``presence`` ``[B, 1]`` (logits)."""
    return queries.sigmoid() * presence.sigmoid()


def class_logits(probability: Tensor, column: int, classes: int) -> Tensor:
    """Logits ``[Q, C + 1]`` before a softmax of queries that are of one class or of none."""
    p = torch.full((len(probability), classes + 1), _NEVER)
    p[:, column], p[:, -1] = probability.clamp(_NEVER, 1 - _NEVER), (1 - probability).clamp(_NEVER, 1 - _NEVER)
    return p.log()
