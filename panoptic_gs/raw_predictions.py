# SPDX-License-Identifier: Apache-2.0
"""Raw network predictions: query masks over all views of a scene, as tensors and a JSON beside them.

The layout is described in ``docs/formats.md``. Mask logits are large, so a loaded prediction keeps them in their file
and reads one view at a time. Each view may have been seen at a size of its own, as portrait and landscape photos are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Protocol, cast, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.panoptic import Category
from panoptic_gs.records import MAX_SIDE, Length, Name, Range, read_record
from panoptic_gs.replacing import replacing

TENSORS = "predictions.safetensors"
DESCRIPTION = "predictions.json"

Size = tuple[int, int]
"""Width and height in pixels."""

ClassActivation = Literal["sigmoid", "softmax"]

_FLOATS = ("F16", "BF16", "F32", "F64")
_AGAIN = "Export the predictions again."
_MAPS = ("points", "confidence")
_MAX_PIXELS = 1 << 28  # of a photo; the largest sensors have 200 million
_MATRICES = ("viewmats", "Ks", "to_original")
_TENSORS = ("mask_logits", "class_logits", *_MAPS, *_MATRICES)


@dataclass(frozen=True)
class RawImage:
    """An original image: its file name, and its size in pixels."""

    name: str
    width: int
    height: int

    @property
    def stem(self) -> str:
        """The name without ending, as label maps and cameras are matched by."""
        return PurePosixPath(self.name).with_suffix("").as_posix()


class MaskStack(Protocol):
    """Mask logits of N views, float16: ``stack[n]`` gives view n, ``[Q, h, w]``, at a size that may be its own.

    A tensor ``[N, Q, h, w]``, a sequence of tensors, or anything with an attribute ``shapes`` that tells them without
    reading.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class RawPredictions:
    """What a multi-view panoptic network says about N images with Q queries and C classes.

    Args:
        mask_logits: ``[N, Q, h, w]`` float16 before the sigmoid, at mask resolution; anything like `MaskStack`.
        class_logits: ``[Q, C]`` float32 before the sigmoid; before a softmax ``[Q, C + 1]``, the last for no class.
        images: the N original images, in order.
        classes: the C classes, in the order of the logits.
        network: what predicted.
        input_size: width and height in pixels of the network's input, one for all views or N of them; `Ks` and
            `to_original` refer to it.
        points: ``[N, H, W, 3]`` float32 global point maps, or N of ``[H, W, 3]``.
        confidence: ``[N, H, W]`` float32 confidence of the points, or N of ``[H, W]``.
        viewmats: ``[N, 4, 4]`` estimated world to camera, OpenCV axes.
        Ks: ``[N, 3, 3]`` estimated intrinsics in pixels of the network's input.
        to_original: ``[N, 3, 3]`` from pixels of the network's input to pixels of the original image.
        class_activation: what makes probabilities of the class logits.
        recommended_merge: how to merge them, where the network's authors say so.

    Raises:
        InputError: shapes that do not fit each other, NaN, no images, queries or classes, a class or an image named
            twice, a size that is not positive.
    """

    mask_logits: MaskStack
    class_logits: Tensor
    images: tuple[RawImage, ...]
    classes: tuple[Category, ...]
    network: str
    input_size: Size | tuple[Size, ...]
    points: Tensor | Sequence[Tensor] | None = None
    confidence: Tensor | Sequence[Tensor] | None = None
    viewmats: Tensor | None = None
    Ks: Tensor | None = None
    to_original: Tensor | None = None
    source: str = "RawPredictions"
    class_activation: ClassActivation = "sigmoid"
    recommended_merge: str | None = None

    def __post_init__(self) -> None:
        shapes = mask_shapes(self.mask_logits)
        views = len(shapes)
        for shape in shapes or [()]:
            if len(shape) != 3 or 0 in shape or shape[0] != shapes[0][0]:
                found = f"a view of shape {list(shape)}" if shapes else "no view"
                raise self._error("mask_logits", found, "[N, Q, h, w] with at least one view and query")
        if len(self.images) != views:
            raise self._error("images", f"{len(self.images)} for {views} views of masks", "one image for each view")
        if not self.classes:
            raise self._error("classes", "none", "at least one class")
        sizes = self.network_sizes
        if len(sizes) != views:
            raise self._error("network_size", f"{len(sizes)} of them for {views} views", "one for all or for each view")
        named = [("network_size", size) for size in sizes]
        named += [(f"image '{image.name}'", (image.width, image.height)) for image in self.images]
        for what, (width, height) in named:
            if min(width, height) < 1 or max(width, height) > MAX_SIDE or width * height > _MAX_PIXELS:
                raise self._error(what, f"{width}×{height}", f"a size in pixels, up to {_MAX_PIXELS:,} of them")
        _require_unique(self, "classes", [c.name for c in self.classes])
        _require_unique(self, "class ids", [str(c.id) for c in self.classes])
        _require_unique(self, "images", [image.stem for image in self.images])
        if self.class_activation not in get_args(ClassActivation):
            expected = " or ".join(get_args(ClassActivation))
            raise self._error("class_activation", f"'{self.class_activation}'", expected)
        columns = len(self.classes) + (self.class_activation == "softmax")
        self._check("class_logits", self.class_logits, (shapes[0][0], columns))
        for name, last in (("points", (3,)), ("confidence", ())):
            maps = getattr(self, name)
            if maps is None:
                continue
            if len(maps) != views:
                raise self._error(name, f"{len(maps)} maps", f"{views}, one for each view")
            for index, (width, height) in enumerate(sizes):
                expected = (height, width, *last)
                self._check(f"{name} of '{self.images[index].name}'", maps[index], expected, finite=False)
        for name, side in (("viewmats", 4), ("Ks", 3), ("to_original", 3)):
            if getattr(self, name) is not None:
                self._check(name, getattr(self, name), (views, side, side))
        if self.to_original is not None and not bool((self.to_original.double().det() != 0).all()):
            raise self._error("to_original", "a matrix without an inverse", "where each crop lies in its image")

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return len(self.class_logits)

    @property
    def network_sizes(self) -> tuple[Size, ...]:
        """Width and height of the network's input, for each view."""
        if self.input_size and isinstance(self.input_size[0], tuple):
            return cast("tuple[Size, ...]", self.input_size)
        width, height = cast("Size", self.input_size)
        return ((width, height),) * len(self.images)

    @property
    def network_size(self) -> Size:
        """Width and height of the network's input, those of most views."""
        return Counter(self.network_sizes).most_common(1)[0][0]

    def best_classes(self) -> tuple[Tensor, Tensor]:
        """Each query's most probable class ``[Q]`` int64, and its probability ``[Q]`` float64.

        Under a softmax, a query that is most probably of no class has the probability 0.
        """
        logits = self.class_logits.detach().cpu().double()
        if self.class_activation == "sigmoid":
            probability, index = logits.sigmoid().max(1)
            return index, probability
        probabilities = logits.softmax(1)
        probability, index = probabilities[:, :-1].max(1)
        return index, torch.where(probability > probabilities[:, -1], probability, torch.zeros_like(probability))

    def views(self) -> Iterator[tuple[RawImage, Tensor]]:
        """Each image with its mask logits [Q, h, w], one view in memory at a time."""
        for index, image in enumerate(self.images):
            yield image, self.mask_logits[index]

    def subset(self, views: Sequence[int]) -> RawPredictions:
        """The predictions of some views, in the order of their indices."""
        index = torch.tensor(list(views), dtype=torch.int64)

        def chosen(values: Any) -> Any:
            if values is None or isinstance(values, Tensor):
                return None if values is None else values[index]
            return [values[view] for view in views]

        masks = self.mask_logits
        return replace(
            self,
            mask_logits=masks[index] if isinstance(masks, Tensor) else _SomeMasks(masks, views),
            images=tuple(self.images[view] for view in views),
            input_size=tuple(self.network_sizes[view] for view in views),
            **{name: chosen(getattr(self, name)) for name in (*_MAPS, *_MATRICES)},
        )

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
        for index in range(len(masks)):
            self._check_masks(index, masks[index])
        alike = len(set(self.network_sizes)) == 1 and len(set(mask_shapes(masks))) == 1
        tensors = {"class_logits": self.class_logits.float()} | _by_view("mask_logits", masks, torch.float16, alike)
        for name in _MAPS:
            if getattr(self, name) is not None:
                tensors |= _by_view(name, getattr(self, name), torch.float32, alike)
        for name in _MATRICES:
            if getattr(self, name) is not None:
                tensors[name] = getattr(self, name).float()
        images: list[dict[str, Any]] = [{"name": i.name, "width": i.width, "height": i.height} for i in self.images]
        if not alike:
            for entry, size in zip(images, self.network_sizes, strict=True):
                entry["network_size"] = list(size)
        document: dict[str, Any] = {
            "network": self.network,
            "network_size": list(self.network_size),
            "images": images,
            "classes": [
                {"id": c.id, "name": c.name, "isthing": int(c.isthing)} | ({"color": list(c.color)} if c.color else {})
                for c in self.classes
            ],
        }
        if self.class_activation != "sigmoid":
            document["class_activation"] = self.class_activation
        if self.recommended_merge is not None:
            document["recommended_merge"] = self.recommended_merge
        with replacing(folder / TENSORS) as temporary:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, str(temporary))
        write_json(folder / DESCRIPTION, document)

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
        description = _read_description(folder / DESCRIPTION)
        loaded = cls(**description, **_read_tensors(file, len(description["images"])), source=str(file))
        for index in range(len(loaded.images)):
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


def mask_shapes(masks: MaskStack) -> list[tuple[int, ...]]:
    """The shape of each view's masks; masks in a file are not read for it."""
    if isinstance(masks, Tensor):
        return [tuple(masks.shape[1:])] * len(masks) if masks.ndim else []
    shapes = getattr(masks, "shapes", None)
    return list(shapes) if shapes is not None else [tuple(masks[index].shape) for index in range(len(masks))]


_Side = Annotated[int, Range(1, MAX_SIDE)]
_Byte = Annotated[int, Range(0, 255)]


@dataclass(frozen=True)
class _Image:
    name: Annotated[str, Length(1, 1000)]
    width: _Side
    height: _Side
    network_size: tuple[_Side, _Side] | None = None


@dataclass(frozen=True)
class _Class:
    name: Name
    isthing: bool
    id: Annotated[int, Range(1, (1 << 31) - 1)] | None = None
    color: tuple[_Byte, _Byte, _Byte] | None = None


@dataclass(frozen=True)
class _Description:
    network: str
    network_size: tuple[_Side, _Side]
    images: Annotated[tuple[_Image, ...], Length(1)]
    classes: Annotated[tuple[_Class, ...], Length(1)]
    class_activation: ClassActivation = "sigmoid"
    recommended_merge: Name | None = None


class _StoredMasks:
    """The mask logits in their file, in one tensor or in one a view; a view is read when it is asked for."""

    def __init__(self, file: Path, views: int) -> None:
        self._file = file
        with _Opened(file) as stored:
            self._stacked = "mask_logits" in stored.keys()  # noqa: SIM118 (it is no mapping)
            if self._stacked:
                self.shape = tuple(stored.get_slice("mask_logits").get_shape())
                self.shapes = [self.shape[1:]] * self.shape[0] if self.shape else []
            else:
                self.shapes = [tuple(stored.get_slice(f"mask_logits.{view}").get_shape()) for view in range(views)]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int, /) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        with _Opened(self._file) as stored:
            if self._stacked:
                return stored.get_slice("mask_logits")[index]
            return stored.get_tensor(f"mask_logits.{index}")


class _SomeMasks:
    """The mask logits of some views of a stack, which may be in a file."""

    def __init__(self, masks: MaskStack, chosen: Sequence[int]) -> None:
        self._masks, self._chosen = masks, list(chosen)
        shapes = mask_shapes(masks)
        self.shapes = [shapes[view] for view in chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int, /) -> Tensor:
        return self._masks[self._chosen[index]]


class _Opened:
    """A safetensors file, open for reading; whatever is wrong with it names it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Any:
        try:
            self._stored = safe_open(str(self._file), framework="pt")
            return self._stored.__enter__()
        except (SafetensorError, OSError, ValueError) as error:
            raise self._error(error) from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stored.__exit__(kind, error, trace)
        if isinstance(error, InputError):
            return
        if isinstance(error, (SafetensorError, OSError, ValueError, TypeError)):
            raise self._error(error) from error

    def _error(self, error: BaseException) -> InputError:
        found = f"no complete safetensors file ({error})"
        return InputError(self._file, found, "tensors as formats.md lists them", "Copy or export it again.")


def _by_view(name: str, views: MaskStack | Sequence[Tensor], dtype: torch.dtype, alike: bool) -> dict[str, Tensor]:
    """One tensor where all views are alike, else a tensor a view."""
    if alike and isinstance(views, Tensor):
        return {name: views.to(dtype)}
    listed = [views[index].to(dtype) for index in range(len(views))]
    return {name: torch.stack(listed)} if alike else {f"{name}.{index}": view for index, view in enumerate(listed)}


def _read_tensors(file: Path, views: int) -> dict[str, Any]:
    with _Opened(file) as stored:
        names = set(stored.keys())
        if not {"mask_logits", "mask_logits.0"} & names or "class_logits" not in names:
            missing = "class_logits" if "class_logits" not in names else "mask_logits"
            expected = "mask_logits [N, Q, h, w] and class_logits [Q, C]"
            raise InputError(file, f"no tensor '{missing}'", expected, _AGAIN)
        for name in sorted(names):
            if name.partition(".")[0] in _TENSORS and (kind := stored.get_slice(name).get_dtype()) not in _FLOATS:
                raise InputError(file, f"tensor '{name}' of {kind}", f"one of {', '.join(_FLOATS)}", _AGAIN)
        read: dict[str, Any] = {
            name: stored.get_tensor(name).float() for name in ("class_logits", *_MAPS, *_MATRICES) if name in names
        }
        for name in ("mask_logits", *_MAPS):
            if name in names or f"{name}.0" not in names:
                continue
            for view in range(views):
                if f"{name}.{view}" not in names:
                    raise InputError(file, f"no tensor '{name}.{view}'", f"{views} of them, one a view", _AGAIN)
            if name in _MAPS:
                read[name] = [stored.get_tensor(f"{name}.{view}").float() for view in range(views)]
    return read | {"mask_logits": _StoredMasks(file, views)}


def _read_description(file: Path) -> dict[str, Any]:
    described = read_record(file, _Description, mend=_AGAIN)
    size = described.network_size
    sizes = tuple(image.network_size or size for image in described.images)
    return {
        "images": tuple(RawImage(image.name, image.width, image.height) for image in described.images),
        "classes": tuple(
            Category(index if entry.id is None else entry.id, entry.name, entry.isthing, entry.color)
            for index, entry in enumerate(described.classes, 1)
        ),
        "network": described.network,
        "input_size": sizes if len(set(sizes)) > 1 else (sizes or (size,))[0],
        "class_activation": described.class_activation,
        "recommended_merge": described.recommended_merge,
    }


def _require_unique(raw: RawPredictions, what: str, names: list[str]) -> None:
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise raw._error(what, f"'{values[counts > 1][0]}' twice", "each once")
