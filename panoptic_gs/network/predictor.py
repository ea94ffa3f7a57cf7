# SPDX-License-Identifier: Apache-2.0
"""The network as one that ``panoptic-gs predict`` runs: ``--network panoptic-gs`` or ``panoptic-gs:WEIGHTS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from panoptic_gs.errors import InputError
from panoptic_gs.network.inference import input_sizes, predict_views
from panoptic_gs.network.weights import TINY, load_network_file
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import (
    NetworkInput,
    NetworkOptions,
    NetworkOutput,
    PointMapNetwork,
    prepare,
    raw_predictions,
)
from panoptic_gs.predict.photos import Photo
from panoptic_gs.raw_predictions import RawPredictions


class PanopticGs(PointMapNetwork):
    """The network of this package, with the weights that come with it or those that are given.

    Raises:
        InputError: weights that are none of this network's, half precision that is not on offer.
    """

    name: ClassVar[str] = "panoptic-gs"
    one_size: ClassVar[bool] = False

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options)
        if options.amp == "fp16":
            raise InputError("--amp", "fp16", "off or bf16", "This network runs in bfloat16 or in full precision.")
        file = TINY if options.checkpoint is None else options.checkpoint
        self.network = load_network_file(file, options.device)
        self.taken = input_sizes(self.network.config.size)
        width, height = self.network.config.size
        self.notes = [f"{file.name}, which sees {width}×{height} pixels"]
        if options.checkpoint is None:
            self.notes.append(
                "a small network that learned from rendered rooms alone: poor on real photos (docs/network.md)"
            )

    def predict(self, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes) -> RawPredictions:
        """See `PointMapNetwork.predict`; photos are cropped to the sizes of the weights."""
        # What the classes are is known before any photo is read.
        self.network.vocabulary([category.name for category in classes])
        views = prepare(photos, self.taken, one_size=False)
        return raw_predictions(views, classes, self.forward(views, classes, keyframes), self.name, self.options)

    def forward(self, views: NetworkInput, classes: Sequence[Category], keyframes: Keyframes) -> NetworkOutput:
        names = [category.name for category in classes]
        return predict_views(self.network, views.crops, names, keyframes, amp=self.options.amp == "bf16")
