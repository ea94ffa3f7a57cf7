# SPDX-License-Identifier: Apache-2.0
"""Networks of the tests, named on the command line as ``small_networks:Class``."""

import torch

from panoptic_gs.predict import NetworkOutput, PointMapNetwork
from panoptic_gs.predict.panst3r import PanSt3R


class SmallPanSt3R(PanSt3R):
    """The adapter at a quarter of the resolution."""

    sizes = tuple((w // 4, h // 4) for w, h in PanSt3R.sizes)


class Halves(PointMapNetwork):
    """Masks alone: the left half of each view is the first class, the right half the second."""

    name = "halves"
    sizes = ((64, 48),)

    def forward(self, views, classes, keyframes):
        masks = torch.full((len(views.images), 2, 24, 32), -5.0)
        masks[:, 0, :, :16] = masks[:, 1, :, 16:] = 5.0
        logits = torch.full((2, len(classes)), -5.0)
        logits[0, 0] = logits[1, 1] = 5.0
        return NetworkOutput(masks, logits)


class NoNetwork:
    """Has no predict."""
