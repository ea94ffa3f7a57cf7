# SPDX-License-Identifier: Apache-2.0
import json
import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from furnished_room import BOXES, CATEGORIES, SPACING, surface
from plyfile import PlyData
from scipy.spatial import KDTree

from panoptic_gs import Category, Segment, Splats, export
from panoptic_gs.export.contact import Part, near_pairs
from panoptic_gs.labelling import Labelling
from panoptic_gs.objects.boxes import Box
from panoptic_gs.objects.table import ObjectTable, SceneObject
from panoptic_gs.uplift import GaussianLabels, LabelledScene

UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def placed(furnished: LabelledScene) -> list[export.PlacedObject]:
    return export.placed_objects(ObjectTable(furnished), UP)


def test_boxes_are_those_of_the_objects(placed: list[export.PlacedObject]) -> None:
    assert {entry.id for entry in placed} == set(BOXES)
    for entry in placed:
        center, size = BOXES[entry.id]
        np.testing.assert_allclose(entry.box.center, center, atol=0.02)
        up_size = entry.box.size[2]
        np.testing.assert_allclose(up_size, size[2], atol=0.02)
        np.testing.assert_allclose(np.sort(entry.box.size[:2]), np.sort(size[:2]), atol=0.1)


def test_what_stands_on_what(furnished: LabelledScene, placed: list[export.PlacedObject]) -> None:
    found = {(r.subject, r.relation, r.object) for r in export.relate_objects(furnished.splats, placed, UP)}
    expected = {(2, "on", 1), (6, "on", 1), (3, "on", 2), (5, "hangs from", 4), (2, "next to", 6)}
    assert found == expected


def test_relations_do_not_depend_on_the_frame(furnished: LabelledScene, placed: list[export.PlacedObject]) -> None:
    expected = export.relate_objects(furnished.splats, placed, UP)
    turn = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # z to x
    splats = furnished.splats
    turned = Splats(splats.means @ turn.T + 7, splats.quats, splats.scales, splats.opacities, splats.sh)
    scene = furnished._replace(splats=turned)
    up = turn.double().numpy() @ UP
    found = export.relate_objects(turned, export.placed_objects(ObjectTable(scene), up), up)
    assert [(r.subject, r.relation, r.object) for r in found] == [(r.subject, r.relation, r.object) for r in expected]


def test_a_gap_parts_objects(furnished: LabelledScene, placed: list[export.PlacedObject]) -> None:
    splats = furnished.splats
    lifted = splats.means.clone()
    cup = next(entry for entry in placed if entry.id == 3)
    lifted[torch.from_numpy(cup.members), 2] += 0.2
    moved = Splats(lifted, splats.quats, splats.scales, splats.opacities, splats.sh)
    objects = export.placed_objects(ObjectTable(furnished._replace(splats=moved)), UP)
    assert not [r for r in export.relate_objects(moved, objects, UP) if 3 in (r.subject, r.object)]
    touching = [r for r in export.relate_objects(moved, objects, UP, contact=0.25) if 3 in (r.subject, r.object)]
    assert [(r.relation, r.object) for r in touching] == [("on", 2)]
    assert 0.13 < touching[0].distance < 0.21


def test_scene_graph_is_in_metres(tmp_path: Path, furnished: LabelledScene, placed: list[export.PlacedObject]) -> None:
    relations = export.relate_objects(furnished.splats, placed, UP)
    export.write_scene_graph(tmp_path / "g.json", placed, relations, UP, meters_per_unit=2.0, source="test")
    graph = json.loads((tmp_path / "g.json").read_text())
    cup = next(entry for entry in graph["objects"] if entry["name"] == "cup")
    np.testing.assert_allclose(cup["box"]["center"], 2 * np.array(BOXES[3][0]), atol=0.04)
    assert (cup["category"], cup["isthing"], cup["score"]) == ({"id": 3, "name": "cup"}, True, 0.9)
    assert "cup 3 on table 2" in [relation["text"] for relation in graph["relations"]]


def test_glb_has_a_named_box_an_object(tmp_path: Path, placed: list[export.PlacedObject]) -> None:
    export.write_boxes(tmp_path / "boxes.glb", placed)
    scene = trimesh.load(tmp_path / "boxes.glb")
    assert isinstance(scene, trimesh.Scene)
    assert set(scene.graph.nodes_geometry) == {entry.label for entry in placed}
    for entry in placed:
        pose, geometry = scene.graph[entry.label]
        corners = trimesh.transform_points(scene.geometry[geometry].vertices, pose)
        for corner in entry.box.corners():
            assert np.linalg.norm(corners - corner, axis=1).min() < 1e-4
    content = (tmp_path / "boxes.glb").read_bytes()
    document = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
    extras = {node["name"]: node["extras"] for node in document["nodes"] if "extras" in node}
    assert extras["cup 3"] == {"id": 3, "category": "cup", "isthing": True, "score": 0.9}


def test_one_splat_file_an_object(tmp_path: Path, furnished: LabelledScene, placed: list[export.PlacedObject]) -> None:
    paths = export.write_objects(tmp_path, furnished, placed)
    assert [path.name for path in paths][:2] == [f"{placed[0].id:04d}_{placed[0].object.name}.ply",
                                                  f"{placed[1].id:04d}_{placed[1].object.name}.ply"]  # fmt: skip
    assert sum(len(Splats.load_ply(path)) for path in paths) == len(furnished.splats)
    for path, entry in zip(paths, placed):
        np.testing.assert_allclose(
            Splats.load_ply(path).means, furnished.splats.means[torch.from_numpy(entry.members)], atol=1e-6
        )


def test_point_cloud_carries_ids_and_colours(tmp_path: Path, furnished: LabelledScene) -> None:
    assert export.write_point_cloud(tmp_path / "points.ply", furnished) == len(furnished.splats)
    points = PlyData.read(tmp_path / "points.ply")["vertex"]
    cup = points["instance"] == 3
    np.testing.assert_array_equal(points["semantic"][cup], 3)
    assert [int(points[name][cup][0]) for name in ("red", "green", "blue")] == [220, 30, 30]
    np.testing.assert_allclose(points["z"], furnished.splats.means[:, 2])


def test_what_touches_sideways_stands_on_nothing(furnished: LabelledScene) -> None:
    """A tall back that leans against the table's edge with its lower end above the table's top is not on it."""
    splats = furnished.splats
    table = ObjectTable(furnished)
    chair = torch.from_numpy(table.members(6))
    means = splats.means.clone()
    means[chair, 2] = 0.75 + means[chair, 2] * 0.5
    moved = Splats(means, splats.quats, splats.scales, splats.opacities, splats.sh)
    objects = export.placed_objects(ObjectTable(furnished._replace(splats=moved)), UP)
    found = {(r.subject, r.relation, r.object) for r in export.relate_objects(moved, objects, UP)}
    assert (6, "on", 2) not in found
    assert (3, "on", 2) in found


def test_things_stand_on_a_floor_that_has_swallowed_a_chair(furnished: LabelledScene) -> None:
    """A chair elsewhere in the room, and a lamp beside it, carry the floor's label, so that the floor reaches up."""
    table = ObjectTable(furnished)
    chair, lamp = torch.from_numpy(table.members(6)), torch.from_numpy(table.members(5))
    means, label = furnished.splats.means.clone(), furnished.labels.label.clone()
    means[chair, 0] += 0.8
    means[lamp] += torch.tensor([1.16, 0.6, -2.1])
    label[chair] = label[lamp] = 1
    merged = furnished._replace(
        splats=replace(furnished.splats, means=means), labels=replace(furnished.labels, label=label)
    )
    objects = export.placed_objects(ObjectTable(merged), UP)
    assert max(entry.box.size[2] for entry in objects if entry.id == 1) > 0.8
    found = {(r.subject, r.relation, r.object) for r in export.relate_objects(merged.splats, objects, UP)}
    assert {(2, "on", 1), (3, "on", 2)} <= found


def test_under_and_in(furnished: LabelledScene) -> None:
    """The cup moved below the table's top, into its legs' space."""
    splats = furnished.splats
    cup = torch.from_numpy(ObjectTable(furnished).members(3))
    means = splats.means.clone()
    means[cup, 2] -= 0.45
    objects = export.placed_objects(
        ObjectTable(furnished._replace(splats=Splats(means, splats.quats, splats.scales, splats.opacities, splats.sh))),
        UP,
    )
    moved = Splats(means, splats.quats, splats.scales, splats.opacities, splats.sh)
    found = {(r.subject, r.relation, r.object) for r in export.relate_objects(moved, objects, UP)}
    assert (3, "in", 2) in found, "the table is a closed box here: it lies above and below the cup"


def _around_a_table(where: list[float], size: list[float]) -> tuple[LabelledScene, dict[int, list[tuple[str, int]]]]:
    """A floor, a table (a top on four legs) and a crate; what is said of the crate (3), and of the table (2)."""
    legs = [surface([x, y, 0.36], [0.06, 0.06, 0.72]) for x in (-0.55, 0.55) for y in (-0.35, 0.35)]
    table = np.concatenate([surface([0, 0, 0.76], [1.2, 0.8, 0.08]), *legs])
    clouds = {1: surface([0, 0, -0.02], [4, 4, 0.04]), 2: table, 3: surface(where, size)}
    ids = np.repeat(list(clouds), [len(points) for points in clouds.values()])
    count = len(ids)
    splats = Splats(
        torch.from_numpy(np.concatenate(list(clouds.values()))).float(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), SPACING / 3), torch.full((count,), 0.95), torch.zeros(count, 1, 3),
    )  # fmt: skip
    labels = GaussianLabels(
        torch.arange(count + 1), torch.from_numpy(ids).int(), torch.ones(count), torch.ones(count), torch.zeros(count)
    )
    categories = (*CATEGORIES[:2], Category(3, "crate", True))
    scene = LabelledScene(splats, labels, Labelling(categories, tuple(Segment(k, k) for k in clouds)))
    relations = export.relate_objects(splats, export.placed_objects(ObjectTable(scene), UP), UP)
    said = {k: [(r.relation, r.object) for r in relations if r.subject == k] for k in (2, 3)}
    return scene, said


@pytest.mark.parametrize(
    ("where", "size", "crate"),
    [
        ([0.0, 0.0, 0.15], [0.4, 0.3, 0.3], [("on", 1), ("under", 2)]),
        ([0.2, -0.1, 0.3], [0.5, 0.4, 0.6], [("on", 1), ("under", 2)]),  # nearly as high as the top's lower side
        ([0.2, 0.1, 0.95], [0.4, 0.3, 0.3], [("on", 2)]),
        ([0.0, 0.95, 0.15], [0.4, 0.3, 0.3], [("on", 1)]),  # beside it
        ([0.0, 0.45, 0.15], [0.4, 0.3, 0.3], [("on", 1)]),  # half of it sticks out
    ],
)
def test_what_stands_under_a_table(where: list[float], size: list[float], crate: list[tuple[str, int]]) -> None:
    _, said = _around_a_table(where, size)
    assert sorted(said[3]) == crate
    assert said[2] == [("on", 1)]


def test_under_needs_something_over_it() -> None:
    """The bottom of a bed's frame around a crate, without a mattress over it: the crate is in it, not under it."""
    frame = [surface([x, 0, 0.3], [0.06, 1.0, 0.6]) for x in (-0.6, 0.6)]
    ends = [surface([0, y, 0.3], [1.2, 0.06, 0.6]) for y in (-0.5, 0.5)]
    scene, _ = _around_a_table([0.0, 0.0, 0.15], [0.4, 0.3, 0.3])
    around = np.concatenate([*frame, *ends])
    means = scene.splats.means.clone()
    rows = (scene.labels.label == 2).nonzero()[:, 0]
    means[rows] = torch.from_numpy(around[np.arange(len(rows)) % len(around)]).float()
    moved = replace(scene.splats, means=means)
    objects = export.placed_objects(ObjectTable(scene._replace(splats=moved)), UP)
    found = {(r.subject, r.relation, r.object) for r in export.relate_objects(moved, objects, UP)}
    assert not [r for r in found if r[1] == "under"]
    assert (3, "on", 1) in found


def test_only_parts_about_each_other_meet() -> None:
    rng = np.random.default_rng(0)
    centers, sizes = rng.random((300, 3)) * [12, 3, 8], 0.05 + rng.random((300, 3)) ** 8 * 6
    boxes = [Box(center, np.linalg.qr(rng.standard_normal((3, 3)))[0], size) for center, size in zip(centers, sizes)]
    category, tree = CATEGORIES[1], KDTree(np.zeros((1, 3)))
    objects = [SceneObject(Segment(1 + number // 2, 2), category, 1, 1.0) for number in range(len(boxes))]
    nothing, reaches = np.zeros(0, dtype=np.int64), rng.random(300) * 0.2
    parts = [
        Part(export.PlacedObject(row, nothing, box), box, points=np.zeros((1, 3)), radius=np.zeros(1), level=np.ones(1),
             tree=tree, radii=np.zeros(1), reach=reach, low=0.0, high=1.0)
        for row, box, reach in zip(objects, boxes, reaches.tolist())
    ]  # fmt: skip

    def gap(one: Box, other: Box) -> float:
        first, second = one.corners(), other.corners()
        apart = np.maximum(first.min(0) - second.max(0), second.min(0) - first.max(0))
        return float(np.linalg.norm(apart.clip(0)))

    near = [(one, other) for one, other in combinations(parts, 2)
            if one.entry.id != other.entry.id
            and gap(one.box, other.box) <= one.reach + other.reach + 0.15]  # fmt: skip
    found = list(near_pairs(parts, 0.15))
    assert [(id(parts[one]), id(parts[other])) for one, other in found] == [(id(one), id(other)) for one, other in near]
    assert len(parts) < len(near) < 0.2 * len(parts) ** 2
    assert list(near_pairs([], 0.15)) == list(near_pairs(parts[:1], 0.15)) == []


def test_many_objects_are_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, count = np.random.default_rng(1), 200
    ids = rng.integers(0, count, 5000) * (1 + (rng.random(5000) < 0.9))
    labels = GaussianLabels(torch.arange(5001), torch.from_numpy(ids).int(), torch.ones(5000), torch.ones(5000),
                            torch.zeros(5000))  # fmt: skip
    splats = Splats(torch.rand(5000, 3), torch.tensor([[1.0, 0, 0, 0]] * 5000), torch.ones(5000, 3),
                    torch.ones(5000), torch.zeros(5000, 1, 3))  # fmt: skip
    table = ObjectTable(LabelledScene(splats, labels, Labelling(CATEGORIES, tuple(
        Segment(i, 2) for i in range(1, 2 * count)))))  # fmt: skip
    expected, passes = [np.flatnonzero(ids == segment) for segment in range(-1, 2 * count)], []
    flatnonzero = np.flatnonzero
    monkeypatch.setattr(np, "flatnonzero", lambda values: passes.append(1) or flatnonzero(values))
    found = [table.members(segment) for segment in range(-1, 2 * count)]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected))
    assert len(passes) < 20
