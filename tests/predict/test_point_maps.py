# SPDX-License-Identifier: Apache-2.0
"""Cameras and seed points from point maps, against the numbers the maps were made from."""

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from panoptic_gs import InputError
from panoptic_gs.predict.cameras import align_to_known, camera_centers, estimate_cameras, focal_length, upright
from panoptic_gs.predict.registration import DegenerateError, Similarity, fit_rigid, register_rigid
from panoptic_gs.predict.seed_points import select_seed_points

HEIGHT, WIDTH, FOCAL = 30, 40, 33.0


def rotation(rng: np.random.Generator) -> np.ndarray:
    return Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()


def point_maps(views: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Global and local point maps of wavy surfaces, their confidence, and the viewmats."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, np.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    points, local, viewmats = [], [], []
    for _ in range(views):
        z = 3 + np.sin(x / 9 + rng.uniform(0, 6)) + 0.5 * np.cos(y / 7)
        camera = np.stack([x / FOCAL * z, y / FOCAL * z, z], axis=-1)
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation(rng), rng.normal(0, 2, 3)
        local.append(camera)
        points.append((camera - viewmat[:3, 3]) @ viewmat[:3, :3])
        viewmats.append(viewmat)
    confidence = rng.uniform(1, 5, (views, HEIGHT, WIDTH))
    return np.stack(points), np.stack(local), confidence, np.stack(viewmats)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two rotations."""
    return float(np.degrees(Rotation.from_matrix(a @ b.T).magnitude()))


def test_exact_point_maps_give_exact_cameras():
    points, local, confidence, viewmats = point_maps(3)
    found = estimate_cameras("abc", points, local, confidence)
    assert np.allclose(found.viewmats, viewmats, atol=1e-9)
    assert np.allclose(found.Ks[:, 0, 0], FOCAL, rtol=1e-9)
    assert not found.failures
    assert np.allclose(found.Ks[0], [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])


def test_a_third_of_wild_points_does_not_move_a_camera():
    points, local, confidence, viewmats = point_maps(3)
    rng = np.random.default_rng(5)
    wild = rng.random(confidence.shape) < 0.3
    points[wild] += rng.normal(4, 3, (int(wild.sum()), 3))
    local[wild, :2] += rng.normal(0, 2, (int(wild.sum()), 2))
    found = estimate_cameras("abc", points, local, confidence)
    for mine, true in zip(found.viewmats, viewmats):
        assert angle(mine[:3, :3], true[:3, :3]) < 0.05
        assert np.linalg.norm(mine[:3, 3] - true[:3, 3]) < 0.01
    assert np.allclose(found.Ks[:, 0, 0], FOCAL, rtol=0.01)


def test_points_without_confidence_or_value_do_not_count():
    points, local, confidence, viewmats = point_maps(2)
    points[:, :10] = np.nan
    points[:, 10:14], confidence[:, 10:14] = 100, 0
    points[:, 14:16], confidence[:, 14:16] = -100, np.nan
    found = estimate_cameras("ab", points, local, confidence)
    assert np.allclose(found.viewmats, viewmats, atol=1e-9)


def test_a_shared_focal_length_is_the_median():
    points, local, confidence, _ = point_maps(3)
    local[2, ..., :2] /= 2  # this view seems taken with twice the focal length
    points[2] = local[2]
    assert np.allclose(estimate_cameras("abc", points, local, confidence).Ks[:, 0, 0], [FOCAL, FOCAL, 2 * FOCAL])
    assert np.allclose(estimate_cameras("abc", points, local, confidence, shared_focal=True).Ks[:, 0, 0], FOCAL)


def test_the_focal_length_minimises_the_sum_of_distances():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(0, 1, (200, 2)), rng.uniform(1, 3, (200, 1))], axis=1)
    pixels = 50 * points[:, :2] / points[:, 2:] + rng.standard_t(1.5, (200, 2))
    weights = rng.uniform(0.1, 2, 200)

    def cost(focal: float) -> float:
        return float(weights @ np.linalg.norm(pixels - focal * points[:, :2] / points[:, 2:], axis=1))

    found = focal_length(pixels, points, weights)
    candidates = np.linspace(40, 60, 4001)
    best = candidates[np.argmin([cost(candidate) for candidate in candidates])]
    assert found == pytest.approx(best, abs=0.006)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, q, c: p.fill(np.nan), "0 of 1200 points"),
        (lambda p, q, c: c.fill(0), "0 of 1200 points"),
        (lambda p, q, c: q.__setitem__((..., 2), -q[..., 2]), "0 of them before the camera"),
        (lambda p, q, c: p.fill(1), "one place"),
        (lambda p, q, c: q.__setitem__((...,), q[:, :1, :1]), "one place"),
        (lambda p, q, c: q.__setitem__((..., slice(0, 2)), -q[..., :2]), "fit each other|focal length"),
        (lambda p, q, c: p.__setitem__((...,), np.random.default_rng(0).normal(0, 5, p.shape)), "do not fit"),
    ],
)
def test_a_view_whose_camera_cannot_be_told_is_named(spoil, message):
    points, local, confidence, _ = point_maps(1)
    spoil(points, local, confidence)
    found = estimate_cameras(["kitchen"], points, local, confidence)
    assert re.search(message, found.failures[0].found)
    assert "kitchen" in found.failures[0].source
    assert np.isnan(found.viewmats).all()


def test_registration_of_a_plane_is_a_rotation_and_of_a_line_is_refused():
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.normal(size=(50, 2)), np.zeros((50, 1))], axis=1)
    turn = rotation(rng)
    fitted, _, residual = register_rigid(plane, plane @ turn.T + [1, 2, 3], np.ones(50))
    assert np.allclose(fitted.rotation, turn)
    assert np.linalg.det(fitted.rotation) == pytest.approx(1)
    assert residual < 1e-9
    with pytest.raises(DegenerateError, match="line"):
        register_rigid(np.outer(np.arange(9.0), [1, 2, 3]), np.outer(np.arange(9.0), [3, 2, 1]), np.ones(9))
    with pytest.raises(DegenerateError, match="2 points"):
        fit_rigid(plane, plane, np.arange(50) < 2)


def random_viewmats(views: int, rng: np.random.Generator) -> np.ndarray:
    viewmats = np.tile(np.eye(4), (views, 1, 1))
    for viewmat in viewmats:
        viewmat[:3, :3], viewmat[:3, 3] = rotation(rng), rng.normal(0, 2, 3)
    return viewmats


@pytest.mark.parametrize("views", [2, 3, 20])
def test_known_cameras_give_the_similarity_between_the_worlds(views):
    rng = np.random.default_rng(views)
    estimated = random_viewmats(views, rng)
    true = Similarity(2.5, rotation(rng), rng.normal(0, 3, 3))
    known = true.move_viewmats(estimated)
    assert np.allclose(camera_centers(known), true(camera_centers(estimated)))
    found, off, turned = align_to_known(estimated, known)
    assert found.scale == pytest.approx(2.5)
    assert np.allclose(found.rotation, true.rotation)
    assert np.allclose(found.translation, true.translation)
    assert off.max() < 1e-6
    assert turned.max() < 1e-4


def test_a_few_lost_cameras_do_not_move_the_alignment():
    rng = np.random.default_rng(1)
    estimated = random_viewmats(20, rng)
    true = Similarity(0.4, rotation(rng), rng.normal(0, 3, 3))
    known = true.move_viewmats(estimated)
    estimated[:4] = random_viewmats(4, rng)
    found, off, _ = align_to_known(estimated, known)
    assert found.scale == pytest.approx(0.4, rel=1e-3)
    assert angle(found.rotation, true.rotation) < 0.1
    assert np.median(off) < 1e-3
    assert off[:4].max() > 0.1


def test_cameras_at_one_place_give_no_scale():
    rng = np.random.default_rng(2)
    viewmats = random_viewmats(4, rng)
    still = viewmats.copy()
    still[:, :3, 3] = 0
    for pair in ((viewmats, still), (still, viewmats), (viewmats[:1], viewmats[:1])):
        with pytest.raises(InputError, match="different places"):
            align_to_known(*pair)


def test_the_world_is_turned_until_up_is_up():
    rng = np.random.default_rng(4)
    level = np.tile(np.eye(4), (6, 1, 1))
    for index, viewmat in enumerate(level):  # cameras that look horizontally, z up
        viewmat[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]] @ Rotation.from_euler("z", index).as_matrix()
    for turn in (rotation(rng), np.diag([1.0, -1, -1]), np.eye(3)):
        tilted = Similarity(1.0, turn, np.zeros(3)).move_viewmats(level)
        found = upright(tilted)
        assert np.linalg.det(found.rotation) == pytest.approx(1)
        assert np.allclose(found.rotation @ found.rotation.T, np.eye(3))
        assert np.allclose(-found.move_viewmats(tilted)[:, 1, :3], [0, 0, 1])


def seeds(points, confidence, count, **options):
    colors = np.zeros((*confidence.shape, 3), np.uint8)
    colors[..., 0] = np.arange(len(points))[:, None, None]
    return select_seed_points(points, confidence, lambda index: colors[index], count, **options)


def test_seed_points_are_spread_evenly():
    rng = np.random.default_rng(0)
    square = rng.uniform(0, 1, (2, 80, 100, 3)) * [1, 1, 0]
    square[1] *= [0.1, 0.1, 1]  # half of all points lie in one hundredth of the area
    positions, colors = seeds(square, np.ones((2, 80, 100)), 900)
    assert 0.9 * 900 < len(positions) <= 900
    crowded = (positions[:, :2] < 0.1).all(axis=1).mean()
    assert 0.005 < crowded < 0.02
    assert positions.dtype == np.float32
    assert colors.dtype == np.uint8


def test_seed_points_are_the_confident_ones_with_their_own_colour():
    points, _, confidence, _ = point_maps(2)
    confidence[:] = 1 + 1e-3 * np.random.default_rng(0).random(confidence.shape)
    points[0] += [50, 0, 0]
    confidence[1, :15] = 0.5  # a quarter of all points
    points[0, 0, 0], confidence[1, 20, 20] = np.nan, np.inf
    positions, colors = seeds(points, confidence, 10_000, dropped=0.26)
    assert np.isfinite(positions).all()
    assert len(positions) == pytest.approx(0.74 * confidence.size, rel=0.01)
    unsure = {tuple(p) for p in points[1, :15].reshape(-1, 3).astype(np.float32)}
    assert not unsure & {tuple(p) for p in positions}
    assert np.array_equal(colors[:, 0] == 0, positions[:, 0] > 25)
    again = seeds(points, confidence, 500)
    assert all(np.array_equal(a, b) for a, b in zip(again, seeds(points, confidence, 500)))


def test_without_confident_points_there_are_no_seeds():
    points, _, confidence, _ = point_maps(2)
    with pytest.raises(InputError, match="no finite point"):
        seeds(points, 0 * confidence, 10)
