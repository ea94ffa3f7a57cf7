# SPDX-License-Identifier: Apache-2.0
"""Label maps as the photos see them: the same way round, and void where pixels do not count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from panoptic_gs.label_maps import resize_nearest, same_shape
from panoptic_gs.panoptic_images import MapFiles
from panoptic_gs.scene.frame import Frame
from panoptic_gs.scene.masks import read_mask, require_pixels
from panoptic_gs.scene.photo_paths import IMAGE_ENDINGS, stems


class PhotoMaps(Mapping[str, np.ndarray]):
    """Maps of a scene's photos, read from others at each access.

    Args:
        frames: the photos; maps of others are left out.
        maps: stem → ``[H, W]`` labels.
        folder: what errors call the maps.
    """

    def __init__(self, frames: Sequence[Frame], maps: Mapping[str, np.ndarray], folder: Path) -> None:
        self._frames = {frame.stem: frame for frame in frames if frame.stem in maps}
        self._maps, self._folder = maps, folder

    def __getitem__(self, stem: str) -> np.ndarray:
        frame = self._frames[stem]
        labels = frame.upright(self._maps[stem], self._folder / f"{stem}.png")
        counting = frame.counting_of_photo()
        if counting is None:
            return labels
        return np.where(resize_nearest(counting, labels.shape[1], labels.shape[0]), labels, 0)

    def __contains__(self, stem: object) -> bool:
        return stem in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def look(self) -> tuple[list[str], list[str]]:
        """The photos whose maps are the other way round than they, and those whose maps are stretched.

        Raises:
            InputError: a map of another shape than its photo.
        """
        turned, stretched = [], []
        for stem, frame in self._frames.items():
            width, height = self._maps.size(stem) if isinstance(self._maps, MapFiles) else self._maps[stem].shape[1::-1]
            if frame.turn_of((width, height), self._folder / f"{stem}.png") != 1:
                turned.append(stem)
                width, height = height, width
            if not same_shape((width, height), (frame.sensor.width, frame.sensor.height)):
                stretched.append(stem)
        return turned, stretched


class CameraMaps(Mapping[str, np.ndarray]):
    """Maps of photos on the pixels of their ideal cameras, made at each access; maps of other photos stay out."""

    def __init__(self, frames: Sequence[Frame], maps: Mapping[str, np.ndarray]) -> None:
        self._frames, self._maps = {frame.stem: frame for frame in frames if frame.stem in maps}, maps

    def __getitem__(self, stem: str) -> np.ndarray:
        return self._frames[stem].fit_labels(self._maps[stem])

    def __contains__(self, stem: object) -> bool:
        return stem in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def folder_of_renders(folder: Path) -> Path | None:
    """The folder that ``panoptic-gs render`` wrote these maps into, with ``rgb/`` beside them; None for other maps.

    Rendered maps are on the ideal cameras' pixels, those of a scene folder on the photos', lens and all.
    """
    for candidate in (folder, folder.absolute().parent):
        if (candidate / "rgb").is_dir() and not (candidate / "transforms.json").is_file():
            return candidate
    return None


def require_masks(frames: Sequence[Frame]) -> list[str]:
    """Look into every mask once.

    Returns:
        The photos whose mask keeps every pixel.

    Raises:
        InputError: a mask is missing, unreadable, of another shape than its photo, or keeps nothing.
    """
    whole = []
    for frame in frames:
        if frame.mask_path is not None:
            kept = frame.upright(read_mask(frame.mask_path), frame.mask_path)
            require_pixels(frame.mask_path, kept)
            if kept.all():
                whole.append(frame.stem)
    return whole


def unposed(frames: Sequence[Frame]) -> list[str]:
    """What the images beside the photos are called that have no pose, such as those that COLMAP could not place."""
    posed = [frame.image_path for frame in frames]
    known = {path.absolute() for path in posed}
    others = [
        path
        for folder in sorted({path.parent for path in posed})
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_ENDINGS and path.absolute() not in known
    ]
    if not others:
        return []
    named = {frame.stem for frame in frames}
    return [stem for stem in stems([*posed, *others])[len(posed) :] if stem not in named]
