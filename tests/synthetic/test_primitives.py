# SPDX-License-Identifier: Apache-2.0
"""Ray intersections and surface parameters against marching along the ray and against each shape's own points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from panoptic_gs.synthetic.primitives import Primitive
from panoptic_gs.synthetic.textures import Mottled, Waves

PAINT = Mottled((0.5, 0.5, 0.5), (0.6, 0.6, 0.6), Waves.draw(np.random.default_rng(0), 3.0))
SHAPES = [("box", 1.0), ("ball", 1.0), ("cone", 1.0), ("cone", 0.5), ("cone", 1.6)]


def random_primitive(shape: str, taper: float, rng: np.random.Generator) -> Primitive:
    rotation = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    return Primitive(shape, rng.uniform(-0.5, 0.5, 3), rng.uniform(0.1, 0.8, 3), PAINT, rotation, taper)


def random_rays(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    origins = rng.normal(size=(3, count))
    origins *= 3 / np.linalg.norm(origins, axis=0)
    directions = rng.uniform(-0.8, 0.8, (3, count)) - origins
    return origins, directions / np.linalg.norm(directions, axis=0)


@pytest.mark.parametrize(("shape", "taper"), SHAPES)
def test_intersections_agree_with_marching(shape, taper):
    rng = np.random.default_rng(1)
    step = 0.002
    t = np.arange(0, 6, step)
    for _ in range(6):
        primitive = random_primitive(shape, taper, rng)
        origins, directions = random_rays(rng, 40)
        t_in, t_out = primitive.interval(origins, directions)
        for k in range(origins.shape[1]):
            marched = primitive.inside(origins[:, [k]] + directions[:, [k]] * t)
            if not marched.any():
                assert t_out[k] - t_in[k] < 2 * step
                continue
            assert abs(t_in[k] - t[marched.argmax()]) < 2 * step
            assert abs(t_out[k] - t[len(t) - 1 - marched[::-1].argmax()]) < 2 * step


@given(seed=st.integers(0, 10_000), which=st.integers(0, len(SHAPES) - 1))
@settings(max_examples=60, deadline=None)
def test_hits_lie_on_the_surface_and_survive_single_precision(seed, which):
    rng = np.random.default_rng(seed)
    primitive = random_primitive(*SHAPES[which], rng)
    origins, directions = random_rays(rng, 50)
    t_in, t_out = primitive.interval(origins, directions)
    hit = t_out - t_in > 1e-3
    points = origins[:, hit] + directions[:, hit] * t_in[hit]
    assert not primitive.inside(points - 1e-6 * directions[:, hit]).any()
    assert primitive.inside(points + 1e-6 * directions[:, hit]).all()
    single = primitive.interval(origins.astype(np.float32), directions.astype(np.float32))[0]
    clear = hit & (t_out - t_in > 0.05)
    np.testing.assert_allclose(single[clear], t_in[clear], atol=2e-4)


@pytest.mark.parametrize(("shape", "taper"), SHAPES)
def test_patches_cover_the_surface_and_locate_inverts_them(shape, taper):
    rng = np.random.default_rng(3)
    primitive = random_primitive(shape, taper, rng)
    for patch in primitive.patches():
        u, v = rng.uniform(0.01, 0.99, (2, 300))
        points, normals = patch.surface(u, v)
        if patch.shape == "cone" and patch.index:
            radius = 1.0 if patch.index == 1 else taper
            points, u, v, normals = (a[..., np.hypot(*points[:2]) < 0.99 * radius] for a in (points, u, v, normals))
        index, found_u, found_v = primitive.locate(points)
        assert (index == patch.index).all()
        np.testing.assert_allclose(found_u, u, atol=1e-9)
        np.testing.assert_allclose(found_v, v, atol=1e-9)
        world = primitive.center[:, None] + primitive.rotation @ (points * primitive.size[:, None])
        outward = primitive.rotation @ (normals / primitive.size[:, None])
        outward /= np.linalg.norm(outward, axis=0)
        assert primitive.inside(world - 1e-5 * outward).all()
        assert not primitive.inside(world + 1e-5 * outward).any()


def test_an_axis_parallel_ray_meets_an_axis_parallel_box():
    primitive = Primitive("box", np.zeros(3), np.ones(3), PAINT)
    origins = np.array([[0.0, 0.0], [0.0, 2.0], [-5.0, -5.0]])
    t_in, t_out = primitive.interval(origins, np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose([t_in[0], t_out[0]], [4, 6])
    assert t_in[1] >= t_out[1]
