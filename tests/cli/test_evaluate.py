# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.cli.evaluate import Evaluate
from panoptic_gs.metrics import evaluate_scenes


@pytest.fixture
def scene_folder(tmp_path):
    """A scene folder with truth for views 0, 1, 2, a prediction of 0 and 1, and splits."""
    categories, segments = [Category(1, "wall", False), Category(2, "chair", True)], [Segment(1, 1), Segment(2, 2)]
    generator = np.random.default_rng(0)
    truth = {str(n): np.kron(generator.integers(0, 3, (3, 4)), np.ones((8, 8))).astype(np.int32) for n in range(3)}
    pred = {name: np.where(generator.random(ids.shape) < 0.1, 1, ids) for name, ids in list(truth.items())[:2]}
    PanopticScene(categories, segments, truth).save(tmp_path / "panoptic_gt")
    PanopticScene(categories, segments, pred).save(tmp_path / "panoptic")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["0"], "test": ["1"], "late": ["2"]}))
    return tmp_path


def test_both_protocols_are_printed_and_written_per_split(scene_folder, capsys):
    out = scene_folder / "scores.json"
    Evaluate(scene_folder, scene_folder, splits=("train", "test"), per_class=True, json=out).run()
    printed = capsys.readouterr().out
    pred, gt = (PanopticScene.load(scene_folder / name) for name in ("panoptic", "panoptic_gt"))
    document = json.loads(out.read_text())
    assert list(document["splits"]) == ["train", "test"]
    for split, stem in (("train", "0"), ("test", "1")):
        assert f"{split.capitalize()} views (1)" in printed
        for protocol, scores in evaluate_scenes(pred, gt, [stem]).items():
            assert document["splits"][split]["scores"][protocol] == scores.as_dict()
            (line, *_) = [line for line in printed.splitlines() if f"{100 * scores.panoptic.pq:.1f}" in line]
            assert protocol in printed
            assert f"{100 * scores.panoptic.sq:.1f}" in line
    assert "chair" in printed


def test_folders_of_maps_serve_as_well_as_scene_folders(scene_folder):
    files = []
    for number, (pred, gt) in enumerate([("", ""), ("panoptic", "panoptic_gt")]):
        files.append(scene_folder / f"{number}.json")
        Evaluate(scene_folder / pred, scene_folder / gt, splits=("test",), json=files[-1]).run()
    assert files[0].read_text() == files[1].read_text()


def test_a_missing_view_is_refused_or_said(scene_folder, capsys):
    with pytest.raises(InputError, match=r"panoptic: found no map for 1 of 3 views, the first '2'.*--allow-missing"):
        Evaluate(scene_folder, scene_folder).run()
    Evaluate(scene_folder, scene_folder, allow_missing=True).run()
    assert "1 views have no prediction" in capsys.readouterr().out


def test_bad_arguments_are_named(scene_folder, tmp_path_factory):
    with pytest.raises(InputError, match="no views in split 'val'"):
        Evaluate(scene_folder, scene_folder, splits=("val",)).run()
    with pytest.raises(InputError, match="found 'coco'"):
        Evaluate(scene_folder, scene_folder, protocols=("coco",)).run()
    with pytest.raises(InputError, match=r"neither panoptic\.json nor panoptic_gt/panoptic\.json"):
        Evaluate(scene_folder, tmp_path_factory.mktemp("empty")).run()
    with pytest.raises(InputError, match="no such folder"):
        Evaluate(scene_folder / "nowhere", scene_folder).run()
    (scene_folder / "splits.json").unlink()
    with pytest.raises(InputError, match=r"no splits\.json"):
        Evaluate(scene_folder, scene_folder, splits=("test",)).run()
