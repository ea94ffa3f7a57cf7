# SPDX-License-Identifier: Apache-2.0
"""Masks of the network's crop seen from the original image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from panoptic_gs.raw_predictions import RawPredictions

_STRIP_BYTES = 64 << 20


class CropSampler:
    """Reads one view's masks at the pixels of a map that covers its whole original image.

    Args:
        predictions: they say how the crop lies in the image; without `to_original` it is all of it.
        view: index of the view.
        width, height: size of the map in pixels.
    """

    def __init__(self, predictions: RawPredictions, view: int, width: int, height: int) -> None:
        image = predictions.images[view]
        self.width, self.height = width, height
        network = torch.tensor(predictions.network_sizes[view], dtype=torch.float64)
        original = torch.tensor([image.width, image.height], dtype=torch.float64)
        if predictions.to_original is None:
            to_network = torch.diag(torch.cat([network / original, torch.ones(1, dtype=torch.float64)]))
        else:
            to_network = torch.linalg.inv(predictions.to_original[view].to("cpu", torch.float64))
        to_image = torch.diag(torch.tensor([image.width / width, image.height / height, 1.0], dtype=torch.float64))
        # From pixels of the map to -1 … 1 over the crop, whatever the masks' resolution.
        to_unit = torch.diag(torch.cat([2 / network, torch.ones(1, dtype=torch.float64)]))
        to_unit[:2, 2] = -1
        self._transform = to_unit @ to_network @ to_image

    def strips(self, masks: Tensor) -> list[tuple[slice, Tensor]]:
        """Rows of the map, and the crop's positions for them ``[rows, width, 2]`` in −1 … 1, in bounded memory."""
        rows = max(1, _STRIP_BYTES // (4 * max(1, len(masks)) * self.width))
        return [
            (slice(top, min(top + rows, self.height)), self._positions(top, min(top + rows, self.height)))
            for top in range(0, self.height, rows)
        ]

    def _positions(self, top: int, bottom: int) -> Tensor:
        x = torch.arange(self.width, dtype=torch.float64) + 0.5
        y = torch.arange(top, bottom, dtype=torch.float64) + 0.5
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.ones(len(y), len(x))], -1)
        mapped = grid @ self._transform.T
        return mapped[..., :2] / mapped[..., 2:]


def sample(masks: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Mask probabilities ``[K, rows, width]``, bilinear, and whether the crop holds the pixel ``[rows, width]``.

    Probabilities are interpolated rather than logits: neighbours that share a sample's pixel between them share it
    halfway to the next sample, too. Logits are far lower outside a mask than they are high inside, so interpolating
    them would shrink every mask and leave void seams.
    """
    inside = (positions.abs() <= 1 + 1e-9).all(-1).to(masks.device)
    grid = positions.to(masks.device, torch.float32)
    return grid_sample(masks[None], grid[None], padding_mode="border", align_corners=False)[0], inside
