# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from panoptic_gs import Camera, Splats
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.owners import owners_of
from panoptic_gs.objects.seen import SeenSurfaces
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.uplift import GaussianLabels, LabelledScene

UP = np.array([0.0, 0.0, 1.0])
CAMERAS = [
    Camera.look_at([x, -3.0, 1.0 + 0.2 * x], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], math.radians(50), 160, 120)
    for x in (-1.5, -0.8, 0.0, 0.8, 1.5)
]


def blurred_board(seed=0, haze=3000):
    """A board of 1 × 0.08 × 1 m, its front at y = 0, of opaque Gaussians, with others buried behind it."""
    rng = np.random.default_rng(seed)
    front = np.stack([rng.uniform(-0.5, 0.5, 4000), np.zeros(4000), rng.uniform(0.5, 1.5, 4000)], axis=1)
    side = np.stack([rng.choice([-0.5, 0.5], 800), rng.uniform(0, 0.08, 800), rng.uniform(0.5, 1.5, 800)], axis=1)
    blur = np.stack([rng.uniform(-0.5, 0.5, haze), rng.uniform(0.0, 0.4, haze), rng.uniform(0.5, 1.5, haze)], axis=1)
    means = torch.from_numpy(np.concatenate([front, side, blur])).float()
    count = len(means)
    opacity = torch.cat([torch.full((4800,), 0.9), torch.full((haze,), 0.8)])
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), torch.full((count, 3), 0.012), opacity,
                    torch.zeros(count, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.ones(count, dtype=torch.int32), torch.ones(count),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    return LabelledScene(splats, labels, Labelling((Category(1, "board", isthing=True),), (Segment(1, 1),)))


def test_points_on_the_surface_that_views_show_count_and_those_before_it_do_not():
    scene = blurred_board(haze=0)
    means = scene.splats.means.numpy()
    on, before, behind = (np.array([[0.1, y, 1.0], [-0.2, y, 0.8]]) for y in (0.0, -0.2, 0.2))
    shares = SeenSurfaces(scene, CAMERAS).share(np.concatenate([on, before, behind]), means)
    assert shares is not None
    assert (shares[:2] > 0.6).all()  # 4 of 4 + 1 views or so
    assert (shares[2:] < 0.05).all()


def test_a_box_ends_where_the_surface_does_and_not_where_what_is_buried_does():
    scene = blurred_board()
    by_gaussians = ObjectTable(scene).box(1, UP)
    by_views = ObjectTable(scene, SeenSurfaces(scene, CAMERAS)).box(1, UP)
    assert by_gaussians is not None
    assert by_views is not None
    depth = [float(np.sort(box.size)[0]) for box in (by_gaussians, by_views)]
    assert depth[0] > 0.2
    assert depth[1] < 0.13
    assert np.sort(by_views.size)[1:] == pytest.approx([1.0, 1.0], abs=0.05)


def test_nothing_is_said_without_views_nor_of_gaussians_that_were_moved():
    scene = blurred_board(haze=0)
    means = scene.splats.means.numpy()
    assert SeenSurfaces(scene, []).share(means[:10].astype(float), means[:10]) is None
    seen = SeenSurfaces(scene, CAMERAS)
    assert seen.share(means[:10].astype(float), means[:10]) is not None
    assert seen.share(means[:10].astype(float), means[:10] + np.float32(0.1)) is None
    moved = scene._replace(splats=Splats(scene.splats.means + 0.5, scene.splats.quats, scene.splats.scales,
                                         scene.splats.opacities, scene.splats.sh))  # fmt: skip
    with_views, without = (ObjectTable(moved, views).box(1, UP) for views in (seen, None))
    assert with_views is not None
    assert without is not None
    np.testing.assert_array_equal(with_views.size, without.size)


def board_before_a_wall():
    """The board, a wall 15 cm behind it, and on one side a fifth of the wall's Gaussians labelled as the board."""
    rng = np.random.default_rng(1)
    board = np.stack([rng.uniform(-0.5, 0.5, 6000), np.zeros(6000), rng.uniform(0.5, 1.5, 6000)], axis=1)
    wall = np.stack([rng.uniform(-2, 2, 30000), np.full(30000, 0.15), rng.uniform(-0.2, 2.2, 30000)], axis=1)
    means = torch.from_numpy(np.concatenate([board, wall])).float()
    count = len(means)
    ids = np.repeat([1, 2], [6000, 30000])
    ids[6000:][(wall[:, 0] > 0.4) & (wall[:, 0] < 1.0) & (rng.random(30000) < 0.2)] = 1
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), torch.full((count, 3), 0.015),
                    torch.full((count,), 0.9), torch.zeros(count, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.from_numpy(ids).int(), torch.ones(count),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    categories = (Category(1, "board", isthing=True), Category(2, "wall", isthing=False))
    return LabelledScene(splats, labels, Labelling(categories, (Segment(1, 1), Segment(2, 2))))


def test_gaussians_that_took_a_neighbours_label_are_outvoted_by_the_views():
    scene = board_before_a_wall()
    stray = scene.labels.best()[0].numpy()[6000:] == 1
    assert stray.sum() > 0.05 * 6000  # many enough to be more than strays by their number
    box = ObjectTable(scene, SeenSurfaces(scene, CAMERAS)).box(1, UP)
    assert box is not None
    assert np.sort(box.size)[1:] == pytest.approx([1.0, 1.0], abs=0.06)
    assert np.sort(box.size)[0] < 0.1


def test_whose_a_place_is_follows_the_labels_and_survives_deleting_others():
    scene = board_before_a_wall()
    means, ids = scene.splats.means.numpy(), scene.labels.best()[0].numpy()
    seen = SeenSurfaces(scene, CAMERAS)
    places = np.array([[0.1, 0.0, 1.0], [-1.0, 0.15, 1.0], [0.0, -1.0, 1.0]])
    owners = owners_of(seen, means, ids)
    assert owners is not None
    np.testing.assert_allclose(owners.share(places, 1), [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(owners.share(places, 2), [0, 1, 0], atol=0.02)
    np.testing.assert_array_equal(owners.share(places, 7), 0)
    renamed = owners_of(seen, means, np.where(ids == 1, 7, ids))
    assert renamed is not None
    np.testing.assert_array_equal(renamed.share(places, 7), owners.share(places, 1))
    kept = np.ones(len(means), dtype=bool)
    kept[10000:20000] = False
    fewer = owners_of(seen, means[kept], ids[kept])
    assert fewer is not None
    np.testing.assert_array_equal(fewer.share(places[:1], 1), owners.share(places[:1], 1))
    assert fewer.share(places[1:2], 2) < owners.share(places[1:2], 2)  # deleted ones are nobody's


def test_a_box_is_not_of_the_small_part_that_views_show():
    rng = np.random.default_rng(2)
    means = torch.from_numpy(rng.uniform([-0.5, 0, 0.5], [7.5, 0.02, 1.5], (8000, 3))).float()
    scene = blurred_board(haze=0)
    count = len(means)
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), torch.full((count, 3), 0.02),
                    torch.full((count,), 0.9), torch.zeros(count, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.ones(count, dtype=torch.int32), torch.ones(count),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    scene = scene._replace(splats=splats, labels=labels)
    seen = SeenSurfaces(scene, CAMERAS)
    shares = seen.share(means.double().numpy(), means.numpy())
    assert shares is not None
    assert 0.05 < (shares > 0.3).mean() < 0.4
    box = ObjectTable(scene, seen).box(1, UP)
    assert box is not None
    assert box.size.max() == pytest.approx(8, abs=0.2)
