# SPDX-License-Identifier: Apache-2.0
"""Whether Gaussians lie in the frame of a scene's cameras: a few views rendered and held against the photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.label_maps import resize_nearest
from panoptic_gs.rasterize import rasterization
from panoptic_gs.records import Array, read_record
from panoptic_gs.scene import Frame, Scene
from panoptic_gs.splats import Splats
from panoptic_gs.splats.gaussians import RasterizeMode, similarity_parts

TRANSFORMS_FILE = "dataparser_transforms.json"
"""Where nerfstudio writes the similarity from a scene's frame to the one that it trains in."""
MOST_VIEWS = 6
LONGEST_SIDE = 256
LEAST_COVERAGE = 0.01
"""A render that covers less of its photo says nothing of it."""
LEAST_CORRELATION = 0.75
"""Renders of Gaussians in place correlate with their photos more than this, also after a short training."""
HOPELESS_CORRELATION = 0.2
"""Renders from elsewhere in a scene correlate less than this."""
FARTHEST_POINTS = 0.1
"""Seed points are nearer to Gaussians in place than this, as a share of the points' spread."""


LEAST_POINTS = 10
"""Fewer seed points say nothing of a frame."""


class Placement(NamedTuple):
    """How renders compare with photos.

    Args:
        psnr: mean over the views in dB, of what the Gaussians cover; NaN where they cover none.
        correlation: mean correlation of grey values of render and photo, −1 … 1, which exposure does not change; NaN
            where either is of one colour.
        coverage: mean accumulated opacity of the renders.
        views: how many were compared.
    """

    psnr: float
    correlation: float
    coverage: float
    views: int

    @property
    def figures(self) -> str:
        """For people."""
        if math.isnan(self.psnr):
            return f"none of {self.views} views shows them"
        return f"{self.psnr:.1f} dB, correlation {self.correlation:.2f} over {self.views} views"

    @property
    def rank(self) -> float:
        """Larger is better."""
        return -2.0 if math.isnan(self.correlation) else self.correlation


class Placed(NamedTuple):
    """Gaussians in the scene's frame, how well they fit, and what is to be said of it."""

    splats: Splats
    placement: Placement | None
    notes: tuple[str, ...]


def place(
    splats: Splats,
    scene: Scene,
    source: Path,
    *,
    frame: Path | None = None,
    has_colors: bool = True,
    rasterize_mode: RasterizeMode = "classic",
    check: bool = True,
    refuse: bool = True,
) -> Placed:
    """Bring Gaussians into the frame of a scene's cameras, and hold their renders against its photos.

    Where nerfstudio's ``dataparser_transforms.json`` lies beside the Gaussians or in the folder above, both frames are
    tried, and the one whose renders agree with the photos is taken.

    Args:
        splats: the Gaussians.
        scene: the cameras, photos and seed points.
        source: the file or folder that the Gaussians are from.
        frame: the ``dataparser_transforms.json`` of the Gaussians, or the folder that holds it; it is applied.
        has_colors: whether the Gaussians have colours. Without them their distance from the seed points tells.
        rasterize_mode: how the Gaussians were trained.
        check: render and compare; without it nothing but ``frame`` moves the Gaussians.
        refuse: whether renders that have nothing in common with the photos are an error, or a note.

    Raises:
        InputError: no Gaussians, a malformed file, or renders that have nothing in common with the photos.
    """
    if not len(splats):
        raise InputError(source, "no Gaussians", "at least one", "Export or train again; all of them were pruned.")
    found = _transforms_file(source, frame)
    moves = [] if found is None else similarities(found, scene.root)
    try:
        tried = [splats.transformed(move) for move in moves]
    except InputError as error:  # a scale so large or small that float32 does not hold what it makes
        raise error.inside(found or scene.root) from error
    if frame is None:
        tried = [splats, *tried]
    if not check:
        moved = () if tried[0] is splats else (f"moved into the scene's frame by {found}",)
        return Placed(tried[0], None, (*moved, "not held against the photos"))
    if not has_colors:
        return _place_by_points(tried, splats, scene, source, found)
    placements = [placement_of(candidate, scene.frames, rasterize_mode) for candidate in tried]
    best = max(range(len(tried)), key=lambda i: placements[i].rank)
    chosen, placement = tried[best], placements[best]
    if math.isnan(placement.correlation):
        return _place_by_points(tried, splats, scene, source, found)
    notes = []
    figures = placement.figures
    if chosen is not splats:
        before = "" if frame is not None else f"; {placements[0].figures} where they were"
        notes.append(f"moved into the scene's frame by {found} ({figures}{before})")
    if placement.correlation < HOPELESS_CORRELATION and refuse:
        raise InputError(
            source,
            f"Gaussians whose renders have nothing in common with the photos of {scene.root} ({figures})",
            f"renders in the scene folder's world frame (a correlation above {HOPELESS_CORRELATION})",
            f"Give nerfstudio's {TRANSFORMS_FILE} of the training with --frame, export in the frame of transforms.json,"
            " or skip this check with --no-check-photos.",
        )
    if placement.correlation < LEAST_CORRELATION:
        notes.append(
            f"renders and photos agree poorly ({figures}): the Gaussians may lie in another frame than the cameras, "
            "the poses may be off, or things may have moved"
        )
    return Placed(chosen, placement, tuple(notes))


def _place_by_points(tried: Sequence[Splats], splats: Splats, scene: Scene, source: Path, found: Path | None) -> Placed:
    """Without colours: the candidate nearest to the seed points."""
    if scene.points is None or len(scene.points[0]) < LEAST_POINTS:
        chosen = tried[0]
        moved = () if chosen is splats else (f"moved into the scene's frame by {found}",)
        return Placed(
            chosen, None, (*moved, "not held against the photos: no colours, and the scene has hardly any seed points")
        )
    distances = [distance_from_points(candidate, scene.points[0]) for candidate in tried]
    best = int(np.argmin(distances))
    notes = [] if tried[best] is splats else [f"moved into the scene's frame by {found}"]
    figure = f"seed points are {distances[best]:.1%} of their spread away from the nearest Gaussian"
    if distances[best] > FARTHEST_POINTS:
        figure += ": the Gaussians may lie in another frame than the cameras"
    return Placed(tried[best], None, (*notes, f"no colours to hold against the photos; {figure}"))


def distance_from_points(splats: Splats, points: np.ndarray) -> float:
    """The median distance of seed points ``[P, 3]`` from the nearest Gaussian, as a share of their spread."""
    sample = points[np.linspace(0, len(points) - 1, min(2000, len(points))).round().astype(int)].astype(np.float64)
    spread = float(np.median(np.linalg.norm(sample - np.median(sample, axis=0), axis=1)))
    nearest, _ = KDTree(splats.means.detach().cpu().double().numpy()).query(sample)
    return float(np.median(nearest)) / max(spread, 1e-12)


def _transforms_file(source: Path, frame: Path | None) -> Path | None:
    if frame is not None:
        return frame / TRANSFORMS_FILE if frame.is_dir() else frame
    folder = source if source.is_dir() else source.absolute().parent
    for place in (folder, folder.absolute().parent):
        if (place / TRANSFORMS_FILE).is_file():
            return place / TRANSFORMS_FILE
    return None


@dataclass(frozen=True)
class _Moved:
    """What nerfstudio says of a training's frame."""

    transform: Annotated[np.ndarray, Array(None, 4)]
    scale: float


@dataclass(frozen=True)
class _Applied:
    applied_transform: Annotated[np.ndarray, Array(None, 4)] | None = None
    applied_scale: float = 1.0


def similarities(file: Path, root: Path) -> list[Tensor]:
    """The similarities ``[4, 4]`` from nerfstudio's training frame to a scene folder's that may be meant; without those
    that move nothing.

    nerfstudio writes p' = scale · transform · p for p as COLMAP has it; ``applied_transform`` of ``transforms.json``
    lies between COLMAP's frame and the file's.

    Args:
        file: ``dataparser_transforms.json``.
        root: the scene folder.

    Raises:
        InputError: it is missing or malformed.
    """
    expected = "nerfstudio's transform (3×4) and scale"
    moved = read_record(file, _Moved, mend="Train again.")
    if moved.transform.shape[0] not in (3, 4):
        raise InputError(file, f"a transform of shape {list(moved.transform.shape)}", expected, "Train again.")
    forward = torch.eye(4, dtype=torch.float64)
    forward[:3] = moved.scale * torch.from_numpy(moved.transform[:3])
    try:
        backward = torch.linalg.inv(forward)
    except RuntimeError as error:
        raise InputError(file, "a transform that has no inverse", expected, "Train again.") from error
    transforms = root / "transforms.json"
    scene = read_record(transforms, _Applied) if transforms.is_file() else _Applied()
    applied = torch.eye(4, dtype=torch.float64)
    if scene.applied_transform is not None:
        if scene.applied_transform.shape[0] not in (3, 4):
            raise InputError(transforms, f"an applied_transform of {len(scene.applied_transform)} rows", "3×4 or 4×4",
                             "Run ns-process-data again.")  # fmt: skip
        applied[:3] = scene.applied_scale * torch.from_numpy(scene.applied_transform[:3])
    result: list[Tensor] = []
    for move in (applied @ backward, backward):
        try:
            similarity_parts(move)
        except InputError as error:
            raise InputError(
                file, f"a transform that is no similarity ({error.found})", expected, "Train again."
            ) from error
        if not any(torch.allclose(move, known, atol=1e-6) for known in (torch.eye(4, dtype=torch.float64), *result)):
            result.append(move)
    return result


def placement_of(splats: Splats, frames: Sequence[Frame], rasterize_mode: RasterizeMode = "classic") -> Placement:
    """Render a few frames, evenly spread and small, and compare them with their photos."""
    spread = np.linspace(0, len(frames) - 1, min(MOST_VIEWS, len(frames))).round().astype(int)
    chosen = [frames[index] for index in np.unique(spread)]
    errors, correlations, coverages = [], [], []
    for frame in chosen:
        shrink = min(1.0, LONGEST_SIDE / max(frame.camera.width, frame.camera.height))
        camera = frame.camera.resized(
            max(1, round(frame.camera.width * shrink)), max(1, round(frame.camera.height * shrink))
        )
        with torch.no_grad():
            colors, alphas, _ = rasterization(
                splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, camera.viewmat[None],
                camera.K[None], camera.width, camera.height, sh_degree=splats.sh_degree, rasterize_mode=rasterize_mode,
            )  # fmt: skip
        photo = Image.fromarray(np.ascontiguousarray(frame.read_image()[..., :3]))
        seen = np.asarray(photo.resize((camera.width, camera.height), Image.Resampling.BOX), dtype=np.float64) / 255
        weight = alphas[0, ..., 0].double().cpu().numpy()
        coverages.append(float(weight.mean()))
        if coverages[-1] < LEAST_COVERAGE:
            continue
        # Holes between the Gaussians say nothing of where they are, so pixels count as far as they are covered.
        weight = weight * _counting(frame, camera)
        drawn = (colors[0, ..., :3] / alphas[0].clamp_min(1e-6)).clamp(0, 1).double().cpu().numpy()
        total = max(float(weight.sum()), 1e-12)
        errors.append(float((weight[..., None] * (drawn - seen) ** 2).sum()) / (3 * total))
        correlations.append(_correlation(drawn.mean(axis=2), seen.mean(axis=2), weight / total))
    psnr = float(np.mean([-10 * math.log10(max(error, 1e-10)) for error in errors])) if errors else math.nan
    kernels.give_back_memory()  # pictures in colour take other pieces than what follows
    known = [value for value in correlations if not math.isnan(value)]
    uncovered = len(chosen) - len(correlations)  # a view that shows nothing agrees with nothing
    correlation = math.nan if correlations and not known else sum(known) / (len(known) + uncovered)
    return Placement(psnr, correlation, float(np.mean(coverages)), len(chosen))


def _counting(frame: Frame, camera: Camera) -> np.ndarray:
    """Which pixels ``[H, W]`` of the small photo count, 0 … 1."""
    counting = frame.counting()
    if counting is None:
        return np.ones((camera.height, camera.width))
    return resize_nearest(counting, camera.width, camera.height) != 0


def _correlation(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> float:
    one, other = one - (weight * one).sum(), other - (weight * other).sum()
    spreads = [math.sqrt(float((weight * values**2).sum())) for values in (one, other)]
    return float((weight * one * other).sum()) / (spreads[0] * spreads[1]) if min(spreads) > 0.01 else math.nan
