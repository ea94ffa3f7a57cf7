# SPDX-License-Identifier: Apache-2.0
"""The scene folder: posed photos, seed points, splits and the panoptic maps beside them.

``transforms.json`` is nerfstudio's format; where it is missing a COLMAP model under ``colmap/sparse/0`` is read. The
layout is described in ``docs/formats.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import image_size, write_json, write_png
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.ply import Points, read_points, write_points
from panoptic_gs.scene.colmap import read_colmap
from panoptic_gs.scene.confidence import FOLDER as CONFIDENCE
from panoptic_gs.scene.confidence import ConfidenceMaps
from panoptic_gs.scene.depth import DepthMaps
from panoptic_gs.scene.frame import Frame
from panoptic_gs.scene.maps import CameraMaps, PhotoMaps, require_masks, unposed
from panoptic_gs.scene.orientation import exif_orientation
from panoptic_gs.scene.photo_paths import find_file, is_outside, require_unique, stems
from panoptic_gs.scene.rectification import MAX_FOV
from panoptic_gs.scene.splits import read_splits
from panoptic_gs.scene.transforms import PosedPhoto, read_transforms, write_transforms
from panoptic_gs.scene.units import known_unit

MOST_PIXELS = 1 << 26
"""Photos of more pixels are shrunk while they are read."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene folder that was read. ``points`` is None where it has no seed points.

    Args:
        root: the folder.
        frames: the photos, in the order of their names.
        points: seed points.
        splits: name → the stems of its photos.
        applied: what ``transforms.json`` says was done to the original poses, ``[4, 4]``.
        notes: what was left out or understood in one of several ways, for whoever shows it; reading maps adds to them.
        meters_per_unit: size of the scene's unit; None where nothing says it.
    """

    root: Path
    frames: tuple[Frame, ...]
    points: Points | None
    splits: Mapping[str, tuple[str, ...]]
    applied: np.ndarray = field(default_factory=lambda: np.eye(4))
    notes: list[str] = field(default_factory=list)
    meters_per_unit: float | None = None

    def frame(self, stem: str) -> Frame:
        """The frame with this name."""
        for frame in self.frames:
            if frame.stem == stem:
                return frame
        raise InputError(self.root, f"no image named '{stem}'", f"one of {len(self.frames)} images", "Check the name.")

    def split(self, name: str) -> tuple[Frame, ...]:
        """The frames of a split of ``splits.json`` or ``transforms.json``; ``all`` is every frame.

        Raises:
            InputError: there is no such split, or it is empty.
        """
        if name == "all":
            return self.frames
        if not self.splits.get(name):
            raise InputError(
                self.root / "splits.json",
                f"no split '{name}'",
                f"'all' or one of {sorted(self.splits)}",
                'Add it to splits.json, as in {"train": ["0001"], "test": ["0002"]}.',
            )
        known = {frame.stem: frame for frame in self.frames}
        return tuple(known[stem] for stem in self.splits[name])

    def load_panoptic(self, folder: str = "panoptic") -> PanopticScene:
        """Read the panoptic maps of a subfolder, as :meth:`of_photos` gives them.

        Raises:
            InputError: as there, and what :meth:`PanopticScene.load` refuses.
        """
        stems = [*(frame.stem for frame in self.frames), *unposed(self.frames)]
        return self.of_photos(PanopticScene.load(self.root / folder, stems), folder)

    def of_photos(self, panoptic: PanopticScene, name: str = "panoptic") -> PanopticScene:
        """Maps of the scene's photos: the way round that the photos are, and void where pixels do not count.

        Pixels count that the photo's mask keeps and its alpha channel does not cut out. Maps of photos that have no
        pose are left out, with a note.

        Raises:
            InputError: a map of another shape than its photo, a mask that keeps nothing.
        """
        self.require_masks()
        maps = PhotoMaps(self.frames, panoptic.maps, self.root / name)
        self._note_missing(name, [stem for stem in panoptic.maps if stem not in maps])
        turned, stretched = maps.look()
        if stretched:
            self._note(
                f"{len(stretched)} maps of {name}/ have about the shape of their photos (the first: {stretched[0]}); "
                "they are taken to show them whole, stretched to whole patches of a network, and not cropped"
            )
        if turned:
            self._note(
                f"{len(turned)} maps of {name}/ are upright as EXIF asks, their photos' cameras are not (the first: "
                f"{turned[0]}); the maps are turned"
            )
        unclear = [f.stem for f in self.frames if f.stem in maps and 1 < exif_orientation(f.image_path) < 5]
        if unclear and not all(frame.orientation > 1 for frame in self.frames):
            self._note(
                f"{len(unclear)} photos have an EXIF orientation that keeps their shape (the first: {unclear[0]}); "
                f"maps of {name}/ are taken to be of the pixels as they are stored"
            )
        return PanopticScene(panoptic.categories, panoptic.segments, maps, panoptic.source)

    def on_cameras(self, panoptic: PanopticScene) -> PanopticScene:
        """Maps of the scene's photos on the pixels of their ideal cameras, as they are rendered."""
        return PanopticScene(
            panoptic.categories, panoptic.segments, CameraMaps(self.frames, panoptic.maps), panoptic.source
        )

    @property
    def photos_differ(self) -> bool:
        """Whether the photos' own pixels are not simply the ideal cameras': for lenses, masks, alpha, EXIF."""
        return any(
            frame.distortion or frame.mask_path or frame.has_alpha or exif_orientation(frame.image_path) > 1
            for frame in self.frames
        )

    def load_confidence(self, folder: str = "panoptic") -> ConfidenceMaps:
        """The confidence maps beside the panoptic maps of a subfolder.

        Raises:
            InputError: there are none, or some of unknown images.
        """
        known = [frame.stem for frame in self.frames]
        return ConfidenceMaps(self.root / folder / CONFIDENCE, [*known, *unposed(self.frames)])

    def load_depth(self) -> DepthMaps:
        """The depth maps that the photos have; none may be there."""
        return DepthMaps(self.root, self.frames)

    def require_masks(self) -> None:
        """Look into every mask once: one that keeps nothing is refused, one that keeps everything is noted.

        Raises:
            InputError: a mask is missing, unreadable, of another shape than its photo, or keeps nothing.
        """
        whole = require_masks(self.frames)
        if whole:
            self._note(f"{len(whole)} masks keep every pixel of their photo (the first: {whole[0]})")

    def _note_missing(self, name: str, left_out: list[str]) -> None:
        if left_out:
            shown = ", ".join(left_out[:4]) + (", …" if len(left_out) > 4 else "")
            self._note(f"{len(left_out)} maps of {name}/ are of photos without a pose and are left out: {shown}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    @classmethod
    def load(cls, root: Path | str, max_fov: float = MAX_FOV) -> Scene:
        """Read a scene folder; photos and maps are opened later.

        Args:
            root: the folder.
            max_fov: most degrees of rectified photos, see :class:`Frame`.

        Raises:
            InputError: a missing or malformed file, an unreadable photo, a bad pose, a zero focal length, a lens that
                is not known, two photos of one name, no photos at all.
        """
        root = Path(root)
        if not root.is_dir():
            raise InputError(root, "no such folder", "a scene folder", "Check the path.")
        if (root / "transforms.json").is_file():
            scene, named = _of_transforms(root, max_fov)
        elif _colmap_model(root).is_dir():
            scene, named = _of_colmap(root, max_fov)
        else:
            raise InputError(
                root,
                "neither transforms.json nor colmap/sparse/0",
                "a scene folder with camera poses",
                "Run ns-process-data on the photos, or COLMAP.",
            )
        if not scene.frames:
            raise InputError(root, "no images", "at least one posed image", "Run ns-process-data on the photos.")
        require_unique(root, (frame.stem for frame in scene.frames))
        splits = read_splits(root, scene.frames, named, scene.notes)
        unit = known_unit(root) if scene.meters_per_unit is None else scene.meters_per_unit
        return cls(root, scene.frames, scene.points, splits, scene.applied, scene.notes, unit)


def has_cameras(root: Path) -> bool:
    """Whether a folder has what makes it a scene folder: ``transforms.json`` or a COLMAP model."""
    return (root / "transforms.json").is_file() or _colmap_model(root).is_dir()


def _colmap_model(root: Path) -> Path:
    return root / "colmap" / "sparse" / "0"


def write_scene(
    root: Path,
    cameras: Mapping[str, Camera],
    images: Mapping[str, np.ndarray],
    points: Points,
    splits: Mapping[str, list[str]],
    meters_per_unit: float | None = None,
) -> None:
    """Write ``transforms.json``, ``images/``, ``points3D.ply`` and ``splits.json`` into ``root``.

    Args:
        root: a folder, made where it is missing.
        cameras: stem → camera.
        images: stem → ``[H, W, 3]`` uint8 photo.
        points: seed points, positions and colours.
        splits: ``train`` and ``test`` → stems.
        meters_per_unit: size of the unit, where it is known.
    """
    for stem in cameras:
        write_png(root / "images" / f"{stem}.png", images[stem])
    write_points(root / "points3D.ply", points)
    write_json(root / "splits.json", dict(splits))
    frames = [PosedPhoto(f"images/{stem}.png", camera) for stem, camera in cameras.items()]
    write_transforms(root / "transforms.json", frames, points="points3D.ply", meters_per_unit=meters_per_unit)


_Named = Mapping[str, tuple[Path, ...]]
"""Split → the photos that ``transforms.json`` lists for it."""


def _of_transforms(root: Path, max_fov: float) -> tuple[Scene, _Named]:
    transforms = read_transforms(root / "transforms.json")
    paths = [find_file(root, entry.file_path, transforms.named(entry)) for entry in transforms.entries]
    notes: list[str] = []
    frames = []
    for entry, path, stem in zip(transforms.entries, paths, stems(paths)):
        source = transforms.named(entry)
        with _named_by(source):
            stored = image_size(path)
        size = (entry.size[0] or stored[0], entry.size[1] or stored[1])
        orientation = _orientation(path, stored, size, "transforms.json")
        try:
            camera = entry.camera(*size)
        except InputError as error:
            raise error.inside(source) from error
        camera = _bounded(camera, path, notes)
        mask = None if entry.mask_path is None else find_file(root, entry.mask_path, source)
        depth = None if entry.depth_path is None else root / entry.depth_path.replace("\\", "/")
        frames.append(Frame(stem, path, camera, entry.lens, mask, orientation, max_fov, depth))
        if entry.lens_note is not None and entry.lens_note not in notes:
            notes.append(entry.lens_note)
    outside = [path for path in paths if is_outside(root, path)]
    if outside:
        notes.append(
            f"{len(outside)} photos lie outside the scene's folder (the first: {outside[0]}); they have to stay there"
        )
    named = {
        split: tuple(find_file(root, name, transforms.file) for name in names)
        for split, names in transforms.filenames.items()
    }
    points = None
    if transforms.points is not None:
        file = find_file(root, transforms.points, transforms.file)
        with _named_by(f"ply_file_path of {transforms.file}"):
            points = read_points(file)
    return replace(_sorted(root, frames, points, transforms.applied, notes),
                   meters_per_unit=transforms.meters_per_unit), named  # fmt: skip


def _of_colmap(root: Path, max_fov: float) -> tuple[Scene, _Named]:
    folder = _colmap_model(root)
    model = read_colmap(folder)
    paths = [find_file(root / "images", name, folder) for name, _, _ in model.images]
    frames: list[Frame] = []
    notes: list[str] = []
    for (_, camera, lens), path, stem in zip(model.images, paths, stems(paths)):
        with _named_by(folder):
            stored = image_size(path)
        orientation = _orientation(path, stored, (camera.width, camera.height), "COLMAP")
        frames.append(Frame(stem, path, _bounded(camera, path, notes), lens, None, orientation, max_fov))
    return _sorted(root, frames, model.points, np.eye(4), notes), {}


@contextmanager
def _named_by(source: object) -> Iterator[None]:
    """Errors of a file that another one names say which: any file may be named there."""
    try:
        yield
    except InputError as error:
        raise InputError(error.source, f"{error.found}, named by {source}", error.expected, error.mend) from error


def _sorted(
    root: Path, frames: list[Frame], points: Points | None, applied: np.ndarray, notes: list[str]
) -> Scene:  # fmt: skip
    return Scene(root, tuple(sorted(frames, key=lambda frame: frame.stem)), points, {}, applied, notes)


def _bounded(camera: Camera, path: Path, notes: list[str]) -> Camera:
    """The camera of a photo, halved until it is one that every view of a scene can be rendered and kept as."""
    divisor = 1
    while camera.width * camera.height > MOST_PIXELS * divisor**2:
        divisor *= 2
    if divisor == 1:
        return camera
    notes.append(f"{path.name} has {camera.width}×{camera.height} pixels and is read at 1/{divisor} of its sides")
    return camera.resized(camera.width // divisor, camera.height // divisor)


def _orientation(path: Path, stored: tuple[int, int], size: tuple[int, int], by: str) -> int:
    """How stored pixels have to be turned to be of the size that their camera has, 1 where they are.

    Raises:
        InputError: they are of another size.
    """
    if stored == size:
        return 1
    stated = exif_orientation(path)
    if stored == size[::-1] and stated >= 5:
        return stated
    raise InputError(
        path,
        f"{stored[0]}×{stored[1]} pixels" + (f" (EXIF orientation {stated})" if stated > 1 else ""),
        f"{size[0]}×{size[1]} as {by} says",
        "Restore the original photo, or correct w, h and the intrinsics."
        if by == "transforms.json"
        else "Use the photos that the COLMAP model was made from.",
    )
