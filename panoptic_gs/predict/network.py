# SPDX-License-Identifier: Apache-2.0
"""What a network has to offer to be used by ``panoptic-gs predict``, and how a class of one's own is named there."""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.cameras import estimate_cameras, upright
from panoptic_gs.predict.crop import Size, closest_size, crop, crop_to_original, input_size
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import NETWORKS, require_installed
from panoptic_gs.raw_predictions import ClassActivation, RawImage, RawPredictions

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
    seed: int = 0
    """Of whatever the network draws at random."""


class PanopticPredictor(Protocol):
    """Anything that predicts panoptic query masks for all photos of a scene together.

    `PointMapNetwork` implements it for networks that give point maps; any other class that is called with
    `NetworkOptions` and has this method serves as well.
    """

    def predict(self, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes) -> RawPredictions: ...


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What a network sees: the photos, each cropped to one of its sizes."""

    images: tuple[RawImage, ...]
    """Names and sizes of the N photos."""
    crops: Sequence[np.ndarray]
    """N of ``[H, W, 3]`` uint8, RGB; their sizes are alike unless the network takes each photo at its own."""
    to_original: np.ndarray
    """``[N, 3, 3]`` float64, from pixels of the crop to pixels of the photo."""

    @property
    def pixels(self) -> np.ndarray:
        """All crops as ``[N, H, W, 3]``, where they are of one size."""
        return self.crops if isinstance(self.crops, np.ndarray) else np.stack(self.crops)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Width and height of each crop."""
        return tuple((crop.shape[1], crop.shape[0]) for crop in self.crops)


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What a network gives for N views with Q queries and C classes; without point maps, cameras have to be known.

    Whatever has an entry a view is one tensor, or a list of N where the views' sizes differ.
    """

    mask_logits: Tensor | Sequence[Tensor]
    """``[N, Q, h, w]`` before the sigmoid, at any resolution of the whole crop."""
    class_logits: Tensor
    """``[Q, C]`` before the sigmoid, in the order of the classes that were given; or `class_activation`."""
    points: Tensor | Sequence[Tensor] | None = None
    """``[N, H, W, 3]`` point maps in one frame for all views."""
    points_local: Tensor | Sequence[Tensor] | None = None
    """``[N, H, W, 3]`` the same points in each camera's frame: x right, y down, z forward, at the same scale."""
    confidence: Tensor | Sequence[Tensor] | None = None
    """``[N, H, W]`` weights of the points."""
    class_activation: ClassActivation = "sigmoid"
    """``softmax`` where `class_logits` are ``[Q, C + 1]``, the last column for no class."""
    recommended_merge: str | None = None
    """The way of merging that the network's authors recommend for this checkpoint."""


class PointMapNetwork(ABC):
    """A `PanopticPredictor` from a single method: `forward`. Crops, cameras and checks are taken care of.

    The constructor is called with `NetworkOptions`; here it only keeps them.
    """

    name: ClassVar[str] = "a network"
    """Written into the predictions."""
    sizes: ClassVar[tuple[Size, ...]] = PANST3R_SIZES
    """Input sizes, width × height, landscape; upright photos get them transposed. The closest in aspect is taken."""
    one_size: ClassVar[bool] = True
    """Whether all photos are cropped to the size that fits most of them, or each to the one that fits it."""

    def __init__(self, options: NetworkOptions) -> None:
        self.options = options
        self.notes: list[str] = []
        """What the user should know of it, such as which release its checkpoint is."""

    @abstractmethod
    def forward(self, views: NetworkInput, classes: Sequence[Category], keyframes: Keyframes) -> NetworkOutput:
        """Run the network on all views together."""

    def predict(self, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes) -> RawPredictions:
        """Crop the photos, run the network, estimate the cameras.

        Photos whose cameras cannot be told are left out.

        Raises:
            InputError: an unreadable photo, an output that does not fit the input, cameras of less than half of them.
        """
        views = prepare(photos, self.sizes, one_size=self.one_size)
        with torch.inference_mode():
            output = self.forward(views, classes, keyframes)
        return raw_predictions(views, classes, output, self.name, self.options)


def prepare(photos: Sequence[Photo], sizes: Sequence[Size], *, one_size: bool = True) -> NetworkInput:
    """The photos as a network's input, cropped around the centre to the size that fits most of them, or each of them.

    Args:
        photos: N of them.
        sizes: the network's, landscape.
        one_size: whether all crops have to be of one size.
    """
    common = input_size(photos, sizes) if one_size else None
    chosen = [common or closest_size(photo.width, photo.height, sizes) for photo in photos]
    crops = [crop(photo.read(), size) for photo, size in zip(photos, chosen, strict=True)]
    to_original = np.stack([
        crop_to_original(photo.width, photo.height, size) for photo, size in zip(photos, chosen, strict=True)
    ])  # fmt: skip
    return NetworkInput(tuple(photo.raw_image for photo in photos), crops, to_original)


def raw_predictions(
    views: NetworkInput, classes: Sequence[Category], output: NetworkOutput, network: str, options: NetworkOptions
) -> RawPredictions:
    """A network's output with the cameras that follow from its point maps, in a world that is upright.

    Views whose cameras cannot be told are left out.

    Raises:
        InputError: shapes that do not fit, only a part of the point maps, cameras of less than half of the views.
    """
    points = confidence = viewmats = Ks = None
    count = len(views.images)
    kept = list(range(count))
    if (maps := _point_maps(views, output, network)) is not None:
        points, points_local, confidence = maps
        if options.estimate_cameras:
            estimated = estimate_cameras(
                [image.stem for image in views.images], points, points_local, confidence,
                shared_focal=options.shared_focal, scales=views.to_original[:, 0, 0],
            )  # fmt: skip
            kept = [index for index in kept if index not in estimated.failures]
            if len(kept) < max(2, count / 2):
                raise next(iter(estimated.failures.values()))
            turn = upright(estimated.viewmats[kept])
            points = [turn(view) for view in points]
            viewmats, Ks = turn.move_viewmats(estimated.viewmats), estimated.Ks
    masks = output.mask_logits
    if len(masks) != count:
        raise InputError(
            f"output of {network}, mask_logits", f"{len(masks)} views", f"{count}", "Give masks for every view."
        )

    def matrices(values: np.ndarray | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values[kept]).float()

    def tensors(values: Sequence[np.ndarray] | None) -> list[Tensor] | None:
        return None if values is None else [torch.from_numpy(values[index]).float() for index in kept]

    return RawPredictions(
        [masks[index].detach().cpu().to(torch.float16) for index in kept],
        output.class_logits.detach().float().cpu(),
        tuple(views.images[index] for index in kept),
        tuple(classes),
        network,
        tuple(views.sizes[index] for index in kept),
        points=tensors(points),
        confidence=tensors(confidence),
        viewmats=matrices(viewmats),
        Ks=matrices(Ks),
        to_original=matrices(views.to_original),
        source=f"output of {network}",
        class_activation=output.class_activation,
        recommended_merge=output.recommended_merge,
    )


def _point_maps(
    views: NetworkInput, output: NetworkOutput, network: str
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] | None:
    """World and local points and their confidence of each view; None where the network gives none."""
    given = {"points": output.points, "points_local": output.points_local, "confidence": output.confidence}
    if all(tensors is None for tensors in given.values()):
        return None
    maps: list[list[np.ndarray]] = []
    for name, tensors in given.items():
        if tensors is None:
            raise InputError(
                f"output of {network}",
                "only a part of points, points_local and confidence",
                "all three, or none where cameras are known",
                "Give all of them.",
            )
        found = [np.asarray(view.detach().float().cpu()) for view in tensors]
        expected = [(height, width, 3) if name != "confidence" else (height, width) for width, height in views.sizes]
        if [view.shape for view in found] != expected:
            wrong = next((i for i, (a, b) in enumerate(zip(found, expected)) if a.shape != b), len(expected) - 1)
            raise InputError(
                f"output of {network}, {name}",
                f"{len(found)} maps, that of view {wrong} of shape "
                f"{list(found[wrong].shape) if wrong < len(found) else None}",
                f"{len(expected)}, that one of {list(expected[wrong])}",
                "One map for each view, at the size of the input.",
            )
        maps.append(found)
    return maps[0], maps[1], maps[2]


def load_network(name: str, options: NetworkOptions) -> PanopticPredictor:
    """The network of a name: a built-in one, or a class as ``package.module:Class``.

    ``NAME:FILE`` is a built-in one with these weights.

    Modules are looked for in the current folder, too.

    Raises:
        InputError: there is no such module or class, it has no method ``predict``, or what it needs is not installed.
    """
    built_in, _, weights = name.partition(":")
    if built_in in NETWORKS and weights:
        if options.checkpoint is not None and options.checkpoint != Path(weights):
            raise InputError("--checkpoint", f"{options.checkpoint}, beside --network {name}", "the weights once",
                             "Leave one of them out.")  # fmt: skip
        name, options = built_in, replace(options, checkpoint=Path(weights))
    require_installed(name)
    module_name, _, class_name = (NETWORKS[name].home if name in NETWORKS else name).partition(":")
    expected = f"one of {', '.join(NETWORKS)}, or package.module:Class"
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
