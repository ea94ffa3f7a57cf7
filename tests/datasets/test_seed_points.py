# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.seed_points import points_from_depth, points_from_mesh, thin_evenly


def test_a_pixel_s_point_projects_into_it() -> None:
    camera = Camera.look_at([1, 2, 3], [0.2, 0, 0.5], [0, 0, 1], 1.1, 40, 30)
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 4, (15, 20)).astype(np.float32)  # half the photo's size
    depth[0, :3] = 0, np.nan, np.inf
    rgb = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    xyz, colors = points_from_depth(camera, rgb, depth, 1000, rng)
    assert len(xyz) == 15 * 20 - 3
    local = xyz @ camera.viewmat[:3, :3].numpy().T + camera.viewmat[:3, 3].numpy()
    pixel = local @ camera.K.numpy().T
    column, row = np.rint(pixel[:, :2].T / pixel[:, 2]).astype(int)
    np.testing.assert_allclose(depth[row // 2, column // 2], local[:, 2], rtol=1e-4)
    np.testing.assert_array_equal(rgb[row, column], colors)
    assert torch.isfinite(torch.from_numpy(xyz)).all()


def test_mesh_points_are_spread_by_area_with_the_mesh_s_colours() -> None:
    # A large red and a small blue square, apart.
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float32)
    vertices = np.concatenate([3 * square, square + np.array([10, 0, 0])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = np.repeat(np.array([[255, 0, 0], [0, 0, 255]], dtype=np.uint8), 4, axis=0)
    xyz, rgb = points_from_mesh(vertices, faces, colors, 2000, np.random.default_rng(0))
    assert 1700 < len(xyz) <= 2000
    small = xyz[:, 0] >= 10
    assert abs(small.mean() - 0.1) < 0.02
    np.testing.assert_array_equal(rgb[small], np.broadcast_to([0, 0, 255], (small.sum(), 3)))
    np.testing.assert_array_equal(rgb[~small], np.broadcast_to([255, 0, 0], ((~small).sum(), 3)))
    assert ((xyz[~small, :2] >= 0) & (xyz[~small, :2] <= 3)).all()


def test_thinning_covers_dense_and_sparse_surfaces_alike() -> None:
    rng = np.random.default_rng(1)
    dense, sparse = rng.random((20_000, 3)) * [1, 1, 0], rng.random((2_000, 3)) * [1, 1, 0] + [3, 0, 0]
    xyz = np.concatenate([dense, sparse])
    kept, rgb = thin_evenly(xyz, np.arange(len(xyz))[:, None].repeat(3, 1), 600, rng)
    assert 480 < len(kept) <= 600
    assert abs((kept[:, 0] > 2).mean() - 0.5) < 0.05
    np.testing.assert_array_equal(xyz[rgb[:, 0]], kept)  # colours stay with their points
