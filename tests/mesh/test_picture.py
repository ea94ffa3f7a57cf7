# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh
from scipy.ndimage import binary_dilation, binary_erosion

from panoptic_gs.camera import Camera
from panoptic_gs.mesh import LabelledMesh
from panoptic_gs.mesh.picture import lit_triangles, soft_normals, visible_triangles

EYE = np.array([3.0, -2.0, 1.0])
CAMERA = Camera.look_at(EYE.tolist(), [0, 0, 0], [0, 0, 1.0], 0.8, 160, 120)


def labelled(shape: trimesh.Trimesh, segment: int = 1) -> LabelledMesh:
    count = len(shape.vertices)
    return LabelledMesh(np.asarray(shape.vertices), np.asarray(shape.faces, dtype=np.int32),
                        np.full((count, 3), 200, np.uint8), np.full(count, segment, np.int32),
                        np.ones(count, np.float32), np.ones(count, np.float32))  # fmt: skip


def pixel_rays(camera: Camera) -> np.ndarray:
    """Directions ``[H, W, 3]`` in the world with z = 1 in the camera."""
    K = camera.K.numpy()
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    return local @ camera.viewmat.numpy()[:3, :3]


def test_depth_of_a_sphere_is_that_of_its_equation():
    rays = pixel_rays(CAMERA)
    a, b, c = (rays**2).sum(-1), (rays @ EYE), EYE @ EYE - 0.64
    root = b * b - a * c
    expected = np.where(root > 0, (-b - np.sqrt(root.clip(0))) / a, np.inf)
    triangle, depth = visible_triangles(labelled(trimesh.creation.icosphere(5, 0.8)), CAMERA)
    inner = binary_erosion(np.isfinite(expected), iterations=2)
    assert inner.sum() > 1000
    np.testing.assert_allclose(depth[inner], expected[inner], atol=2e-3)
    assert (triangle[~binary_dilation(np.isfinite(expected), iterations=2)] == -1).all()
    assert np.isinf(depth[triangle == -1]).all()


def test_the_nearer_of_two_large_triangles_is_seen_in_every_chunk(monkeypatch):
    monkeypatch.setattr("panoptic_gs.mesh.picture._AT_ONCE", 500)  # each triangle in a chunk of its own
    box, wall = trimesh.creation.box((0.5, 0.5, 0.5)), trimesh.creation.box((0.1, 11, 11))
    wall.apply_translation([-3, 2, 0])
    both = labelled(trimesh.util.concatenate([box, wall]))
    narrow = Camera.look_at(EYE.tolist(), [0, 0, 0], [0, 0, 1.0], 0.4, 160, 120)
    triangle, depth = visible_triangles(both, narrow)
    of_box, alone = triangle[(triangle >= 0) & (triangle < 12)], visible_triangles(labelled(box), narrow)[0]
    assert (triangle >= 0).all()
    np.testing.assert_array_equal((triangle >= 0) & (triangle < 12), alone >= 0)
    assert len(set(of_box.tolist())) == 6  # three sides of two triangles
    assert depth[alone >= 0].max() < depth[alone < 0].min()


def test_what_is_behind_the_camera_is_not_seen():
    behind = trimesh.creation.box((0.5, 0.5, 0.5))
    behind.apply_translation(2 * EYE)
    assert (visible_triangles(labelled(behind), CAMERA)[0] == -1).all()
    assert (lit_triangles(labelled(behind), CAMERA, np.zeros((12, 3)))[1] == 0).all()


def test_faces_that_look_at_the_camera_are_brightest():
    box = trimesh.creation.box((1, 1, 1))
    box.unmerge_vertices()  # so that each side has normals of its own
    mesh = labelled(box)
    camera = Camera.look_at([4.0, 3.0, 0.3], [0, 0, 0], [0, 0, 1.0], 0.6, 80, 60)
    _, light = lit_triangles(mesh, camera, soft_normals(mesh))
    assert light[30, 30] == pytest.approx(0.4 + 0.6 * 4 / 5, abs=0.04)  # the side towards +x
    assert light[30, 50] == pytest.approx(0.4 + 0.6 * 3 / 5, abs=0.04)  # the side towards +y
    assert light[0, 0] == 0
