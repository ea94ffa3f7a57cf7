# SPDX-License-Identifier: Apache-2.0
"""Rasterising a mesh: against a brute-force ray caster, and against the room's own ray caster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from room_frames import render_frames
from room_mesh import room_mesh, write_mesh
from scipy import ndimage

from panoptic_gs.camera import Camera
from panoptic_gs.datasets.mesh import TriangleMesh, rasterize_mesh, read_mesh
from panoptic_gs.errors import InputError
from panoptic_gs.synthetic import RoomRenderer

K = np.array([[30.0, 0, 19.3], [0, 28, 15.6], [0, 0, 1]])


def cast(mesh: TriangleMesh, camera: Camera, near: float) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's ray against every triangle (Möller and Trumbore 1997)."""
    viewmat = camera.viewmat.double().numpy()
    local = mesh.vertices.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    a, b, c = local[mesh.faces].transpose(1, 0, 2)
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = (
        np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 1, 3)
        @ np.linalg.inv(camera.K.double().numpy()).T
    )
    p = np.cross(rays, c - a)
    determinant = (p * (b - a)).sum(-1)
    u = -(p * a).sum(-1) / determinant
    q = np.cross(-a, b - a)
    v = (rays * q).sum(-1) / determinant
    z = ((c - a) * q).sum(-1) / determinant
    z = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (z >= near), z, np.inf)
    face = np.where(np.isinf(z.min(1)), -1, z.argmin(1))
    depth = np.where(face < 0, 0, z.min(1))
    return face.reshape(camera.height, camera.width), depth.reshape(camera.height, camera.width)


@pytest.mark.parametrize("seed", range(6))
def test_as_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Small and large triangles in front of, around and behind the camera.
    centres = rng.uniform([-2, -2, -2], [2, 2, 5], (60, 1, 3))
    vertices = centres + rng.normal(0, 1, (60, 3, 3)) * rng.choice([0.1, 0.5, 4], (60, 1, 1))
    mesh = TriangleMesh(vertices.reshape(-1, 3).astype(np.float32), np.arange(180).reshape(60, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = turn * np.sign(np.linalg.det(turn)), rng.normal(0, 0.3, 3)
    camera = Camera(torch.as_tensor(viewmat), K, 40, 32)
    face, depth = rasterize_mesh(mesh, camera, near=0.2)
    expected_face, expected_depth = cast(mesh, camera, near=0.2)
    np.testing.assert_array_equal(face, expected_face)
    np.testing.assert_allclose(depth, expected_depth, rtol=1e-5)
    assert (face >= 0).any()
    assert depth[face >= 0].min() >= 0.2 * (1 - 1e-6)


def test_triangles_that_share_edges_leave_no_gap_and_do_not_overlap() -> None:
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)), axis=-1)
    grid[1:-1, 1:-1] += rng.uniform(-0.06, 0.06, (10, 10, 2))
    corner = (np.arange(11)[:, None] * 12 + np.arange(11)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + 12], 1),
                            np.stack([corner + 1, corner + 13, corner + 12], 1)])  # fmt: skip
    points = grid.reshape(-1, 2)
    camera = Camera(torch.eye(4), [[64.0, 0, 32], [0, 64, 32], [0, 0, 1]], 64, 64)
    together, depth = rasterize_mesh(TriangleMesh(np.c_[points, np.full(144, 2.0)].astype(np.float32), faces), camera)
    assert (together >= 0).all()
    np.testing.assert_allclose(depth, 2, rtol=1e-6)
    # Each triangle alone, added up, covers every pixel once; so do lattice points that lie exactly on edges.
    straight = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)), axis=-1).reshape(-1, 2)
    for flat in (points, straight, np.round(straight * 32) / 32 + 0.5 / 32):
        mesh = TriangleMesh(np.c_[flat, np.full(144, 2.0)].astype(np.float32), faces)
        times = sum(
            (rasterize_mesh(TriangleMesh(mesh.vertices, face[None]), camera)[0] >= 0).astype(int) for face in faces
        )
        assert np.max(times) == 1
        assert (times[2:-2, 2:-2] == 1).all()


def test_the_nearer_surface_is_seen_from_either_side() -> None:
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square + np.float32([0, 0, z]) for z in (3, 2)])
    faces = np.array([[0, 1, 2], [0, 2, 3], [6, 5, 4], [7, 6, 4]])
    camera = Camera(torch.eye(4), [[20.0, 0, 10], [0, 20, 10], [0, 0, 1]], 20, 20)
    face, depth = rasterize_mesh(TriangleMesh(vertices, faces), camera)
    assert set(np.unique(face)) == {2, 3}
    np.testing.assert_allclose(depth, 2, rtol=1e-6)


def test_out_of_sight_is_nothing() -> None:
    mesh = TriangleMesh(np.array([[0, 0, -1], [1, 0, -1], [0, 1, -1]], np.float32), np.array([[0, 1, 2]]))
    face, depth = rasterize_mesh(mesh, Camera(torch.eye(4), K, 40, 32))
    assert (face == -1).all()
    assert (depth == 0).all()


def test_a_room_as_its_ray_caster_sees_it(renderer: RoomRenderer) -> None:
    mesh, surfaces = room_mesh(renderer.room)
    segment_of = renderer.room.surface_segments[surfaces[mesh.faces[:, 0]]]
    wrong = []
    for frame in render_frames(renderer, views=3, width=160, height=120):
        face, depth = rasterize_mesh(mesh, frame.camera)
        assert (face >= 0).all(), "the room is closed"
        segments = renderer.room.surface_segments[_surfaces(renderer, frame.camera)]
        inner = ndimage.maximum_filter(segments, 3) == ndimage.minimum_filter(segments, 3)
        wrong.append(segment_of[face] != segments)
        assert not wrong[-1][inner].any()
        assert np.quantile(np.abs(depth - frame.depth)[inner], 0.99) < 0.002
    assert np.mean(wrong) < 0.001


def _surfaces(renderer: RoomRenderer, camera: Camera) -> np.ndarray:
    K, viewmat = camera.K.double().numpy(), camera.viewmat.double().numpy()
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(rows)]).reshape(3, -1)
    origin = -viewmat[:3, :3].T @ viewmat[:3, 3:]
    _, surface = renderer.cast(np.repeat(origin, local.shape[1], axis=1), viewmat[:3, :3].T @ local)
    return surface.reshape(camera.height, camera.width)


class TestReadMesh:
    def test_what_was_written(self, renderer: RoomRenderer, tmp_path: Path) -> None:
        mesh, _ = room_mesh(renderer.room)
        write_mesh(tmp_path / "mesh.ply", mesh)
        got = read_mesh(tmp_path / "mesh.ply")
        np.testing.assert_array_equal(got.vertices, mesh.vertices)
        np.testing.assert_array_equal(got.faces, mesh.faces)
        assert got.colors is not None
        np.testing.assert_array_equal(got.colors, mesh.colors)

    def test_text_and_the_other_name_of_the_list(self, tmp_path: Path) -> None:
        (tmp_path / "mesh.ply").write_text(HEADER.format(1, "vertex_index") + "0 0 0\n1 0 0\n0 1 0\n3 2 1 0\n")
        got = read_mesh(tmp_path / "mesh.ply")
        assert got.faces.tolist() == [[2, 1, 0]]
        assert got.colors is None

    @pytest.mark.parametrize(
        ("rows", "found"),
        [
            ("0 0 0\n1 0 0\n0 1 0\n4 0 1 2 0\n", "no triangles|cannot be read"),
            ("0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", "vertex 3 of 3"),
            ("0 0 0\nnan 0 0\n0 1 0\n3 0 1 2\n", "NaN"),
            ("0 0 0\n1 0 0\n", "cannot be read"),
        ],
    )
    def test_bad_input(self, tmp_path: Path, rows: str, found: str) -> None:
        (tmp_path / "mesh.ply").write_text(HEADER.format(1, "vertex_indices") + rows)
        with pytest.raises(InputError, match=found):
            read_mesh(tmp_path / "mesh.ply")

    def test_point_clouds_and_missing_files(self, tmp_path: Path) -> None:
        (tmp_path / "points.ply").write_text(HEADER.split("element face")[0].format(0) + "end_header\n0 0 0\n" * 3)
        with pytest.raises(InputError, match="cannot be read as a triangle mesh"):
            read_mesh(tmp_path / "points.ply")
        with pytest.raises(InputError, match="no such file"):
            read_mesh(tmp_path / "none.ply")


HEADER = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {}\nproperty list uchar int {}\nend_header\n"
)
