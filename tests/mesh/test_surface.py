# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import trimesh
from sphere_views import RADIUS, around, sphere_depth, sphere_volume

from panoptic_gs import InputError
from panoptic_gs.kernels import VoxelVolume
from panoptic_gs.mesh import LabelledMesh, extract_surface
from panoptic_gs.mesh.smoothing import smooth
from panoptic_gs.mesh.surface import marching_cubes
from panoptic_gs.objects.rendered_views import facing

VOXEL = 0.02


@pytest.fixture(scope="module")
def sphere() -> LabelledMesh:
    return extract_surface(sphere_volume(VOXEL), 0.05, 0.01)


def test_a_fused_sphere_is_closed_and_in_its_place(sphere):
    mesh = trimesh.Trimesh(sphere.vertices, sphere.faces, process=False)
    off = np.abs(np.linalg.norm(sphere.vertices, axis=1) - RADIUS)
    assert mesh.is_watertight
    assert np.quantile(off, 0.99) < 0.35 * VOXEL
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)  # positive: faces look outwards


def test_vertices_have_what_the_views_saw_there(sphere):
    upper, lower = sphere.vertices[:, 2] > 2 * VOXEL, sphere.vertices[:, 2] < -2 * VOXEL
    assert (sphere.segment[upper] == 7).all()
    assert (sphere.segment[lower] == 3).all()
    assert (sphere.color[upper] == [255, 0, 0]).all()
    assert (sphere.color[lower] == [0, 0, 255]).all()
    assert sphere.confidence[upper].min() > 0.99
    seam = np.abs(sphere.vertices[:, 2]) < 0.25 * VOXEL
    assert sphere.confidence[seam].mean() < 0.8


def test_no_bit_depends_on_threads(monkeypatch):
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("PANOPTIC_GS_NUM_THREADS", threads)
        volume = sphere_volume(0.04)
        low, high = volume.bounds()
        mesh = extract_surface(volume, 0.05, 0.01)
        results.append([*volume.copy(low.tolist(), (high - low).tolist()), *map(torch.from_numpy, (
            mesh.vertices, mesh.faces, mesh.color, mesh.segment, mesh.confidence, mesh.weight))])  # fmt: skip
    for one, other in zip(*results):
        assert torch.equal(one, other)


def test_bricks_give_the_mesh_of_the_whole(monkeypatch, sphere):
    monkeypatch.setattr("panoptic_gs.mesh.surface._BRICK", 11)
    parts = extract_surface(sphere_volume(VOXEL), 0.05, 0.01)
    assert len(parts.faces) == len(sphere.faces)
    assert trimesh.Trimesh(parts.vertices, parts.faces, process=False).is_watertight


def test_what_was_hardly_seen_is_cut():
    volume = sphere_volume(0.06)
    for least_weight, least_area in ((1e6, 0.01), (0.05, 100.0)):
        with pytest.raises(InputError, match="no surface"):
            extract_surface(volume, least_weight, least_area)


def test_more_voxels_than_memory_are_refused():
    with pytest.raises(InputError, match="Choose larger voxels"):
        sphere_volume(0.01, most_bytes=1e6)


def test_a_block_keeps_the_labels_that_count_of_however_many():
    """Whoever sees a wall under another label in every view must not fill the memory with them."""
    volumes = {}
    for noise in (0, 40):
        volumes[noise] = VoxelVolume(0.04, 0.12)
        rng = np.random.default_rng(0)
        for number, camera in enumerate(around(40)):
            depth, height = sphere_depth(camera)
            label = torch.where(height > 0, 7, 3).int()
            if noise:
                wrong = torch.from_numpy(rng.integers(0, noise, tuple(depth.shape)))
                label = torch.where(
                    torch.from_numpy(rng.random(tuple(depth.shape)) < 0.3), 100 * number + 100 + wrong, label
                )
            ones, black = torch.ones_like(depth), torch.zeros(*depth.shape, 3)
            volumes[noise].add(camera.viewmat, camera.K, depth, facing(camera, depth), label.int(), ones, black)
    assert volumes[40].num_blocks == volumes[0].num_blocks
    most = 512 * 4 * (6 + 64 + 1) + 600  # 48 labels, kept in memory that grows by doubling
    assert volumes[40].num_bytes <= volumes[40].num_blocks * most
    surface = extract_surface(volumes[40], 0.05, 0.01)
    upper = surface.vertices[:, 2] > 0.05
    lower = surface.vertices[:, 2] < -0.05
    assert (surface.segment[upper] == 7).mean() > 0.99
    assert (surface.segment[lower] == 3).mean() > 0.99
    clean = extract_surface(volumes[0], 0.05, 0.01)
    assert surface.confidence.mean() == pytest.approx(0.7 * clean.confidence.mean(), abs=0.05)


def test_faces_and_vertices_of_a_segment_are_those_that_a_search_finds(sphere):
    for segment in (0, 3, 7, 8):
        assert np.array_equal(sphere.faces_of(segment), np.flatnonzero(sphere.face_segment == segment))
        assert np.array_equal(sphere.vertices_of(segment), np.flatnonzero(sphere.segment == segment))


def test_marching_cubes_leaves_cubes_out_that_were_not_seen():
    x = np.arange(8.0)
    distance = np.broadcast_to(x[:, None, None] - 3.4, (8, 8, 8)).astype(np.float32)
    valid = np.ones((8, 8, 8), dtype=bool)
    valid[:, 5, :] = False
    vertices, faces = marching_cubes(distance, valid)
    assert np.allclose(vertices[:, 0], 3.4)
    assert len(faces) == 2 * 7 * (4 + 1)  # rows 0 … 4 and 6 … 7 of eight voxels
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 0] > 0).all()


def test_smoothing_takes_noise_and_keeps_edges():
    box = trimesh.creation.box((1, 1, 1))
    for _ in range(5):
        box = box.subdivide()
    rng = np.random.default_rng(0)
    noisy = box.vertices + rng.normal(0, 0.004, box.vertices.shape)
    smoothed = smooth(noisy, np.asarray(box.faces), 0.05)

    def off(points):
        return np.abs(np.abs(points).max(axis=1) - 0.5)

    assert off(smoothed).mean() < 0.5 * off(noisy).mean()
    corners = (np.abs(np.asarray(box.vertices)) > 0.49).all(axis=1)
    assert np.linalg.norm(np.abs(smoothed[corners]) - 0.5, axis=1).max() < 0.03


def test_no_vertex_moves_farther_than_asked():
    box = trimesh.creation.box((1, 1, 1)).subdivide().subdivide()
    noisy = box.vertices + np.random.default_rng(0).normal(0, 0.05, box.vertices.shape)
    assert np.linalg.norm(smooth(noisy, np.asarray(box.faces), 0.01) - noisy, axis=1).max() < 0.01 + 1e-9
