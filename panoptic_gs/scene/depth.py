# SPDX-License-Identifier: Apache-2.0
"""Depth maps of a scene's photos, as depth cameras, LiDAR phones and rendered datasets bring them.

``depth_file_path`` of a frame of ``transforms.json`` (nerfstudio's field), else ``depth/<stem>.png`` or ``.npy``:
distance along the camera's z axis in millimetres, 0 where it is not known. They may be smaller than their photos.
"""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image
from panoptic_gs.scene.frame import Frame

FOLDER = "depth"
MILLIMETRES = 1000.0
_MOST = 65535
_EXPECTED = "a depth map in millimetres along z: a 16-bit grey PNG, or an array [H, W] in a .npy"
_MEND = "Export it again as 16-bit grey; a coloured or 8-bit picture of depth does not hold it."
_NUMPY_RAISES = (
    OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError,
    tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
"""What reading a damaged ``.npy`` ends with: its header is a Python literal."""


def depth_to_millimetres(depth: np.ndarray) -> np.ndarray:
    """Metres → uint16 millimetres; 0 where there is none or it is beyond 65.5 m."""
    millimetres = np.rint(np.nan_to_num(depth.astype(np.float64), nan=0, posinf=0, neginf=0) * MILLIMETRES)
    return np.where((millimetres > 0) & (millimetres <= _MOST), millimetres, 0).astype(np.uint16)


class DepthMaps:
    """The depth maps of a scene, read when asked for.

    Args:
        root: the scene folder.
        frames: its photos.
    """

    def __init__(self, root: Path, frames: Iterable[Frame]) -> None:
        self.files: dict[str, Path] = {}
        """Stem → file, of the photos that have one."""
        for frame in frames:
            for file in (frame.depth_path, root / FOLDER / f"{frame.stem}.png", root / FOLDER / f"{frame.stem}.npy"):
                if file is not None and (file == frame.depth_path or file.is_file()):
                    self.files[frame.stem] = file
                    break

    def __contains__(self, stem: str) -> bool:
        return stem in self.files

    def __len__(self) -> int:
        return len(self.files)

    def read(self, frame: Frame) -> np.ndarray:
        """Metres along z, ``[H, W]`` float32 on the ideal camera's pixels (nearest); 0 where it is not known.

        Raises:
            InputError: it is missing or unreadable, of colours or 8 bits, of another shape than its photo, or holds NaN
                or distances that are not positive.
        """
        return frame.fit_labels(self.read_of_photo(frame.stem), self.files[frame.stem])

    def read_of_photo(self, stem: str) -> np.ndarray:
        """As :meth:`read`, on the map's own pixels."""
        file = self.files[stem]
        pixels = _array(file) if file.suffix == ".npy" else read_image(file, expected=_EXPECTED)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        plain = pixels.dtype.kind in "iuf" and pixels.dtype.itemsize >= 2
        if pixels.ndim != 2 or 0 in pixels.shape or not plain:
            raise InputError(file, f"{pixels.dtype} of shape {list(pixels.shape)}", _EXPECTED, _MEND)
        if not bool((np.isfinite(pixels) & (pixels >= 0)).all()):
            raise InputError(file, "NaN, infinite or negative distances", _EXPECTED, "Write 0 where it is not known.")
        return pixels.astype(np.float32) / np.float32(MILLIMETRES)


def _array(file: Path) -> np.ndarray:
    try:
        # Mapped, so that a header which promises more than the file holds is refused before memory is taken.
        values = np.load(file, mmap_mode="r", allow_pickle=False)
    except _NUMPY_RAISES as error:
        raise InputError(file, f"{str(error)[:200] or type(error).__name__}", _EXPECTED, _MEND) from error
    if not isinstance(values, np.ndarray):
        raise InputError(file, "several arrays", _EXPECTED, "Save one array with numpy.save.")
    return values
