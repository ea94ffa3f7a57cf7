# SPDX-License-Identifier: Apache-2.0
"""Full photos with their panoptic label maps, rectified alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from nerfstudio_plugin.association import MaskedView
from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig, ReadConfidence, require_predictions
from panoptic_gs.associate import ImageMasks, ViewMasks
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene, resize_nearest
from panoptic_gs.scene import Frame
from panoptic_gs.scene.photo import resampled

_MAPS = ("panoptic", "panoptic_gt", "panoptic_confidence", "counting")


class PanopticDataset(InputDataset):
    """Photos as ideal pinhole images, with label maps of the same pixels.

    Each item has, besides nerfstudio's ``image``, ``panoptic`` (predicted segment ids ``[H, W]`` int32, 0 = void) and
    ``panoptic_gt`` (true ones) where the scene has a map of this photo, and with ``weight_by_confidence``
    ``panoptic_confidence`` ``[H, W]`` float32. A photo with a mask has ``mask`` ``[H, W, 1]`` bool; one with pixels
    that do not count, because of its mask or its alpha channel, ``counting`` ``[H, W]`` bool.
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
        return extra


@dataclass
class PanopticDatamanagerConfig(FullImageDatamanagerConfig):
    """Full photos and label maps, kept in memory as they are."""

    _target: type = field(default_factory=lambda: PanopticDatamanager)
    """target class to instantiate"""
    dataparser: PanopticSceneDataParserConfig = field(default_factory=PanopticSceneDataParserConfig)
    """Reads the scene folder."""
    cache_images_type: Literal["uint8", "float32"] = "uint8"
    """How photos are kept in memory."""


class PanopticDatamanager(FullImageDatamanager):
    """Hands out one photo a step with its camera and its label map.

    Raises:
        InputError: training without predictions.
    """

    config: PanopticDatamanagerConfig
    train_dataset: PanopticDataset
    eval_dataset: PanopticDataset

    def __init__(self, config: PanopticDatamanagerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        if self.test_mode == "val":
            require_predictions(config.dataparser)

    @cached_property
    def dataset_type(self) -> type[PanopticDataset]:
        """The dataset of this datamanager."""
        return PanopticDataset

    def _load_images(
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> list[dict[str, Tensor]]:
        on_gpu = torch.device(self.device).type == "cuda"
        # Without a GPU "gpu" keeps the tensors where they are, where "cpu" would pin them for a copy that never comes.
        items = super()._load_images(split, cache_images_device if on_gpu else "gpu")
        if on_gpu and cache_images_device == "gpu":
            for item in items:
                for kind in _MAPS:
                    if kind in item:
                        item[kind] = item[kind].to(self.device)
        return items

    def labelled_views(self, refine: Callable[[Cameras], Tensor] | None = None) -> Iterator[tuple[Camera, Tensor]]:
        """(camera, predicted segment ids ``[H, W]``) of every training view that has a label map.

        Args:
            refine: the pose ``[1, 3, 4]`` that training found for a camera, which knows its number as ``cam_idx``; by
                default the scene's own.
        """
        for index, item in enumerate(self.cached_train):
            if "panoptic" in item:
                yield self._training_camera(index, refine), item["panoptic"]

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
        for index, item in enumerate(self.cached_train):
            stem = self.train_dataset.metadata["frames"][index].stem
            if stem in maps:
                labels = torch.from_numpy(np.ascontiguousarray(maps[stem], dtype=np.int32))
                item["panoptic"] = labels.to(item["image"].device)

    def _training_camera(self, index: int, refine: Callable[[Cameras], Tensor] | None) -> Camera:
        camera = self.train_dataset.cameras[index : index + 1]
        camera.metadata = {"cam_idx": index}
        if refine is not None:
            camera.camera_to_worlds = refine(camera).detach()
        return camera_of(camera).to(self.device)

    def vote_weights(self) -> list[Tensor] | None:
        """The factor ``[H, W]`` of each pixel's vote in :meth:`labelled_views`; None where all count the same.

        Pixels that do not count are void in the label maps, but void may be a label of its own.
        """
        weigh = self.config.dataparser.weight_by_confidence in ("uplift", "both")
        items = [item for item in self.cached_train if "panoptic" in item]
        if not weigh and not any("counting" in item for item in items):
            return None
        weights = []
        for item in items:
            weight = item["panoptic_confidence"] if weigh else torch.ones(item["panoptic"].shape)
            weights.append(weight * item["counting"].to(weight) if "counting" in item else weight)
        return weights


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
