# SPDX-License-Identifier: Apache-2.0
"""Rooms and scene folders as sets of views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from network_parts import box_views

from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.network.data.colours import recoloured
from panoptic_gs.network.data.folders import FolderSource
from panoptic_gs.network.data.images import ImageSource
from panoptic_gs.network.data.rooms import RoomSource
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.panoptic import Category, PanopticScene, Segment
from panoptic_gs.synthetic import synthesize, write_synthetic_scene


def test_a_room_is_rendered_once_and_is_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = RoomSource(tmp_path / "a", 3, 3, 32, 24)
    first = source[1]
    assert source.file(1).is_file()
    assert first.segments.max() < 255
    other = RoomSource(tmp_path / "b", 3, 3, 32, 24)[1]
    monkeypatch.setattr(RoomSource, "_render", lambda *_: pytest.fail("rendered again"))
    again = source[1]
    for a in (again, other):
        assert (a.images == first.images).all()
        assert (a.segments == first.segments).all()
    # The same surface point is seen at its true place by every view: depth and cameras belong together.
    wall = first.classes.index("wall")
    assert (first.categories == wall).any()
    world = [unprojected(first, view) for view in range(3)]
    heights = np.concatenate(
        [w[first.categories[i] == first.classes.index("ceiling")][:, 2] for i, w in enumerate(world)]
    )
    assert heights.size == 0 or np.ptp(heights) < 0.03


def unprojected(views: SceneViews, index: int) -> np.ndarray:
    height, width = views.depth.shape[1:]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(views.Ks[index]).T
    to_world = np.linalg.inv(views.viewmats[index])
    return (rays * views.depth[index][..., None]) @ to_world[:3, :3].T + to_world[:3, 3]


def test_a_scene_folder_gives_what_it_was_made_of(tmp_path: Path):
    scene = synthesize(3, 5, width=64, height=48, seed_points=50)
    write_synthetic_scene(tmp_path / "room", scene, scene.truth)
    stems = list(scene.views)
    write_png(tmp_path / "room" / "depth" / f"{stems[1]}.png",
              np.round(1000 * scene.views[stems[1]].depth).astype(np.uint16))  # fmt: skip
    source = FolderSource(tmp_path / "room", 32, 24)
    views = source.views([1, 0])
    assert len(source) == 5
    assert views.depth[1].max() == 0
    np.testing.assert_allclose(views.depth[0], scene.views[stems[1]].depth[1::2, 1::2], atol=1e-3)
    category = {segment.id: segment.category_id for segment in scene.truth.segments}
    numbers = {segment.id: number for number, segment in enumerate(source.truth.segments, 1)}
    true = scene.views[stems[0]].segment[1::2, 1::2]
    assert (views.segments[1] == np.vectorize(numbers.get)(true)).all()
    names = {c.id: c.name for c in scene.truth.categories}
    assert (np.array(views.classes)[views.categories[1]] == np.vectorize(lambda s: names[category[s]])(true)).all()
    np.testing.assert_allclose(views.Ks[0, :2], scene.cameras[stems[1]].K.numpy()[:2] / 2, rtol=1e-6)


def test_colours_change_and_nothing_else_does():
    views = box_views(3)
    before = views.images.copy()
    changed = recoloured(views, np.random.default_rng(3))
    assert changed.shape == before.shape
    assert (views.images == before).all()
    assert np.abs(changed.astype(int) - before).mean() > 3
    assert (recoloured(views, np.random.default_rng(3)) == changed).all()
    assert recoloured(views, np.random.default_rng(3), 0) is views.images


def test_views_of_different_sizes_are_refused():
    views = box_views(2)
    with pytest.raises(InputError, match="images"):
        SceneViews(views.images, views.depth[:, :10], views.segments, views.categories, views.viewmats, views.Ks, ())


def test_views_of_one_image_are_crops_of_it(tmp_path: Path):
    """Pixels, ids and cameras of all views come from the same places of the image."""
    height, width = 90, 120
    v, u = np.mgrid[0:height, 0:width]
    pixels = np.stack([2 * u, 2 * v, 0 * u + 50], -1).astype(np.uint8)
    ids = np.where(u < 60, 7, 9).astype(np.int32)
    categories = (Category(3, "wall", False), Category(5, "chair", True))
    PanopticScene(categories, (Segment(7, 5), Segment(9, 3)), {"a": ids}).save(tmp_path / "maps")
    write_png(tmp_path / "images" / "a.png", pixels)
    source = ImageSource(tmp_path / "images", tmp_path / "maps", 32, 24)
    views = source.draw(np.random.default_rng(0), 5)
    assert views.classes == ("wall", "chair")
    x, y = views.images[..., 0] / 2.0, views.images[..., 1] / 2.0
    left = x < 58
    assert (views.segments[left] == 1).all()
    assert (views.categories[left] == 1).all()
    assert (views.segments[x > 62] == 2).all()
    assert (views.categories[x > 62] == 0).all()
    # A ray of a view, turned into the image's axes, meets the image where the view has its colour from.
    K = np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]])
    for k in range(5):
        row, column = 10, 20
        ray = np.linalg.inv(views.Ks[k]) @ [column + 0.5, row + 0.5, 1]
        there = K @ views.viewmats[k][:3, :3].T @ ray
        assert abs(there[0] - 0.5 - x[k, row, column]) < 1.5
        assert abs(there[1] - 0.5 - y[k, row, column]) < 1.5
    write_png(tmp_path / "others" / "b.png", pixels)
    with pytest.raises(InputError, match="no image with a map"):
        ImageSource(tmp_path / "others", tmp_path / "maps", 32, 24)
