# SPDX-License-Identifier: Apache-2.0
"""Boxes of flat things end at their surfaces, not at the blur about them"""

import numpy as np
import pytest

from panoptic_gs.objects.boxes import fit_box
from panoptic_gs.objects.flatness import flat_axis

UP = np.array([0.0, 0.0, 1.0])
BLUR = 0.03


def slab(thickness: float, seed: int = 0, count: int = 4000) -> np.ndarray:
    """Both faces of a door of 1 × 2 m, blurred."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.5, 0, 0], [0.5, 0, 2], (count, 3))
    points[:, 1] = rng.choice([-0.5, 0.5], count) * thickness
    return points + rng.normal(0, BLUR, (count, 3)) * [0.1, 1, 0.1]


class TestFlatThings:
    @pytest.mark.parametrize("thickness", [0.2, 0.3])
    def test_a_slab_is_as_thick_as_its_faces_are_apart(self, thickness):
        box = fit_box(slab(thickness), UP)
        assert box is not None
        assert np.sort(box.size)[0] == pytest.approx(thickness, abs=2.7 * BLUR)
        assert np.sort(box.size)[1:] == pytest.approx([1, 2], abs=0.05)

    def test_a_sheet_is_as_thick_as_its_blur_at_half_its_height(self):
        box = fit_box(slab(0.0), UP)
        assert box is not None
        assert box.size.min() == pytest.approx(2 * np.sqrt(2 * np.log(2)) * BLUR, rel=0.2)

    def test_whether_a_thickness_is_more_than_blur(self):
        sheet, thick = fit_box(slab(0.0), UP), fit_box(slab(0.3), UP)
        assert sheet is not None
        assert thick is not None
        assert sheet.unresolved == int(sheet.size.argmin())
        assert thick.unresolved is None

    def test_sheets_of_few_strong_tilted_gaussians_are_flat(self):
        """As a black screen is: neighbours of a point are a disc or two, which face anywhere."""
        sizes = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            centers = rng.uniform([-0.44, 0, 0.04], [0.44, 0, 0.5], (400, 3)) + rng.normal(0, [0, 0.02, 0], (400, 3))
            first = np.cross(normals := rng.normal([0, 1, 0], [1, 0, 1], (400, 3)), UP)
            arms = [
                0.04 * arm / np.linalg.norm(arm, axis=1, keepdims=True) for arm in (first, np.cross(normals, first))
            ]
            points = np.concatenate([centers, *(centers + side * arm for arm in arms for side in (-1, 1))])
            box = fit_box(points, UP, np.tile(np.exp(2.5 * rng.normal(size=400)), 5))
            assert box is not None
            sizes.append(box.size.min())
        assert np.median(sizes) < 0.08

    def test_a_body_is_as_thick_as_it_is_though_large_patches_of_it_are_flat(self):
        """Seen from the front and the back, without its sides."""
        rng = np.random.default_rng(5)
        angle = rng.uniform(-1.2, 1.2, 4000) + rng.choice([0, np.pi], 4000)
        body = np.stack([0.3 * np.sin(angle), 0.16 * np.cos(angle), rng.uniform(0, 1.7, 4000)], axis=1)
        box = fit_box(body + rng.normal(0, 0.02, body.shape), UP)
        assert box is not None
        assert box.size.min() == pytest.approx(0.32, abs=0.08)

    def test_what_sticks_out_of_a_sheet_is_part_of_its_other_axes_only(self):
        rng = np.random.default_rng(3)
        frame = rng.uniform([-0.5, -0.02, 2.0], [0.5, 0.02, 2.1], (300, 3))
        box = fit_box(np.concatenate([slab(0.0), frame]), UP)
        assert box is not None
        assert np.sort(box.size) == pytest.approx([0.07, 1.0, 2.1], abs=0.05)

    def test_which_axis_faces(self):
        points = slab(0.0)
        found = flat_axis(points, np.ones(len(points)))
        assert found is not None
        assert found[0] == 1
        assert found[1] == pytest.approx(BLUR, rel=0.15)

    @pytest.mark.parametrize("shape", ["ball", "box", "few"])
    def test_what_faces_several_ways_is_not_flat(self, shape):
        rng = np.random.default_rng(2)
        points = rng.normal(size=(3000, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        if shape == "box":
            points /= np.abs(points).max(axis=1, keepdims=True)
        if shape == "few":
            points = points[:20] * [1, 1, 0.001]
        assert flat_axis(points, np.ones(len(points))) is None
