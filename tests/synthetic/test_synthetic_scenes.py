# SPDX-License-Identifier: Apache-2.0
"""The written scene folder: it loads, it holds what was rendered, and nothing is replaced by accident."""

import numpy as np
import pytest

from panoptic_gs import InputError, PanopticScene
from panoptic_gs.cli.synth import Synth
from panoptic_gs.files import read_rgb
from panoptic_gs.predict import RawPredictions
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize, write_synthetic_scene
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries


@pytest.fixture(scope="module")
def folder(office, tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "office"
    predictions = simulate_predictions(office.truth, PredictionNoise(), seed=1)
    write_synthetic_scene(root, office, predictions, simulate_queries(office.truth, office.cameras, QueryNoise(), 1))
    return root


def test_the_folder_loads_and_holds_what_was_rendered(office, folder):
    scene = Scene.load(folder)
    assert [frame.stem for frame in scene.frames] == list(office.cameras)
    for frame in scene.frames:
        np.testing.assert_allclose(frame.camera.viewmat, office.cameras[frame.stem].viewmat, atol=1e-5)
        np.testing.assert_allclose(frame.camera.K, office.cameras[frame.stem].K, rtol=1e-6)
        np.testing.assert_array_equal(read_rgb(frame.image_path), office.views[frame.stem].color)
    assert scene.points is not None
    np.testing.assert_array_equal(scene.points[0], office.points[0])
    assert len(scene.splits["train"]) == 12
    assert len(scene.splits["test"]) == 3

    truth = scene.load_panoptic("panoptic_gt")
    for stem, view in office.views.items():
        np.testing.assert_array_equal(truth.maps[stem], view.segment)
        np.testing.assert_array_equal(truth.category_of()[truth.maps[stem]], view.category)
    assert [c.name for c in truth.categories][:3] == ["wall", "floor", "cabinet"]
    predictions = PanopticScene.load(folder / "panoptic", list(office.cameras))
    assert "simulated" in predictions.source
    raw = RawPredictions.load(folder / "predictions")
    assert [image.stem for image in raw.images] == list(office.cameras)


def test_every_fifth_view_is_held_out(office):
    assert office.splits["test"] == ["0003", "0008", "0013"]
    assert sorted(office.splits["train"] + office.splits["test"]) == list(office.cameras)


def test_nothing_is_replaced_by_accident(office, folder, tmp_path):
    predictions = simulate_predictions(office.truth)
    before = (folder / "transforms.json").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        write_synthetic_scene(folder, office, predictions)
    assert (folder / "transforms.json").read_bytes() == before

    foreign = tmp_path / "letters"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"without transforms\.json"):
            write_synthetic_scene(foreign, office, predictions, overwrite=overwrite)
    assert (foreign / "letter.txt").read_text() == "dear"

    write_synthetic_scene(tmp_path / "scene", office, predictions)
    (tmp_path / "scene" / "old.txt").write_text("old")
    write_synthetic_scene(tmp_path / "scene", office, predictions, overwrite=True)
    assert not (tmp_path / "scene" / "old.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "scene"]


def test_the_command_makes_a_scene_and_says_so(tmp_path, capsys):
    Synth(tmp_path / "room", seed=4, views=5, width=48, height=32, raw=True, noise="low").run()
    said = capsys.readouterr().out
    assert "washroom" in said
    assert "PQ" in said
    assert len(Scene.load(tmp_path / "room").frames) == 5
    with pytest.raises(InputError, match="--overwrite"):
        Synth(tmp_path / "room").run()


@pytest.mark.parametrize("wrong", [{"views": 4}, {"width": 8}, {"seed": -1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(InputError, match="at least 5 views"):
        synthesize(**wrong)
