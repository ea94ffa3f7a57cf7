# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
from furnished import CHEST, CUP, TABLE
from scipy.spatial import ConvexHull

from panoptic_gs import InputError
from panoptic_gs.mesh import LabelledMesh, make_physics, read_materials, write_simulation
from panoptic_gs.mesh.bodies import Body
from panoptic_gs.mesh.convex import Piece, cut_apart
from panoptic_gs.mesh.materials import MATERIALS, material_of
from panoptic_gs.mesh.physics import rotation_to_z
from panoptic_gs.mesh.resting import fixed_unless_it_stands

pytest.importorskip("coacd")
mujoco = pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def simulation(room_mesh, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulation")
    write_simulation(folder, make_physics(room_mesh, 1.0))
    return folder


@pytest.mark.parametrize("file", ["scene.xml", "scene.urdf"])
def test_objects_stay_where_they_are_for_five_seconds(simulation, file):
    model = mujoco.MjModel.from_xml_path(str(simulation / file))
    data = mujoco.MjData(model)
    assert model.opt.timestep == 0.002
    mujoco.mj_forward(model, data)
    start = data.xpos.copy()
    for _ in range(2500):
        mujoco.mj_step(model, data)
    bodies = json.loads((simulation / "physics.json").read_text())["bodies"]
    assert {body["id"] for body in bodies if body["moves"]} == {TABLE, CUP, CHEST}
    for body in bodies:
        number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body["body"])
        step = data.xpos[number] - start[number]
        assert abs(step[2]) < 0.02, body["name"]
        assert np.linalg.norm(step) < 0.05, body["name"]
        assert np.abs(data.cvel[number]).max() < 0.05, body["name"]


def test_what_is_pushed_moves_and_the_room_holds_it(simulation):
    model = mujoco.MjModel.from_xml_path(str(simulation / "scene.xml"))
    data = mujoco.MjData(model)
    bodies = {body["id"]: body for body in json.loads((simulation / "physics.json").read_text())["bodies"]}
    number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, bodies[CUP]["body"])
    for step in range(2500):
        data.xfrc_applied[number, 0] = 30.0 if step < 100 else 0.0
        mujoco.mj_step(model, data)
    assert -0.05 < data.xpos[number, 2] < 0.3  # from the table to the floor
    assert data.xpos[number, 0] > 0.5


def test_masses_are_volumes_times_densities(room_mesh, simulation):
    bodies = {body["id"]: body for body in json.loads((simulation / "physics.json").read_text())["bodies"]}
    volumes = {solid.id: solid.volume for solid in room_mesh.solids}
    for segment, word in ((TABLE, "table"), (CUP, "cup")):
        assert bodies[segment]["mass"] == pytest.approx(volumes[segment] * MATERIALS[word].density, rel=1e-3)
    assert bodies[CUP]["friction"] == 0.4
    assert not bodies[CHEST]["density_known"]


def test_a_scene_in_other_units_weighs_what_it_is(room_mesh, simulation):
    bodies = {body["id"]: body for body in json.loads((simulation / "physics.json").read_text())["bodies"]}
    for body in make_physics(replace(room_mesh, solids=room_mesh.solids[1:2]), 0.5).bodies:
        if body.moves:
            assert body.mass == pytest.approx(bodies[body.id]["mass"] / 8, rel=1e-3)


def test_overlapping_pieces_are_cut_apart():
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    one, other = Piece.around(cube), Piece.around(cube + np.array([0.8, 0.1, 0.2]))
    assert one is not None
    assert other is not None
    a, b = cut_apart(one, other, 0.001)
    assert a.volume == pytest.approx(0.8995, abs=1e-6)
    assert b.volume == pytest.approx(0.8995, abs=1e-6)
    assert a.vertices[:, 0].max() <= b.vertices[:, 0].min() - 0.001 + 1e-9
    assert cut_apart(a, b, 0.001) is None
    assert ConvexHull(a.vertices).volume == pytest.approx(a.volume)


def test_the_top_of_a_piece_is_where_a_ray_from_above_meets_it():
    ramp = Piece.around(np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [2, 1, 0], [2, 0, 1], [2, 1, 1.0]]))
    assert ramp is not None
    tops = ramp.top_over(np.array([[1.0, 0.5], [2.0, 0.2], [3.0, 0.5]]))
    assert tops[:2] == pytest.approx([0.5, 1.0])
    assert tops[2] == -np.inf


@pytest.mark.parametrize("up", [[0, 0, 1], [0, -1, 0], [0, 0, -1], [0.3, -0.5, 0.8]])
def test_up_becomes_z(up):
    rotation = rotation_to_z(np.array(up, dtype=float))
    assert rotation @ up / np.linalg.norm(up) == pytest.approx([0, 0, 1], abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_compounds_are_what_their_last_word_says():
    assert material_of("coffee table")[0] == MATERIALS["table"]
    assert material_of("table lamp")[0] == MATERIALS["lamp"]
    assert material_of("Books")[0] == MATERIALS["book"]
    assert not material_of("gizmo")[1]


def test_own_materials(tmp_path):
    file = tmp_path / "materials.json"
    file.write_text('{"gizmo": {"density": 900}}')
    assert read_materials(file)["gizmo"].density == 900
    file.write_text('{"gizmo": {"density": -1}}')
    with pytest.raises(InputError, match="gizmo"):
        read_materials(file)


@pytest.mark.parametrize(("center", "rests_at", "moves"), [
    ([0.5, 0.5, 0.5], 0.0, True),
    ([1.2, 0.5, 0.5], 0.0, False),  # it would tip over
    ([0.5, 0.5, 0.5], -0.1, False),  # it hovers
])  # fmt: skip
def test_what_would_not_stand_is_part_of_the_room(center, rests_at, moves):
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    piece = Piece.around(cube)
    assert piece is not None
    mesh = LabelledMesh(piece.vertices, piece.faces, *(np.zeros((8, 3)), *[np.zeros(8)] * 3))
    body = Body(1, "cube", "box", (piece,), mesh, 5.0, np.array(center), np.eye(3), 0.6, True, "", rests_at=rests_at)
    fixed = fixed_unless_it_stands(body)
    assert fixed.moves is moves
    assert (fixed.mass > 0) is moves
    assert moves or "could not stand" in fixed.why
