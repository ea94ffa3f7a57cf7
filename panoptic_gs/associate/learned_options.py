# SPDX-License-Identifier: Apache-2.0
"""The components of the two learned methods, each with its default and its switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from panoptic_gs.associate.attention import Masks
from panoptic_gs.errors import InputError

Start = Literal["masks", "clusters"]
"""Queries begin at random pixels of the masks, or one at each object of the closed form."""


@dataclass(frozen=True)
class LearnedOptions:
    """How instance queries are learned. Step counts are of training steps, each of one view."""

    steps: int = 1000
    """Training steps."""
    masks: Masks = "product"
    """Masks of queries: 'product' of similarity and prior, each query by itself; 'softmax' over the queries."""
    temperature: float = 0.05
    """Temperature of the softmax; 1 is PanopticSplatting as printed, whose masks saturate far below one."""
    prior: bool = True
    """The spatial prior: a query attends to Gaussians near it."""
    local_attention: bool = True
    """Attend to the Gaussians that the step's view shows alone; off: to all, with the same result."""
    dynamic_tokens: bool = True
    """Drop queries that no mask takes and duplicates, clone contested ones."""
    panoptic_head: bool = True
    """The parameter-free panoptic head and its loss."""
    token_classes: bool = True
    """An object's class is learned with its query; off: it is gathered from its Gaussians."""
    label_blending: bool = True
    """Blend the class shares of Gaussians; off: blend features and decode pixels."""
    warping: bool = False
    """Label warping: neighbouring views agree about the class of what both see."""
    start: Start = "masks"
    """Where queries begin: at random pixels of the masks, or one at each object of the closed form."""
    most_tokens: int = 150
    """Most queries to begin with."""
    parts: bool = True
    """A mask that is left over at the end takes the object that fills more than half of it."""
    class_cost: bool = False
    """Matching also costs what a query thinks of the mask's class."""
    most_dice: float = 0.9
    """Matches of a larger dice are dropped once a third of the steps is done."""
    panoptic_from: float = 0.4
    """From this part of the steps on the panoptic loss takes the place of the dice."""
    panoptic_weight: float = 10.0
    """Weight of the panoptic loss."""
    warping_weight: float = 1.0
    """Weight of label warping."""
    prune_every: int = 300
    """Steps between two looks for useless queries and duplicates."""
    split_every: int = 100
    """Steps between two looks for contested queries."""
    pixels: int = 4800
    """Pixels of each view that are learned from, spread evenly."""
    last_rate: float = 0.1
    """Learning rates fall evenly in their logarithm to this part of what they begin with; 1: they stay."""
    seed: int = 0
    """Seed of whatever is drawn."""

    def __post_init__(self) -> None:
        for name in ("steps", "most_tokens", "prune_every", "split_every", "pixels"):
            self._require(name, getattr(self, name) >= 1, "a number of at least 1")
        for name in ("temperature", "panoptic_weight", "warping_weight", "most_dice"):
            self._require(name, 0 < getattr(self, name) < float("inf"), "a positive number")
        self._require("last_rate", 0 < self.last_rate <= 1, "a part of the first rate, above 0")
        self._require("panoptic_from", 0 <= self.panoptic_from <= 1, "a part of the steps, 0 … 1")

    def _require(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise InputError(f"LearnedOptions.{name}", str(getattr(self, name)), expected, "Choose another value.")


PANOPTIC_RECON = LearnedOptions()
"""PanopticRecon++ on Gaussians: masks of their own, dynamic tokens, the panoptic head."""
PANOPTIC_SPLATTING = LearnedOptions(masks="softmax", warping=True)
"""PanopticSplatting: softmax over the queries, label blending and warping; what its paper leaves open is as above."""
