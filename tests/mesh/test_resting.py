# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from panoptic_gs.mesh import LabelledMesh, Physics, write_simulation
from panoptic_gs.mesh.bodies import Body, RoomBox
from panoptic_gs.mesh.convex import Piece
from panoptic_gs.mesh.resting import Rest, settled

mujoco = pytest.importorskip("mujoco")

FLOOR = RoomBox("floor", np.array([0, 0, -0.05]), np.eye(3), np.array([5, 5, 0.05]))
WALL = RoomBox("wall", np.array([-0.05, 0, 1]), np.eye(3)[:, [1, 2, 0]], np.array([5, 5, 0.05]))  # faces +x at x = 0


def block(low, high):
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    piece = Piece.around(np.array(low) + corners * (np.array(high) - np.array(low)))
    assert piece is not None
    return piece


def body(number, pieces, moves=True, mass=2.0):
    volume = np.array([piece.volume for piece in pieces])
    center = volume @ np.array([piece.center for piece in pieces]) / volume.sum()
    shape = pieces[0]
    mesh = LabelledMesh(shape.vertices, shape.faces, np.zeros((len(shape.vertices), 3)),
                        *[np.zeros(len(shape.vertices))] * 3)  # fmt: skip
    return Body(number, f"body {number}", "thing", tuple(pieces), mesh, mass if moves else 0.0, center,
                0.02 * np.eye(3), 0.6, moves, "it is put there")  # fmt: skip


def bumpy_table(moves=False):
    """Its top was seen at 0.7 m, its pieces bulge by 5 cm at one end, and end 4 cm lower at the other."""
    return body(1, [block([1, -1, 0], [2, 0.2, 0.75]), block([1, 0.2, 0], [2, 1, 0.66])], moves, 40.0)


def settle(*bodies, on):
    rests = {one.name: Rest(*on[one.id]) if one.id in on else None for one in bodies}
    return {one.id: one for one in settled({one.name: one for one in bodies}, rests, [FLOOR, WALL])}


def drift(bodies, folder, seconds=2):
    """How far the centres of free bodies move, and the largest angle that they turn by."""
    write_simulation(folder, Physics([FLOOR, WALL], list(bodies), np.eye(3)))
    model = mujoco.MjModel.from_xml_path(str(folder / "scene.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    start = data.xpos.copy()
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
    turned = 2 * np.arccos(np.clip(np.abs(data.xquat[:, 0]), 0, 1))
    return float(np.linalg.norm(data.xpos - start, axis=1).max()), float(turned.max())


def test_a_tall_body_stays_on_a_bumpy_top(tmp_path):
    screen = body(2, [block([1.4, 0, 0.72], [1.6, 0.5, 1.2])])
    placed = settle(bumpy_table(), screen, on={2: (1, 0.7)})
    assert placed[2].moves
    assert placed[2].rests_at == pytest.approx(0.7)
    assert placed[1].flat_places == 1
    table = np.concatenate([piece.vertices for piece in placed[1].pieces])
    assert table[:, 2].max() == pytest.approx(0.7, abs=1e-3)
    moved, turned = drift(placed.values(), tmp_path)
    assert moved < 0.002
    assert turned < np.radians(0.5)


def test_legs_of_unlike_lengths_end_in_one_plane(tmp_path):
    legs = [block([x, y, z], [x + 0.04, y + 0.04, 0.4]) for x, y, z in
            ((2, -2, 0), (2.4, -2, 0.004), (2, -1.6, 0.002), (2.4, -1.6, 0.001))]  # fmt: skip
    stool = body(2, [*legs, block([2, -2, 0.4], [2.44, -1.56, 0.45])])
    placed = settle(stool, on={})
    assert placed[2].moves
    assert not placed[2].foot
    assert drift(placed.values(), tmp_path)[1] < np.radians(0.2)


def test_a_tall_body_on_a_narrow_foot_gets_a_plate(tmp_path):
    lamp = body(2, [block([2.17, 0.17, 0], [2.23, 0.23, 1.0]), block([2, 0, 1.0], [2.4, 0.4, 1.4])])
    placed = settle(lamp, on={})
    assert placed[2].foot
    assert placed[2].moves
    assert drift(placed.values(), tmp_path)[1] < np.radians(0.5)


def test_what_reaches_too_far_over_an_edge_is_part_of_the_room():
    plank = body(2, [block([0.4, -0.1, 0.7], [1.2, 0.1, 0.75])])
    placed = settle(bumpy_table(), plank, on={2: (1, 0.7)})
    assert not placed[2].moves
    assert "does not hold it" in placed[2].why


def test_what_is_behind_a_wall_weighs_nothing():
    half = body(2, [block([-0.3, 2, 0], [0.3, 2.6, 0.6])])
    center = half.center + np.array([0.01, 0, 0])  # most of it is before the wall
    placed = settle(replace(half, center=center), on={})
    assert placed[2].mass == pytest.approx(half.mass / 2, rel=0.01)
    assert placed[2].center[0] == pytest.approx(0.16, abs=2e-3)
    assert placed[2].moves


def test_a_light_table_is_fixed_under_a_heavy_load_on_its_edge():
    top = block([2, 0, 0.6], [3, 1, 0.65])
    leg = block([2.3, 0.3, 0], [2.7, 0.7, 0.6])
    table = body(1, [top, leg], moves=True, mass=3.0)
    block_at_edge = [block([2.02, 0.4, 0.65], [2.22, 0.6, 0.85])]
    light = settle(table, body(2, block_at_edge, mass=0.1), on={2: (1, 0.65)})
    heavy = settle(table, body(2, block_at_edge, mass=30.0), on={2: (1, 0.65)})
    assert light[1].moves
    assert not heavy[1].moves
    assert heavy[2].moves


def test_the_centre_of_a_piece_is_its_centroid():
    corner = Piece.around(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]))
    assert corner is not None
    assert corner.center == pytest.approx([0.25, 0.25, 0.25])
    assert block([1, 2, 3], [2, 4, 6]).center == pytest.approx([1.5, 3, 4.5])
