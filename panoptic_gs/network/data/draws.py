# SPDX-License-Identifier: Apache-2.0
"""Which views are trained on at a step: a function of the seed and of numbers alone, so that a training can go on.

A step's scenes are numbered over all processes; what is drawn for a scene depends neither on how many processes there
are nor on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from panoptic_gs.network.data.colours import recoloured
from panoptic_gs.network.data.folders import FolderSource
from panoptic_gs.network.data.rooms import RoomSource
from panoptic_gs.network.data.views import SceneViews


@dataclass(frozen=True)
class Plan:
    """What the scenes of one step have in common: how many views, and how many of them are keyframes."""

    views: int
    keyframes: int


def plan_of(seed: int, step: int, views: tuple[int, int], partial: float) -> Plan:
    """The plan of a step: views evenly between two numbers; in a share `partial` of steps some are no keyframes."""
    rng = np.random.default_rng([seed, step, 0])
    count = int(rng.integers(views[0], views[1] + 1))
    some = count > 2 and rng.uniform() < partial
    return Plan(count, int(rng.integers(2, count)) if some else count)


class Source(Protocol):
    """Anything with scenes of which views can be drawn."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def draw(self, rng: np.random.Generator, views: int) -> SceneViews: ...


@dataclass(frozen=True)
class Rooms:
    """Draws views of procedural rooms."""

    source: RoomSource
    classes: tuple[str, ...]

    def draw(self, rng: np.random.Generator, views: int) -> SceneViews:
        """Views of one of the rooms, in any order."""
        scene = self.source[int(rng.integers(len(self.source)))]
        return scene.chosen(rng.permutation(len(scene))[:views].tolist())


class Folders:
    """Draws views of scene folders that tell the same classes apart.

    Raises:
        InputError: a folder without truth.
    """

    def __init__(self, sources: Sequence[FolderSource]) -> None:
        self.sources = sources
        self.classes = sources[0].classes

    def draw(self, rng: np.random.Generator, views: int) -> SceneViews:
        """Views of one of the folders, all within a stretch of its frames so that they have something in common."""
        source = self.sources[int(rng.integers(len(self.sources)))]
        stretch = min(len(source), max(views, int(rng.integers(2, 9)) * views))
        start = int(rng.integers(len(source) - stretch + 1))
        chosen = start + rng.permutation(stretch)[:views]
        if len(chosen) < views:  # a folder with fewer photos shows some of them again
            chosen = np.resize(chosen, views)
        return source.views(chosen.tolist())


@dataclass(frozen=True, eq=False)
class Sample:
    """Views of a scene as tensors.

    Args:
        number: of the scene in the training.
        images: ``[V, 3, H, W]`` float in 0…1.
        depth: ``[V, H, W]``.
        segments, categories: ``[V, H, W]`` int64.
        viewmats: ``[V, 4, 4]`` float64.
        Ks: ``[V, 3, 3]``.
        classes: names, in the order of `categories`.
    """

    number: int
    images: Tensor
    depth: Tensor
    segments: Tensor
    categories: Tensor
    viewmats: Tensor
    Ks: Tensor
    classes: tuple[str, ...]


def as_sample(views: SceneViews, number: int, images: np.ndarray | None = None) -> Sample:
    """A scene's views as tensors; ``images`` instead of its own."""
    pixels = np.ascontiguousarray(views.images if images is None else images)
    tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values))
    return Sample(
        number,
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255,
        tensor(views.depth).float(),
        tensor(views.segments).long(),
        tensor(views.categories).long(),
        tensor(views.viewmats).double(),
        tensor(views.Ks).float(),
        views.classes,
    )


class Draws(Dataset[Sample]):
    """The scenes that a process trains on from a step on, one after the other.

    Args:
        sources: with the weight by which each is drawn.
        seed: of everything.
        views: least and most of a scene.
        partial: share of steps in which some views are no keyframes.
        scenes: of a step, over all processes.
        first_step: where the training goes on.
        steps: how many it shall have.
        rank, processes: this process draws every ``processes``-th scene.
        colours: how strongly images are recoloured.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, float]],
        seed: int,
        views: tuple[int, int],
        partial: float,
        scenes: int,
        first_step: int,
        steps: int,
        rank: int = 0,
        processes: int = 1,
        colours: float = 1.0,
    ) -> None:
        self.sources, self.seed, self.views, self.partial = sources, seed, views, partial
        self.scenes, self.first_step, self.steps = scenes, first_step, steps
        self.rank, self.processes, self.colours = rank, processes, colours

    @property
    def own(self) -> int:
        """Scenes of a step in this process."""
        return self.scenes // self.processes

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step) * self.own

    def __getitem__(self, index: int) -> Sample:
        step = self.first_step + index // self.own
        number = step * self.scenes + self.rank + (index % self.own) * self.processes
        rng = np.random.default_rng([self.seed, number, 1])
        weights = np.array([weight for _, weight in self.sources])
        source = self.sources[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
        views = source.draw(rng, plan_of(self.seed, step, self.views, self.partial).views)
        if rng.uniform() < 0.5:
            views = views.mirrored()
        return as_sample(views, number, recoloured(views, rng, self.colours))
