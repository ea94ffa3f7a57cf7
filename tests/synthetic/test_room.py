# SPDX-License-Identifier: Apache-2.0
"""Rooms and their views: geometry is exact, labels are complete, seeds decide."""

import numpy as np
import pytest

from panoptic_gs.synthetic import CATEGORIES, KINDS, RoomRenderer, inward_path, make_room
from panoptic_gs.synthetic.classes import CATEGORY_IDS
from panoptic_gs.synthetic.raycast import camera_rays

THINGS = {category.id for category in CATEGORIES if category.isthing}


def surface_points(scene, stem) -> np.ndarray:
    """World points [3, H·W] of a view."""
    origin, rays = camera_rays(scene.cameras[stem])
    return (origin[:, :, None] + rays * scene.views[stem].depth).reshape(3, -1)


def project(camera, points) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates [2, n] and depth [n]."""
    local = camera.viewmat[:3, :3].double().numpy() @ points + camera.viewmat[:3, 3:].double().numpy()
    pixels = camera.K.double().numpy() @ (local / local[2])
    return pixels[:2], local[2]


def test_depth_projects_back_to_its_pixel(office):
    for stem, camera in office.cameras.items():
        pixels, depth = project(camera, surface_points(office, stem))
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        np.testing.assert_allclose(pixels[0], columns.ravel(), atol=1e-3)
        np.testing.assert_allclose(pixels[1], rows.ravel(), atol=1e-3)
        np.testing.assert_allclose(depth, office.views[stem].depth.ravel(), atol=1e-4)


def test_views_agree_where_they_see_the_same_point(office):
    """A surface point of one view, looked at from another camera, is hit exactly or hidden by something nearer."""
    renderer = RoomRenderer(office.room)
    segments = office.room.surface_segments
    stems = list(office.cameras)
    seen = 0
    for a, b in zip(stems, stems[4:] + stems[:4]):
        points = surface_points(office, a)[:, ::37]
        labels = office.views[a].segment.ravel()[::37]
        center = office.cameras[b].center.double().numpy()[:, None]
        t, surface = renderer.cast(center, points - center)
        visible = t > 1 - 1e-3
        assert (t < 1 + 1e-3).all()
        assert visible.mean() > 0.2
        seen += visible.sum()
        # Points on an edge may fall to either side of it.
        assert (segments[surface[visible]] == labels[visible]).mean() > 0.995
    assert seen > 2000


def test_image_casting_equals_casting_single_rays(office):
    renderer = RoomRenderer(office.room)
    for stem in list(office.cameras)[::5]:
        origin, rays = camera_rays(office.cameras[stem])
        depth, surface = renderer.cast(origin, rays.reshape(3, -1))
        view = office.views[stem]
        np.testing.assert_array_equal(depth.reshape(view.depth.shape), view.depth)
        np.testing.assert_array_equal(office.room.surface_segments[surface].reshape(view.segment.shape), view.segment)


def test_a_closed_room_has_no_void_and_categories_follow_segments(office):
    category_of = office.truth.category_of()
    for view in office.views.values():
        assert (view.segment > 0).all()
        assert (view.depth > 0.2).all()
        assert (view.depth < np.linalg.norm(office.room.size)).all()
        np.testing.assert_array_equal(category_of[view.segment], view.category)


@pytest.mark.parametrize("seed", range(2 * len(KINDS)))
def test_rooms_are_furnished_without_interpenetration(seed):
    room = make_room(seed)
    rng = np.random.default_rng(0)
    owners = room.object_of_primitive
    names = [item.name for item in room.objects]
    primitives = room.primitives
    half = np.array(room.size)[:, None] / 2
    for index, primitive in enumerate(primitives):
        points = primitive.center[:, None] + primitive.rotation @ (
            rng.uniform(-1, 1, (3, 200)) * primitive.size[:, None]
        )
        points = points[:, primitive.inside(points)]
        for other, second in enumerate(primitives):
            if owners[other] != owners[index] and "rug" not in (names[owners[index]], names[owners[other]]):
                assert not second.inside(points, 1e-3).any(), f"{names[owners[index]]} in {names[owners[other]]}"
        # Only what is let into a wall, the floor or the ceiling reaches out of the room, and by a hand's breadth.
        outside = np.abs(points - half * [[0], [0], [1]]) - half
        assert outside.max(initial=-1) < 0.06


@pytest.mark.parametrize("seed", range(2 * len(KINDS)))
def test_each_thing_class_is_seen_and_ids_are_scene_wide(seed):
    room = make_room(seed)
    renderer = RoomRenderer(room)
    ids = [segment.id for segment in room.segments]
    assert len(set(ids)) == len(ids)
    category_of = {segment.id: segment.category_id for segment in room.segments}
    stuff = [c for c in category_of.values() if c not in THINGS]
    assert len(set(stuff)) == len(stuff)
    things = [segment.id for segment in room.segments if segment.category_id in THINGS]
    assert len(things) >= 5
    assert len(things) == sum(item.category_id in THINGS for item in room.objects)

    seen = np.zeros(max(ids) + 1, int)
    for camera in inward_path(renderer, 20, 64, 48):
        origin, rays = camera_rays(camera)
        _, surface = renderer.cast(origin, rays.reshape(3, -1))
        seen += np.bincount(room.surface_segments[surface], minlength=len(seen))
    for category in {category_of[i] for i in things}:
        assert max(seen[i] for i in things if category_of[i] == category) > 0
    assert (seen[ids] > 0).mean() > 0.9


def test_all_thing_classes_occur_among_the_kinds_of_rooms():
    present = {item.category_id for seed in range(10) for item in make_room(seed).objects}
    assert present >= THINGS
    assert {CATEGORY_IDS[name] for name in ("table", "cabinet", "shelves", "lamp", "door", "window")} <= present


def test_the_seed_decides(office, office_renderer):
    for stem in list(office.cameras)[:3]:
        view, again = office.views[stem], office_renderer.view(office.cameras[stem])
        np.testing.assert_array_equal(view.color, again.color)
        np.testing.assert_array_equal(view.segment, again.segment)
        np.testing.assert_array_equal(view.depth, again.depth)
    path = inward_path(office_renderer, len(office.cameras), 128, 96)
    assert all((a.viewmat == b.viewmat).all() for a, b in zip(path, office.cameras.values()))
    other = make_room(6)
    assert other.kind == office.room.kind
    assert other.size != office.room.size
    assert len(other.primitives) != len(office.room.primitives)


def test_cameras_look_inward_from_free_places(office):
    room = office.room
    for camera in office.cameras.values():
        center = camera.center.double().numpy()
        assert (np.abs(center[:2]) < np.array(room.size[:2]) / 2 - 0.2).all()
        assert 0.9 < center[2] < room.size[2] - 0.3
        assert not any(primitive.inside(center[:, None], -0.2).any() for primitive in room.primitives)
    middle = np.mean([camera.center.numpy() for camera in office.cameras.values()], 0)
    inward = [
        float(camera.viewmat[2, :3].numpy() @ (middle - camera.center.numpy())) for camera in office.cameras.values()
    ]
    assert np.mean(np.array(inward) > 0) > 0.9


def test_seed_points_lie_on_surfaces_of_the_training_views(office):
    xyz, rgb = office.points
    assert 0.5 * 4000 < len(xyz) <= 4000
    assert rgb.dtype == np.uint8
    train = np.concatenate([surface_points(office, stem) for stem in office.splits["train"]], 1)
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(train.T).query(xyz)
    assert np.quantile(distance, 0.99) < 0.02
    # Evenly spread: no point crowds its neighbour.
    nearest = cKDTree(xyz).query(xyz, 2)[0][:, 1]
    assert np.median(nearest) > 0.03


def test_light_has_shadows(office_renderer):
    """The floor under a table is darker than floor on average, and lamps and windows are the brightest things."""
    room = office_renderer.room
    table = next(item for item in room.objects if item.name == "round table")
    low, high = table.bounds()
    floor = office_renderer.light()[0][4]  # the shell's downward face: u along x, v along y
    half = np.array(room.size[:2]) / 2

    def light(x, y):
        u, v = (np.atleast_1d(a) for a in ((x + half[0]) / (2 * half[0]), (y + half[1]) / (2 * half[1])))
        return floor(u, v).mean()

    grid = np.linspace(-0.9, 0.9, 25)
    everywhere = np.mean([light(x * half[0], y * half[1]) for x in grid for y in grid])
    beside = 0.25 * (high - low)[0]
    assert light((low + high)[0] / 2 + beside, (low + high)[1] / 2) < 0.7 * everywhere


def test_colors_use_the_range_without_burning_out(office):
    colors = np.stack([view.color for view in office.views.values()])
    assert 90 < colors.mean() < 190
    assert (colors == 255).all(-1).mean() < 0.02
    assert colors.std() > 30
