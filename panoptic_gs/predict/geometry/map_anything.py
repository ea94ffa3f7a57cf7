# SPDX-License-Identifier: Apache-2.0
"""MapAnything (Keetha et al. 2025): metric point maps and cameras of all photos. Code and weights Apache-2.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from panoptic_gs.predict.crop import crop, input_size
from panoptic_gs.predict.geometry.found import Geometry, GeometryOptions
from panoptic_gs.predict.geometry.point_maps import geometry_of
from panoptic_gs.predict.masks.hub import announced, readable
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import GEOMETRIES
from panoptic_gs.progress import Progress

CHECKPOINT = "facebook/map-anything-apache"

SIZES = ((518, 518), (518, 392), (518, 336), (518, 294), (518, 252), (518, 168))
"""Width and height of its inputs, upright photos have them transposed: its resolution set 518."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MapAnythingCameras:
    """Cameras and points by ``MapAnything.infer``."""

    def __init__(self, options: GeometryOptions) -> None:
        from mapanything.models import MapAnything  # pyright: ignore[reportMissingImports]

        self.options = options
        checkpoint = announced(GEOMETRIES["mapanything"], options.checkpoint, CHECKPOINT, options.say)
        with readable(checkpoint):
            self.model = MapAnything.from_pretrained(checkpoint).to(options.device).eval()

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        size = input_size(photos, SIZES)
        progress("Placing photos", 0, 0)
        mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
        views = []
        for photo in photos:
            pixels = torch.tensor(crop(photo.read(), size)).permute(2, 0, 1).float() / 255
            views.append({"img": ((pixels - mean) / std)[None].to(self.options.device), "data_norm_type": ["dinov2"]})
        with torch.inference_mode():
            answers = self.model.infer(views, memory_efficient_inference=True, use_amp=self.options.device != "cpu")
        progress("Placing photos", 1, 1)
        poses = np.stack([_array(answer["camera_poses"], 2) for answer in answers])
        return geometry_of(
            photos, size, np.linalg.inv(poses), np.stack([_array(answer["intrinsics"], 2) for answer in answers]),
            [_array(answer["pts3d"], 3) for answer in answers], [_confidence(answer) for answer in answers],
            source="MapAnything", metric=True, seed_points=self.options.seed_points,
        )  # fmt: skip


def _array(value: Any, dimensions: int) -> np.ndarray:
    array = torch.as_tensor(value).detach().float().cpu().numpy()
    return array.reshape(array.shape[-dimensions:])


def _confidence(answer: dict[str, Any]) -> np.ndarray:
    """The confidence, 0 where the network masks a pixel out."""
    confidence = _array(answer["conf"], 2)
    mask = answer.get("mask")
    return confidence if mask is None else confidence * (_array(mask, 3)[..., 0] > 0.5)
