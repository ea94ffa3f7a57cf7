# SPDX-License-Identifier: Apache-2.0
"""The network on all views of a scene: keyframes see each other, all others are seen against them, a few at a time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from panoptic_gs.network.geometry import Memory, everyone
from panoptic_gs.network.mask_transformer import Queries
from panoptic_gs.network.model import PanopticNetwork, Seen, Views
from panoptic_gs.network.points import at_pixels
from panoptic_gs.network.registering import Describer, register
from panoptic_gs.predict.crop import Size
from panoptic_gs.predict.keyframes import Keyframes, even_keyframes, farthest_keyframes
from panoptic_gs.predict.network import NetworkOutput

CHUNK = 4
"""Views that are encoded at a time."""
IN_MEMORY = 1 << 29
"""Bytes of masks from which on they are kept in a file."""
PARTNERS = 12
"""Keyframes that a view is matched with, those most like it."""
ALL_PAIRS = 24
"""Keyframes up to which every pair is matched."""
EFFORT, MOST_EFFORT = 120, 4
"""Few views share little: their pairs are each looked at harder, see `registering.register`."""
CELLS = 1600
"""Pixels of a view that are matched, about."""
NO_CLASS = 0.05
"""Probability of its best class below which a query is of none: its mask, which nothing trained, is empty."""
_LARGEST = 30.0  # of mask logits
_ASPECTS = (1.0, 3 / 4, 2 / 3, 9 / 16, 1 / 2)


def input_sizes(trained: Size) -> tuple[Size, ...]:
    """Sizes, width × height, as wide as the views of a training and of common aspects; its own is the first."""
    width, height = trained
    others = [(width, 8 * max(1, round(width * aspect / 8))) for aspect in _ASPECTS]
    own = [(width, height)]
    return tuple(own + [size for size in others if abs(size[1] - height) > 8])


@torch.inference_mode()
def predict_views(
    network: PanopticNetwork,
    crops: Sequence[np.ndarray],
    names: Sequence[str],
    keyframes: Keyframes,
    amp: bool = False,
    matching: bool = True,
) -> NetworkOutput:
    """Masks, classes and point maps of N views.

    Memory grows with the number of keyframes, not with that of views, but for what is returned; large masks are kept in
    a file.

    Args:
        network: in evaluation mode.
        crops: N of ``[H, W, 3]`` uint8, their sides multiples of 8; sizes may differ.
        names: of the classes to look for.
        keyframes: how many, and how they are chosen; by similarity: of the network's own tokens.
        amp: bfloat16 where that is safe.
        matching: whether poses are refined by pixels that views have in common, where the network has descriptors.
    """
    device = next(network.parameters()).device
    height = max(crop.shape[0] for crop in crops)
    width = max(crop.shape[1] for crop in crops)

    def views(indices: Sequence[int]) -> Views:
        images = torch.full((len(indices), 3, height, width), 0.5)
        for place, index in enumerate(indices):
            crop = torch.from_numpy(np.array(crops[index])).permute(2, 0, 1).float() / 255
            images[place, :, : crop.shape[1], : crop.shape[2]] = crop
        sizes = torch.tensor([crops[index].shape[:2] for index in indices])
        return Views.padded(images[None].to(device), network.patch, sizes[None].to(device))

    with torch.autocast(device.type, torch.bfloat16, enabled=amp):
        descriptors = torch.cat([
            _descriptors(network, views(range(start, min(start + CHUNK, len(crops)))))
            for start in range(0, len(crops), CHUNK)
        ])  # fmt: skip
        order = choose_keyframes(descriptors, keyframes)
        rest = [index for index in range(len(crops)) if index not in set(order)]
        seen, memory = _look_at_keyframes(network, [views([index]) for index in order], views(order))
        queries = network.ask(seen)[-1]
        logits = network.class_logits(queries, names)[0]
        output = _Output(network, queries, crops, logits.sigmoid().amax(1) < NO_CLASS)
        placed = _Placed(seen, descriptors[order]) if matching and can_match(seen) else None
        output.add(order, seen, None if placed is None else (placed.poses, placed.scales))
        for start in range(0, len(rest), CHUNK):
            part = rest[start : start + CHUNK]
            alone = everyone(len(part), (), device)
            later = network.look(views(part), alone, first=False, memory=memory)
            output.add(part, later, None if placed is None else placed.place(later, descriptors[part]))
    return NetworkOutput(output.masks, logits.float().cpu(), output.points, output.local, output.confidence)


def choose_keyframes(descriptors: Tensor, keyframes: Keyframes) -> list[int]:
    """Indices of the keyframes; the first, whose camera is the frame of all points, is the one most like all others.

    Args:
        descriptors: ``[N, D]`` of the views, of length 1.
        keyframes: how many and how.
    """
    similarity = (descriptors @ descriptors.T).detach().double().cpu().numpy()
    count = keyframes.number(len(similarity))
    if len(similarity) < 2:
        return [0]
    if keyframes.by == "similarity":
        return list(farthest_keyframes(similarity, count))
    chosen = list(even_keyframes(len(similarity), count))
    first = max(chosen, key=lambda index: similarity[index, chosen].sum())
    return [first, *(index for index in chosen if index != first)]


def _descriptors(network: PanopticNetwork, views: Views) -> Tensor:
    encoded = network.encode(views)
    tokens = encoded.tokens[0].float()
    weight = tokens.new_ones(tokens.shape[:2]) if encoded.valid is None else encoded.valid[0].float()
    mean = (tokens * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    return functional.normalize(mean - mean.mean(-1, keepdim=True), dim=-1)


def _look_at_keyframes(network: PanopticNetwork, single: Sequence[Views], together: Views) -> tuple[Seen, Memory]:
    """All keyframes together, or one after the other where the network's memory is online."""
    if network.config.memory == "all":
        seen = network.look(together)
        return seen, seen.memory
    memory: Memory | None = None
    parts: list[Seen] = []
    for number, view in enumerate(single):
        part = network.look(view, first=number == 0, memory=memory)
        memory = part.memory if memory is None else memory.and_then(part.memory)
        parts.append(part)
    assert memory is not None
    return Seen.joined(parts, memory), memory


def can_match(seen: Seen) -> bool:
    """Whether there are descriptors, and poses that matches can mend."""
    return seen.descriptors is not None and seen.points.poses is not None


def describers(seen: Seen) -> list[Describer]:
    """What can be matched of each view of one scene, on a grid of about `CELLS` pixels."""
    assert seen.descriptors is not None
    descriptors, local = seen.descriptors[0].float(), seen.points.local[0]
    height, width = descriptors.shape[-2:]
    step = max(1, round(math.sqrt(height * width / CELLS)))
    maps = torch.cat([local, seen.points.confidence[0, ..., None]], -1).permute(0, 3, 1, 2)
    maps = functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
    valid = None
    if seen.valid is not None:  # patches of padding match nothing
        side = math.isqrt(height * width // seen.valid.shape[-1])
        grid = seen.valid[0].unflatten(-1, (height // side, width // side))
        valid = grid.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, ::step, ::step].flatten(1)
    found = []
    for view in range(len(descriptors)):
        own = descriptors[view, :, ::step, ::step].flatten(1).T
        mapped = maps[view, :, ::step, ::step].flatten(1).T
        kept = slice(None) if valid is None else valid[view]
        found.append(Describer(mapped[kept, :3], own[kept], mapped[kept, 3]))
    return found


class _Placed:
    """Keyframes whose poses agree with each other, and what is needed to place other views among them."""

    def __init__(self, seen: Seen, descriptors: Tensor) -> None:
        self.views, self.descriptors = describers(seen), descriptors
        count = len(self.views)
        likeness = descriptors @ descriptors.T
        pairs = {(i, j) for i in range(count) for j in range(i)}
        if count > ALL_PAIRS:
            nearest = likeness.topk(PARTNERS + 1, dim=1).indices.tolist()
            pairs &= {(max(i, j), min(i, j)) for i, row in enumerate(nearest) for j in row}
        effort = min(MOST_EFFORT, max(1, EFFORT // max(1, len(pairs))))
        self.poses, self.scales = register(self.views, _poses(seen), sorted(pairs), effort=effort)
        self.views = [
            replace(view, points=float(scale) * view.points)
            for view, scale in zip(self.views, self.scales, strict=True)
        ]

    def place(self, seen: Seen, descriptors: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Poses and scales of views that are no keyframes, each placed among the keyframes that are most like it."""
        own, found, scales = _poses(seen), [], []
        count = min(PARTNERS, len(self.views))
        nearest = (descriptors @ self.descriptors.T).topk(count, dim=1).indices.tolist()
        for view, pose, partners in zip(describers(seen), own, nearest, strict=True):
            among = [self.views[k] for k in partners]
            poses = np.concatenate([self.poses[partners], pose[None]])
            placed, sized = register([*among, view], poses, [(count, k) for k in range(count)], range(count))
            found.append(placed[-1])
            scales.append(sized[-1])
        return np.stack(found), np.array(scales)


def _poses(seen: Seen) -> np.ndarray:
    assert seen.points.poses is not None
    return seen.points.poses[0].double().cpu().numpy()


class _Output:
    """What is kept of each view, in the order of the views."""

    def __init__(self, network: PanopticNetwork, queries: Queries, crops: Sequence[np.ndarray], unsure: Tensor) -> None:
        self.network, self.queries, self.crops, self.unsure = network, queries, crops, unsure
        stride, count = network.config.masks.stride, queries.masks.shape[1]
        self.shapes = [(count, crop.shape[0] // stride, crop.shape[1] // stride) for crop in crops]
        self.masks = _mask_storage(self.shapes)
        nothing = torch.empty(0)
        self.points, self.local, self.confidence = ([nothing] * len(crops) for _ in range(3))

    def add(self, indices: Sequence[int], seen: Seen, placed: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Keep views; with poses ``[V, 3, 4]``, camera to world, instead of the network's own, and scales of points."""
        rows, columns = (
            side * self.network.config.masks.stride for side in seen.features.shape[-2:]
        )  # of the padded images, in pixels
        for place, index in enumerate(indices):
            height, width = self.crops[index].shape[:2]
            _, h, w = self.shapes[index]
            features = seen.features[0, place, :, :h, :w].permute(1, 2, 0)[None]
            logits = self.network.mask_logits(self.queries, features)[0].clamp(-_LARGEST, _LARGEST)
            logits[self.unsure] = -_LARGEST
            self.masks[index].copy_(logits.to(torch.float16))
            found = seen.points
            world, local = found.world[0, place], found.local[0, place]
            if placed is not None:
                pose = torch.from_numpy(placed[0][place]).to(world)
                local = float(placed[1][place]) * local
                world = local @ pose[:, :3].T + pose[:, 3]
            stacked = torch.cat([world, local, found.confidence[0, place, ..., None]], dim=-1)
            full = at_pixels(stacked[None].float(), rows, columns)[0, :height, :width].cpu()
            self.points[index] = full[..., :3].contiguous()
            self.local[index] = full[..., 3:6].contiguous()
            self.confidence[index] = full[..., 6].contiguous()


def _mask_storage(shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Tensors float16 of these shapes, in memory or in a file that vanishes with them."""
    sizes = [math.prod(shape) for shape in shapes]
    if 2 * sum(sizes) <= IN_MEMORY:
        return [torch.empty(shape, dtype=torch.float16) for shape in shapes]
    with tempfile.TemporaryFile(prefix="panoptic-gs-masks-") as file:
        file.truncate(2 * sum(sizes))
        values = torch.from_numpy(np.memmap(file, np.float16, "r+", shape=(sum(sizes),)))
    return [part.view(shape) for part, shape in zip(values.split(sizes), shapes, strict=True)]
