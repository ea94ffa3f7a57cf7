# SPDX-License-Identifier: Apache-2.0
"""Cameras by structure from motion: COLMAP through ``pycolmap`` (BSD-3-Clause), on the CPU, without any weights.

Schönberger and Frahm, Structure-from-Motion Revisited, CVPR 2016.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.predict.geometry.colmap_pairs import (
    Pair,
    agreement,
    believed_pairs,
    matches_that_agree,
    trusted_pairs,
    verified_pairs,
)
from panoptic_gs.predict.geometry.found import Geometry, GeometryOptions, pinhole, require_most, turned_upright
from panoptic_gs.predict.keyframes import thumbnail_similarity
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.scene_folder import copy_photo
from panoptic_gs.progress import Progress
from panoptic_gs.scene.lens import Distortion

EXHAUSTIVE = 80
"""Up to so many photos, each is compared with all others; beyond, with its neighbours and those that look alike."""

_NEIGHBOURS = (*range(1, 11), 16, 32, 64)
_ALIKE = 20
_ROOM = 16 << 20  # bytes that a chunk of photos or pairs may fill; COLMAP ends the program where it cannot write
_CHUNK = 8  # photos whose features are found between two reports
_MAX_SIDE = 2048  # pixels of the longer side in which features are looked for
_MAX_THREADS = 4  # photos whose features are found at once; each takes nearly a gigabyte at this size
_PAIRS = 200  # pairs that are compared between two reports
_PEAK = 0.003  # less than COLMAP's 0.0067: faint features are what small photos and bare walls have
_ENOUGH = 0.9  # of the matches that agree with the cameras, for no other way to be tried
_BETTER = 0.02  # by which another way has to agree with more of them
_MIN_SHARE = 0.01  # of the squared error, that a lens parameter has to explain to be believed
_MIN_PHOTOS = 15  # of one camera, to tell its principal point
_MAX_SHIFT = 0.05  # of the photo's side, that the principal point may be off the centre
_MOVE = (
    "Photos have to overlap by more than half and be taken from different places, in steps of a few tens of "
    "centimetres; walls without any texture show nothing to match."
)


class Colmap:
    """Finds features, matches them, and places one photo after the other."""

    def __init__(self, options: GeometryOptions) -> None:
        self.options = options

    def find(self, photos: Sequence[Photo], progress: Progress) -> Geometry:
        with tempfile.TemporaryDirectory(prefix="colmap-") as work:
            reconstruction = _Reconstruction(photos, Path(work), self.options.seed, progress)
            try:
                found, left_out = reconstruction.run()
            except (OSError, InputError) as error:
                if isinstance(error, InputError) and not str(error.source).startswith(work):
                    raise
                if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                    raise
                raise _no_room(len(photos)) from error
        notes = ("scale is arbitrary",)
        if reconstruction.repeated:
            notes += (
                f"{reconstruction.repeated} pairs of photos look alike in part but show different things, as windows "
                "or chairs of one kind do: not matched",
            )
        images = {reconstruction.stem_of(image): image for image in found.images.values() if image.has_pose}
        return self._geometry(photos, found, images, left_out, notes)

    def _geometry(
        self,
        photos: Sequence[Photo],
        found: Any,
        images: Mapping[str, Any],
        left_out: Mapping[str, str],
        notes: tuple[str, ...],
    ) -> Geometry:
        placed = [photo for photo in photos if photo.stem in images]
        viewmats = np.tile(np.eye(4), (len(placed), 1, 1))
        viewmats[:, :3] = [images[photo.stem].cam_from_world().matrix() for photo in placed]
        points = [point for point in found.points3D.values() if point.track.length() >= 3]
        xyz = np.array([point.xyz for point in points]).reshape(-1, 3)
        viewmats, xyz, _ = turned_upright(viewmats, xyz)
        kept = np.random.default_rng(self.options.seed).permutation(len(xyz))[: self.options.seed_points]
        colors = np.array([point.color for point in points], np.uint8).reshape(-1, 3)
        lenses = {photo.stem: _lens(found.cameras[images[photo.stem].camera_id]) for photo in placed}
        error = found.compute_mean_reprojection_error()
        lens_names = {found.cameras[images[photo.stem].camera_id].model.name for photo in placed}
        return Geometry(
            {
                photo.stem: pinhole(viewmat, found.cameras[images[photo.stem].camera_id].calibration_matrix(), photo)
                for photo, viewmat in zip(placed, viewmats, strict=True)
            },
            (xyz[kept].astype(np.float32), colors[kept]) if len(kept) else None,
            {stem: lens for stem, lens in lenses.items() if lens},
            left_out,
            notes=(f"COLMAP: {len(points):,} points, {error:.2f} pixels off on average, "
                   f"lens {' and '.join(sorted(lens_names))}", *notes),
        )  # fmt: skip


@dataclass(eq=False)
class _Reconstruction:
    """One run of COLMAP in a folder of its own."""

    photos: Sequence[Photo]
    work: Path
    seed: int
    progress: Progress
    repeated: int = 0
    """Pairs of photos that look alike in part and show different things."""

    def run(self) -> tuple[Any, Mapping[str, str]]:
        """The reconstruction of most photos, with the lens parameters that they speak for; who is left out, and why.

        Raises:
            InputError: there is none, or it holds less than half of the photos.
        """
        import pycolmap

        # What it would print of every step goes nowhere; what fails is an exception.
        pycolmap.logging.minloglevel = pycolmap.logging.stderrthreshold = int(pycolmap.logging.FATAL)
        pycolmap.logging.logtostderr = pycolmap.logging.alsologtostderr = False
        # COLMAP's lists of pairs have no quotes: no name of its own may hold a space.
        names = {
            photo.stem: copy_photo(photo, self.work / "images", f"{number:06d}")
            for number, photo in enumerate(self.photos)
        }
        self._features(names)
        self._match(names)
        pairs = verified_pairs(self._database)
        trusted = trusted_pairs(pairs)
        models: list[Any] = []
        if not all(trusted):
            models = self._mapped(pairs, trusted)
        if models:
            kept = believed_pairs(agreement(models[0], pairs))
            self.repeated = len(pairs) - sum(kept)
            models = self._mapped(pairs, kept) or models
        elif pairs:
            models = self._mapped(pairs, [True] * len(pairs))
        if not models:
            raise InputError(
                f"{len(self.photos)} photos", "no two that show one place from two sides", "photos that overlap", _MOVE
            )
        placed, *others = ([self.stem_of(image) for image in m.images.values() if image.has_pose] for m in models)
        apart = {
            stem: "of another place" + (f", {number} of {len(others)} others" if others[1:] else "")
            for number, group in enumerate(others, 1)
            for stem in group
        }
        left_out = {p.stem: apart.get(p.stem, "no overlap") for p in self.photos if p.stem not in placed}
        mend = f"Give the photos of each place by themselves. {_MOVE}" if apart else _MOVE
        require_most(self.photos, left_out, f"{len(self.photos)} photos", mend)
        return _believed(models[0]), left_out

    def stem_of(self, image: Any) -> str:
        """The photo's name, of an image of COLMAP's."""
        return self.photos[int(Path(image.name).stem)].stem

    def _features(self, names: Mapping[str, str]) -> None:
        import pycolmap

        extraction = pycolmap.FeatureExtractionOptions()
        extraction.sift.peak_threshold = _PEAK
        extraction.max_image_size = _MAX_SIDE
        extraction.num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
        done = 0
        for group in _by_camera(self.photos):
            reader = pycolmap.ImageReaderOptions()
            reader.camera_model = "SIMPLE_RADIAL"
            for chunk in _batched(group, _CHUNK):
                self._require_room()
                pycolmap.extract_features(
                    self._database, self.work / "images", [names[photo.stem] for photo in chunk],
                    camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader, extraction_options=extraction,
                    device=pycolmap.Device.cpu,
                )  # fmt: skip
                with pycolmap.Database.open(self._database) as database:
                    # Photos of one camera have one camera.
                    image: Any = database.read_image_with_name(names[chunk[0].stem])
                    reader.existing_camera_id = image.camera_id
                done += len(chunk)
                self.progress("Finding features", done, len(self.photos))

    def _match(self, names: Mapping[str, str]) -> None:
        import pycolmap

        pairs = list(photo_pairs(self.photos))
        pairing = pycolmap.ImportedPairingOptions()
        pairing.match_list_path = str(self.work / "pairs.txt")
        done = 0
        for chunk in _batched(pairs, _PAIRS):
            self._require_room()
            lines = (f"{names[self.photos[a].stem]} {names[self.photos[b].stem]}\n" for a, b in chunk)
            (self.work / "pairs.txt").write_text("".join(lines))
            pycolmap.match_image_pairs(self._database, pairing_options=pairing, device=pycolmap.Device.cpu)
            done += len(chunk)
            self.progress("Matching photos", done, len(pairs))

    def _mapped(self, pairs: Sequence[Pair], kept: Sequence[bool]) -> list[Any]:
        """The reconstructions from some of the pairs, the best first.

        All photos at once (Pan et al., Global Structure-from-Motion Revisited, ECCV 2024) is quicker and more exact
        where it succeeds; where its cameras disagree with the matches, one photo after the other is tried, too.
        """
        import pycolmap

        database = self.work / "kept.db"
        shutil.copyfile(self._database, database)
        with pycolmap.Database.open(database) as opened:
            for pair, keep in zip(pairs, kept, strict=True):
                if not keep:
                    opened.delete_two_view_geometry(pair.first, pair.second)
        chosen = [pair for pair, keep in zip(pairs, kept, strict=True) if keep]
        best, share = [], -1.0
        for place in (
            self._all_at_once,
            partial(self._one_by_one, strict=True),
            partial(self._one_by_one, strict=False),
        ):
            models = sorted(place(database), key=lambda model: -model.num_reg_images())
            agreed = matches_that_agree(agreement(models[0], chosen), chosen) if models else 0.0
            if models and agreed > share + _BETTER:
                best, share = models, agreed
            if share > _ENOUGH:
                break
        return best

    def _all_at_once(self, database: Path) -> list[Any]:
        import pycolmap

        self.progress("Placing photos", 0, 0)
        options = pycolmap.GlobalPipelineOptions()
        options.min_model_size, options.random_seed = 2, self.seed
        options.mapper.bundle_adjustment.ceres.use_gpu = options.mapper.global_positioning.use_gpu = False
        return self._run(pycolmap.global_mapping, database, options)

    def _one_by_one(self, database: Path, strict: bool) -> list[Any]:
        import pycolmap

        options = pycolmap.IncrementalPipelineOptions()
        options.min_model_size, options.random_seed = 2, self.seed
        options.mapper.random_seed = options.triangulation.random_seed = self.seed
        if not strict:  # few features, or little movement between the photos
            options.mapper.init_min_num_inliers, options.mapper.init_min_tri_angle = 40, 6.0
            options.mapper.abs_pose_min_num_inliers, options.min_num_matches = 15, 10
        placed = 2

        def another() -> None:
            nonlocal placed
            placed = min(placed + 1, len(self.photos))
            self.progress("Placing photos", placed, len(self.photos))

        return self._run(pycolmap.incremental_mapping, database, options, next_image_callback=another)

    def _run(self, mapping: Callable[..., Any], database: Path, options: Any, **more: Any) -> list[Any]:
        out = self.work / "models"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        with _nothing_on_stderr():
            return list(mapping(database, self.work / "images", out, options, **more).values())

    def _require_room(self) -> None:
        if shutil.disk_usage(self.work).free < _ROOM:
            raise _no_room(len(self.photos))

    @property
    def _database(self) -> Path:
        return self.work / "database.db"


def _no_room(photos: int) -> InputError:
    return InputError(
        tempfile.gettempdir(), f"no space left for COLMAP's features and matches of {photos} photos",
        f"a few megabytes for each photo, and {_ROOM >> 20} besides",
        "Make room, or set TMPDIR to a folder on another disk.",
    )  # fmt: skip


def photo_pairs(photos: Sequence[Photo]) -> Iterator[tuple[int, int]]:
    """Which photos are compared: all of few, else neighbours in order and those that look most alike."""
    count = len(photos)
    if count <= EXHAUSTIVE:
        yield from itertools.combinations(range(count), 2)
        return
    chosen = {(i, i + step) for step in _NEIGHBOURS for i in range(count - step)}
    alike = thumbnail_similarity(photo.read() for photo in photos)
    np.fill_diagonal(alike, -np.inf)
    for i, row in enumerate(alike):
        chosen |= {(min(i, int(j)), max(i, int(j))) for j in np.argsort(-row)[:_ALIKE]}
    yield from sorted(chosen)


def _by_camera(photos: Sequence[Photo]) -> list[list[Photo]]:
    """Photos that one camera at one zoom may have taken: of one size and one focal length."""
    groups: dict[Any, list[Photo]] = {}
    for photo in photos:
        groups.setdefault((photo.width, photo.height, photo.lens()), []).append(photo)
    return list(groups.values())


def _believed(model: Any) -> Any:
    """The reconstruction with those lens parameters alone that explain a share of the error worth speaking of.

    From few photos distortion and principal point are told badly and turn the cameras; a parameter that explains next
    to nothing is noise. So the plain pinhole is tried first, then distortion, then the principal point.
    """
    import pycolmap

    # From a camera's parameters to the model's without distortion, and whether the centre is free.
    best = _adjusted(model, pycolmap.CameraModelId.SIMPLE_PINHOLE, False)
    distorted = _adjusted(model, pycolmap.CameraModelId.SIMPLE_RADIAL, False)
    lens = pycolmap.CameraModelId.SIMPLE_PINHOLE
    if _squared_error(distorted) < (1 - _MIN_SHARE) * _squared_error(best):
        best, lens = distorted, pycolmap.CameraModelId.SIMPLE_RADIAL
    counts = [sum(image.camera_id == key for image in best.images.values() if image.has_pose) for key in best.cameras]
    if min(counts) >= _MIN_PHOTOS:
        centred = _adjusted(best, lens, True)
        near = all(
            abs(camera.principal_point_x / camera.width - 0.5) < _MAX_SHIFT
            and abs(camera.principal_point_y / camera.height - 0.5) < _MAX_SHIFT
            for camera in centred.cameras.values()
        )
        if near and _squared_error(centred) < (1 - _MIN_SHARE) * _squared_error(best):
            best = centred
    return best


def _adjusted(model: Any, lens: Any, free_centre: bool) -> Any:
    import pycolmap

    adjusted = pycolmap.Reconstruction(model)
    for camera in adjusted.cameras.values():
        parameters = list(camera.params)  # f, cx, cy, and k of the radial one
        k = parameters[3:] or [0.0]
        camera.model = lens
        camera.params = parameters[:3] + (k if lens == pycolmap.CameraModelId.SIMPLE_RADIAL else [])
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point, options.print_summary = free_centre, False
    with _nothing_on_stderr():
        pycolmap.bundle_adjustment(adjusted, options)
    adjusted.update_point_3d_errors()
    return adjusted


def _squared_error(model: Any) -> float:
    """The mean squared distance of the observations from their points' projections, trimmed of the worst hundredth."""
    squared = []
    for image in model.images.values():
        if not image.has_pose:
            continue
        observed = [point for point in image.points2D if point.has_point3D()]
        world = np.array([model.points3D[point.point3D_id].xyz for point in observed]).reshape(-1, 3)
        pose = image.cam_from_world().matrix()
        local = world @ pose[:, :3].T + pose[:, 3]
        seen = model.cameras[image.camera_id].img_from_cam(local)
        squared.append(((np.array(seen) - np.array([point.xy for point in observed]).reshape(-1, 2)) ** 2).sum(-1))
    errors = np.sort(np.concatenate(squared))
    errors = errors[np.isfinite(errors)]
    return float(errors[: max(1, int(0.99 * len(errors)))].mean())


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Bundle adjustment alone reports its steps below Python, whatever level of logging is set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _lens(camera: Any) -> Distortion:
    return Distortion(k1=float(camera.params[3])) if len(camera.params) > 3 else Distortion()


def _batched(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
