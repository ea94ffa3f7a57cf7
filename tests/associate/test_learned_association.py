# SPDX-License-Identifier: Apache-2.0
"""What the learned association promises, on scenes whose truth is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ball_scenes import BALL, FLOOR, balls, look_at

from panoptic_gs import Category, InputError, Splats, render_panoptic
from panoptic_gs.associate import ViewMasks
from panoptic_gs.associate.learned import Learning, associate_learned
from panoptic_gs.associate.learned_options import PANOPTIC_RECON, PANOPTIC_SPLATTING, LearnedOptions
from panoptic_gs.associate.warping import warps_of_views

CATEGORIES = (FLOOR, BALL)
QUICK = {"steps": 150, "pixels": 900, "prune_every": 40, "split_every": 30}


@pytest.fixture(scope="module")
def scene():
    return balls([(-0.9, 0.0), (0.9, 0.3)])


@pytest.fixture(scope="module")
def learned(scene):
    masks = scene.masks()
    return associate_learned(scene.splats, scene.cameras, masks, CATEGORIES, replace(PANOPTIC_RECON, **QUICK))


def objects_by_truth(scene, masks, association):
    found = {}
    for stem, of in masks.items():
        for true, given in zip(scene.shown(stem, of), association.views[stem].tolist(), strict=True):
            found.setdefault(true, set()).add(given)
    return found


def right_pixels(truth, rendered):
    """The part of pixels that is right under the best naming of ids."""
    pairs = {}
    for pair in zip(truth.ravel().tolist(), rendered.ravel().tolist()):
        pairs[pair] = pairs.get(pair, 0) + 1
    best = {}
    for (true, _), count in pairs.items():
        best[true] = max(best.get(true, 0), count)
    return sum(best.values()) / truth.size


def test_two_balls_get_two_queries_and_both_outputs_show_them(scene, learned):
    found = objects_by_truth(scene, scene.masks(), learned)
    assert all(len(ids) == 1 and 0 not in ids for ids in found.values())
    assert len({next(iter(ids)) for ids in found.values()}) == 3
    assert len(learned.things) == 2
    assert set(learned.tokens["ids"].tolist()) == {thing.id for thing in learned.things}
    assert [entry.category_id for entry in learned.objects] == [FLOOR.id, BALL.id, BALL.id]
    for stem, true in scene.truth.items():
        assert right_pixels(true, render_panoptic(scene.splats, learned.labels, scene.cameras[stem]).ids.numpy()) > 0.97
    maps = learned.scene(scene.masks()).maps
    assert all(right_pixels(scene.truth[stem], maps[stem]) == 1 for stem in maps)


def test_queries_end_at_the_balls(learned):
    balls_at = torch.tensor([[-0.9, 0.0, 0.35], [0.9, 0.3, 0.35]])
    apart = torch.cdist(learned.tokens["centers"], balls_at)
    assert apart.min(dim=1).values.max() < 0.5
    assert apart.argmin(dim=1).unique().tolist() == [0, 1]


def test_shares_of_gaussians_sum_to_one(learned):
    sums = torch.zeros(len(learned.labels)).index_add_(0, learned.labels.rows(), learned.labels.weight)
    torch.testing.assert_close(sums[sums > 0], torch.ones(int((sums > 0).sum())))


def test_the_numbers_that_masks_come_with_change_nothing(scene):
    options = replace(PANOPTIC_RECON, **QUICK | {"steps": 20})
    results = [
        associate_learned(scene.splats, scene.cameras, scene.masks(np.random.default_rng(seed)), CATEGORIES, options)
        for seed in (1, 2)
    ]
    assert results[0].objects == results[1].objects
    assert all((results[0].views[stem] == results[1].views[stem]).all() for stem in scene.cameras)
    assert torch.equal(results[0].labels.weight, results[1].labels.weight)


def test_the_scale_of_the_scene_changes_no_mask(scene, learned):
    large = Splats(
        100 * scene.splats.means, scene.splats.quats, 100 * scene.splats.scales, scene.splats.opacities, scene.splats.sh
    )
    cameras = {}
    for stem, camera in scene.cameras.items():
        viewmat = camera.viewmat.clone()
        viewmat[:3, 3] *= 100
        cameras[stem] = replace(camera, viewmat=viewmat)
    result = associate_learned(large, cameras, scene.masks(), CATEGORIES, replace(PANOPTIC_RECON, **QUICK))
    assert len(result.things) == len(learned.things)
    assert all((result.views[stem] == learned.views[stem]).all() for stem in cameras)


@pytest.mark.parametrize(
    "change",
    [
        {"masks": "softmax"}, {"masks": "softmax", "temperature": 1.0}, {"prior": False}, {"dynamic_tokens": False},
        {"panoptic_head": False}, {"token_classes": False}, {"label_blending": False}, {"warping": True},
        {"start": "clusters"}, {"class_cost": True},
    ],
    ids=str,
)  # fmt: skip
def test_each_switch_does_something_and_floor_stays_floor(scene, change):
    masks = {  # of two classes of things
        stem: replace(
            of, category_ids=np.array([BALL.id + (k == 3) if k > 1 else FLOOR.id for k in scene.shown(stem, of)])
        )
        for stem, of in scene.masks().items()
    }
    categories = (*CATEGORIES, Category(3, "globe", True))
    few = QUICK | {"steps": 24, "prune_every": 8, "split_every": 8, "pixels": 400}
    results = [
        associate_learned(scene.splats, scene.cameras, masks, categories, LearnedOptions(**few | extra))
        for extra in ({}, change)
    ]
    plain, other = results
    assert other.objects[0].category_id == FLOOR.id
    differs = len(plain.tokens["ids"]) != len(other.tokens["ids"]) or len(plain.labels.weight) != len(
        other.labels.weight
    )
    same = not differs and torch.equal(plain.labels.weight, other.labels.weight)
    if change == {"token_classes": False}:  # what the Gaussians are and whose they are is learned all the same
        assert [entry.masks for entry in other.objects] == [entry.masks for entry in plain.objects]
    else:
        assert not same


def test_queries_start_one_at_each_object_of_the_closed_form(scene):
    options = LearnedOptions(start="clusters", pixels=900)
    queries = Learning(scene.splats, scene.cameras, scene.masks(), CATEGORIES, options)
    places = sorted((queries.queries.centers.detach() * queries.unit + queries.origin).tolist())
    np.testing.assert_allclose(places, [[-0.9, 0.0, 0.35], [0.9, 0.3, 0.35]], atol=0.15)


def test_where_nothing_is_stuff_the_rest_is_nobodys(scene):
    """Masks of balls alone: the floor, which lies under none, stays void."""
    masks = {
        stem: ViewMasks.from_label_map(np.where(true > 1, true, 0), {2: BALL.id, 3: BALL.id})
        for stem, true in scene.truth.items()
    }
    result = associate_learned(scene.splats, scene.cameras, masks, [BALL], replace(PANOPTIC_RECON, **QUICK))
    assert len(result.things) == len(result.objects) == 2
    for stem, true in scene.truth.items():
        ids = render_panoptic(scene.splats, result.labels, scene.cameras[stem]).ids.numpy()
        assert (ids[true == 1] == 0).mean() > 0.95
        assert (ids[true > 1] > 0).mean() > 0.9


def slab():
    """A slab whose front one camera sees and whose back two see, side by side in the middle of the picture."""
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 61), np.linspace(-2, 2, 61)), -1).reshape(-1, 2)
    means = np.concatenate([np.c_[grid[:, 0], np.full(len(grid), side), grid[:, 1]] for side in (-0.01, 0.01)])
    count = len(means)
    splats = Splats(
        torch.from_numpy(means).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.tensor([[0.05, 0.002, 0.05]]).repeat(count, 1), torch.full((count,), 0.99), torch.zeros(count, 1, 3),
    )  # fmt: skip
    eyes = {"front": (0.1, -2.0, 0.0), "back": (0.0, 2.0, 0.1), "behind": (0.3, 2.0, 0.0)}
    return splats, {stem: look_at(np.array(eye), np.array([0.0, 0, 0]), 48, 36) for stem, eye in eyes.items()}


@pytest.mark.parametrize("warping", [False, True])
def test_a_wrong_class_in_one_of_three_views_is_repaired_by_warping(warping):
    splats, cameras = slab()
    wall, curtain = Category(1, "wall", False), Category(2, "curtain", False)
    masks = {
        stem: ViewMasks.from_label_map(np.ones((36, 48), int), {1: curtain.id if stem == "front" else wall.id})
        for stem in cameras
    }
    options = LearnedOptions(steps=150, warping=warping)
    result = associate_learned(splats, cameras, masks, (wall, curtain), options)
    ids = render_panoptic(splats, result.labels, cameras["front"]).ids.numpy()
    name = {entry.id: entry.category_id for entry in result.objects}
    share = np.mean([name[int(i)] == wall.id for i in ids[8:-8, 8:-8].ravel()])
    assert share > 0.95 if warping else share < 0.05


def test_warped_pixels_show_the_same_point():
    """Each Gaussian's own position in place of class shares: what both views blend at a warped pixel is one place."""
    splats, cameras = slab()
    warps = warps_of_views(splats, cameras, generator=torch.Generator().manual_seed(0))
    assert {stem: len(of) for stem, of in warps.items()} == dict.fromkeys(cameras, 2)
    for warp in (warp for of in warps.values() for warp in of):
        positions = splats.means[warp.gaussians]
        apart = ((warp.source @ positions) - (warp.target @ positions)).norm(dim=1)
        assert apart.quantile(0.9) < 0.15  # three standard deviations of a Gaussian, sorted from either side


def test_what_another_view_hides_is_not_warped(monkeypatch):
    """A ball on the floor from both sides: without looking at depth, the far floor would be warped onto the ball."""
    scene = balls([(0.0, 0.0)])
    sides = {stem: scene.cameras[stem] for stem in ("00", "06")}

    def disagreeing():
        warps = warps_of_views(scene.splats, sides, generator=torch.Generator().manual_seed(0))
        ball = torch.ones(len(scene.splats), 1)
        ball[: 41 * 41] = 0
        apart = [(w.source @ ball[w.gaussians]) - (w.target @ ball[w.gaussians]) for of in warps.values() for w in of]
        return float((torch.cat(apart).abs() > 0.5).float().mean())

    looked = disagreeing()
    monkeypatch.setattr("panoptic_gs.associate.warping.OCCLUSION", 1e6)
    assert looked < 0.02 < disagreeing()


def test_bad_input_is_named(scene):
    masks = scene.masks()
    options = LearnedOptions(steps=1, pixels=400)
    with pytest.raises(InputError, match="'99'"):
        associate_learned(scene.splats, scene.cameras, masks | {"99": masks["00"]}, CATEGORIES, options)
    with pytest.raises(InputError, match="category id 2"):
        associate_learned(scene.splats, scene.cameras, masks, [FLOOR], options)
    other = ViewMasks.from_label_map(np.ones((10, 10), int), {1: 1})
    with pytest.raises(InputError, match="those of the camera"):
        associate_learned(scene.splats, scene.cameras, {"00": other}, CATEGORIES, options)
    far = replace(scene.splats, means=scene.splats.means + 100)
    with pytest.raises(InputError, match="splats of this scene"):
        associate_learned(far, scene.cameras, masks, CATEGORIES, options)
    empty = ViewMasks.from_label_map(np.zeros((72, 96), int), {})
    with pytest.raises(InputError, match="no mask"):
        associate_learned(scene.splats, scene.cameras, {"00": empty}, CATEGORIES, options)
    with pytest.raises(InputError, match="temperature"):
        replace(PANOPTIC_SPLATTING, temperature=0.0)
    with pytest.raises(InputError, match="steps"):
        LearnedOptions(steps=0)


@pytest.mark.parametrize("last", [1.0, 0.1])
def test_learning_rates_fall_so_that_no_view_has_the_last_word(scene, last):
    """The features of Gaussians move less and less, by Adam as far as the rate allows."""
    options = LearnedOptions(steps=60, pixels=400, last_rate=last, dynamic_tokens=False)
    learning = Learning(scene.splats, scene.cameras, scene.masks(), CATEGORIES, options)
    moved = []
    for _ in range(options.steps):
        before = learning.semantics.detach().clone()
        learning.step()
        moved.append(float((learning.semantics.detach() - before).abs().max()))
    bound = [1.5 * 0.01 * last ** (step / options.steps) for step in range(options.steps)]
    assert all(step <= most for step, most in zip(moved[10:], bound[10:], strict=True))
    assert np.mean(moved[-10:]) > 0.3 * bound[-1]
    with pytest.raises(InputError, match="last_rate"):
        LearnedOptions(last_rate=0.0)
