# SPDX-License-Identifier: Apache-2.0
"""Full photos with their panoptic label maps, rectified alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import track
from torch import Tensor

from nerfstudio_plugin.association import MaskedView
from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig, ReadConfidence, require_predictions
from nerfstudio_plugin.depth import PhotoDepth
from nerfstudio_plugin.photo_cache import Item, PhotoCache
from panoptic_gs.associate import ImageMasks, ViewMasks
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene, resize_nearest
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.scene import Frame
from panoptic_gs.scene.photo import resampled

_MAPS = ("panoptic", "panoptic_gt", "panoptic_confidence", "counting", "depth", "depth_confidence")
"""What an item may have besides its photo and its mask."""


class PanopticDataset(InputDataset):
    """Photos as ideal pinhole images, with label maps of the same pixels.

    Each item has, besides nerfstudio's ``image``, ``panoptic`` (predicted segment ids ``[H, W]`` int32, 0 = void) and
    ``panoptic_gt`` (true ones) where the scene has a map of this photo, and with ``weight_by_confidence``
    ``panoptic_confidence`` ``[H, W]`` float32. A photo with a mask has ``mask`` ``[H, W, 1]`` bool; one with pixels
    that do not count, because of its mask or its alpha channel, ``counting`` ``[H, W]`` bool. A training photo whose
    depth is known has ``depth``, and where a network found it ``depth_confidence``, both ``[H, W]`` float32.
    """

    exclude_batch_keys_from_device = ["image", "mask", *_MAPS]  # noqa: RUF012

    def _frame(self, index: int) -> Frame:
        return self.metadata["frames"][index]

    def _size(self, index: int) -> tuple[int, int]:
        return int(self.cameras.width[index]), int(self.cameras.height[index])

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """The rectified photo ``[H, W, 3]`` uint8, at the size of its camera; ``[H, W, 4]`` where it has alpha."""
        pixels = self._frame(image_idx).read_pixels()
        size = self._size(image_idx)
        if (pixels.shape[1], pixels.shape[0]) != size:
            pixels = resampled(pixels, lambda colors: cv2.resize(colors, size, interpolation=cv2.INTER_AREA))
        return pixels

    def fit_labels(self, image_idx: int, labels: np.ndarray) -> np.ndarray:
        """Bring a label map of the photo, of any size, to the camera's pixels, always by nearest neighbour."""
        return resize_nearest(self._frame(image_idx).fit_labels(labels), *self._size(image_idx))

    def labels(self, image_idx: int, kind: Literal["panoptic", "panoptic_gt"]) -> Tensor | None:
        """The segment ids ``[H, W]`` int32 of a photo, or None where there is no map of it."""
        scene: PanopticScene | None = self.metadata[kind]
        stem = self._frame(image_idx).stem
        if scene is None or stem not in scene.maps:
            return None
        return torch.from_numpy(np.ascontiguousarray(self.fit_labels(image_idx, scene.maps[stem]), dtype=np.int32))

    def image_masks(self, image_idx: int) -> ViewMasks | None:
        """A photo's masks on the camera's pixels, without pixels that do not count; None where it has none.

        Where the scene has scene-wide maps they are the segments of the photo's map.
        """
        masks: ImageMasks | None = self.metadata["image_masks"]
        frame = self._frame(image_idx)
        if masks is None:
            labels = self.labels(image_idx, "panoptic")
            if labels is None:
                return None
            segments = self.metadata["panoptic"].segments
            view = ViewMasks.from_label_map(labels.numpy(), {segment.id: segment.category_id for segment in segments})
        elif frame.stem not in masks.readers:
            return None
        else:
            view = masks[frame.stem].remapped(lambda regions: self.fit_labels(image_idx, regions))
        counting = frame.counting_of_photo()
        if counting is None:
            return view
        kept = self.fit_labels(image_idx, counting)
        return view.remapped(lambda regions: np.where(kept, regions, 0))

    def get_metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        """Label maps and mask of an item."""
        index = data["image_idx"]
        extra: dict[str, Any] = {}
        for kind in ("panoptic", "panoptic_gt"):
            labels = self.labels(index, kind)
            if labels is not None:
                extra[kind] = labels
        confidence: ReadConfidence | None = self.metadata["confidence"]
        if confidence is not None and "panoptic" in extra:
            weights = self.fit_labels(index, confidence(self._frame(index).stem))
            extra["panoptic_confidence"] = torch.from_numpy(np.ascontiguousarray(weights))
        frame = self._frame(index)
        kept = frame.mask_of_photo()
        if kept is not None:
            extra["mask"] = torch.from_numpy(self.fit_labels(index, kept))[..., None]
        counting = frame.counting_of_photo()
        if counting is not None:
            extra["counting"] = torch.from_numpy(self.fit_labels(index, counting))
        depth: PhotoDepth | None = self.metadata["depth"]
        if depth is not None:
            for name, values in depth.read(frame).items():
                extra[name] = torch.from_numpy(np.ascontiguousarray(self.fit_labels(index, values)))
            if counting is not None and "depth" in extra:
                extra["depth"] *= extra["counting"]
        return extra


@dataclass
class PanopticDatamanagerConfig(FullImageDatamanagerConfig):
    """Full photos and label maps, as many of them in memory as fit."""

    _target: type = field(default_factory=lambda: PanopticDatamanager)
    """target class to instantiate"""
    dataparser: PanopticSceneDataParserConfig = field(default_factory=PanopticSceneDataParserConfig)
    """Reads the scene folder."""
    cache_images_type: Literal["uint8", "float32"] = "uint8"
    """How photos are kept in memory."""
    gigabytes_in_memory: float = 8.0
    """Most memory, in 10⁹ bytes, that decoded photos and their maps take, in all processes of a machine together. Those
    that do not fit are read from disk again each time, ahead of their step."""


class PanopticDatamanager(FullImageDatamanager):
    """Hands out one photo a step with its camera and its label map.

    Processes that train together draw from one order of photos: in each step, each takes the next that no other takes.

    Raises:
        InputError: training without predictions; a bound of memory below 0.
    """

    config: PanopticDatamanagerConfig
    train_dataset: PanopticDataset
    eval_dataset: PanopticDataset
    processes: Processes = ALONE

    def __init__(self, config: PanopticDatamanagerConfig, *args: Any, **kwargs: Any) -> None:
        if not config.gigabytes_in_memory >= 0:
            raise InputError("--pipeline.datamanager.gigabytes-in-memory", f"{config.gigabytes_in_memory:g}",
                             "0 or more", "Leave it out for 8.")  # fmt: skip
        super().__init__(config, *args, **kwargs)
        if self.test_mode == "val":
            require_predictions(config.dataparser)

    @cached_property
    def dataset_type(self) -> type[PanopticDataset]:
        """The dataset of this datamanager."""
        return PanopticDataset

    @cached_property
    def cached_train(self) -> PhotoCache:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The training photos with their maps; those that stay in memory where they are used."""
        return self._load_images("train", self.config.cache_images)

    @cached_property
    def cached_eval(self) -> PhotoCache:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The evaluation photos with their maps."""
        return self._load_images("eval", self.config.cache_images)

    def _load_images(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> PhotoCache:
        dataset = self.train_dataset if split == "train" else self.eval_dataset
        on_gpu = torch.device(self.device).type == "cuda"

        def place(item: Item) -> Item:
            if on_gpu and cache_images_device == "gpu":
                return {name: v.to(self.device) if isinstance(v, Tensor) else v for name, v in item.items()}
            if on_gpu:  # without a GPU they would be pinned for a copy that never comes
                return {name: v.pin_memory() if name in ("image", "mask") else v for name, v in item.items()}
            return item

        here = max(1, min(self.processes.count, torch.cuda.device_count() if on_gpu else self.processes.count))
        photos = len(self.train_dataset) + len(self.eval_dataset)
        cache = PhotoCache(
            lambda index: dataset.get_data(index, image_type=self.config.cache_images_type),
            len(dataset),
            1e9 * self.config.gigabytes_in_memory * len(dataset) / max(photos, 1) / here,
            place,
            lambda items: iter(
                track(items, f"Reading {split} photos", total=len(dataset), transient=True, console=CONSOLE)
            ),
        )
        if cache.kept < len(cache):
            CONSOLE.print(
                f"{cache.kept} of {len(cache)} {split} photos stay in memory ({cache.kept_bytes / 1e9:.2f} of "
                f"{cache.total_bytes / 1e9:.2f} GB, see --pipeline.datamanager.gigabytes-in-memory); the others are "
                "read again each time.",
                soft_wrap=True,
            )
        cameras = self.train_dataset.cameras
        self.train_cameras = cameras.to(self.device) if cache_images_device == "gpu" else cameras
        return cache

    def next_train(self, step: int) -> tuple[Cameras, Item]:
        """The camera and the photo of this process in the next step."""
        drawn = [self._next_index() for _ in range(self.processes.count)]
        index = drawn[self.processes.rank]
        item = self.cached_train[index]
        self.cached_train.announce(self.train_unseen_cameras[self.processes.rank :: self.processes.count])
        camera = self.train_cameras[index : index + 1].to(self.device)
        camera.metadata = {**(camera.metadata or {}), "cam_idx": index}
        return camera, {**item, "image": item["image"].to(self.device)}

    def _next_index(self) -> int:
        index = self.train_unseen_cameras.pop(0)
        if not self.train_unseen_cameras:
            self.train_unseen_cameras = self.sample_train_cameras()
        return index

    @property
    def fixed_indices_eval_dataloader(self) -> EvaluationViews:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(camera, item) of each evaluation view."""
        return EvaluationViews(self.cached_eval, self.eval_dataset.cameras.to(self.device))

    def labelled_views(
        self, refine: Callable[[Cameras], Tensor] | None = None, processes: Processes = ALONE
    ) -> Iterator[tuple[Camera, Tensor]]:
        """(camera, predicted segment ids ``[H, W]``) of every training view that has a label map.

        Args:
            refine: the pose ``[1, 3, 4]`` that training found for a camera, which knows its number as ``cam_idx``; by
                default the scene's own.
            processes: whose share of the views it is; all of them by default.
        """
        for index in self._labelled(processes):
            yield self._training_camera(index, refine), self.cached_train[index]["panoptic"]

    def _labelled(self, processes: Processes) -> list[int]:
        cache = self.cached_train
        return processes.share([index for index in range(len(cache)) if "panoptic" in cache.keys_of(index)])

    def masked_views(self, refine: Callable[[Cameras], Tensor] | None = None) -> Iterator[MaskedView]:
        """Every training view that has masks, on the pixels of its camera, each numbered by itself.

        Args:
            refine: as in :meth:`labelled_views`.
        """
        for index in range(len(self.train_dataset)):
            masks = self.train_dataset.image_masks(index)
            if masks is not None:
                stem = self.train_dataset.metadata["frames"][index].stem
                yield MaskedView(stem, self._training_camera(index, refine), masks)

    def take_maps(self, maps: Mapping[str, np.ndarray]) -> None:
        """Train with scene-wide maps ``[H, W]`` of views, by image name, from now on."""
        for index in range(len(self.cached_train)):
            stem = self.train_dataset.metadata["frames"][index].stem
            if stem in maps:
                self.cached_train.relabel(index, maps[stem])

    def _training_camera(self, index: int, refine: Callable[[Cameras], Tensor] | None) -> Camera:
        camera = self.train_dataset.cameras[index : index + 1]
        camera.metadata = {"cam_idx": index}
        if refine is not None:
            camera.camera_to_worlds = refine(camera).detach()
        return camera_of(camera).to(self.device)

    def vote_weights(self, processes: Processes = ALONE) -> VoteWeights | None:
        """The factor ``[H, W]`` of each pixel's vote in :meth:`labelled_views`; None where all count the same.

        Pixels that do not count are void in the label maps, but void may be a label of its own.

        Args:
            processes: as in :meth:`labelled_views`.
        """
        weigh = self.config.dataparser.weight_by_confidence in ("uplift", "both")
        if not weigh and not any("counting" in self.cached_train.keys_of(index) for index in self._labelled(ALONE)):
            return None

        return VoteWeights(self.cached_train, self._labelled(processes), weigh)


class VoteWeights(Sequence[Tensor]):
    """The factor ``[H, W]`` of each pixel's vote, view by view, one at a time in memory.

    Args:
        items: of all training views.
        indices: of those with label maps.
        by_confidence: whether the factors are the maps' confidences, else 1 where pixels count.
    """

    def __init__(self, items: PhotoCache, indices: Sequence[int], by_confidence: bool) -> None:
        self._items, self._indices, self._by_confidence = items, indices, by_confidence

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] (no slices)
        item = self._items[self._indices[position]]
        weight = item["panoptic_confidence"] if self._by_confidence else torch.ones(item["panoptic"].shape)
        return weight * item["counting"].to(weight) if "counting" in item else weight


class EvaluationViews(Sequence[tuple[Cameras, Item]]):
    """(camera, item) of evaluation views, one at a time in memory.

    Args:
        items: of the views.
        cameras: of the views, on the device where they are drawn.
    """

    def __init__(self, items: PhotoCache, cameras: Cameras) -> None:
        self._items, self._cameras = items, cameras

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Cameras, Item]:  # pyright: ignore[reportIncompatibleMethodOverride]
        item = self._items[index]
        self._items.announce(range(index + 1, min(index + 3, len(self))))
        return self._cameras[index : index + 1], {**item, "image": item["image"].to(self._cameras.device)}


def camera_of(cameras: Cameras) -> Camera:
    """The toolkit's camera of a nerfstudio batch of one.

    Raises:
        InputError: it is no perspective camera.
    """
    kind = CameraType(int(cameras.camera_type.reshape(-1)[0]))
    if kind != CameraType.PERSPECTIVE:
        raise InputError(
            "camera",
            f"a camera of type {kind.name.lower()}",
            "a perspective camera",
            "Choose Perspective in the viewer's render panel; Gaussians are drawn as a pinhole sees them.",
        )
    return Camera.from_opengl(
        cameras.camera_to_worlds[0], cameras.get_intrinsics_matrices()[0], int(cameras.width[0]), int(cameras.height[0])
    )
