# SPDX-License-Identifier: Apache-2.0
"""A ScanNet recording: photos, depth and poses from the ``.sens`` stream or from the folders it is exported to."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from panoptic_gs.datasets.pose_files import read_matrix
from panoptic_gs.datasets.sens import MAX_SIDE, SensStream
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, read_image, read_rgb

_SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
MAX_PIXELS = 1 << 26
"""Of a photo whose sharpness is looked at."""
_EXPORTED_DEPTH_SHIFT = 1000.0
_MATRIX = "4 rows of 4 numbers"


class Recording(Protocol):
    """Frames by number, each with a photo and perhaps depth, however they are stored."""

    @property
    def poses(self) -> Mapping[int, np.ndarray]:
        """Number of every frame → ``[4, 4]`` camera to world, OpenCV axes; not finite where unknown."""
        ...

    @property
    def missing(self) -> Mapping[int, str]:
        """Number of every frame without a pose → why."""
        ...

    @property
    def intrinsic_color(self) -> np.ndarray:
        """``[3, 3]`` of the photo, pixel centres on whole numbers."""
        ...

    @property
    def intrinsic_depth(self) -> np.ndarray:
        """``[3, 3]`` of the depth, pixel centres on whole numbers."""
        ...

    @property
    def registered(self) -> bool:
        """Whether photo and depth are taken from one place in one direction: the extrinsics are alike."""
        ...

    def encoded(self, number: int) -> tuple[bytes, str] | None:
        """The photo's own file and its ending; None where it is stored without compression."""
        ...

    def color(self, number: int) -> np.ndarray:
        """The photo ``[H, W, 3]`` uint8."""
        ...

    def depth(self, number: int) -> np.ndarray | None:
        """``[h, w]`` float32 metres, 0 = none; None for a frame without depth."""
        ...


@dataclass(frozen=True, eq=False)
class SensRecording:
    """The frames of a ``.sens`` stream."""

    stream: SensStream = field(repr=False)

    @property
    def poses(self) -> Mapping[int, np.ndarray]:
        """Camera-to-world poses."""
        return {number: frame.camera_to_world.astype(np.float64) for number, frame in enumerate(self.stream.frames)}

    @property
    def missing(self) -> Mapping[int, str]:
        """Frames beyond the end of a truncated file."""
        first = len(self.stream.frames)
        reason = f"{self.stream.path.name} is truncated: it ends within frame {first}"
        return dict.fromkeys(range(first, first + self.stream.missing_frames), reason)

    @property
    def intrinsic_color(self) -> np.ndarray:
        """Of the colour camera."""
        return self.stream.intrinsic_color[:3, :3].astype(np.float64)

    @property
    def intrinsic_depth(self) -> np.ndarray:
        """Of the depth camera."""
        return self.stream.intrinsic_depth[:3, :3].astype(np.float64)

    @property
    def registered(self) -> bool:
        """Whether the two extrinsics are alike."""
        return _alike(self.stream.extrinsic_color, self.stream.extrinsic_depth)

    def encoded(self, number: int) -> tuple[bytes, str] | None:
        """The stored JPEG or PNG."""
        suffix = _SUFFIXES.get(self.stream.color_compression)
        return None if suffix is None else (self.stream.read_color_bytes(number), suffix)

    def color(self, number: int) -> np.ndarray:
        """The decoded photo."""
        return self.stream.read_color(number)

    def depth(self, number: int) -> np.ndarray | None:
        """The decoded depth."""
        return self.stream.read_depth(number)


@dataclass(frozen=True, eq=False)
class FolderRecording:
    """Exported frames: ``color/i.jpg``, ``depth/i.png`` in millimetres, ``pose/i.txt``, ``intrinsic/*.txt``."""

    root: Path
    poses: Mapping[int, np.ndarray] = field(repr=False)
    missing: Mapping[int, str]
    intrinsic_color: np.ndarray
    intrinsic_depth: np.ndarray
    photos: Mapping[int, Path] = field(repr=False)
    depths: Mapping[int, Path] = field(repr=False)
    registered: bool

    @classmethod
    def open(cls, root: Path) -> FolderRecording:
        """List the frames.

        Raises:
            InputError: no photos, or the intrinsics are missing or no matrices.
        """
        photos = _numbered(root / "color", (".jpg", ".jpeg", ".png"))
        depths = _numbered(root / "depth", (".png",))
        pose_files = _numbered(root / "pose", (".txt",))
        if not photos:
            raise InputError(root / "color", "no numbered photos", "color/0.jpg, …", "Export the .sens file again.")
        poses, missing = {}, {}
        for number in sorted({*photos, *pose_files}):
            if number not in pose_files:
                missing[number] = f"pose/{number}.txt is missing"
                continue
            try:
                poses[number] = read_matrix(pose_files[number], _MATRIX)
            except InputError as error:
                missing[number] = str(error)
        files = {kind: root / "intrinsic" / f"{kind}.txt" for kind in ("intrinsic_color", "intrinsic_depth")}
        color = _intrinsics(files["intrinsic_color"])
        has_depth = files["intrinsic_depth"].is_file() or bool(depths)
        depth = _intrinsics(files["intrinsic_depth"]) if has_depth else color
        extrinsics = [root / "intrinsic" / f"extrinsic_{kind}.txt" for kind in ("color", "depth")]
        registered = not all(path.is_file() for path in extrinsics) or _alike(
            *(read_matrix(path, _MATRIX) for path in extrinsics)
        )
        return cls(root, poses, missing, color, depth, photos, depths, registered)

    def _photo(self, number: int) -> Path:
        if number not in self.photos:
            raise InputError(self.root / "color", f"no photo {number}.jpg", "one for every pose", "Export it again.")
        return self.photos[number]

    def encoded(self, number: int) -> tuple[bytes, str] | None:
        """The photo's file."""
        path = self._photo(number)
        return path.read_bytes(), path.suffix.lower()

    def color(self, number: int) -> np.ndarray:
        """The decoded photo."""
        return read_rgb(self._photo(number))

    def depth(self, number: int) -> np.ndarray | None:
        """The decoded depth, None where its file is missing."""
        if number not in self.depths:
            return None
        width, height = image_size(self.depths[number])
        if max(width, height) > MAX_SIDE:
            raise InputError(
                self.depths[number], f"{width:,} × {height:,} pixels", f"depth of at most {MAX_SIDE:,} pixels a side",
                "Export again.",
            )  # fmt: skip
        values = read_image(self.depths[number])
        if values.ndim != 2:
            raise InputError(
                self.depths[number], f"pixels of shape {list(values.shape)}", "grey depth", "Export again."
            )
        return (values / np.float32(_EXPORTED_DEPTH_SHIFT)).astype(np.float32)


def open_recording(root: Path) -> Recording:
    """The ``.sens`` stream of a scene folder, or its exported folders.

    Raises:
        InputError: neither is there, or the one that is there cannot be read.
    """
    streams = sorted(root.glob("*.sens"))
    if len(streams) > 1:
        raise InputError(root, f"{len(streams)} .sens files", "one scene's", "Give the folder of a single scene.")
    if streams:
        return SensRecording(SensStream.open(streams[0]))
    if (root / "color").is_dir():
        return FolderRecording.open(root)
    raise InputError(
        root,
        "neither a .sens file nor the folder color/",
        "a scene of ScanNet",
        "Give the folder of one scene, as in scans/scene0000_00; without the .sens file there are no photos.",
    )


def sharpest(
    recording: Recording,
    numbers: Sequence[int],
    most: int,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[int]:
    """Of more than ``most`` frames the sharpest of each window of max(2, ⌈N / most⌉); otherwise all.

    Frames without a pose, or whose photo is missing or cannot be decoded, lose, and stand only where their whole window
    does.

    Args:
        recording: the frames.
        numbers: all N frames, in order, those without a pose, too.
        most: how many frames are not thinned.
        jobs: photos to decode at a time.
        progress: is told how many of the photos are done.
    """
    if len(numbers) <= most:
        return list(numbers)
    window = max(2, -(-len(numbers) // most))

    def score(number: int) -> float:
        try:
            return sharpness(recording, number)
        except InputError:
            return -1.0

    poses = recording.poses
    posed = [number for number in numbers if number in poses]
    scores = dict.fromkeys(numbers, -1.0)  # a header may announce any number of frames that are not there
    with ThreadPoolExecutor(jobs) as pool:
        for done, (number, value) in enumerate(zip(posed, pool.map(score, posed)), 1):
            scores[number] = value
            progress(done, len(posed))
    windows = [numbers[start : start + window] for start in range(0, len(numbers), window)]
    return [max(members, key=scores.__getitem__) for members in windows]


def sharpness(recording: Recording, number: int) -> float:
    """The variance of the photo's Laplacian, of its luma (Pech-Pacheco et al., ICPR 2000).

    Raises:
        InputError: the photo cannot be decoded.
    """
    stored = recording.encoded(number)
    if stored is None:
        grey = recording.color(number).astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    else:
        try:
            with Image.open(io.BytesIO(stored[0])) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(f"frame {number}", f"{image.width}×{image.height} pixels", "a photo", "Mend.")
                image.draft("L", image.size)
                grey = np.asarray(image.convert("L"), dtype=np.float32)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"frame {number}", f"a photo that cannot be decoded ({error})", "a photo", "Mend."
            ) from error
    if min(grey.shape) < 3:
        raise InputError(f"frame {number}", f"a photo of {grey.shape[1]}×{grey.shape[0]} pixels", "a photo", "Mend.")
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((neighbours - 4 * grey[1:-1, 1:-1]).var())


def _intrinsics(file: Path) -> np.ndarray:
    K = read_matrix(file, _MATRIX)[:3, :3]
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise InputError(file, "focal lengths that are not finite and positive", "4×4 intrinsics", "Export it again.")
    return K


def _alike(color: np.ndarray, depth: np.ndarray) -> bool:
    """Whether two extrinsics differ by less than a millimetre and a milliradian, about."""
    return bool(np.abs(color - depth).max() < 1e-3)


def _numbered(folder: Path, endings: Sequence[str]) -> dict[int, Path]:
    files = folder.iterdir() if folder.is_dir() else ()
    numbered = [path for path in files if re.fullmatch(r"\d{1,9}", path.stem, re.ASCII)]
    found = {int(path.stem): path for path in numbered if path.suffix.lower() in endings}
    return dict(sorted(found.items()))
