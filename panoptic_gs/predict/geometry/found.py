# SPDX-License-Identifier: Apache-2.0
"""What a way to find cameras gives, and how it is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.predict.cameras import upright
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registration import Similarity
from panoptic_gs.predict.registry import GEOMETRIES, require_installed
from panoptic_gs.progress import Progress
from panoptic_gs.scene import Points
from panoptic_gs.scene.lens import Distortion


@dataclass(frozen=True)
class GeometryOptions:
    """What the command line hands to a way of finding cameras."""

    cameras: Path | None = None
    """A scene folder whose cameras are known."""
    checkpoint: str | None = None
    """Weights: a name on the hub or a folder; by default the network's own."""
    device: str = "cpu"
    seed_points: int = 50_000
    """Most seed points."""
    seed: int = 0
    trust_checkpoint: bool = False
    """Whether the user agreed that opening the checkpoint may run code from it."""
    say: Callable[[str], None] = lambda text: None
    """Called with the licence and with what is about to be downloaded, before it is."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Cameras of photos, and seed points of the scene that they show.

    Args:
        cameras: photo's stem → camera of its upright pixels, in the order of the photos.
        points: positions and colours to start training from.
        lenses: stem → distortion, where there is any.
        left_out: stem → why its camera was not found.
        metric: whether the world's unit is the metre.
        notes: what else the user should know.
    """

    cameras: Mapping[str, Camera]
    points: Points | None = None
    lenses: Mapping[str, Distortion] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    metric: bool = False
    notes: tuple[str, ...] = ()


class GeometryFinder(Protocol):
    """A way to find cameras; its class is called with `GeometryOptions`."""

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        """The cameras of the photos; those that cannot be told are left out and said.

        Raises:
            InputError: there is no camera for most of the photos.
        """
        ...


def load_geometry(name: str, options: GeometryOptions) -> GeometryFinder:
    """The way to find cameras of this name.

    Raises:
        InputError: there is none of this name, or what it needs is not installed.
    """
    if name not in GEOMETRIES:
        raise InputError("--geometry", f"'{name}'", f"one of {', '.join(GEOMETRIES)}", "Choose one of these.")
    require_installed(name, GEOMETRIES)
    module, _, found = GEOMETRIES[name].home.partition(":")
    return getattr(importlib.import_module(module), found)(options)


def turned_upright(viewmats: np.ndarray, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, Similarity]:
    """World-to-camera matrices ``[N, 4, 4]`` and points ``[P, 3]`` in the world in which the cameras' mean up is +z."""
    turn = upright(viewmats)
    return turn.move_viewmats(viewmats), turn(xyz), turn


def pinhole(viewmat: np.ndarray, K: np.ndarray, photo: Photo) -> Camera:
    """The camera of a photo's pixels, from float64 arrays."""
    return Camera(torch.from_numpy(viewmat).float(), torch.from_numpy(K).float(), photo.width, photo.height)


def require_most(photos: Sequence[Photo], left_out: Mapping[str, str], source: str, mend: str) -> None:
    """Stop where fewer than two photos, or less than half of them, have a camera.

    Raises:
        InputError: which photos have none, and why.
    """
    found = len(photos) - len(left_out)
    if found >= max(2, len(photos) / 2):
        return
    reasons: dict[str, list[str]] = {}
    for stem, why in left_out.items():
        reasons.setdefault(why, []).append(stem)
    listed = "; ".join(
        ", ".join(stems[:10]) + (f" and {len(stems) - 10} more" if stems[10:] else "") + f" ({why})"
        for why, stems in reasons.items()
    )
    raise InputError(source, f"cameras for {found} of {len(photos)} photos; without: {listed}",
                     "cameras for most of them", mend)  # fmt: skip
