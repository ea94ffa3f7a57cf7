# SPDX-License-Identifier: Apache-2.0
"""CLIP and SigLIP from ``transformers``: pictures and words as unit vectors, whose cosine says how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from panoptic_gs.errors import InputError
from panoptic_gs.predict.masks.hub import loaded, readable

HOW_TO_GET_ONE = (
    "pip install 'panoptic-gs[networks]' and pass --model with a folder or hub name of a CLIP or SigLIP model, as in "
    "google/siglip-base-patch16-224 (Apache-2.0)"
)
_TEMPLATES = ("a photo of a {}", "a photo of the {} in a room")
_BATCH = 16


class Encoder(Protocol):
    """Pictures and words as vectors of one space."""

    @property
    def name(self) -> str: ...
    def pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray: ...  # [N] of [H, W, 3] uint8 → [N, D]
    def words(self, phrases: Sequence[str]) -> np.ndarray: ...  # → [N, D]


class HubEncoder:
    """A CLIP, SigLIP or SigLIP 2 model.

    Args:
        name: its name on the hub, or a folder with weights, tokenizer and preprocessor.
        device: where it runs.

    Raises:
        InputError: ``transformers`` is not installed, there is no such model here or on the hub, or it is of another
            kind.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self._name, self._device = name, device
        try:
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise InputError("transformers", "not installed", "it, to run a model",
                             f"Install it: {HOW_TO_GET_ONE}.") from error  # fmt: skip
        model = loaded(AutoModel, name, device)
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise InputError("--model", f"'{name}', a {type(model).__name__} that knows no pictures and words",
                             "a CLIP or SigLIP model", f"Get one: {HOW_TO_GET_ONE}.")  # fmt: skip
        with readable(name):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self._processor: Any = AutoImageProcessor.from_pretrained(name)
        self._model = model
        text = getattr(model.config, "text_config", model.config)
        self._longest = int(getattr(text, "max_position_embeddings", 64))
        self._padding = "max_length" if "siglip" in model.config.model_type else True

    @property
    def name(self) -> str:
        """As it was asked for; of a folder, its absolute path."""
        return str(Path(self._name).resolve()) if Path(self._name).is_dir() else self._name

    @torch.no_grad()
    def pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Unit vectors ``[N, D]`` of pictures ``[H, W, 3]`` uint8."""
        from PIL import Image

        found = []
        for first in range(0, len(pictures), _BATCH):
            batch = [Image.fromarray(picture) for picture in pictures[first : first + _BATCH]]
            inputs = self._processor(images=batch, return_tensors="pt").to(self._device)
            found.append(_vectors(self._model.get_image_features(**inputs)))
        return unit(np.concatenate(found))

    @torch.no_grad()
    def words(self, phrases: Sequence[str]) -> np.ndarray:
        """Unit vectors ``[N, D]`` of phrases, the mean over two templates."""
        sums = []
        for template in _TEMPLATES:
            inputs = self._tokenizer(
                [template.format(phrase) for phrase in phrases], padding=self._padding, truncation=True,
                max_length=self._longest, return_tensors="pt",
            ).to(self._device)  # fmt: skip
            known = {key: inputs[key] for key in ("input_ids", "attention_mask") if key in inputs}
            sums.append(unit(_vectors(self._model.get_text_features(**known))))
        return unit(np.mean(sums, axis=0))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one; zeros stay."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _vectors(output: Any) -> np.ndarray:
    """transformers until 4 gives the vectors, 5 an output that holds them."""
    tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return tensor.float().cpu().numpy()
