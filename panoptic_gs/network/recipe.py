# SPDX-License-Identifier: Apache-2.0
"""What a training is told: a JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from panoptic_gs.errors import InputError
from panoptic_gs.network.config import PRESETS, NetworkConfig
from panoptic_gs.network.losses.objective import LossWeights
from panoptic_gs.records import Range

Count = Annotated[int, Range(0, 1 << 31)]
Positive = Annotated[int, Range(1, 1 << 31)]
Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class RoomsRecipe:
    """Procedural rooms, rendered by the workers that need them and kept on disk.

    Args:
        cache: folder that keeps them, relative to the recipe.
        rooms: how many.
        weight: how often they are drawn, against scene folders.
        views: rendered of each.
        fov: least and largest horizontal field of view in degrees.
        first_seed: of the rooms.
    """

    cache: str = "rooms"
    rooms: Positive = 400
    weight: Annotated[float, Range(0)] = 1.0
    views: Annotated[int, Range(2, 1000)] = 16
    fov: tuple[Annotated[float, Range(10, 150)], Annotated[float, Range(10, 150)]] = (58.0, 84.0)
    first_seed: Count = 1_000_000


@dataclass(frozen=True)
class ImagesRecipe:
    """Single images with COCO panoptic truth.

    Args:
        images: folder of photos, relative to the recipe.
        panoptic: folder with ``panoptic.json`` and its maps.
        weight: how often they are drawn, against other sources.
    """

    images: str
    panoptic: str
    weight: Annotated[float, Range(0)] = 1.0


@dataclass(frozen=True)
class Recipe:
    """A training.

    Args:
        preset: of the network; `network` instead says each part.
        start: weights to start from, relative to the recipe, of a network whose parts are alike; parts that it does not
            have start anew.
        rooms, folders, images: what is trained on; folders are relative to the recipe; all have the same classes.
        width, height: of the views in pixels.
        views: least and most of a scene.
        partial: share of steps in which some views are no keyframes.
        scenes: of a step, over all processes.
        accumulate: parts that a step's scenes are computed in, to save memory.
        checkpointing: whether activations of the mask transformer are computed anew, to save memory.
        steps: of the training.
        rate: the learning rate, after `warmup` steps; over the last `cooling` share of steps it falls to zero.
        decay: weight decay.
        clip: largest norm of the gradient.
        average: the weights that are kept are an exponential moving average with this factor a step.
        pixels, balanced: see `losses.sampling.sample_pixels`.
        losses: how much each counts.
        colours: how strongly images are recoloured.
        seed: of everything.
        amp: bfloat16 where that is safe.
        compile: torch.compile.
        workers: processes that make the data.
        save_every, pictures_every, log_every: steps between.
    """

    preset: Literal["tiny", "small", "base"] = "tiny"
    network: NetworkConfig | None = None
    start: str | None = None
    rooms: RoomsRecipe | None = None
    folders: tuple[str, ...] = ()
    images: ImagesRecipe | None = None
    width: Positive = 160
    height: Positive = 120
    views: tuple[Annotated[int, Range(1, 256)], Annotated[int, Range(1, 256)]] = (3, 6)
    partial: Share = 0.25
    scenes: Positive = 1
    accumulate: Positive = 1
    checkpointing: bool = False
    steps: Positive = 3000
    rate: Annotated[float, Range(above=0)] = 5e-4
    warmup: Count = 100
    cooling: Share = 0.3
    decay: Annotated[float, Range(0)] = 0.02
    clip: Annotated[float, Range(above=0)] = 1.0
    average: Annotated[float, Range(0, 1)] = 0.999
    pixels: Annotated[int, Range(16, 1 << 24)] = 3072
    balanced: Share = 0.5
    losses: LossWeights = field(default_factory=LossWeights)
    colours: Annotated[float, Range(0, 10)] = 1.0
    seed: Count = 0
    amp: bool = False
    compile: bool = False
    workers: Annotated[int, Range(0, 256)] = 1
    save_every: Positive = 200
    pictures_every: Positive = 500
    log_every: Positive = 10

    def __post_init__(self) -> None:
        if self.rooms is None and self.images is None and not self.folders:
            raise InputError("rooms, folders, images", "none", "one of them at least", "Say what to train on.")
        if self.views[0] > self.views[1]:
            raise InputError("views", f"{self.views[0]} to {self.views[1]}", "the least first", "Exchange them.")
        if self.rooms is not None and self.views[1] > self.rooms.views:
            raise InputError("views", f"up to {self.views[1]} of rooms with {self.rooms.views}",
                             "no more than a room has", "Render more views of a room.")  # fmt: skip

    @property
    def architecture(self) -> NetworkConfig:
        """Of the network, without its classes where they are the data's."""
        chosen = PRESETS[self.preset] if self.network is None else self.network
        return replace(chosen, size=(self.width, self.height))

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: up, constant, down to zero."""
        up = min(1.0, (step + 1) / (self.warmup + 1))
        left = (self.steps - step) / max(1.0, self.cooling * self.steps)
        return self.rate * min(up, left)
