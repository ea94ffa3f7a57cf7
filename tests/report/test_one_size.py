# SPDX-License-Identifier: Apache-2.0
"""Every command tells of an object by the same numbers: viewer, report, share, query, graph, GLB and mesh."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from panoptic_gs import Camera, Splats
from panoptic_gs.cli.main import main
from panoptic_gs.export import render_path
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.objects.survey import Survey, counted, photos_of, sides
from panoptic_gs.report.objects import objects_in_words
from panoptic_gs.report.scene_report import ReportOptions, make_report
from panoptic_gs.scene import write_scene
from panoptic_gs.share import shared_scene
from panoptic_gs.uplift import GaussianLabels, LabelledScene, save_labelled_scene
from panoptic_gs.viewer.start import start_viewer

BOARD, UNIT = 2, 2.0
PACKAGE = Path(__file__).resolve().parents[2] / "panoptic_gs"


def hazy_board() -> LabelledScene:
    """A board of 1 × 0.08 × 1 units on a floor, with much of it buried behind its front, so that boxes which know what
    views show are a third as thick as others. It stands at an angle to the axes."""
    rng = np.random.default_rng(0)
    front = np.stack([rng.uniform(-0.5, 0.5, 4000), np.zeros(4000), rng.uniform(0.0, 1.0, 4000)], axis=1)
    side = np.stack([rng.choice([-0.5, 0.5], 800), rng.uniform(0, 0.08, 800), rng.uniform(0.0, 1.0, 800)], axis=1)
    blur = np.stack([rng.uniform(-0.5, 0.5, 3000), rng.uniform(0.0, 0.4, 3000), rng.uniform(0.0, 1.0, 3000)], axis=1)
    board = np.concatenate([front, side, blur])
    floor = np.concatenate([rng.uniform(-2, 2, (3000, 2)), np.zeros((3000, 1))], axis=1)
    means = torch.from_numpy(np.concatenate([board, floor])).float()
    count, own = len(means), len(board)
    opacity = torch.cat([torch.full((4800,), 0.9), torch.full((3000,), 0.8), torch.full((3000,), 0.95)])
    scales = torch.cat([torch.full((own, 3), 0.012), torch.full((3000, 3), 0.05)])
    colors = torch.zeros(count, 1, 3)
    colors[:own, 0, 0] = 1.0
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), scales, opacity, colors)
    ids = torch.cat([torch.full((own,), BOARD), torch.full((3000,), 1)]).int()
    labels = GaussianLabels(torch.arange(count + 1), ids, torch.ones(count), torch.full((count,), 5.0),
                            torch.zeros(count))  # fmt: skip
    meaning = Labelling((Category(1, "floor", False), Category(2, "board", True)), (Segment(1, 1), Segment(BOARD, 2)))
    return LabelledScene(splats, labels, meaning)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The labelled scene, and its scene folder, whose unit is two metres; its training views see one side alone."""
    root, scene = tmp_path_factory.mktemp("one"), hazy_board()
    save_labelled_scene(root / "labelled", scene.splats, scene.labels, scene.labelling)
    cameras = {
        f"{number:02d}": Camera.look_at([x, -3.0, 1.0 + 0.2 * x], [0.0, 0.0, 0.5], [0.0, 0.0, 1.0], math.radians(50),
                                        160, 120)
        for number, x in enumerate((-1.5, -0.8, 0.0, 0.8, 1.5))
    }  # fmt: skip
    photos = {view.name: view.rgb for view in render_path(scene, cameras)}
    points = scene.splats.means.numpy()[::10], np.full((1080, 3), 128, np.uint8)
    splits = {"train": ["00", "01", "02"], "test": ["03", "04"]}
    write_scene(root / "scene", cameras, photos, points, splits, meters_per_unit=UNIT)
    return root / "labelled", root / "scene"


@pytest.fixture(scope="module")
def told(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, ...]]:
    """What each command says of the board's size."""
    labelled, scene = folders
    out, told = tmp_path_factory.mktemp("told"), {}
    main(["export", str(labelled), "--data", str(scene), "--out", str(out / "export"), "--formats", "graph", "boxes"])
    main(["export", str(labelled), "--path", str(scene), "--split", "test", "--out", str(out / "along"), "--formats",
          "graph"])  # fmt: skip
    for name in ("export", "along"):
        graph = json.loads((out / name / "scene_graph.json").read_text())
        told[f"{name}: graph"] = _read(next(node["box"]["size"] for node in graph["objects"] if node["id"] == BOARD))
    boxes = trimesh.load_scene(out / "export" / "boxes.glb")
    told["glb"] = _read(next(np.ptp(g.vertices, axis=0) for name, g in boxes.geometry.items() if "board" in name))
    main(["query", str(labelled), "board", "--data", str(scene), "--json", str(out / "query.json")])
    told["query"] = _read(json.loads((out / "query.json").read_text())["objects"][0]["box"]["size"])
    main(
        [
            "mesh",
            str(labelled),
            "--data",
            str(scene),
            "--split",
            "train",
            "--voxel",
            "0.2",
            "--added-places",
            "0",
            "--out",
            str(out / "mesh"),
        ]
    )
    (solid,) = json.loads((out / "mesh" / "mesh.json").read_text())["objects"]
    told["mesh"] = _read(solid["box"]["size"])
    report = make_report(labelled, ReportOptions(data=scene, max_views=0))
    told["report"] = next(row.size for row in report.objects if row.id == BOARD) or ()
    main(["share", str(labelled), "--data", str(scene), "--out", str(out / "page.html")])
    page = (out / "page.html").read_text()
    after = page.split('"name": "board"')[1].split('"size": ')[1]
    told["share"] = tuple(json.JSONDecoder().raw_decode(after)[0])
    viewer, _ = start_viewer(labelled, scene, port=0, say=lambda note: None)
    try:
        viewer.session.table.box(BOARD, viewer.session.up)
        (row,) = [row for row in viewer.objects.state()["objects"] if row["id"] == BOARD]
        told["viewer: list"] = tuple(row["size"])
        viewer.session.select(BOARD)
        viewer.refresh()
        panel = viewer.selection._about.content.split("size ")[1].removesuffix(" m")
        told["viewer: panel"] = tuple(float(side) for side in panel.split(" × "))
    finally:
        viewer.close()
    return told


def _read(size) -> tuple[float, float, float]:
    """Ground sides, the longer first, and the height."""
    return (*sorted(map(float, size[:2]), reverse=True), float(size[2]))


def test_all_commands_say_the_same_size(folders, told) -> None:
    photos = photos_of(*folders)
    assert photos is not None
    survey = Survey(open_scene(folders[0]).scene, [frame.camera for frame in photos.frames])
    box = survey.table.box(BOARD, survey.up)
    assert box is not None
    expected = sides(box, UNIT)
    assert expected[0] == pytest.approx(2.0, abs=0.1)
    assert len(told) == 9
    for name, size in told.items():
        assert size == pytest.approx(expected, abs=6e-3), name


def test_what_views_show_makes_a_difference_here(folders, told) -> None:
    """Else the test above would say nothing."""
    blind = Survey(open_scene(folders[0]).scene)
    box = blind.table.box(BOARD, blind.up)
    assert box is not None
    assert sides(box, UNIT)[1] > told["report"][1] + 0.05


def test_tables_of_objects_are_made_in_one_place() -> None:
    makers = [file for file in PACKAGE.rglob("*.py") if "ObjectTable(" in file.read_text() and file.name != "table.py"]
    assert [file.relative_to(PACKAGE).as_posix() for file in makers] == ["objects/survey.py"]


def test_objects_are_counted_in_the_same_words(folders) -> None:
    labelled, _ = folders
    table = Survey(open_scene(labelled).scene).table
    assert counted(table) == "1 object, 1 stuff class"
    assert shared_scene(table.scene, "a").counted == counted(table)
    report = make_report(labelled, ReportOptions(data=folders[1], max_views=0))
    assert objects_in_words(report.objects) == counted(table)
