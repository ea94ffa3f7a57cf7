# SPDX-License-Identifier: Apache-2.0
"""From chosen queries to label maps: which query wins a pixel, and what a segment is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.merge.sampling import CropSampler, sample
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.progress import Progress
from panoptic_gs.raw_predictions import RawPredictions, mask_shapes
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene.confidence import encode_confidence

Resolution = Literal["image", "mask"]


@dataclass(frozen=True, eq=False)
class Merge:
    """Raw predictions merged into one panoptic labelling; maps are computed one view at a time.

    Args:
        predictions: what was merged.
        method: ``qubo``, ``standard`` or ``standard-v2``.
        contestants: ``[K]`` queries whose masks compete for each pixel.
        weights: ``[K]`` factors of their mask probabilities in that competition.
        mask_threshold: a pixel whose winner's mask is below is void.
        segment_of: ``[K]`` segment ids; 0: the query was dropped and its pixels are void.
        segments: with scene-wide ids, scores and queries.
        dropped: why → the chosen queries that became no segment.
        settings: free text, for ``panoptic.json``.
        objective: the QUBO's objective, as a mean over pixels.
        bound: what no choice of queries exceeds, where it was asked for.
    """

    predictions: RawPredictions
    method: str
    contestants: Tensor
    weights: Tensor
    mask_threshold: float
    segment_of: Tensor
    segments: tuple[Segment, ...]
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settings: str = ""
    objective: float | None = None
    bound: float | None = None

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes of the predictions."""
        return self.predictions.classes

    @property
    def gap(self) -> float | None:
        """How far the objective can be from the optimum, as a share of the bound; 0 is certified optimal."""
        if self.objective is None or self.bound is None:
            return None
        return max(0.0, 1 - self.objective / self.bound) if self.bound > 0 else 0.0

    def label_map(
        self, view: int | str, resolution: Resolution = "image", size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The labels of one view, and how sure the masks are of them.

        Args:
            view: index, or the image's name without ending.
            resolution: ``image`` is the original image's size, ``mask`` the network's masks' resolution. Either map
                covers the whole original image; what the network's crop left out is void.
            size: width and height instead.

        Returns:
            Segment ids ``[H, W]`` int32, 0 = void, and the winning mask's probability ``[H, W]`` float32, 0 where void.

        Raises:
            InputError: no such view.
        """
        index = self._index(view)
        width, height = size or self.map_size(index, resolution)
        logits = self.predictions.mask_logits[index]
        masks = logits[self.contestants.to(logits.device)].float().sigmoid()
        # A mask that is below the threshold everywhere labels nothing, but may win pixels where weights differ.
        mine = torch.arange(len(self.contestants))
        if bool((self.weights == self.weights[0]).all()):
            mine = (masks.amax((1, 2)) >= self.mask_threshold).nonzero()[:, 0].cpu()
        ids = torch.zeros(height, width, dtype=torch.int32)
        confidence = torch.zeros(height, width)
        if len(mine) == 0:
            return ids, confidence
        masks = masks[mine.to(masks.device)]
        segment_of, weights = self.segment_of[mine].to(masks.device), self.weights[mine].to(masks.device)
        sampler = CropSampler(self.predictions, index, width, height)
        for rows, positions in sampler.strips(masks):
            values, inside = sample(masks, positions)
            winner, probability = winners(values, weights)
            labels = segment_of[winner]
            labels[~inside | (probability < self.mask_threshold)] = 0
            ids[rows] = labels.to("cpu", torch.int32)
            confidence[rows] = torch.where(labels > 0, probability, 0.0).cpu()
        return ids, confidence

    def map_size(self, view: int, resolution: Resolution = "image") -> tuple[int, int]:
        """Width and height of a view's maps.

        Raises:
            InputError: an unknown resolution.
        """
        image = self.predictions.images[view]
        if resolution == "image":
            return image.width, image.height
        if resolution != "mask":
            raise InputError("resolution", f"'{resolution}'", "'image' or 'mask'", "Choose one of these.")
        _, height, width = mask_shapes(self.predictions.mask_logits)[view]
        network_width, network_height = self.predictions.network_sizes[view]
        if self.predictions.to_original is None:
            return width, height
        scale = self.predictions.to_original[view].diagonal()[:2].abs().tolist()
        return (
            max(1, round(image.width / scale[0] * width / network_width)),
            max(1, round(image.height / scale[1] * height / network_height)),
        )

    def scene(self, resolution: Resolution = "image") -> PanopticScene:
        """The labelling with maps that are computed at each access, each of its image's size."""
        return PanopticScene(self.categories, self.segments, _Maps(self, resolution), source=self._source())

    def save(
        self,
        folder: Path | str,
        *,
        overwrite: bool = False,
        resolution: Resolution = "image",
        progress: Progress | None = None,
    ) -> None:
        """Write ``<stem>.png``, ``panoptic.json`` and ``confidence/<stem>.png`` (16-bit, value/65535).

        Each map is of its image's size (at this resolution).

        Raises:
            InputError: the folder has content and ``overwrite`` is false, or it cannot be written.
        """
        with replacing_folder(Path(folder), overwrite=overwrite, known_by="panoptic.json") as temporary:
            maps = _Maps(self, resolution, temporary / "confidence", progress)
            PanopticScene(self.categories, self.segments, maps, source=self._source()).save(temporary / "maps")
            for path in (temporary / "maps").iterdir():
                path.rename(temporary / path.name)
            (temporary / "maps").rmdir()

    def _index(self, view: int | str) -> int:
        images = self.predictions.images
        index = next((i for i, image in enumerate(images) if image.stem == view), -1) if isinstance(view, str) else view
        if not 0 <= index < len(images):
            raise InputError("view", f"'{view}'", f"one of {len(images)} views", "Check the name or the index.")
        return index

    def _source(self) -> str:
        return f"{self.predictions.network}, merged by {self.method}" + (f" ({self.settings})" if self.settings else "")


class _Maps(Mapping[str, np.ndarray]):
    """Label maps that are computed at each access, and confidence maps written on the way."""

    def __init__(
        self,
        merge: Merge,
        resolution: Resolution,
        confidence: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._merge, self._confidence, self._progress = merge, confidence, progress
        self._resolution: Resolution = resolution
        self._index = {image.stem: index for index, image in enumerate(merge.predictions.images)}
        self._done = 0

    def __getitem__(self, stem: str) -> np.ndarray:
        ids, confidence = self._merge.label_map(self._index[stem], self._resolution)
        if self._confidence is not None:
            write_png(self._confidence / f"{stem}.png", encode_confidence(confidence.numpy()))
        self._done += 1
        if self._progress is not None:
            self._progress("Writing maps", self._done, len(self))
        return ids.numpy()

    def __iter__(self):
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def winners(
    masks: Tensor,  # [K, ...]
    weights: Tensor,  # [K]
) -> tuple[Tensor, Tensor]:
    """The query with the largest weighted mask probability at each pixel, and its mask probability."""
    if bool((weights == weights[0]).all()):
        probability, winner = masks.max(0)
        return winner, probability
    winner = (masks * weights.view(-1, *[1] * (masks.ndim - 1))).argmax(0)
    return winner, masks.gather(0, winner[None])[0]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Sums over the pixels of all views, for K queries."""

    won: Tensor  # [K] int64, pixels where the query wins
    kept: Tensor  # [K] int64, those where its mask reaches the threshold, too
    kept_probability: Tensor  # [K] float64, its mask probabilities summed over those
    own: Tensor  # [K] int64, pixels where its mask is at least one half, won or not


def count_pixels(
    predictions: RawPredictions,
    contestants: Tensor,  # [K]
    weights: Tensor,  # [K]
    mask_threshold: float,
    progress: Callable[[int, int], None] | None = None,
    *,
    at_input_size: bool = False,
    processes: Processes = ALONE,
) -> PixelCounts:
    """Let queries compete for the pixels of all views, one view in memory at a time.

    Each process takes its share of the views. Probabilities are summed view after view whoever has them, so that every
    number of processes gives the same bits.

    The pixels are those of the masks, or with ``at_input_size`` those of the network's input, for which mask
    probabilities are interpolated.
    """
    size = len(contestants)
    counts = [torch.zeros(size, dtype=torch.int64) for _ in range(3)]
    totals = torch.zeros(len(predictions.images), size, dtype=torch.float64)
    own = processes.share(range(len(predictions.images)))
    for number, index in enumerate(own):
        logits = predictions.mask_logits[index]
        masks = logits[contestants.to(logits.device)].float().sigmoid()
        if at_input_size:
            width, height = predictions.network_sizes[index]
            masks = interpolate(masks[None], (height, width), mode="bilinear", align_corners=False)[0]
        winner, probability = winners(masks, weights.to(masks.device))
        kept = probability >= mask_threshold
        counts[0] += winner.flatten().bincount(minlength=size).cpu()
        counts[1] += winner[kept].bincount(minlength=size).cpu()
        counts[2] += (masks >= 0.5).sum((1, 2)).cpu()
        totals[index] = winner[kept].bincount(probability[kept].double(), minlength=size).cpu()
        if progress is not None:
            progress(number + 1, len(own))
    won, kept, masks_own = processes.summed(torch.stack(counts))
    total = torch.zeros(size, dtype=torch.float64)
    for of_view in processes.summed(totals):  # the others' rows are 0, so their sum is exact
        total += of_view
    return PixelCounts(won, kept, total, masks_own)


def segments_from(
    predictions: RawPredictions,
    contestants: Tensor,  # [K]
    alive: Tensor,  # [K] bool
    counts: PixelCounts,
) -> tuple[tuple[Segment, ...], Tensor]:
    """Segments of the queries that are alive, numbered from 1, and the segment of each contestant ``[K]``, 0 = none.

    A thing is one query; the stuff queries of one class are one segment. The score is the class probability times the
    mean mask probability over the segment's pixels; over several queries its mean by pixels.
    """
    category, probability = predictions.best_classes()
    groups: dict[tuple[int, int], list[int]] = {}
    for position in alive.nonzero()[:, 0].tolist():
        query = int(contestants[position])
        index = int(category[query])
        key = (index, query) if predictions.classes[index].isthing else (index, -1)
        groups.setdefault(key, []).append(position)
    segment_of = torch.zeros(len(contestants), dtype=torch.int32)
    segments: list[Segment] = []
    for (index, _), positions in groups.items():
        positions.sort(key=lambda p: (-int(counts.kept[p]), p))
        queries = contestants[positions]
        certain = (probability[queries] * counts.kept_probability[positions]).sum()
        score = float(certain / counts.kept[positions].sum())
        segments.append(
            Segment(len(segments) + 1, predictions.classes[index].id, score, tuple(int(q) for q in queries))
        )
        segment_of[positions] = len(segments)
    return tuple(segments), segment_of
