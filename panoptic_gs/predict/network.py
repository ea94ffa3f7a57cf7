# SPDX-License-Identifier: Apache-2.0
"""What a network has to offer to be used by ``panoptic-gs predict``, and how a class of one's own is named there."""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.cameras import estimate_cameras, upright
from panoptic_gs.predict.crop import Size, crop, crop_to_original, input_size
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.photos import Photo
from panoptic_gs.raw_predictions import RawImage, RawPredictions

BUILT_IN = {"panst3r": "panoptic_gs.predict.panst3r:PanSt3R"}

PANST3R_SIZES: tuple[Size, ...] = ((512, 384), (512, 336), (512, 288), (512, 256), (512, 160))
"""What PanSt3R's 512-pixel checkpoints take, and each of them transposed."""


@dataclass(frozen=True)
class NetworkOptions:
    """What the command line hands to a network's constructor."""

    checkpoint: Path | None = None
    """The file with its weights."""
    trust_checkpoint: bool = False
    """Whether the user agreed that opening the checkpoint may run code from it."""
    device: str = "cpu"
    """What to run on, as torch names it."""
    amp: Literal["off", "fp16", "bf16"] = "off"
    """Automatic mixed precision."""
    estimate_cameras: bool = True
    """Whether cameras are wanted, or masks alone."""
    shared_focal: bool = False
    """One focal length for all photos."""


class PanopticPredictor(Protocol):
    """Anything that predicts panoptic query masks for all photos of a scene together.

    `PointMapNetwork` implements it for networks that give point maps; any other class that is called with
    `NetworkOptions` and has this method serves as well.
    """

    def predict(self, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes) -> RawPredictions: ...


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What a network sees: all photos cropped to one size."""

    images: tuple[RawImage, ...]
    """Names and sizes of the N photos."""
    pixels: np.ndarray
    """``[N, H, W, 3]`` uint8, RGB."""
    to_original: np.ndarray
    """``[N, 3, 3]`` float64, from pixels of the crop to pixels of the photo."""

    @property
    def size(self) -> Size:
        """Width and height of the crops."""
        return self.pixels.shape[2], self.pixels.shape[1]


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What a network gives for N views with Q queries and C classes; without point maps, cameras have to be known."""

    mask_logits: Tensor
    """``[N, Q, h, w]`` before the sigmoid, at any resolution of the whole crop."""
    class_logits: Tensor
    """``[Q, C]`` before the sigmoid, in the order of the classes that were given."""
    points: Tensor | None = None
    """``[N, H, W, 3]`` point maps in one frame for all views."""
    points_local: Tensor | None = None
    """``[N, H, W, 3]`` the same points in each camera's frame: x right, y down, z forward, at the same scale."""
    confidence: Tensor | None = None
    """``[N, H, W]`` weights of the points."""


class PointMapNetwork(ABC):
    """A `PanopticPredictor` from a single method: `forward`. Crops, cameras and checks are taken care of.

    The constructor is called with `NetworkOptions`; here it only keeps them.
    """

    name: ClassVar[str] = "a network"
    """Written into the predictions."""
    sizes: ClassVar[tuple[Size, ...]] = PANST3R_SIZES
    """Input sizes, width × height, landscape; upright photos get them transposed. The closest in aspect is taken."""

    def __init__(self, options: NetworkOptions) -> None:
        self.options = options

    @abstractmethod
    def forward(self, views: NetworkInput, classes: Sequence[Category], keyframes: Keyframes) -> NetworkOutput:
        """Run the network on all views together."""

    def predict(self, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes) -> RawPredictions:
        """Crop the photos, run the network, estimate the cameras.

        Photos whose cameras cannot be told are left out.

        Raises:
            InputError: an unreadable photo, an output that does not fit the input, cameras of less than half of them.
        """
        views = prepare(photos, self.sizes)
        with torch.inference_mode():
            output = self.forward(views, classes, keyframes)
        return raw_predictions(views, classes, output, self.name, self.options)


def prepare(photos: Sequence[Photo], sizes: Sequence[Size]) -> NetworkInput:
    """The photos as a network's input: the one of its sizes that fits most of them, cropped around the centre."""
    size = input_size(photos, sizes)
    pixels = np.empty((len(photos), size[1], size[0], 3), np.uint8)
    for index, photo in enumerate(photos):
        pixels[index] = crop(photo.read(), size)
    to_original = np.stack([crop_to_original(photo.width, photo.height, size) for photo in photos])
    return NetworkInput(tuple(photo.raw_image for photo in photos), pixels, to_original)


def raw_predictions(
    views: NetworkInput, classes: Sequence[Category], output: NetworkOutput, network: str, options: NetworkOptions
) -> RawPredictions:
    """A network's output with the cameras that follow from its point maps, in a world that is upright.

    Views whose cameras cannot be told are left out.

    Raises:
        InputError: shapes that do not fit, only a part of the point maps, cameras of less than half of the views.
    """
    points = confidence = viewmats = Ks = None
    kept = list(range(len(views.images)))
    given = (output.points, output.points_local, output.confidence)
    count, (width, height) = len(views.images), views.size
    if all(tensor is not None for tensor in given):
        maps = [np.asarray(tensor.detach().float().cpu()) for tensor in given if tensor is not None]
        for name, found, last in zip(("points", "points_local", "confidence"), maps, ((3,), (3,), ()), strict=True):
            if found.shape != (count, height, width, *last):
                raise InputError(
                    f"output of {network}, {name}",
                    f"shape {list(found.shape)}",
                    f"{[count, height, width, *last]}",
                    "One map for each view, at the size of the input.",
                )
        points, confidence = maps[0], maps[2]
        if options.estimate_cameras:
            estimated = estimate_cameras([i.stem for i in views.images], *maps, shared_focal=options.shared_focal)
            kept = [index for index in kept if index not in estimated.failures]
            if len(kept) < max(2, count / 2):
                raise next(iter(estimated.failures.values()))
            turn = upright(estimated.viewmats[kept])
            points, viewmats, Ks = turn(points), turn.move_viewmats(estimated.viewmats), estimated.Ks
    elif any(tensor is not None for tensor in given):
        raise InputError(
            f"output of {network}",
            "only a part of points, points_local and confidence",
            "all three, or none where cameras are known",
            "Give all of them.",
        )
    masks = output.mask_logits.detach().cpu().to(torch.float16)
    if len(masks) != count:
        raise InputError(
            f"output of {network}, mask_logits", f"{len(masks)} views", f"{count}", "Give masks for every view."
        )

    def chosen(values: np.ndarray | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values[kept]).float()

    return RawPredictions(
        masks if len(kept) == count else masks[kept],
        output.class_logits.detach().float().cpu(),
        tuple(views.images[index] for index in kept),
        tuple(classes),
        network,
        views.size,
        points=chosen(points),
        confidence=chosen(confidence),
        viewmats=chosen(viewmats),
        Ks=chosen(Ks),
        to_original=chosen(views.to_original),
        source=f"output of {network}",
    )


def load_network(name: str, options: NetworkOptions) -> PanopticPredictor:
    """The network of a name: a built-in one, or a class as ``package.module:Class``.

    Modules are looked for in the current folder, too.

    Raises:
        InputError: there is no such module or class, or it has no method ``predict``.
    """
    module_name, _, class_name = BUILT_IN.get(name, name).partition(":")
    expected = f"one of {', '.join(BUILT_IN)}, or package.module:Class"
    if not class_name:
        raise InputError("network", f"'{name}'", expected, "Name your class as in my_networks:MyNetwork.")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"network '{name}'",
            f"a module that cannot be imported ({error})",
            expected,
            "Install the package, or run the command in the folder of the module.",
        ) from error
    network_class = getattr(module, class_name, None)
    if not callable(getattr(network_class, "predict", None)):
        raise InputError(
            f"network '{name}'",
            f"no class '{class_name}' in {module_name}" if network_class is None else "no method 'predict'",
            "a class that implements panoptic_gs.predict.PanopticPredictor",
            "Derive it from panoptic_gs.predict.PointMapNetwork and give it a method 'forward'.",
        )
    assert network_class is not None
    return network_class(options)
