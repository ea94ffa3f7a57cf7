# SPDX-License-Identifier: Apache-2.0
"""Confidence maps beside label maps: how sure the network is of each pixel's label.

``panoptic/confidence/<stem>.png`` is a 16-bit grey PNG as large as its label map; 65535 stands for 1.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image

FOLDER = "confidence"
_FULL = 65535
_EXPECTED = "a 16-bit grey PNG for each label map, 65535 = certain"
_MEND = "'panoptic-gs merge' writes them beside its label maps; encode_confidence makes pixels of your own."


def encode_confidence(confidence: np.ndarray) -> np.ndarray:
    """Confidence ``[H, W]`` in 0…1 → 16-bit grey pixels, rounded to the nearest of 65536 steps."""
    return np.rint(np.asarray(confidence, dtype=np.float64).clip(0, 1) * _FULL).astype(np.uint16)


class ConfidenceMaps:
    """The confidence maps of a scene, read when asked for.

    Args:
        folder: holds the PNGs, such as ``panoptic/confidence``.
        stems: names of the scene's images; maps of others are refused.

    Raises:
        InputError: no such folder, no map in it, or a map of an unknown image.
    """

    def __init__(self, folder: Path | str, stems: Collection[str] | None = None) -> None:
        self.folder = Path(folder)
        found = sorted(self.folder.rglob("*.png"))
        if not found:
            raise InputError(self.folder, "no confidence maps", _EXPECTED, _MEND)
        for path in found:
            if stems is not None and path.relative_to(self.folder).with_suffix("").as_posix() not in stems:
                raise InputError(
                    path, "a map of no image of the scene", "one named as its image", "Rename or remove it."
                )

    def read(self, stem: str) -> np.ndarray:
        """The confidence ``[H, W]`` float32 in 0…1 of one image.

        Raises:
            InputError: there is no map of it, or it is no 16-bit grey PNG.
        """
        path = self.folder / f"{stem}.png"
        if not path.is_file():
            raise InputError(path, "no such file", _EXPECTED, _MEND)
        pixels = read_image(path, expected=_EXPECTED)
        if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize < 2:
            raise InputError(path, f"{pixels.dtype} pixels of shape {list(pixels.shape)}", _EXPECTED, _MEND)
        confidence = pixels.astype(np.float32)
        confidence /= _FULL
        return confidence
