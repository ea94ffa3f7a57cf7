# SPDX-License-Identifier: Apache-2.0
"""What the association promises, on scenes whose truth is exact."""

import numpy as np
import pytest
from ball_scenes import BALL, FLOOR, balls
from scipy import ndimage, sparse

from panoptic_gs import InputError, Splats
from panoptic_gs.associate import MaskEvidence, ViewMasks, associate, associate_evidence
from panoptic_gs.associate.evidence import ViewEvidence
from panoptic_gs.associate.refinement import assign

CATEGORIES = (FLOOR, BALL)
SPOTS = [(0.0, 0.0), (1.2, 0.3), (-1.1, 0.8), (0.4, -1.3), (-1.0, -1.2)]


@pytest.fixture(scope="module")
def scene():
    return balls(SPOTS)


def objects_by_truth(scene, masks, association):
    """True label → the ids that masks which show it got."""
    found = {}
    for stem, of in masks.items():
        for true, given in zip(scene.shown(stem, of), association.views[stem].objects.tolist(), strict=True):
            found.setdefault(true, set()).add(given)
    return found


def test_exact_masks_give_one_id_an_object(scene):
    masks = scene.masks()
    found = objects_by_truth(scene, masks, associate(scene.splats, scene.cameras, masks, CATEGORIES))
    assert all(len(ids) == 1 and 0 not in ids for ids in found.values())
    assert len({next(iter(ids)) for ids in found.values()}) == len(SPOTS) + 1


def test_maps_are_the_truth_up_to_the_names_of_ids(scene):
    masks = scene.masks()
    maps = associate(scene.splats, scene.cameras, masks, CATEGORIES).scene(masks)
    pairs = {pair for stem, true in scene.truth.items() for pair in zip(true.ravel(), maps.maps[stem].ravel())}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_masks_of_stuff_alone_are_associated_by_their_class(scene):
    masks = {}
    for stem, of in scene.masks().items():
        floor = next(number for number, category in enumerate(of.category_ids.tolist()) if category == FLOOR.id)
        masks[stem] = ViewMasks.from_masks([of.mask(floor)], of.regions.shape, category_ids=[FLOOR.id])
    found = associate(scene.splats, scene.cameras, masks, CATEGORIES)
    assert [(entry.category_id, entry.isthing) for entry in found.objects] == [(FLOOR.id, False)]
    maps = found.scene(masks).maps
    for stem, of in masks.items():
        np.testing.assert_array_equal(maps[stem] == found.objects[0].id, of.mask(0))


def test_the_numbers_that_masks_come_with_change_nothing(scene):
    results = [
        associate(scene.splats, scene.cameras, scene.masks(np.random.default_rng(seed)), CATEGORIES) for seed in (1, 2)
    ]
    assert results[0].objects == results[1].objects
    for stem in scene.cameras:
        assert (results[0].views[stem].objects == results[1].views[stem].objects).all()
        assert (results[0].views[stem].scores == results[1].views[stem].scores).all()
        assert (results[0].views[stem].ids != results[1].views[stem].ids).any()


def test_order_and_merging_of_views_change_nothing(scene):
    masks = scene.masks()
    stems = list(scene.cameras)

    def evidence(order):
        state = MaskEvidence(scene.splats)
        for stem in order:
            state.add(stem, scene.cameras[stem], masks[stem])
        return state

    whole = associate_evidence(evidence(stems), CATEGORIES)
    merged = evidence(stems[5:][::-1])
    merged.merge(evidence(stems[:5]))
    restored = MaskEvidence(scene.splats)
    restored.load_state_dict(merged.state_dict())
    for other in (associate_evidence(merged, CATEGORIES), associate_evidence(restored, CATEGORIES)):
        assert other.objects == whole.objects
        for stem in stems:
            assert (other.views[stem].objects == whole.views[stem].objects).all()
            assert (other.views[stem].scores == whole.views[stem].scores).all()


def test_a_view_counts_once(scene):
    state = MaskEvidence(scene.splats)
    stem, masks = "00", scene.masks()
    state.add(stem, scene.cameras[stem], masks[stem])
    with pytest.raises(InputError, match="twice"):
        state.add(stem, scene.cameras[stem], masks[stem])
    with pytest.raises(InputError, match="twice"):
        state.merge(state)


def test_equal_objects_that_are_never_seen_together_get_two_ids():
    """Two balls, each in the pictures of its own six cameras alone."""
    left = [(-3.0 + 0.5 * k, -2.5 + 0.2 * k, 1.2) for k in range(6)]
    scene = balls([(-1.5, 0.0), (1.5, 0.0)], eyes=[*left, *[(-x, y, z) for x, y, z in left]])
    masks = scene.masks()
    for stem, of in masks.items():  # whatever of the other ball is in the picture is void
        own = 2 if int(stem) < 6 else 3
        true = np.where(np.isin(scene.truth[stem], [1, own]), scene.truth[stem], 0)
        masks[stem] = ViewMasks.from_label_map(true, {1: FLOOR.id, own: BALL.id})
        assert len(masks[stem]) <= len(of)
    association = associate(scene.splats, scene.cameras, masks, CATEGORIES)
    found = objects_by_truth(scene, masks, association)
    assert found[2] != found[3]
    assert len(association.things) == 2


def test_splats_of_another_scene_are_refused(scene):
    far = scene.splats.means + 100
    elsewhere = Splats(far, scene.splats.quats, scene.splats.scales, scene.splats.opacities, scene.splats.sh)
    with pytest.raises(InputError, match="splats of this scene"):
        associate(elsewhere, scene.cameras, scene.masks(), CATEGORIES)


def test_masks_of_a_view_without_camera_and_of_an_unlisted_class_are_refused(scene):
    masks = scene.masks()
    with pytest.raises(InputError, match="'99'"):
        associate(scene.splats, scene.cameras, masks | {"99": masks["00"]}, CATEGORIES)
    with pytest.raises(InputError, match="category id 2"):
        associate(scene.splats, scene.cameras, masks, [FLOOR])


def test_views_without_any_mask_are_refused(scene):
    empty = ViewMasks.from_label_map(np.zeros((72, 96), int), {})
    with pytest.raises(InputError, match="no mask"):
        associate(scene.splats, scene.cameras, {"00": empty}, CATEGORIES)


def test_objects_keep_their_names_when_masks_are_associated_again(scene):
    masks = scene.masks()
    first = associate(scene.splats, scene.cameras, masks, CATEGORIES)
    names = {entry.id: 50 - entry.id for entry in first.objects}
    renamed = first.renamed(names)
    assert {entry.id for entry in renamed.objects} == set(names.values())
    for stem in scene.cameras:
        assert (renamed.views[stem].objects == 50 - first.views[stem].objects).all()
    again = associate(scene.splats, scene.cameras, masks, CATEGORIES).named_after(renamed.labels, renamed.segments())
    assert again.objects == renamed.objects
    assert all((again.views[s].objects == renamed.views[s].objects).all() for s in scene.cameras)


def test_a_mask_that_overhangs_an_object_without_a_mask_there_shows_its_own_object_alone():
    """A network finds one of two balls in each view, and draws it too large, over the other one."""
    scene = balls([(0.0, 0.0), (0.8, 0.0)])
    masks = {}
    for number, (stem, true) in enumerate(scene.truth.items()):
        label = 2 + number % 2
        overhanging = ndimage.binary_dilation(true == label, iterations=3)
        masks[stem] = ViewMasks.from_label_map(overhanging.astype(int), {1: BALL.id})
    association = associate(scene.splats, scene.cameras, masks, CATEGORIES)
    found = [association.views[stem].objects.tolist() for stem in scene.cameras]
    assert found == [[1], [2]] * 6


def test_objects_of_which_no_view_masks_both_are_two():
    """The first half of the views sees one ball, the second half another, with a few stray pixels on the first."""
    scene = balls([(0.0, 0.0), (1.5, 0.0)])
    masks = {}
    for number, (stem, true) in enumerate(scene.truth.items()):
        mask = true == (2 if number < 6 else 3)
        if number >= 6:
            rows, columns = np.nonzero(true == 2)
            mask[rows[:3], columns[:3]] = True
        masks[stem] = ViewMasks.from_label_map(mask.astype(int), {1: BALL.id})
    association = associate(scene.splats, scene.cameras, masks, CATEGORIES)
    assert [association.views[stem].objects.tolist() for stem in scene.cameras] == [[1]] * 6 + [[2]] * 6


def test_a_mask_that_blur_leaves_little_overlap_goes_to_the_object_that_is_its_best_by_far():
    # Object 0 fills a third of mask 0, object 1 a third of mask 1; the rest is what lies behind them.
    count = 60
    votes = np.zeros((count, 2), np.float32)
    votes[:30, 0] = votes[30:, 1] = 1
    share = np.zeros((count, 2), np.float32)
    share[:10, 0] = share[30:40, 1] = 0.7
    everything = np.ones(count, np.float32)
    sparse_votes = sparse.csr_matrix(votes)
    view = ViewEvidence(
        np.arange(count), everything, sparse_votes, sparse_votes, np.array([1, 2]), np.array([2, 2]), np.ones(2),
        np.full(2, 30.0), everything,
    )  # fmt: skip
    seen = np.ones(count, bool)
    both = np.ones(2, bool)
    found = assign(view, both, sparse.csr_matrix(share), seen)
    assert found.objects == ((0,), (1,))
    known = np.array([False, True])  # that object 0 exists at all is not clear from any mask
    assert assign(view, both, sparse.csr_matrix(share), seen, known).objects == ((), (1,))
    share[10:30, 1] = 0.3  # mask 0 now overlaps object 1 more than two thirds as much, but that has a mask of its own
    assert assign(view, both, sparse.csr_matrix(share), seen).objects == ((0,), (1,))
    found = assign(view, np.array([True, False]), sparse.csr_matrix(share), seen)  # without it
    assert found.objects == ((), ())


def test_a_mask_mostly_under_the_outlines_of_a_neighbour_that_has_a_mask_goes_to_its_own_object():
    # Object 0 is drawn over 60 % of mask 1, and over all of mask 0; object 1 is drawn on the rest of mask 1 alone.
    votes = np.zeros((100, 2), np.float32)
    votes[:80, 0] = votes[80:, 1] = 1
    share = np.zeros((100, 2), np.float32)
    share[:92, 0] = share[92:, 1] = 1
    everything = np.ones(100, np.float32)
    sparse_votes = sparse.csr_matrix(votes)
    view = ViewEvidence(
        np.arange(100), everything, sparse_votes, sparse_votes, np.array([1, 2]), np.array([2, 2]), np.ones(2),
        np.array([80.0, 20.0]), everything,
    )  # fmt: skip
    found = assign(view, np.ones(2, bool), sparse.csr_matrix(share), np.ones(100, bool))
    assert found.objects == ((0,), (1,))
