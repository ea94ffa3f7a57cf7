# SPDX-License-Identifier: Apache-2.0
"""Where labelled points come from: labelled splats, raw predictions with point maps, depth maps, PLY files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category, Labelling
from panoptic_gs.metrics.points import LabelledPoints
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.ply import read_vertices
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.records import read_record
from panoptic_gs.scene import Scene
from panoptic_gs.uplift import load_labelled_scene


class LabelledCloud(NamedTuple):
    """Labelled points, the classes of their labels, and the score of each segment where it is known."""

    points: LabelledPoints
    categories: tuple[Category, ...]
    scores: Mapping[int, float] | None = None


def predicted_cloud(path: Path, panoptic: Path | None, min_opacity: float) -> LabelledCloud:
    """Predicted points.

    Args:
        path: labelled splats, a folder of raw predictions with points, or a PLY with segment_id and category_id.
        panoptic: merged maps of raw predictions; by default ``panoptic/`` beside their folder.
        min_opacity: Gaussians of less opacity are left out.

    Raises:
        InputError: it is none of these, or malformed.
    """
    if (path / "segments.json").is_file():
        return labelled_splats(path, min_opacity)
    if (path / "predictions.json").is_file() or path.name == "predictions.safetensors":
        return _predicted_points(path, panoptic)
    if path.is_file():
        return LabelledCloud(_read_ply(path), _categories_beside(path, None) or ())
    raise InputError(
        path,
        "neither segments.json nor predictions.json" if path.is_dir() else "no such file or folder",
        "labelled splats, raw predictions or a PLY",
        "Make labelled splats with 'panoptic-gs uplift'.",
    )


def labelled_splats(folder: Path, min_opacity: float) -> LabelledCloud:
    """The centres of labelled Gaussians; a segment's score is its own, or its Gaussians' mean confidence."""

    scene = load_labelled_scene(folder)
    segment, confidence = (values.numpy() for values in scene.labels.best())
    category_of = scene.labelling.category_of()
    opaque = scene.splats.opacities.numpy() >= min_opacity
    segment, confidence = segment[opaque], confidence[opaque]
    points = LabelledPoints(scene.splats.means.numpy()[opaque], category_of[segment], segment)
    sums = np.bincount(segment, confidence) / np.maximum(np.bincount(segment), 1)
    scores = {s.id: float(sums[s.id]) if s.id < len(sums) else 0.0 for s in scene.segments}
    scores |= {s.id: s.score for s in scene.segments if s.score is not None}
    return LabelledCloud(points, scene.categories, scores)


def _predicted_points(path: Path, panoptic: Path | None) -> LabelledCloud:

    raw = RawPredictions.load(path)
    if raw.points is None:
        raise InputError(path, "no tensor 'points'", "raw predictions with points", "Export the point maps, too.")
    folder = path if path.is_dir() else path.parent
    maps = PanopticScene.load(panoptic or folder.parent / "panoptic")
    category_of = maps.category_of()
    positions, segments = [], []
    for index, image in enumerate(raw.images):
        if image.stem not in maps.maps:
            continue
        ids = maps.maps[image.stem]
        width, height = raw.network_sizes[index]
        pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
        if raw.to_original is None:
            original = pixels * [image.width / width, image.height / height]
        else:
            A = raw.to_original[index].numpy()
            original = pixels @ A[:2, :2].T + A[:2, 2]
        columns = (original[..., 0] * ids.shape[1] / image.width).astype(int).clip(0, ids.shape[1] - 1)
        rows = (original[..., 1] * ids.shape[0] / image.height).astype(int).clip(0, ids.shape[0] - 1)
        points = raw.points[index].numpy()
        valid = np.isfinite(points).all(axis=-1)
        positions.append(points[valid])
        segments.append(ids[rows, columns][valid])
    if not positions:
        raise InputError(folder, "no image that has a merged map", "maps named as the images", "Merge them again.")
    segment = np.concatenate(segments)
    scores = {s.id: s.score for s in maps.segments if s.score is not None}
    return LabelledCloud(
        LabelledPoints(np.concatenate(positions), category_of[segment], segment), maps.categories, scores
    )


def true_cloud(path: Path, voxel: float, categories: Path | None, others: tuple[Category, ...]) -> LabelledCloud:
    """True points.

    Args:
        path: a PLY with segment_id and category_id, or a scene folder with ``depth/`` and ``panoptic_gt/``.
        voxel: side of the cubes that hold one point, of depth maps.
        categories: a JSON with the classes of a PLY; by default ``segments.json`` beside it.
        others: the classes where there is none.

    Raises:
        InputError: it is neither, malformed, or has a class that is not listed.
    """
    if path.is_file():
        known = _categories_beside(path, categories) or others
        if not known:
            raise InputError(path, "no categories", "a JSON that names them", "Pass it with --categories.")
        points = _read_ply(path)
        _require_listed(path, points, known)
        return LabelledCloud(points, known)
    return depth_truth(Scene.load(path), voxel)


def depth_truth(scene: Scene, voxel: float) -> LabelledCloud:
    """The true maps back-projected by ``depth/<stem>.png`` (16 bit, millimetres along z), one point a voxel."""

    truth = scene.load_panoptic("panoptic_gt")
    category_of = truth.category_of()
    depths = scene.load_depth()
    frames = [frame for frame in scene.frames if frame.stem in truth.maps and frame.stem in depths]
    if not frames:
        raise InputError(
            scene.root / "depth",
            "no depth of a view that has a true map",
            "depth/<image name>.png, 16 bit, millimetres",
            "Prepare the scene with 'panoptic-gs prepare', or give a labelled PLY as truth.",
        )

    def views() -> Iterator[tuple[Camera, np.ndarray, np.ndarray, np.ndarray]]:
        for frame in frames:
            ids = frame.fit_labels(truth.maps[frame.stem], scene.root / "panoptic_gt" / f"{frame.stem}.png")
            yield frame.camera, depths.read(frame), category_of[ids], ids

    return LabelledCloud(LabelledPoints.from_depth(views(), voxel), truth.categories)


def _read_ply(path: Path) -> LabelledPoints:
    vertices = read_vertices(path, "a PLY of labelled points")
    needed = ("x", "y", "z", "segment_id", "category_id")
    missing = [n for n in needed if n not in (vertices.dtype.names or ())]
    if missing:
        raise InputError(
            path, f"no property {', '.join(missing)}", "x, y, z, segment_id and category_id for each point",
            "Write the labels as integer properties; 0 is void.",
        )  # fmt: skip
    lists = [n for n in needed if vertices.dtype[n].kind == "O"]
    if lists:
        raise InputError(path, f"lists as {', '.join(lists)}", "one number for each point", "Write plain properties.")
    positions = np.stack([vertices[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    if not np.isfinite(positions).all():
        raise InputError(path, "NaN or infinite positions", "finite ones", "Remove these points.")
    category, segment = (_ids(path, name, vertices[name]) for name in ("category_id", "segment_id"))
    return LabelledPoints(positions, category, segment)


def _ids(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    whole = np.isfinite(values) & (values == np.floor(values)) & (values >= 0) & (values < 2**31)
    if not whole.all():
        raise InputError(
            path, f"{name} = {values[~whole][0]} at a point", "ids from 0 to 2147483647",
            "Write the labels as integer properties; 0 is void.",
        )  # fmt: skip
    return values.astype(np.int64)


@dataclass(frozen=True)
class _Classes:
    categories: tuple[Category, ...]


def _categories_beside(path: Path, named: Path | None) -> tuple[Category, ...] | None:
    file = named or path.parent / "segments.json"
    if named is None and not file.is_file():
        return None
    classes = read_record(file, _Classes, mend="Write categories (id, name, isthing) as panoptic.json does.").categories
    try:
        return Labelling(classes, ()).categories
    except InputError as error:
        raise error.inside(file) from error


def _require_listed(path: Path, points: LabelledPoints, categories: tuple[Category, ...]) -> None:
    unknown = np.setdiff1d(points.category, [0, *(category.id for category in categories)])
    if unknown.size:
        raise InputError(
            path,
            f"category id {unknown[0]} at {int((points.category == unknown[0]).sum())} points",
            f"the listed categories {sorted(category.id for category in categories)}",
            "Name the JSON that lists it with --categories.",
        )
