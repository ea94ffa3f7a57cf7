# SPDX-License-Identifier: Apache-2.0
"""Single images with COCO panoptic truth as training data: views of one image are crops of it, turned and recoloured.

A crop of a turned image is what a camera at the same place would see that turned about its axis and has another lens;
there is no depth, so such views train masks and classes, not points.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_rgb
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.panoptic_images import PanopticImage, read_panoptic_images
from panoptic_gs.predict.photos import photo_files

_SIZES = (0.45, 1.0)  # of a crop, over the largest that fits
_TURN = math.radians(12)  # standard deviation


class ImageSource:
    """Images of a folder with the panoptic maps of COCO beside them, one of them at a time.

    Args:
        images: folder of photos.
        panoptic: folder with ``panoptic.json`` and the maps it lists.
        width, height: of the views in pixels.

    Raises:
        InputError: no image has a map.
    """

    def __init__(self, images: Path | str, panoptic: Path | str, width: int, height: int) -> None:
        self.width, self.height = width, height
        read = read_panoptic_images(panoptic)
        files = {path.stem: path for path in photo_files(Path(images))}
        self.pairs: list[tuple[Path, PanopticImage]] = [
            (files[image.stem], image) for image in read.images if image.stem in files
        ]
        if not self.pairs:
            raise InputError(str(images), f"no image with a map in {read.file}", "images and maps of the same names",
                             "Check both folders.")  # fmt: skip
        self.classes = tuple(category.name for category in read.categories)
        self._class = {category.id: index for index, category in enumerate(read.categories)}

    def draw(self, rng: np.random.Generator, views: int) -> SceneViews:
        """Views of one of the images."""
        file, image = self.pairs[int(rng.integers(len(self.pairs)))]
        pixels, ids = read_rgb(file), image.read()
        classes = np.zeros(int(ids.max()) + 1, np.int64)
        counted = np.zeros(int(ids.max()) + 1, np.int64)
        for number, segment in enumerate((s for s in image.segments if s.id < len(classes)), 1):
            classes[segment.id] = self._class[segment.category_id]
            counted[segment.id] = 0 if segment.iscrowd else number
        transforms = [self._transform(rng, pixels.shape[1], pixels.shape[0]) for _ in range(views)]
        scale = np.diag([ids.shape[1] / pixels.shape[1], ids.shape[0] / pixels.shape[0], 1.0])
        seen = np.stack([self._map(ids, scale @ transform) for transform in transforms])
        focal = 0.6 * max(pixels.shape[:2])
        K = np.array([[focal, 0, pixels.shape[1] / 2], [0, focal, pixels.shape[0] / 2], [0, 0, 1.0]])
        viewmats, Ks = zip(*(self._camera(K, transform) for transform in transforms), strict=True)
        return SceneViews(
            np.stack([self._photo(pixels, transform) for transform in transforms]),
            np.zeros(seen.shape, np.float32), counted[seen], classes[seen], np.stack(viewmats), np.stack(Ks),
            self.classes,
        )  # fmt: skip

    def _transform(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """From pixels of a view to pixels of the image, ``[3, 3]``: a turned rectangle inside of it."""
        angle = float(np.clip(rng.normal(0, _TURN), -3 * _TURN, 3 * _TURN))
        c, s = math.cos(angle), math.sin(angle)
        # Half the extent of the view's rectangle, turned, in the image's axes.
        reach = np.array([abs(c) * self.width + abs(s) * self.height, abs(s) * self.width + abs(c) * self.height]) / 2
        scale = float(rng.uniform(*_SIZES)) * min(width / (2 * reach[0]), height / (2 * reach[1]))
        centre = rng.uniform(scale * reach, np.array([width, height]) - scale * reach)
        turn = scale * np.array([[c, -s], [s, c]])
        transform = np.eye(3)
        transform[:2, :2] = turn
        transform[:2, 2] = centre - turn @ [self.width / 2, self.height / 2]
        return transform

    def _photo(self, pixels: np.ndarray, transform: np.ndarray) -> np.ndarray:
        step = max(1, int(math.sqrt(abs(np.linalg.det(transform[:2, :2])))))
        fine = (self.width * step, self.height * step)  # several samples a pixel where the image is shrunk
        data = (transform @ np.diag([1 / step, 1 / step, 1.0]))[:2].ravel().tolist()
        turned = Image.fromarray(pixels).transform(fine, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        return np.asarray(turned.resize((self.width, self.height), Image.Resampling.BOX))

    def _map(self, ids: np.ndarray, transform: np.ndarray) -> np.ndarray:
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        x, y = np.einsum("ij,jhw->ihw", transform[:2], np.stack([u, v, np.ones_like(u)]))
        return ids[y.astype(np.int64).clip(0, len(ids) - 1), x.astype(np.int64).clip(0, ids.shape[1] - 1)]

    def _camera(self, K: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The camera that would see a view: turned about its axis, its principal point where the image's is."""
        scale = math.sqrt(np.linalg.det(transform[:2, :2]))
        turn = transform[:2, :2] / scale
        viewmat = np.eye(4)
        viewmat[:2, :2] = turn.T
        own = np.linalg.inv(transform) @ [K[0, 2], K[1, 2], 1]
        return viewmat, np.array([[K[0, 0] / scale, 0, own[0]], [0, K[1, 1] / scale, own[1]], [0, 0, 1.0]])
