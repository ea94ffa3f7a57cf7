# SPDX-License-Identifier: Apache-2.0
"""Photos and maps of a training in bounded memory: some stay decoded, the others are read again for each use."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

Item = dict[str, Any]
READERS = 2
"""Threads that read ahead."""
_AHEAD = 4
"""Photos that are read ahead at most, besides those that stay."""


class PhotoCache(Sequence[Item]):
    """The items of a dataset, the first of which stay in memory, as many as fit.

    Each epoch of a training shows every photo once, so what was used last is used again last: a cache that drops the
    oldest would miss every time, one that keeps what it has hits in the share that fits.

    All are read once at the start, so that a photo that cannot be read ends a training before it begins.

    Args:
        read: gives an item; called by several threads.
        count: how many there are.
        most_bytes: of the tensors that stay.
        place: brings an item that stays to where it is kept.
        track: shows how the first reading goes on.
    """

    def __init__(
        self,
        read: Callable[[int], Item],
        count: int,
        most_bytes: float,
        place: Callable[[Item], Item] = lambda item: item,
        track: Callable[[Iterator[Item]], Iterator[Item]] = lambda items: items,
    ) -> None:
        self._read = read
        self._readers = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="photos")
        self._kept: dict[int, Item] = {}
        self._coming: dict[int, Future[Item]] = {}
        self._labels: dict[int, bytes] = {}
        self._latest: tuple[int, Item] | None = None
        self._keys: list[frozenset[str]] = []
        self.kept_bytes = 0
        self.total_bytes = 0
        for index, item in enumerate(track(self._in_order(count))):
            self._keys.append(frozenset(item))
            size = size_of(item)
            self.total_bytes += size
            # No later photo is kept where one did not fit, so that which ones stay is plain to see.
            if len(self._kept) == index and self.kept_bytes + size <= most_bytes:
                self._kept[index] = place(item)
                self.kept_bytes += size

    def _in_order(self, count: int) -> Iterator[Item]:
        coming: deque[Future[Item]] = deque()
        for index in range(count):
            coming.append(self._readers.submit(self._read, index))
            if len(coming) > READERS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def kept(self) -> int:
        """How many stay in memory."""
        return len(self._kept)

    def keys_of(self, index: int) -> frozenset[str]:
        """What an item has, without reading it."""
        return self._keys[index] | ({"panoptic"} if index in self._labels else frozenset())

    def __getitem__(self, index: int) -> Item:  # pyright: ignore[reportIncompatibleMethodOverride] (no slices)
        if not 0 <= index < len(self):
            raise IndexError(index)
        item = self._kept.get(index)
        if item is None:
            if self._latest is None or self._latest[0] != index:
                coming = self._coming.pop(index, None)
                self._latest = index, self._read(index) if coming is None else coming.result()
            item = self._latest[1]
        if index in self._labels:
            shape = item["image"].shape[:2]
            labels = np.frombuffer(zlib.decompress(self._labels[index]), dtype=np.int32).reshape(shape).copy()
            item = {**item, "panoptic": torch.from_numpy(labels).to(item["image"].device)}
        return item

    def announce(self, indices: Sequence[int]) -> None:
        """Start to read what is needed next, of many the first few; what was announced before is so no longer."""
        soon = indices[:_AHEAD]
        for index in self._coming.keys() - set(soon):
            self._coming.pop(index).cancel()
        for index in soon:
            if index not in self._kept and index not in self._coming and len(self._coming) < _AHEAD:
                self._coming[index] = self._readers.submit(self._read, index)

    def relabel(self, index: int, labels: np.ndarray) -> None:
        """Have this label map ``[H, W]`` from now on; it is kept compressed, to about a hundredth."""
        self._labels[index] = zlib.compress(np.ascontiguousarray(labels, dtype=np.int32).tobytes(), 1)


def size_of(item: Item) -> int:
    """Bytes of an item's tensors."""
    return sum(value.numel() * value.element_size() for value in item.values() if isinstance(value, Tensor))
