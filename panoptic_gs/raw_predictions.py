# SPDX-License-Identifier: Apache-2.0
"""Raw network predictions: query masks over all views of a scene, as tensors and a JSON beside them.

The layout is described in ``docs/formats.md``. Mask logits are large, so a loaded prediction keeps them in their file
and reads one view at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.panoptic import Category
from panoptic_gs.replacing import replacing

TENSORS = "predictions.safetensors"
DESCRIPTION = "predictions.json"

_AGAIN = "Export the predictions again."


@dataclass(frozen=True)
class RawImage:
    """An original image: its file name, and its size in pixels."""

    name: str
    width: int
    height: int

    @property
    def stem(self) -> str:
        """The name without ending, as label maps and cameras are matched by."""
        return Path(self.name).stem


class MaskStack(Protocol):
    """Mask logits [N, Q, h, w] float16, a tensor or in a file: `stack[n]` gives view n, [Q, h, w]."""

    @property
    def shape(self) -> Any: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class RawPredictions:
    """What a multi-view panoptic network says about N images with Q queries and C classes.

    Args:
        mask_logits: ``[N, Q, h, w]`` float16 before the sigmoid, at mask resolution; anything like `MaskStack`.
        class_logits: ``[Q, C]`` float32 before the sigmoid.
        images: the N original images, in order.
        classes: the C classes, in the order of the logits.
        network: what predicted.
        network_size: width and height in pixels of the network's input, which `Ks` and `to_original` refer to.
        points: ``[N, H, W, 3]`` float32 global point maps.
        confidence: ``[N, H, W]`` float32 confidence of the points.
        viewmats: ``[N, 4, 4]`` estimated world to camera, OpenCV axes.
        Ks: ``[N, 3, 3]`` estimated intrinsics in pixels of the network's input.
        to_original: ``[N, 3, 3]`` from pixels of the network's input to pixels of the original image.

    Raises:
        InputError: shapes that do not fit each other, NaN, no images, queries or classes, a class or an image named
            twice.
    """

    mask_logits: MaskStack
    class_logits: Tensor
    images: tuple[RawImage, ...]
    classes: tuple[Category, ...]
    network: str
    network_size: tuple[int, int]
    points: Tensor | None = None
    confidence: Tensor | None = None
    viewmats: Tensor | None = None
    Ks: Tensor | None = None
    to_original: Tensor | None = None
    source: str = "RawPredictions"

    def __post_init__(self) -> None:
        shape = tuple(self.mask_logits.shape)
        if len(shape) != 4 or 0 in shape:
            raise self._error("mask_logits", f"shape {list(shape)}", "[N, Q, h, w] with at least one view and query")
        views, queries = shape[:2]
        if len(self.images) != views:
            raise self._error("images", f"{len(self.images)} for {views} views of masks", "one image for each view")
        if not self.classes:
            raise self._error("classes", "none", "at least one class")
        width, height = self.network_size
        if min(width, height) <= 0:
            raise self._error("network_size", f"{width}×{height}", "a positive width and height in pixels")
        _require_unique(self, "classes", [c.name for c in self.classes])
        _require_unique(self, "class ids", [str(c.id) for c in self.classes])
        _require_unique(self, "images", [image.stem for image in self.images])
        self._check("class_logits", self.class_logits, (queries, len(self.classes)))
        for name, expected in (
            ("points", (views, height, width, 3)),
            ("confidence", (views, height, width)),
            ("viewmats", (views, 4, 4)),
            ("Ks", (views, 3, 3)),
            ("to_original", (views, 3, 3)),
        ):
            tensor = getattr(self, name)
            if tensor is not None:
                self._check(name, tensor, expected, finite=name not in ("points", "confidence"))

    def views(self) -> Iterator[tuple[RawImage, Tensor]]:
        """Each image with its mask logits [Q, h, w], one view in memory at a time."""
        for index, image in enumerate(self.images):
            yield image, self.mask_logits[index]

    def require_images(self, stems: Collection[str]) -> None:
        """Check that every predicted image is one of a scene's.

        Raises:
            InputError: an image whose name (without ending) is not among ``stems``.
        """
        for image in self.images:
            if image.stem not in stems:
                raise self._error("images", f"'{image.name}', which is no image of the scene", "the scene's images")

    def save(self, folder: Path | str) -> None:
        """Write ``predictions.safetensors`` and ``predictions.json`` into a folder, which is made where missing.

        Raises:
            InputError: NaN in the mask logits, or a folder that cannot be written.
        """
        folder = Path(folder)
        masks = self.mask_logits
        if not isinstance(masks, Tensor):
            masks = torch.stack([masks[index] for index in range(len(masks))])
        for index in range(len(masks)):
            self._check_masks(index, masks[index])
        tensors = {"mask_logits": masks.to(torch.float16), "class_logits": self.class_logits.float()}
        for name in ("points", "confidence", "viewmats", "Ks", "to_original"):
            tensor = getattr(self, name)
            if tensor is not None:
                tensors[name] = tensor.float()
        with replacing(folder / TENSORS) as temporary:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, str(temporary))
        write_json(folder / DESCRIPTION, {
            "network": self.network,
            "network_size": list(self.network_size),
            "images": [{"name": i.name, "width": i.width, "height": i.height} for i in self.images],
            "classes": [
                {"id": c.id, "name": c.name, "isthing": int(c.isthing)} | ({"color": list(c.color)} if c.color else {})
                for c in self.classes
            ],
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path | str) -> RawPredictions:
        """Read a folder with ``predictions.safetensors`` and ``predictions.json``; masks are checked, then stay there.

        Raises:
            InputError: something is missing, truncated, not finite or does not fit, or it is a pickle.
        """
        folder = Path(folder)
        if folder.suffix in (".pkl", ".pickle", ".pt", ".pth"):
            raise InputError(
                folder,
                "a pickle",
                f"a folder with {TENSORS} and {DESCRIPTION}",
                "Opening a pickle runs code from it. In the program that made it, write the tensors with "
                "safetensors.torch.save_file instead, or build RawPredictions and save it.",
            )
        folder = folder.parent if folder.name in (TENSORS, DESCRIPTION) else folder
        file = folder / TENSORS
        if not folder.is_dir() or not file.is_file():
            raise InputError(file, "no such file", f"a folder with {TENSORS} and {DESCRIPTION}", "Check the path.")
        description = folder / DESCRIPTION
        document = read_json(description)
        try:
            images = tuple(RawImage(str(i["name"]), int(i["width"]), int(i["height"])) for i in document["images"])
            classes = tuple(_class(index, entry) for index, entry in enumerate(document["classes"], 1))
            network, (width, height) = str(document["network"]), document["network_size"]
            size = (int(width), int(height))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                description,
                f"a missing or malformed field ({type(error).__name__}: {error})",
                "network, network_size [width, height], images (name, width, height), classes (name, isthing)",
                _AGAIN,
            ) from error
        tensors = _read_tensors(file)
        loaded = cls(_MaskFile(file), tensors.pop("class_logits"), images, classes, network, size, **tensors,
                     source=str(file))  # fmt: skip
        for index in range(len(images)):
            loaded._check_masks(index, loaded.mask_logits[index])
        return loaded

    def _check(self, name: str, tensor: Tensor, expected: tuple[int, ...], finite: bool = True) -> None:
        if tuple(tensor.shape) != expected:
            raise self._error(name, f"shape {list(tensor.shape)}", f"{list(expected)}")
        if finite and not torch.isfinite(tensor).all():
            raise self._error(name, "NaN or infinite values", "finite numbers")

    def _check_masks(self, index: int, masks: Tensor) -> None:
        if torch.isnan(masks).any():
            raise self._error(f"mask_logits, view '{self.images[index].name}'", "NaN", "logits before the sigmoid")

    def _error(self, name: str, found: str, expected: str) -> InputError:
        return InputError(f"{self.source}, {name}", found, expected, _AGAIN)


class _MaskFile:
    """The mask logits in their file; a view is read when it is asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.shape = tuple(_reading(file, lambda f: f.get_slice("mask_logits").get_shape()))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int, /) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return _reading(self._file, lambda f: f.get_slice("mask_logits")[index % len(self)])


def _read_tensors(file: Path) -> dict[str, Tensor]:
    names = _reading(file, lambda f: set(f.keys()))
    known = {"class_logits", "points", "confidence", "viewmats", "Ks", "to_original"}
    for name in ("mask_logits", "class_logits"):
        if name not in names:
            raise InputError(file, f"no tensor '{name}'", "mask_logits [N, Q, h, w] and class_logits [Q, C]", _AGAIN)
    return {name: _reading(file, lambda f, name=name: f.get_tensor(name)).float() for name in sorted(names & known)}


def _reading(file: Path, read: Callable[[Any], Any]) -> Any:
    try:
        with safe_open(str(file), framework="pt") as opened:
            return read(opened)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            file,
            f"no complete safetensors file ({error})",
            "tensors as formats.md lists them",
            "Copy or export it again.",
        ) from error


def _class(index: int, entry: dict[str, Any]) -> Category:
    color = entry.get("color")
    rgb = (int(color[0]), int(color[1]), int(color[2])) if color else None
    return Category(int(entry.get("id", index)), str(entry["name"]), bool(entry["isthing"]), rgb)


def _require_unique(raw: RawPredictions, what: str, names: list[str]) -> None:
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise raw._error(what, f"'{values[counts > 1][0]}' twice", "each once")
