# SPDX-License-Identifier: Apache-2.0
"""What networks predict, before it becomes label maps; running them on photos."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panoptic_gs.predict.keyframes import Keyframes
    from panoptic_gs.predict.network import (
        NetworkInput,
        NetworkOptions,
        NetworkOutput,
        PanopticPredictor,
        PointMapNetwork,
    )
    from panoptic_gs.predict.photos import Photo
    from panoptic_gs.raw_predictions import RawImage, RawPredictions

__all__ = [
    "Keyframes",
    "NetworkInput",
    "NetworkOptions",
    "NetworkOutput",
    "PanopticPredictor",
    "Photo",
    "PointMapNetwork",
    "RawImage",
    "RawPredictions",
]

_HOMES = {
    "Keyframes": "predict.keyframes", "Photo": "predict.photos", "RawImage": "raw_predictions",
    "RawPredictions": "raw_predictions",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Whoever only reads saved predictions does not need what runs networks, and whether a network is installed is to
    # be said before torch is imported.
    if name in __all__:
        return getattr(importlib.import_module(f"panoptic_gs.{_HOMES.get(name, 'predict.network')}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
