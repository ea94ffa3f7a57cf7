# SPDX-License-Identifier: Apache-2.0
"""Sharp frames of a video, as photos."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.predict.selection import sharpness
from panoptic_gs.replacing import replacing_folder

_SIDE = 480


def sharp_frames(video: Path, folder: Path, count: int) -> int:
    """Write the sharpest frame of each of ``count`` equal stretches of a video as ``00001.jpg``, …; how many there are.

    Args:
        video: the file.
        folder: for the frames.
        count: most frames.

    Raises:
        InputError: no video, or one without frames.
    """
    if not video.is_file():
        raise InputError(video, "no such file", "a video", "Check the path.")
    if count < 3:
        raise InputError("--frames", str(count), "at least 3", "Choose a larger number.")
    try:
        number = _frames(video)
        with replacing_folder(folder, known_by="00001.jpg") as temporary, av.open(str(video)) as container:
            best, written = (-1.0, None), 0
            for index, frame in enumerate(container.decode(video=0)):
                pixels = frame.to_ndarray(format="rgb24")
                stretch, following = index * count // number, (index + 1) * count // number
                detail = sharpness(np.asarray(_small(pixels)))
                if detail > best[0]:
                    best = (detail, pixels)
                if (following > stretch or index == number - 1) and best[1] is not None:
                    written += 1
                    Image.fromarray(best[1]).save(temporary / f"{written:05d}.jpg", quality=95, subsampling=0)
                    best = (-1.0, None)
    except (av.FFmpegError, IndexError) as error:
        raise InputError(video, f"no video that can be decoded ({error})", "a video", "Convert it to MP4.") from error
    return written


def _frames(video: Path) -> int:
    with av.open(str(video)) as container:
        count = sum(1 for _ in container.decode(video=0))
    if count == 0:
        raise InputError(video, "no frames", "a video", "Convert it to MP4.")
    return count


def _small(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels).convert("L")
    scale = min(1.0, _SIDE / max(image.size))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
