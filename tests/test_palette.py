# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from panoptic_gs import InputError
from panoptic_gs.palette import PanopticPalette, srgb_to_oklab

ids_of_scenes = st.sets(st.integers(1, 2**31 - 1), min_size=1, max_size=80)


def colors_by_id(palette):
    return {int(i): tuple(color) for i, color in zip(palette.segment_ids, palette.colors.tolist())}


@given(ids_of_scenes, st.randoms())
def test_colours_depend_on_the_ids_alone(ids, random):
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert colors_by_id(PanopticPalette(shuffled)) == colors_by_id(PanopticPalette(sorted(ids)))
    assert len(set(colors_by_id(PanopticPalette(ids)).values())) == len(ids)


@given(st.lists(st.integers(1, 2**31 - 1), min_size=2, max_size=64, unique=True))
def test_a_larger_id_never_changes_the_colour_of_a_smaller_one(ids):
    *smaller, largest = sorted(ids)
    before, after = colors_by_id(PanopticPalette(smaller)), colors_by_id(PanopticPalette([*smaller, largest]))
    assert all(after[i] == before[i] for i in smaller)


@given(st.sets(st.integers(1, 64), min_size=1))
def test_ids_up_to_64_have_one_colour_whatever_the_others(ids):
    full = colors_by_id(PanopticPalette(range(1, 65)))
    assert colors_by_id(PanopticPalette(ids)) == {i: full[i] for i in ids}


@pytest.mark.parametrize(("ids", "apart"), [
    (range(1, 9), 0.2), (range(1, 33), 0.11), (range(1, 65), 0.08), (range(1, 257), 0.045),
    (range(1001, 1051), 0.08), (range(256, 256 * 51, 256), 0.08), (range(1, 1025), 0.025),
])  # fmt: skip
def test_colours_are_far_from_each_other_and_from_black(ids, apart):
    """Distances in OKLab, where black to white is 1 and a just noticeable difference about 0.02."""
    colors = srgb_to_oklab(PanopticPalette(ids).colors.double().numpy())
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)) > apart
    assert np.linalg.norm(colors, axis=1).min() > 0.44


def test_neighbouring_ids_differ_strongly():
    colors = srgb_to_oklab(PanopticPalette(range(1, 65)).colors.double().numpy())
    assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 0.2


def test_oklab_of_known_colours():
    """White, red and the middle grey, from the reference page of the colour space."""
    known = srgb_to_oklab(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5]]))
    expected = [[1.0, 0.0, 0.0], [0.62796, 0.22486, 0.12585], [0.59818, 0.0, 0.0]]
    np.testing.assert_allclose(known, expected, atol=1e-4)


@given(ids_of_scenes, st.data())
def test_colorize_looks_each_pixel_up(ids, data):
    palette = PanopticPalette(ids)
    table = colors_by_id(palette) | {0: (0.0, 0.0, 0.0)}
    pixels = data.draw(st.lists(st.sampled_from(sorted(table)), min_size=6, max_size=6))
    labels = np.array(pixels).reshape(2, 3)
    expected = np.array([table[pixel] for pixel in pixels], dtype=np.float32).reshape(2, 3, 3)
    for dtype in (np.int64, np.int32, np.uint32):
        colors = palette.colorize(labels.astype(dtype))
        assert colors.dtype == np.float32
        np.testing.assert_array_equal(colors, expected)
    np.testing.assert_array_equal(palette.colorize(torch.from_numpy(labels)).numpy(), expected)


def test_no_segments_and_wrong_ids():
    assert PanopticPalette([]).colorize(np.zeros((2, 2), dtype=np.int32)).max() == 0
    assert len(PanopticPalette(torch.tensor([0, 4, 4]))) == 1
    with pytest.raises(InputError, match="found id 5"):
        PanopticPalette([1, 2, 9]).colorize(np.array([[1, 5]]))
    with pytest.raises(InputError, match="found id 10"):
        PanopticPalette([1, 2, 9]).colorize(torch.tensor([[10]]))
    with pytest.raises(InputError, match="found id -1"):
        PanopticPalette([-1])
    with pytest.raises(InputError, match="5000 segments"):
        PanopticPalette(range(1, 5001))
