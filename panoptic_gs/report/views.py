# SPDX-License-Identifier: Apache-2.0
"""The views that a report is on, wherever they are from: one plain sequence of pictures and ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_rgb
from panoptic_gs.labelling import Labelling
from panoptic_gs.mesh.picture import lit_triangles, soft_normals
from panoptic_gs.mesh.surface import LabelledMesh
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.scene import Frame, Scene
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.view import render_view


class MeshView(NamedTuple):
    """What a view sees of a mesh: segment ids ``[H, W]``, and how light each pixel is ``[H, W]``, 0 beside the mesh."""

    ids: np.ndarray
    light: np.ndarray


@dataclass(frozen=True, eq=False)
class View:
    """One rendered view.

    Args:
        name: of its image.
        ids: ``[H, W]`` predicted segment ids.
        truth: ``[H', W']`` true segment ids, where there are any.
        photo: ``[H, W, 3]`` uint8.
        rendered: ``[H, W, 3]`` uint8, the rendered colours.
        counting: ``[H, W]`` bool, which pixels of the photo count; None where all do.
        mesh: what it sees of the scene's mesh, where there is one.
    """

    name: str
    ids: np.ndarray
    truth: np.ndarray | None = None
    photo: np.ndarray | None = None
    rendered: np.ndarray | None = None
    counting: np.ndarray | None = None
    mesh: MeshView | None = None

    @property
    def psnr(self) -> float | None:
        """Of the rendered colours, in dB; None without both pictures or for equal ones."""
        if self.photo is None or self.rendered is None or self.photo.shape != self.rendered.shape:
            return None
        squares = (self.photo.astype(np.float32) - self.rendered.astype(np.float32)) ** 2
        if self.counting is not None:
            squares = squares[self.counting]
        error = squares.mean() if squares.size else 0
        return float(10 * np.log10(255.0**2 / error)) if error > 0 else None


@dataclass(frozen=True, eq=False)
class SceneViews:
    """Views of a scene, made one at a time.

    Args:
        meaning: what predicted ids mean.
        truth: what true ids mean; None where there is no truth.
        names: of the views, in order.
        view_of: name → the view.
    """

    meaning: Labelling
    truth: Labelling | None
    names: Sequence[str]
    view_of: Callable[[str], View]

    def __iter__(self) -> Iterator[View]:
        return map(self.view_of, self.names)


def rendered_views(
    scene: LabelledScene,
    frames: Mapping[str, Frame],
    truth: PanopticScene | None,
    mode: RasterizeMode,
    mesh: LabelledMesh | None = None,
) -> SceneViews:
    """The views of photos as a labelled scene shows them, and a mesh of it."""
    normals = None if mesh is None else soft_normals(mesh)

    def view_of(name: str) -> View:
        view = render_view(scene, frames[name].camera, mode)
        beside = _beside_photo(frames[name], view.ids.int().cpu().numpy(), view.rgb_bytes, truth)
        if mesh is None or normals is None:
            return beside
        triangle, light = lit_triangles(mesh, frames[name].camera, normals)
        return replace(beside, mesh=MeshView(np.where(triangle >= 0, mesh.face_segment[triangle], 0), light))

    return SceneViews(scene.labelling, truth, list(frames), view_of)


def mapped_views(
    maps: PanopticScene, folder: Path, data: Scene, split: str, renders: Path, truth: PanopticScene | None
) -> SceneViews:
    """The views of photos as panoptic maps show them.

    Args:
        maps: the maps; of photos as :meth:`Scene.of_photos` gives them, rendered ones as they are.
        folder: where they are from, for errors.
        data: the photos.
        split: of ``splits.json``, or ``all``.
        renders: a folder that may hold rendered colours by the photos' names.
        truth: the true maps, where there are any.

    Raises:
        InputError: no photo of the split has a map.
    """
    frames = {frame.stem: frame for frame in data.split(split) if frame.stem in maps.maps}
    if not frames:
        raise InputError(
            folder,
            f"no map of any view of split '{split}'",
            "maps of the views to report on",
            "Choose another --split.",
        )

    def view_of(name: str) -> View:
        file = renders / f"{name}.png"
        rendered = read_rgb(file) if file.is_file() else None
        # Maps of photos are on the photo's pixels, its lens included; rendered ones are on the ideal camera's.
        ids = maps.maps[name] if rendered is not None else frames[name].fit_labels(maps.maps[name])
        return _beside_photo(frames[name], ids, rendered, truth)

    return SceneViews(maps, truth, list(frames), view_of)


def _beside_photo(frame: Frame, ids: np.ndarray, rendered: np.ndarray | None, truth: PanopticScene | None) -> View:
    true_ids = None if truth is None or frame.stem not in truth.maps else frame.fit_labels(truth.maps[frame.stem])
    return View(frame.stem, ids, true_ids, frame.read_image(), rendered, frame.counting())
