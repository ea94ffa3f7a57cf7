# SPDX-License-Identifier: Apache-2.0
"""Sharp frames of a video, as photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.predict.selection import sharpness
from panoptic_gs.progress import Progress, silent
from panoptic_gs.replacing import replacing_folder

RECORD = "frames.json"
"""Which video the frames of a folder are of."""
_SIDE = 480
_EVERY = 25  # frames between two reports


def frames_of(video: Path, folder: Path, count: int, progress: Progress = silent) -> int:
    """`sharp_frames`, unless the folder holds those of the same video already; how many frames there are.

    Raises:
        InputError: as `sharp_frames`; the folder holds something else.
    """
    if not video.is_file():
        raise InputError(video, "no such file", "a video", "Check the path.")
    state = video.stat()
    made_of = {
        "video": str(video.resolve()), "bytes": state.st_size, "modified": state.st_mtime, "most_frames": count,
    }  # fmt: skip
    known = read_json(folder / RECORD) if (folder / RECORD).is_file() else None
    if known == made_of:
        return len(list(folder.glob("*.jpg")))
    written = sharp_frames(video, folder, count, progress, overwrite=known is not None)
    write_json(folder / RECORD, made_of)
    return written


def sharp_frames(video: Path, folder: Path, count: int, progress: Progress = silent, *, overwrite: bool = False) -> int:
    """Write the sharpest frame of each of ``count`` equal stretches of a video as ``00001.jpg``, …; how many there are.

    Frames are turned as the video says that it is to be seen, and have square pixels.

    Args:
        video: the file.
        folder: for the frames.
        count: most frames.
        progress: called as frames are looked at.
        overwrite: whether frames that are there may be replaced.

    Raises:
        InputError: no video, one without frames, or one that breaks off.
    """
    if not video.is_file():
        raise InputError(video, "no such file", "a video", "Check the path.")
    if count < 3:
        raise InputError("--frames", str(count), "at least 3", "Choose a larger number.")
    try:
        with replacing_folder(folder, overwrite=overwrite, known_by="00001.jpg") as temporary:
            written = 0
            for frame, aspect in _sharpest(video, count, progress):
                written += 1
                _picture(frame, aspect).save(temporary / f"{written:05d}.jpg", quality=95, subsampling=0)
            if written == 0:
                raise InputError(video, "no frames", "a video", "Convert it to MP4.")
    except (av.FFmpegError, IndexError) as error:
        raise InputError(video, f"no video that can be decoded ({error})", "a video", "Convert it to MP4.") from error
    return written


def _sharpest(video: Path, count: int, progress: Progress) -> Iterator[tuple[Any, float]]:
    """The sharpest decoded frame of each stretch, and how many times as wide as high its pixels are."""
    with av.open(str(video)) as container:  # what is only counted need not be decoded
        number = sum(packet.size > 0 for packet in container.demux(video=0))
    best, detail, stretch = None, -1.0, 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        aspect = float(stream.sample_aspect_ratio or 1)
        for index, frame in enumerate(container.decode(stream)):
            here = min(index * count // number, count - 1)
            if here > stretch and best is not None:
                yield best, aspect
                best, detail = None, -1.0
            stretch, found = here, _detail(frame)
            if found > detail:
                best, detail = frame, found
            if index % _EVERY == 0:
                progress("Looking for sharp frames", min(index + 1, number), number)
    if best is not None:
        yield best, aspect
    progress("Looking for sharp frames", number, number)


def _detail(frame: Any) -> float:
    scale = min(1.0, _SIDE / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    return sharpness(frame.reformat(width, height, format="gray", interpolation="AREA").to_ndarray())


def _picture(frame: Any, aspect: float) -> Image.Image:
    pixels = frame.to_ndarray(format="rgb24")
    if aspect != 1:
        size = round(frame.width * aspect), frame.height
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return Image.fromarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
