# SPDX-License-Identifier: Apache-2.0
"""What a report says is what the other commands say."""

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from report_room import CENTERS, FIRST, FLOOR, NASTY, SECOND, TRUE_IDS, cameras, labelled_room
from small_rooms import boxes

from panoptic_gs import Category, InputError, PanopticScene
from panoptic_gs.cli.main import main
from panoptic_gs.export import render_path
from panoptic_gs.mesh import LabelledMesh, write_mesh_ply
from panoptic_gs.metrics import ContingencyTable, evaluate_scenes
from panoptic_gs.report.comparison import render_comparison
from panoptic_gs.report.confusion import OTHERS, UNLABELLED, Confusion
from panoptic_gs.report.contact_sheet import CORRECT, WRONG_CATEGORY
from panoptic_gs.report.environment import command_line
from panoptic_gs.report.evaluation import View, evenly
from panoptic_gs.report.page import render_page
from panoptic_gs.report.scene_report import ReportOptions, find_source, make_report
from panoptic_gs.report.training_log import TrainingLog

RENDERED = ("rgb", "depth", "panoptic", "panoptic_color", "confidence")


@pytest.fixture(scope="module")
def report(report_room):
    labelled, scene = report_room
    return make_report(labelled, ReportOptions(data=scene))


def test_the_scores_are_those_of_evaluate(report, report_room):
    scene = labelled_room()
    maps = {view.name: view.ids for view in render_path(scene, cameras())}
    rendered = PanopticScene(scene.categories, scene.segments, maps)
    truth = PanopticScene.load(report_room[1] / "panoptic_gt")
    expected = evaluate_scenes(rendered, truth, ["0002", "0003"])
    assert {name: s.as_dict() for name, s in report.evaluation.scores.items()} == {
        name: s.as_dict() for name, s in expected.items()
    }
    assert report.evaluation.scores["strict"].panoptic.pq < 0.9
    assert report.evaluation.num_scored == 2


def test_the_psnr_is_a_mean_over_views():
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    view = View("a", np.zeros((4, 4), int), photo=black, rendered=grey)
    assert view.psnr == pytest.approx(10 * np.log10(25))
    assert View("b", view.ids, photo=black, rendered=black).psnr is None
    assert View("c", view.ids, photo=black).psnr is None


def test_an_object_has_one_color_in_prediction_and_truth(report):
    evaluation = report.evaluation
    for predicted, true in TRUE_IDS.items():
        assert evaluation.colors[predicted] == evaluation.true_colors[true]
    assert len(set(evaluation.colors.values())) == len(TRUE_IDS)
    assert evaluation.iou == pytest.approx(dict.fromkeys(TRUE_IDS, 1.0))
    view = evaluation.views[0]
    np.testing.assert_array_equal(view.pictures["panoptic"], view.pictures["truth"])
    errors = {tuple(color) for color in view.pictures["errors"].reshape(-1, 3).tolist()}
    assert {CORRECT, WRONG_CATEGORY} <= errors, "the second cube is no chair"


def test_the_confusion_names_the_class_that_was_taken_for_another(report):
    confusion = report.evaluation.confusion
    row, column = confusion.rows.index("table"), confusion.columns.index("chair")
    assert confusion.shares[row, column] == 1.0
    assert confusion.shares.sum(axis=1).tolist() == [1.0] * 4


def test_small_classes_are_taken_together():
    table = ContingencyTable()
    truth = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 0]])
    pred = torch.tensor([[1, 1, 1, 0, 2, 2, 4, 3, 4, 1, 2]])
    table.add(pred, pred, truth, truth)
    categories = [Category(number, f"c{number}", False) for number in range(1, 6)]
    full = Confusion.of(table, categories)
    assert full.rows == ("c1", "c2", "c3", "c4")
    assert full.columns == (*full.rows, UNLABELLED)
    assert full.pixels.tolist() == [[3, 0, 0, 0, 1], [0, 2, 0, 1, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 0]]
    pooled = Confusion.of(table, categories, most=3)
    assert pooled.rows == ("c1", "c2", OTHERS)
    assert pooled.pixels.tolist() == [[3, 0, 0, 1], [0, 2, 1, 0], [1, 0, 2, 0]]


def test_a_class_that_is_predicted_alone_has_no_row():
    table = ContingencyTable()
    truth, pred = torch.tensor([[1, 1, 1]]), torch.tensor([[1, 2, 2]])
    table.add(pred, pred, truth, truth)
    confusion = Confusion.of(table, [Category(number, f"c{number}", False) for number in (1, 2)])
    assert (confusion.rows, confusion.columns) == (("c1",), ("c1", "c2", UNLABELLED))
    assert confusion.pixels.tolist() == [[1, 2, 0]]


def test_the_command_is_one_for_a_shell(monkeypatch):
    file = "/somewhere/panoptic_gs/__main__.py"
    monkeypatch.setattr(sys, "argv", [file, "report", "a room"])
    main = SimpleNamespace(__spec__=SimpleNamespace(name="panoptic_gs.__main__"), __file__=file)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert command_line() == "python -m panoptic_gs report 'a room'"
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/ns-train", "panst3r-ludvig"])
    for module in (main.__spec__, None):  # python -m runs it, as a profiler does, or nobody
        main.__spec__ = module
        assert command_line() == "ns-train panst3r-ludvig"


def test_objects_are_measured_in_metres(report, report_room):
    rows = {row.id: row for row in report.objects}
    assert [rows[one].gaussians for one in (FLOOR, FIRST, SECOND, NASTY)] == [576, 300, 350, 400]
    assert rows[FIRST].size == pytest.approx((0.6, 0.6, 0.6), abs=0.2)
    assert rows[FIRST].score == 0.9
    assert rows[FLOOR].size == pytest.approx((4, 4, 0), abs=0.3)
    in_feet = make_report(report_room[0], ReportOptions(data=report_room[1], meters_per_unit=0.3048, max_views=0))
    assert {row.id: row for row in in_feet.objects}[FIRST].size == pytest.approx(
        tuple(0.3048 * side for side in rows[FIRST].size)
    )
    assert in_feet.evaluation.views == ()


def test_without_truth_there_are_pictures_and_no_scores(report_room, tmp_path):
    labelled, scene = report_room
    shutil.copytree(scene, tmp_path / "scene")
    shutil.rmtree(tmp_path / "scene" / "panoptic_gt")
    report = make_report(labelled, ReportOptions(data=tmp_path / "scene", split="all"))
    assert (report.evaluation.num_views, report.evaluation.num_scored) == (4, 0)
    assert not report.evaluation.scores
    assert set(report.evaluation.views[0].pictures) == {"photo", "rendered", "panoptic"}
    assert "no true maps" in render_page(report)


def test_maps_are_reported_on_without_gaussians(report_room):
    report = make_report(report_room[1])
    assert {view.name for view in report.evaluation.views} == {"0000", "0001"}
    assert report.evaluation.scores["strict"].panoptic.pq > 0
    assert {row.gaussians for row in report.objects} == {None}
    assert "Gaussians" not in report.facts


def test_renders_are_reported_on_with_their_colors(report_room, tmp_path, capsys):
    labelled, scene = report_room
    main(["render", str(labelled), str(scene), "--split", "test", "--out", str(tmp_path / "renders"), "-q"])
    assert capsys.readouterr() == ("".join(f"{tmp_path / 'renders' / name}\n" for name in RENDERED), "")
    report = make_report(tmp_path / "renders", ReportOptions(data=scene))
    again = make_report(labelled, ReportOptions(data=scene))
    assert report.evaluation.metrics == pytest.approx(again.evaluation.metrics)
    assert report.evaluation.scores["strict"].as_dict() == again.evaluation.scores["strict"].as_dict()


def test_a_training_that_moved_its_cameras_is_refused(report_room, tmp_path):
    (tmp_path / "nerfstudio_models").mkdir()
    (tmp_path / "config.yml").touch()
    moved = {"transform": np.eye(4)[:3].tolist(), "scale": 0.5}
    (tmp_path / "dataparser_transforms.json").write_text(json.dumps(moved))
    with pytest.raises(InputError, match=r"moved or scaled.*ns-eval"):
        make_report(tmp_path / "config.yml", ReportOptions(data=report_room[1]))


def test_a_scene_whose_photos_are_unknown_asks_for_them(report_room, tmp_path):
    with pytest.raises(InputError, match="--data SCENE"):
        make_report(report_room[0])
    shutil.copytree(report_room[1], tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "panoptic")
    with pytest.raises(InputError, match="no labelled splats"):
        make_report(tmp_path / "bare")
    with pytest.raises(InputError, match="no such file"):
        make_report(tmp_path / "nothing")


def test_views_are_spread_evenly():
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("ab", 3) == ["a", "b"]
    assert evenly("ab", 0) == []


def test_the_command_writes_one_file_and_says_which(report_room, tmp_path, capsys):
    labelled, scene = report_room
    out = tmp_path / "page.html"
    main(["report", str(labelled), "--data", str(scene), "--out", str(out), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == [str(out)]
    assert said["scores"]["strict"]["pq"] == pytest.approx(2 / 3)  # floor 1, chair 2/3, table 0, the other 1
    assert list(tmp_path.iterdir()) == [out]
    main(["report", str(labelled), "--data", str(scene), "--out", str(out), "--max-views", "1", "-q"])
    assert capsys.readouterr() == (f"{out}\n", ""), "an earlier report is replaced"
    (tmp_path / "thesis.txt").write_text("my only copy")
    for wrong in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(SystemExit) as stop:
            main(["report", str(labelled), "--data", str(scene), "--out", str(wrong)])
        assert stop.value.code == 2
    assert (tmp_path / "thesis.txt").read_text() == "my only copy"


def test_a_log_holds_means_and_goes_on_where_a_training_resumes(tmp_path):
    log = TrainingLog.start({"seed": 3}, iterations=300)
    assert log.every == 2
    for step in range(7):
        log.add(step, {"loss": torch.tensor(float(step)), "psnr": float("inf") if step == 3 else 20.0})
    assert log.curve("loss") == [(2, 0.5), (4, 2.5), (6, 4.5)]
    log.save(tmp_path)
    read = TrainingLog.load(tmp_path)
    assert read.origin == {"seed": 3}
    assert read.curve("loss") == log.curve("loss")
    assert read.curve("psnr") == [(2, 20.0), (6, 20.0)], "infinity is no JSON"
    resumed = TrainingLog.start({}, 300, before=read.up_to(5))
    for step in range(5, 8):
        resumed.add(step, {"loss": 9.0})
    assert resumed.curve("loss") == [(2, 0.5), (4, 2.5), (6, 9.0), (8, 9.0)]
    assert TrainingLog.load(tmp_path / "nowhere") is None
    for broken in (
        '"columns": ["loss"], "rows": [[1]]',
        '"columns": [], "rows": [], "commands": "rm"',
        '"columns": []',
    ):
        (tmp_path / "training.json").write_text(f'{{"every": 1, {broken}}}')
        with pytest.raises(InputError, match=r"training\.json"):
            TrainingLog.load(tmp_path)


def test_a_page_without_anything_to_show_is_still_a_page(report):
    bare = replace(report, objects=(), evaluation=replace(report.evaluation, views=(), scores={}, confusion=None))
    assert "<h2>Objects" not in render_page(bare)


def test_a_training_is_found_above_and_below(tmp_path):
    run = tmp_path / "scene" / "panst3r-ludvig" / "2026-01-01"
    (run / "nerfstudio_models").mkdir(parents=True)
    (run / "config.yml").touch()
    for source in (run, run / "nerfstudio_models", run.parent, run.parent.parent):
        assert find_source(source) == run
    assert find_source(run / "config.yml") == run / "config.yml"
    assert find_source(tmp_path) == tmp_path  # three levels are not looked at
    (run.parent / "later" / "nerfstudio_models").mkdir(parents=True)
    (run.parent / "later" / "config.yml").touch()
    with pytest.raises(InputError, match="2 scenes"):
        find_source(run.parent)
    assert find_source(run) == run


def test_truth_beside_photos_is_not_taken_for_a_scene(report_room, tmp_path):
    shutil.copytree(report_room[1], tmp_path / "scene")
    shutil.rmtree(tmp_path / "scene" / "panoptic")
    assert find_source(tmp_path / "scene") == tmp_path / "scene"


def test_views_are_called_what_they_are(report, report_room):
    assert "2 held-out views" in render_page(report)
    assert "2 training views" in render_page(
        make_report(report_room[0], ReportOptions(data=report_room[1], split="train"))
    )
    assert "4 views" in render_page(make_report(report_room[0], ReportOptions(data=report_room[1], split="all")))


def test_the_wrong_share_of_a_view_is_that_of_its_errors(report):
    for view in report.evaluation.views:
        errors = view.pictures["errors"]
        scored = (errors != 255).any(-1)
        wrong = scored & (errors != CORRECT[0]).any(-1)
        assert view.wrong == pytest.approx(wrong.sum() / scored.sum())


def test_scenes_without_a_view_in_common_are_not_compared(report, report_room):
    other = make_report(report_room[0], ReportOptions(data=report_room[1], split="train"))
    with pytest.raises(InputError, match="same photos"):
        render_comparison(report, other)


def test_views_show_the_mesh_in_the_colours_of_the_objects(report_room, tmp_path):
    labelled, scene = report_room
    vertices, faces, segment = boxes(FLOOR, CENTERS)
    ones = np.ones(len(segment), np.float32)
    mesh = LabelledMesh(2 * vertices, faces, np.zeros((len(segment), 3), np.uint8), segment, ones, ones)
    write_mesh_ply(tmp_path / "mesh.ply", mesh, labelled_room().labelling, 1.0)
    (tmp_path / "mesh.json").write_text('{"info": {"meters_per_world_unit": 2.0}}')
    report = make_report(labelled, ReportOptions(data=scene, mesh=tmp_path))
    for view in report.evaluation.views:
        found, expected = (view.pictures[name].astype(int) for name in ("mesh", "panoptic"))
        brightness = found.max(axis=2) / np.maximum(expected.max(axis=2), 1)
        close = np.abs(found - expected * brightness[..., None]).max(axis=2) < 6
        assert (close | (expected.max(axis=2) == 0)).mean() > 0.9
        assert (found.max(axis=2) > 0).mean() > 0.3
    assert 'data-layer="mesh"' in render_page(report)
    with pytest.raises(InputError, match="maps"):
        make_report(scene, ReportOptions(mesh=tmp_path))
