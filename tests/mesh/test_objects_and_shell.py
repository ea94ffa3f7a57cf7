# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import trimesh
from furnished import CHEST, CUP, TABLE
from scipy.spatial import KDTree


def solid_of(room_mesh, segment):
    (found,) = (solid for solid in room_mesh.solids if solid.id == segment)
    return found, trimesh.Trimesh(found.mesh.vertices, found.mesh.faces, process=False)


@pytest.mark.parametrize(("segment", "low", "high"), [
    (CUP, [0.07, 0.02, 0.5], [0.23, 0.18, 0.68]),
    (TABLE, [-0.45, -0.3, 0.0], [0.45, 0.3, 0.5]),
    (CHEST, [0.45, 1.05, 0.0], [1.15, 1.5, 0.5]),
])  # fmt: skip
def test_objects_are_closed_and_as_large_as_they_are(room_mesh, segment, low, high):
    solid, mesh = solid_of(room_mesh, segment)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(solid.volume)
    assert np.abs(mesh.bounds - [low, high]).max() < 0.06  # two voxels
    assert sum(solid.closed_by.values()) == pytest.approx(1, abs=1e-6)
    assert (solid.mesh.segment == segment).all()


def test_objects_end_flat_on_what_they_stand_on(room_mesh):
    for segment, support, height in ((CUP, TABLE, 0.5), (TABLE, 1, 0.0), (CHEST, 1, 0.0)):
        solid, mesh = solid_of(room_mesh, segment)
        assert solid.support is not None
        assert solid.support.id == support
        assert solid.support.height == pytest.approx(height, abs=0.02)
        assert mesh.bounds[0, 2] == pytest.approx(solid.support.height, abs=1e-3)
        if segment != TABLE:  # which touches the floor with four legs
            assert solid.closed_by["plane"] > 0.05


def test_the_room_under_a_table_is_free_where_views_look_through(room_mesh):
    solid, mesh = solid_of(room_mesh, TABLE)
    whole = 0.9 * 0.6 * 0.5
    true = 0.9 * 0.6 * 0.06 + 4 * 0.08 * 0.08 * 0.44
    assert true * 0.7 < mesh.volume < 0.5 * whole
    assert solid.closed_by["seen"] > 0.6


def test_the_shell_goes_on_behind_and_under_objects(room_mesh):
    shell = room_mesh.shell
    assert not np.isin(shell.mesh.segment, [TABLE, CUP, CHEST]).any()
    tree = KDTree(shell.mesh.vertices)
    under_chest = np.array([[0.8, 1.27, 0.0], [0.65, 1.35, 0.0], [0.8, 1.5, 0.25]])
    assert tree.query(under_chest)[0].max() < 0.06
    assert (
        KDTree(room_mesh.surface.vertices[np.isin(room_mesh.surface.segment, [1, 2])]).query(under_chest)[0].min() > 0.1
    )
    assert {plane.segment for plane in shell.planes} >= {1, 2}
    floor = next(plane for plane in shell.planes if plane.segment == 1)
    assert floor.normal[2] > 0.999
    assert floor.offset == pytest.approx(0, abs=0.02)


def test_surfaces_have_the_segments_of_what_they_are(room_mesh):
    surface = room_mesh.surface
    on_table = (np.abs(surface.vertices[:, 2] - 0.5) < 0.02) & (np.abs(surface.vertices[:, :2]) < [0.4, 0.25]).all(
        axis=1
    )
    beside_cup = (np.abs(surface.vertices[:, :2] - [0.15, 0.1]) > 0.14).any(axis=1)
    assert (surface.segment[on_table & beside_cup] == TABLE).mean() > 0.97
    floor = (np.abs(surface.vertices[:, 2]) < 0.015) & (surface.vertices[:, 1] < -0.5)
    assert (surface.segment[floor] == 1).mean() > 0.99
