# SPDX-License-Identifier: Apache-2.0
"""Views of a labelled scene along a path, as label maps and as a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.palette import palette_of
from panoptic_gs.replacing import replacing
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.view import render_view, to_bytes


class RenderedView(NamedTuple):
    """One view: its name, colours, panoptic colours and segment ids."""

    name: str
    rgb: np.ndarray  # [H, W, 3] uint8
    panoptic: np.ndarray  # [H, W, 3] uint8
    ids: np.ndarray  # [H, W] int32


def render_path(
    scene: LabelledScene, path: Mapping[str, Camera], rasterize_mode: RasterizeMode = "classic"
) -> Iterator[RenderedView]:
    """Render one view after the other."""
    palette = palette_of(scene.labelling)
    for name, camera in path.items():
        view = render_view(scene, camera, rasterize_mode)
        colors = to_bytes(palette.colorize(view.ids))
        yield RenderedView(name, view.rgb_bytes, colors, view.ids.int().cpu().numpy())


class VideoWriter:
    """Frames to an MP4 (H.264) that browsers and phones play; nothing is left behind on failure.

    Args:
        path: the file.
        fps: frames a second.

    Raises:
        InputError: the folder cannot be written, or the frame rate is not positive.
    """

    def __init__(self, path: Path, fps: float = 24.0) -> None:
        if not fps > 0:
            raise InputError("fps", f"{fps}", "a positive number of frames a second", "Correct --fps.")
        self._rate = Fraction(fps).limit_denominator(1000)
        self._replacing = replacing(path)
        self._container = self._stream = None

    def __enter__(self) -> VideoWriter:
        import av

        self._container = av.open(str(self._replacing.__enter__()), mode="w", format="mp4")
        return self

    def add(self, pixels: np.ndarray) -> None:
        """Append a frame ``[H, W, 3]`` uint8; all frames have the size of the first."""
        import av

        assert self._container is not None
        height, width = (side // 2 * 2 for side in pixels.shape[:2])  # H.264 halves the resolution of colour
        if self._stream is None:
            self._stream = self._container.add_stream("h264", rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.options = {"crf": "18"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._container is not None
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._replacing.__exit__(kind, error, trace)


def side_by_side(view: RenderedView) -> np.ndarray:
    """Colour on the left, panoptic colours on the right ``[H, 2W, 3]``."""
    return np.concatenate([view.rgb, view.panoptic], axis=1)
