# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData, PlyElement

from panoptic_gs import Camera, Category, PanopticScene, Segment
from panoptic_gs.cli.main import main
from panoptic_gs.raw_predictions import RawImage, RawPredictions
from panoptic_gs.scene import write_scene

WALL, CHAIR = Category(1, "wall", False), Category(5, "chair", True)
LABELS = PanopticScene([WALL, CHAIR], [Segment(1, 1), Segment(7, 5)], {})


def write_ply(path, positions, segment):
    vertices = np.empty(
        len(positions), [*((axis, "f4") for axis in "xyz"), ("segment_id", "i4"), ("category_id", "i4")]
    )
    for index, axis in enumerate("xyz"):
        vertices[axis] = positions[:, index]
    vertices["segment_id"], vertices["category_id"] = segment, LABELS.category_of()[segment]
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))
    categories = [{"id": c.id, "name": c.name, "isthing": int(c.isthing)} for c in LABELS.categories]
    (path.parent / "segments.json").write_text(json.dumps({"categories": categories}))


@pytest.fixture
def scene_with_depth(tmp_path):
    """A wall 2 m before a camera, with a chair's silhouette on it, and the camera's depth map."""
    root = tmp_path / "scene"
    camera = Camera.look_at([0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], 1.0, 40, 30)
    ids = np.ones((30, 40), np.int32)
    ids[10:20, 10:25] = 7
    points = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)
    write_scene(root, {"a": camera}, {"a": np.zeros((30, 40, 3), np.uint8)}, points, {"train": ["a"], "test": ["a"]})
    PanopticScene(LABELS.categories, LABELS.segments, {"a": ids}).save(root / "panoptic_gt")
    (root / "depth").mkdir()
    Image.fromarray(np.full((30, 40), 2000, np.uint16)).save(root / "depth" / "a.png")
    return root


def scores_of(arguments, tmp_path):
    main(["evaluate-points", *map(str, arguments), "--json", str(tmp_path / "scores.json")])
    return json.loads((tmp_path / "scores.json").read_text())["scores"]


def test_raw_points_with_their_maps_score_one_against_the_depth_they_came_from(scene_with_depth, tmp_path):
    y, x = np.mgrid[0:30, 0:40] + 0.5
    focal = 20 / np.tan(0.5)
    points = np.stack([(x - 20) / focal * 2, np.full_like(x, 2.0), -(y - 15) / focal * 2], axis=-1)
    raw = RawPredictions(
        torch.zeros(1, 2, 15, 20, dtype=torch.float16), torch.zeros(2, 2), (RawImage("a.png", 40, 30),),
        (WALL, CHAIR), "test", (40, 30), points=torch.from_numpy(points[None]).float(),
    )  # fmt: skip
    raw.save(scene_with_depth / "raw")
    PanopticScene.load(scene_with_depth / "panoptic_gt").save(scene_with_depth / "panoptic")
    scores = scores_of([scene_with_depth / "raw", scene_with_depth, "--voxel", 1e-3], tmp_path)
    assert scores["ap50"] == scores["miou"] == scores["covered"] == 1.0
    doubled = replace(raw, to_original=torch.diag(torch.tensor([0.5, 1.0, 1.0]))[None])
    doubled.save(scene_with_depth / "raw")
    assert scores_of([scene_with_depth / "raw", scene_with_depth, "--voxel", 1e-3], tmp_path)["miou"] < 0.9


def test_a_ply_is_scored_against_a_ply(tmp_path, capsys):
    positions = np.random.default_rng(0).uniform(0, 1, (1000, 3)).astype(np.float32)
    segment = np.where(positions[:, 0] < 0.5, 1, 7)
    write_ply(tmp_path / "truth.ply", positions, segment)
    moved = positions + np.float32([0.05, 0, 0])
    write_ply(tmp_path / "pred.ply", moved, segment)
    same = scores_of([tmp_path / "truth.ply", tmp_path / "truth.ply", "--per-class"], tmp_path)
    assert same["ap"] == same["miou"] == 1.0
    assert "chair" in capsys.readouterr().out
    assert 0.7 < scores_of([tmp_path / "pred.ply", tmp_path / "truth.ply"], tmp_path)["miou"] < 1.0


@pytest.mark.parametrize(("arguments", "message"), [
    (("nowhere", "truth.ply"), "no such file"),
    (("truth.ply", "bare.ply"), "segment_id"),
    (("truth.ply", "lists.ply"), "lists as category_id"),
    (("truth.ply", "scene"), "depth"),
])  # fmt: skip
def test_bad_input_is_named(scene_with_depth, tmp_path, capsys, arguments, message):
    (scene_with_depth / "depth" / "a.png").unlink()
    positions = np.zeros((3, 3), np.float32)
    write_ply(tmp_path / "truth.ply", positions, np.array([1, 1, 7]))
    bare = np.zeros(3, [(axis, "f4") for axis in "xyz"])
    PlyData([PlyElement.describe(bare, "vertex")]).write(str(tmp_path / "bare.ply"))
    lists = np.zeros(1, [*((axis, "f4") for axis in "xyz"), ("segment_id", "i4"), ("category_id", "O")])
    lists["category_id"][0] = np.array([1, 2], np.int32)
    PlyData([PlyElement.describe(lists, "vertex")], text=True).write(str(tmp_path / "lists.ply"))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate-points", *(str(tmp_path / name) for name in arguments)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
