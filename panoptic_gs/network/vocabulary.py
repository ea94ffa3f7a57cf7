# SPDX-License-Identifier: Apache-2.0
"""Embeddings of classes by their names: a table that is learned, or a text encoder for any name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from panoptic_gs.errors import InputError

PROMPT = "This is a photo of a {}."
"""What SigLIP was trained to compare with photos (Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023)."""


class Vocabulary(Protocol):
    """Anything that gives an embedding for a class's name."""

    def __call__(self, names: Sequence[str]) -> Tensor:
        """``[C, class_width]`` in the order of the names."""
        ...


def vocabulary(classes: Sequence[str], text: str | None, width: int) -> LearnedTable | SiglipText:
    """A text encoder where one is named, else a learned table of the classes."""
    return LearnedTable(classes, width) if text is None else SiglipText(text, width)


class LearnedTable(nn.Module):
    """One learned vector for each class that was trained on; other names are refused."""

    def __init__(self, classes: Sequence[str], width: int) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.table = nn.Parameter(torch.randn(len(self.classes), width))

    def forward(self, names: Sequence[str]) -> Tensor:
        """``[C, class_width]``.

        Raises:
            InputError: a name that it was not trained on.
        """
        known = {name: index for index, name in enumerate(self.classes)}
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, self.classes, 1)
                raise InputError(
                    "classes", f"'{name}'", f"some of {', '.join(self.classes)}",
                    f"Say '{close[0]}'." if close else
                    "This network knows the classes it was trained on alone; leave the name out, or use a network with "
                    "a text encoder.",
                )  # fmt: skip
        return self.table[[known[name] for name in names]]


class SiglipText(nn.Module):
    """SigLIP's text tower through transformers, frozen; embeddings are kept by the list of names."""

    def __init__(self, checkpoint: str, width: int) -> None:
        super().__init__()
        if importlib.util.find_spec("transformers") is None:
            raise InputError("text encoder", "no package 'transformers'", "an installation of it",
                             "Run: pip install 'panoptic-gs[networks]'.")  # fmt: skip
        transformers: Any = importlib.import_module("transformers")
        try:
            model = transformers.SiglipTextModel.from_pretrained(checkpoint)
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoint)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"text encoder '{checkpoint}'", str(error).splitlines()[0], "weights on disk or the hub",
                             "Download it where there is a network, or give its folder.") from error  # fmt: skip
        # In a list, so that the frozen weights are neither trained nor saved with the network's own.
        self._model = [model.requires_grad_(False).eval()]
        self._kept: dict[tuple[str, ...], Tensor] = {}
        self.width = int(model.config.hidden_size)
        if self.width != width:
            raise InputError(f"text encoder '{checkpoint}'", f"embeddings of width {self.width}", str(width),
                             "Correct class_width.")  # fmt: skip

    @torch.no_grad()
    def forward(self, names: Sequence[str]) -> Tensor:
        """``[C, class_width]``, of length 1."""
        key = tuple(names)
        if key not in self._kept:
            words = self.tokenizer(
                [PROMPT.format(name) for name in key], padding="max_length", truncation=True, return_tensors="pt"
            )
            embedded = self._model[0](input_ids=words["input_ids"]).pooler_output
            self._kept[key] = nn.functional.normalize(embedded.float(), dim=-1)
        return self._kept[key]


class Similarity(nn.Module):
    """Class logits t · cos(a, b) + b₀ of queries and embeddings, as SigLIP's; both numbers are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-4.0))

    def forward(self, queries: Tensor, embeddings: Tensor) -> Tensor:
        """``[..., Q, C]`` of queries ``[..., Q, class_width]`` and embeddings ``[C, class_width]``."""
        cosine = (
            nn.functional.normalize(queries.float(), dim=-1) @ nn.functional.normalize(embeddings.float(), dim=-1).T
        )
        return self.log_scale.exp() * cosine + self.bias
