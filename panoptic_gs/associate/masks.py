# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Masks that are numbered image by image: those of one photo, which may overlap, and those of a whole scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category

OBJECT = Category(1, "object", True)
"""The class of masks that come without one."""


@dataclass(frozen=True, eq=False)
class ViewMasks:
    """The masks of one photo: parts and wholes may overlap.

    The photo is divided into regions, each of which lies in the same masks everywhere, so any number of overlapping
    masks is one map. Masks and regions are numbered in the order in which an image is read, whatever their ids are, so
    nothing that is computed from them depends on ids.

    Args:
        regions: ``[H, W]`` int32, 0 = under no mask, else a region's number.
        membership: ``[R + 1, M]`` bool, sparse: which masks a region lies in; none for region 0.
        ids: ``[M]`` int64, what the masks are called in their file.
        category_ids: ``[M]`` int64.
        scores: ``[M]`` float32 in 0 … 1, NaN where unknown.
    """

    regions: np.ndarray  # [H, W]
    membership: sparse.csr_matrix  # [R + 1, M]
    ids: np.ndarray  # [M]
    category_ids: np.ndarray  # [M]
    scores: np.ndarray  # [M]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def overlap(self) -> bool:
        """Whether some pixel lies in two masks."""
        return bool((np.diff(self.membership.indptr) > 1).any())

    def areas(self) -> np.ndarray:
        """The pixels ``[M]`` int64 of each mask."""
        counts = np.bincount(self.regions.ravel(), minlength=self.membership.shape[0])
        return np.asarray(self.membership.T.astype(np.int64) @ counts)

    def mask(self, number: int) -> np.ndarray:
        """The pixels ``[H, W]`` bool of a mask."""
        return self.membership[:, [number]].toarray()[:, 0].astype(bool)[self.regions]

    def remapped(self, fit: Callable[[np.ndarray], np.ndarray]) -> ViewMasks:
        """The masks on another pixel grid; ``fit`` takes and gives a label map and never mixes labels."""
        return replace(self, regions=np.ascontiguousarray(fit(self.regions), dtype=np.int32))

    def paint(self, value: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
        """A map ``[H, W]`` with ``value [M]`` of the mask on top at each pixel, 0 under no mask.

        Args:
            value: of each mask, integers.
            order: rank ``[M]`` of each mask, the largest lies on top; by default the better score does, and the smaller
                mask of equals.
        """
        if order is None:
            area = self.areas()
            order = np.empty(len(self), np.int64)
            order[np.lexsort((np.arange(len(self))[::-1], -area, np.nan_to_num(self.scores, nan=0.0)))] = np.arange(
                len(self)
            )
        table = np.zeros(self.membership.shape[0], np.int64)
        rows, masks = self.membership.nonzero()
        last = np.lexsort((order[masks], rows))
        table[rows[last]] = np.asarray(value)[masks[last]]  # of one region's masks the last one written stays
        return table[self.regions]

    @classmethod
    def from_label_map(
        cls, labels: np.ndarray, categories: Mapping[int, int], scores: Mapping[int, float] | None = None
    ) -> ViewMasks:
        """Masks that do not overlap, from a map ``[H, W]`` of ids, 0 = none.

        Args:
            labels: the map.
            categories: id → category id of every id in it.
            scores: id → score, where known.
        """
        values, first, dense = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        order = order[values[order] != 0]
        number = np.zeros(len(values), np.int32)
        number[order] = np.arange(1, len(order) + 1)
        ids = values[order].astype(np.int64)
        membership = sparse.csr_matrix(
            (np.ones(len(ids), bool), (np.arange(1, len(ids) + 1), np.arange(len(ids)))), (len(ids) + 1, len(ids))
        )
        return cls(
            number[dense.reshape(labels.shape)],
            membership,
            ids,
            np.array([categories[int(i)] for i in ids], np.int64),
            np.array([(scores or {}).get(int(i), np.nan) for i in ids], np.float32),
        )

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[np.ndarray],
        shape: tuple[int, int],
        ids: Sequence[int] | None = None,
        category_ids: Sequence[int] | None = None,
        scores: Sequence[float] | None = None,
    ) -> ViewMasks:
        """Masks ``[H, W]`` bool that may overlap; empty ones are left out.

        Args:
            masks: one after the other; each is needed only once.
            shape: height and width of all of them.
            ids: what they are called, 1, 2, … by default.
            category_ids: :data:`OBJECT` by default.
            scores: unknown by default.
        """
        regions = np.zeros(shape, np.int32)
        members: list[tuple[int, ...]] = [()]
        kept: list[int] = []
        for number, mask in enumerate(masks):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not len(rows):
                continue
            window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            inside, under = mask[window], regions[window]
            parts, dense = np.unique(under[inside], return_inverse=True)
            under[inside] = (len(members) + np.arange(len(parts), dtype=np.int32))[dense]
            members += [(*members[part], len(kept)) for part in parts]
            kept.append(number)
        return cls._in_reading_order(
            regions,
            members,
            np.asarray(range(1, len(kept) + 1) if ids is None else [ids[k] for k in kept], np.int64),
            np.asarray([OBJECT.id] * len(kept) if category_ids is None else [category_ids[k] for k in kept], np.int64),
            np.asarray([np.nan] * len(kept) if scores is None else [scores[k] for k in kept], np.float32),
        )

    @classmethod
    def _in_reading_order(
        cls,
        regions: np.ndarray,
        members: Sequence[tuple[int, ...]],
        ids: np.ndarray,
        category_ids: np.ndarray,
        scores: np.ndarray,
    ) -> ViewMasks:
        """Drop regions that later masks divided up, and number what remains as an image is read."""
        values, first, dense = np.unique(regions, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        order = order[values[order] != 0]
        number = np.zeros(len(values), np.int32)
        number[order] = np.arange(1, len(order) + 1)
        rows = [row for row, value in enumerate(order, 1) for _ in members[values[value]]]
        columns = [mask for value in order for mask in members[values[value]]]
        shape = (len(order) + 1, len(ids))
        membership = sparse.csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape)
        # Masks of equal first pixels are told apart by their regions, which are as independent of ids as pixels are.
        keys = [tuple(column.nonzero()[0].tolist()) for column in membership.T.tocsr().toarray()] if len(ids) else []
        turn = sorted(range(len(ids)), key=lambda mask: (keys[mask], category_ids[mask], -np.nan_to_num(scores[mask])))
        return cls(
            number[dense.reshape(regions.shape)],
            membership[:, turn].tocsr(),
            ids[turn],
            category_ids[turn],
            scores[turn],
        )


@dataclass(frozen=True, eq=False)
class ImageMasks(Mapping[str, ViewMasks]):
    """The masks of a scene's photos, numbered image by image; read when they are asked for.

    Args:
        categories: what the masks' category ids mean.
        readers: image stem → what reads its masks.
        source: where they are from, for messages.
        kind: the format in words.
        without: photos of the scene that have no masks.
    """

    categories: tuple[Category, ...]
    readers: Mapping[str, Callable[[], ViewMasks]]
    source: str = ""
    kind: str = ""
    without: tuple[str, ...] = ()

    def __getitem__(self, stem: str) -> ViewMasks:
        return self.readers[stem]()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.readers))

    def __len__(self) -> int:
        return len(self.readers)


def no_masks(source: str = "") -> InputError:
    """The error of masks that are all empty."""
    return InputError(source or "masks", "no mask in any view", "at least one mask", "Check what wrote them.")


def foreign_splats(found: str) -> InputError:
    """The error of Gaussians that the masks' views hardly see."""
    return InputError(
        "splats", found, "splats of this scene, in the world frame of its cameras",
        "Give the splats that were trained on these photos, exported in the frame of transforms.json.",
    )  # fmt: skip


LEAST_SEEN = 0.02
"""Share of the pixels below which the Gaussians are those of another scene, or in another frame."""


def require_size(source: object, size: tuple[int, int], photo: tuple[int, int]) -> None:
    """Masks may be larger or smaller than their photo, but of its shape.

    Args:
        source: the masks' file.
        size: width and height of the masks.
        photo: width and height of the photo.

    Raises:
        InputError: they are turned, cropped or squeezed.
    """
    (width, height), (photo_width, photo_height) = size, photo
    if min(size) > 0 and abs(width * photo_height - height * photo_width) <= max(*photo, *size):
        return
    turned = abs(height * photo_height - width * photo_width) <= max(*photo, *size)
    raise InputError(
        str(source),
        f"masks of {width}×{height} pixels" + (", turned by 90°" if turned else ""),
        f"the shape of their photo, {photo_width}×{photo_height}, in any size",
        "Turn them as the photo is stored (the network may have obeyed the photo's EXIF orientation)."
        if turned
        else "Make them from this photo without cropping or padding it, or undo the crop; masks of the same shape in "
        "another size are resampled.",
    )
