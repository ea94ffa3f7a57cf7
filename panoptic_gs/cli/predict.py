# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs predict``: run a panoptic network on photos or renders, and write what training or scoring needs."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tyro.conf import Positional

from panoptic_gs.cli.many_scenes import ManyScenes
from panoptic_gs.errors import InputError
from panoptic_gs.merge.registry import AUTO, METHODS, MethodOrAuto
from panoptic_gs.progress import Progress, progress_bars
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.camera import Camera
    from panoptic_gs.merge import Merge
    from panoptic_gs.panoptic import Category
    from panoptic_gs.predict import Keyframes, NetworkOptions, PanopticPredictor, Photo, RawPredictions
    from panoptic_gs.predict.scene_folder import Alignment
    from panoptic_gs.scene import Scene

_KNOWN_BY = "predictions/predictions.json"
_POOR_CENTER, _POOR_ANGLE = 0.1, 5.0  # median error over the spread of the centres, and in degrees


@dataclass(frozen=True, kw_only=True)
class Predict(ManyScenes):
    """Predict panoptic masks, cameras and shape from photos: a scene folder ready for ns-train. No poses needed.

    Runs official PanSt3R where it is installed (non-commercial licence), or a network of your own; see
    docs/predicting.md. Writes predictions/ (raw query masks), panoptic/ (one merged map a photo), images/,
    transforms.json and points3D.ply. With --views, rendered images are labelled instead and only predictions/ and
    panoptic/ are written.
    """

    images: Positional[Path | None] = None
    """Folder of at least two photos of one scene. May be left out with --cameras: that scene's photos are taken."""
    classes: str | None = None
    """'wall:stuff,chair:thing', a .txt or .json file, a scene folder (its categories), reduced21, nyu40, scannet20."""
    out: Path
    """New scene folder."""
    views: Path | None = None
    """Instead of photos: what 'panoptic-gs render' or 'ns-render dataset' wrote. The maps can be given to
    'panoptic-gs evaluate'; take --classes from the scene."""
    cameras: Path | None = None
    """Scene folder whose cameras are known: they are kept, and the point map is aligned to them."""
    split: str = "all"
    """With --cameras: predict on the photos of this split of its splits.json only."""
    network: str = "panst3r"
    """panst3r; panoptic-gs, a small one that comes along, or panoptic-gs:WEIGHTS; a class of your own as
    package.module:Class."""
    geometry: str | None = None
    """Instead of one network for all: known, colmap, mapanything, da3 or panst3r finds the cameras …"""
    masks: str | None = None
    """… and eomt, mask2former, oneformer, sam2, sam3, a checkpoint's name on the hub or its folder the masks of each
    photo. 'panoptic-gs associate' makes scene-wide ids of them. sam3-video follows objects from photo to photo, in the
    order of their names, so that ids span them. FAMILY:CHECKPOINT names both. Without --classes all that the network
    knows."""
    checkpoint: Path | None = None
    """The network's weights."""
    trust_checkpoint: bool = False
    """Allow the checkpoint to be opened. Loading one of PanSt3R evaluates strings found in it: it is code."""
    device: str = "auto"
    """cuda, cpu, …; by default CUDA where there is a GPU."""
    amp: Literal["off", "fp16", "bf16"] = "off"
    """Automatic mixed precision: less memory on a GPU."""
    num_keyframes: int = 50
    """Most photos the network's memory is built from; all others are predicted against it. Fewer take less memory."""
    keyframes: Literal["even", "similarity"] = "even"
    """Keyframes evenly spaced in order, or far apart in looks (farthest-point sampling; PanSt3R: its retrieval)."""
    shared_focal: bool = False
    """One focal length for all photos: taken with one camera, unzoomed."""
    seed_points: int = 50_000
    """Most seed points."""
    merge: MethodOrAuto = AUTO
    """How query masks become one labelling; auto: as the network's authors recommend for it, else qubo. 'panoptic-gs
    merge' does it anew from predictions/."""
    keep_all: bool = False
    """With --geometry: take blurred photos and duplicates, too."""
    overwrite: bool = False
    """Replace an earlier output."""

    def run(self) -> None:
        from panoptic_gs.predict.registry import require_installed

        if self.geometry is not None or self.masks is not None:
            self._assemble()
            return
        require_installed(self.network.partition(":")[0])  # what is missing is said before anything heavy is loaded

        from panoptic_gs.predict.class_names import read_classes
        from panoptic_gs.predict.keyframes import Keyframes
        from panoptic_gs.predict.network import load_network
        from panoptic_gs.scene import Scene

        if self.classes is None:
            raise InputError("--classes", "nothing", "the classes to look for", "Say --classes wall:stuff,chair:thing.")
        console = self.console()
        self._check_arguments()
        require_replaceable(self.out, overwrite=self.overwrite, known_by=_KNOWN_BY)
        classes = read_classes(self.classes)
        keyframes = Keyframes(self.num_keyframes, self.keyframes)
        known = Scene.load(self.cameras) if self.cameras else None
        photos = self._photos(known)
        with self._network_prints():
            network = load_network(self.network, self._options())
        running = f"Predicting on {len(photos)} images"
        with progress_bars(console) as progress:
            progress(running, 0, 0)
            with replacing_folder(self.out, overwrite=self.overwrite, known_by=_KNOWN_BY) as folder:
                with self._network_prints():
                    raw = _predict(network, photos, classes, keyframes)
                progress(running, 1, 1)
                written = self._write(folder, raw, photos, known, progress)
            # What the network found lies in place from here on, whatever else fails.
            if written.failure is not None:
                raise self._kept(written.failure)
            try:
                merged = self._merge(progress)
            except InputError as error:
                raise self._kept(error) from error
        isthing = {category.id: category.isthing for category in merged.categories}
        things = sum(isthing[segment.category_id] for segment in merged.segments)
        console.print(f"[bold]{self.out}[/]: {len(raw.images)} images")
        for note in [
            *(f"checkpoint    {note}" for note in getattr(network, "notes", ())),
            _network_note(raw, keyframes, len(photos)),
            *written.notes,
            f"labels        {things} things and {len(merged.segments) - things} stuff classes ({merged.method})",
        ]:
            console.print(f"  {note}")
        if self.views is None:
            console.print(f"Written: {self.out}/transforms.json, images, points3D.ply, panoptic, predictions")
            console.print(f"Train it: ns-train panst3r-ludvig --data {self.out}")
        else:
            console.print(f"Written: {self.out}/panoptic, predictions")
            console.print(f"Score it: panoptic-gs evaluate {self.out} SCENE")
        self.finish([self.out], images=len(raw.images), left_out=written.left_out, things=things,
                    segments=len(merged.segments), merge=merged.method)  # fmt: skip

    def _assemble(self) -> None:
        """Cameras by one network, masks of single photos by another."""
        from panoptic_gs.cli.assemble import Assembly, chosen_photos, print_geometry, print_masks
        from panoptic_gs.predict.assembled import MASKS, PREDICTIONS, RECORD
        from panoptic_gs.scene import Scene

        geometry = self.geometry or ("known" if self.cameras else "colmap")
        assembly = Assembly(
            self.out, geometry, self.masks, self.classes, self.cameras,
            None if self.checkpoint is None else str(self.checkpoint), self.trust_checkpoint, self._device(),
            self.seed_points, self.merge,
        )  # fmt: skip
        assembly.require_installed()
        if self.views is not None:
            raise InputError("--views", f"--geometry {geometry}", "photos", "Leave --views or --geometry out.")
        self._check_arguments()
        assembly.wanted()
        require_replaceable(self.out, overwrite=self.overwrite, known_by=RECORD)
        console = self.console()
        known = Scene.load(self.cameras) if self.cameras else None
        photos, alike = self._photos(known, unique=known is not None), {}
        if known is None:
            with progress_bars(console) as progress:
                photos, alike = chosen_photos(photos, console, progress, keep_all=self.keep_all)
            self._require_two(self.images, photos)
        with progress_bars(console) as progress, self._network_prints():
            placed, found = assembly.find_cameras(
                photos, console.print, progress, overwrite=self.overwrite, known=known if geometry == "known" else None
            )
            try:
                masks = assembly.find_masks(placed, console.print, progress) if self.masks else None
            except InputError as error:
                kept = (
                    f"The cameras are kept in {self.out}; masks alone: --geometry known --cameras {self.out} --masks …"
                )
                raise InputError(error.source, error.found, error.expected, f"{error.mend} {kept}") from error
        console.print(f"[bold]{self.out}[/]: {len(placed)} images")
        print_geometry(console, photos, placed, found)
        console.print(f"Written: {self.out}/transforms.json, images, points3D.ply")
        if masks is not None:
            print_masks(console, masks[0], len(placed), masks[1])
            raw = f"{PREDICTIONS}, " if (self.out / PREDICTIONS).is_dir() else ""
            tracked = "" if raw else " (ids of the tracker, which span the photos)"
            console.print(f"Written: {self.out}/{raw}{MASKS}{tracked}")
        console.print(f"Train it: ns-train panst3r-ludvig --data {self.out}")
        if masks is not None:
            why = "Then" if (self.out / PREDICTIONS).is_dir() else "To join objects that the tracker lost"
            console.print(
                f"{why}: panoptic-gs associate RUN {self.out}/{MASKS} --data {self.out} --out {self.out}/panoptic"
            )
        self.finish([self.out], images=len(placed), left_out=alike | dict(found.left_out), metric=found.metric,
                    masks=None if masks is None else masks[0])  # fmt: skip

    def _network_prints(self) -> AbstractContextManager[Any]:
        """Networks print as they like; standard output is this command's own."""
        return redirect_stdout(io.StringIO() if self.quiet else sys.stderr)

    def _merge(self, progress: Progress) -> Merge:
        """Merge what lies in the output folder: masks are read from their file, one view at a time."""
        from panoptic_gs.merge import merge_predictions
        from panoptic_gs.raw_predictions import RawPredictions

        merged = merge_predictions(RawPredictions.load(self.out / "predictions"), self.merge, progress=progress)
        merged.save(self.out / "panoptic", progress=progress)
        return merged

    def _kept(self, error: InputError) -> InputError:
        """The error, with the way on from what the network found."""
        again = f"panoptic-gs merge {self.out}/predictions --out {self.out}/panoptic --method {' | '.join(METHODS)}"
        mend = f"{error.mend} What the network predicted is kept in {self.out}/predictions; to merge it: {again}"
        return InputError(error.source, error.found, error.expected, mend)

    def _check_arguments(self) -> None:
        if self.views is not None and (self.images is not None or self.cameras is not None):
            raise InputError("--views", "photos or cameras, too", "rendered views alone", "Leave one of them out.")
        if self.images is None and self.views is None and self.cameras is None:
            raise InputError(
                "panoptic-gs predict",
                "no images",
                "a folder of photos, --views or --cameras",
                "Say 'panoptic-gs predict PHOTOS --classes wall:stuff,chair:thing --out SCENE'.",
            )
        if self.split != "all" and self.cameras is None:
            raise InputError("--split", "no --cameras", "a scene that has this split", "Give it with --cameras.")
        if self.seed_points < 0:
            raise InputError("--seed-points", str(self.seed_points), "0 or more", "Choose a larger number.")

    def _photos(self, known: Scene | None, *, unique: bool = True) -> tuple[Photo, ...]:
        from panoptic_gs.predict.photos import find_photos, find_renders
        from panoptic_gs.predict.scene_folder import photo_of

        if self.views is not None:
            source, photos = self.views, find_renders(self.views)
        elif self.images is None:
            assert known is not None
            assert self.cameras is not None
            frames = known.split(self.split)
            source, photos = self.cameras, tuple(photo_of(frame) for frame in frames)
        else:
            source, photos = self.images, find_photos(self.images, unique=unique)
            if known is not None:
                for photo in photos:
                    known.frame(photo.stem)
                chosen = {frame.stem for frame in known.split(self.split)}
                photos = tuple(photo for photo in photos if photo.stem in chosen)
        self._require_two(source, photos)
        for path in [photo.path for photo in photos] + [frame.image_path for frame in (known.frames if known else ())]:
            if self.out.resolve() in path.resolve().parents:
                raise InputError(
                    self.out, f"{path.name}, which is read", "another folder than the input's", "Choose another --out."
                )
        return photos

    @staticmethod
    def _require_two(source: Path | None, photos: Sequence[Photo]) -> None:
        if len(photos) < 2:
            raise InputError(source or "", f"{len(photos)} image", "at least two images of one scene", "Add more.")

    def _device(self) -> str:
        import torch

        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    def _options(self) -> NetworkOptions:
        from panoptic_gs.predict.network import NetworkOptions

        return NetworkOptions(
            self.checkpoint, self.trust_checkpoint, self._device(), self.amp,
            estimate_cameras=self.views is None, shared_focal=self.shared_focal,
        )  # fmt: skip

    def _write(
        self, folder: Path, raw: RawPredictions, photos: Sequence[Photo], known: Scene | None, progress: Progress
    ) -> _Written:
        """Write the raw predictions, then the scene folder with photos, cameras and seed points.

        Raises:
            InputError: the network gave no cameras though none are known. What fails later is returned.
        """
        from panoptic_gs.predict.scene_folder import (
            photo_cameras,
            seed_points_of,
            with_known_cameras,
            write_estimated_scene,
            write_known_scene,
        )

        kept = {image.stem for image in raw.images}
        lost = [photo.path.name for photo in photos if photo.stem not in kept]
        photos = [photo for photo in photos if photo.stem in kept]
        notes = [] if not lost else [
            f"[yellow]left out      {len(lost)} whose cameras were not found: {', '.join(lost[:10])}"
            f"{' …' if len(lost) > 10 else ''}[/]"
        ]  # fmt: skip
        notes += _crop_notes(photos, raw)
        if self.views is not None:
            raw.save(folder / "predictions")
            return _Written(notes, lost)
        cameras = photo_cameras(raw) if known is None else []
        failure: InputError | None = None
        try:
            if known is None:
                notes.append(_camera_note(cameras))
            else:
                raw, alignment = with_known_cameras(raw, photos, known)
                notes.append(_alignment_note(alignment))
        except InputError as error:
            failure = error
        raw.save(folder / "predictions")
        if failure is not None:
            return _Written(notes, lost, failure)
        try:
            points = seed_points_of(raw, photos, self.seed_points)
            if known is None:
                write_estimated_scene(folder, photos, cameras, points, progress)
            else:
                write_known_scene(folder, known, points, progress)
        except InputError as error:
            return _Written(notes, lost, error)
        if points is not None:
            notes.append(f"seed points   {len(points[0]):,}")
        elif known is not None and known.points is not None:
            notes.append(f"seed points   {len(known.points[0]):,}, the scene's own")
        return _Written(notes, lost)


@dataclass(frozen=True)
class _Written:
    """What to tell of a scene folder; whose photos were left out; what went wrong after the predictions were saved."""

    notes: list[str]
    left_out: list[str]
    failure: InputError | None = None


def _predict(
    network: PanopticPredictor, photos: Sequence[Photo], classes: Sequence[Category], keyframes: Keyframes
) -> RawPredictions:
    import torch

    try:
        raw = network.predict(photos, classes, keyframes)
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            "network",
            f"not enough GPU memory for {keyframes.number(len(photos))} keyframes ({error})",
            "a network and photos that fit",
            "Lower --num-keyframes, or use --amp fp16.",
        ) from error
    predicted = {image.stem for image in raw.images}
    if [image.stem for image in raw.images] != [photo.stem for photo in photos if photo.stem in predicted]:
        raise InputError(
            f"output of {raw.network}",
            "predictions of other images, or in another order",
            "the photos that it was given",
            "Let 'predict' list them in order; it may leave some out.",
        )
    return raw


def _network_note(raw: RawPredictions, keyframes: Keyframes, views: int) -> str:
    sizes = Counter(f"{width}×{height}" for width, height in raw.network_sizes)
    counted = ", ".join(f"{size} ({count} photos)" for size, count in sizes.most_common())
    seen = counted if len(sizes) > 1 else next(iter(sizes))
    return f"network       {raw.network} at {seen}, {keyframes.number(views)} keyframes"


def _crop_notes(photos: Sequence[Photo], raw: RawPredictions) -> list[str]:
    from panoptic_gs.predict.crop import share_seen

    notes = []
    sizes = Counter((photo.width, photo.height) for photo in photos)
    if len(sizes) > 1:
        listed = ", ".join(f"{count} of {width}×{height}" for (width, height), count in sizes.most_common(4))
        notes.append(f"photo sizes   {len(sizes)}: {listed}")
    shares = [share_seen(photo, size) for photo, size in zip(photos, raw.network_sizes, strict=True)]
    worst = photos[int(np.argmin(shares))]
    if min(shares) < 0.98:
        notes.append(f"seen          {100 * np.mean(shares):.0f}% of the photos' area; the rest has no labels "
                     f"(least: {worst.path.name}, {100 * min(shares):.0f}%)")  # fmt: skip
    return notes


def _camera_note(cameras: Sequence[Camera]) -> str:
    focals = sorted(float(camera.K[0, 0]) for camera in cameras)
    return (f"cameras       estimated; focal lengths {focals[0]:.0f}–{focals[-1]:.0f} pixels, median "
            f"{focals[len(focals) // 2]:.0f}")  # fmt: skip


def _alignment_note(alignment: Alignment | None) -> str:
    if alignment is None:
        return "cameras       the known ones"
    poor = alignment.center_error > _POOR_CENTER or alignment.angle_error > _POOR_ANGLE
    off = f"{100 * alignment.center_error:.2g}% of their spread and {alignment.angle_error:.2g}°"
    note = f"cameras       the known ones; the network's differ by {off}"
    return f"[yellow]{note}: the seed points may be off[/]" if poor else note
