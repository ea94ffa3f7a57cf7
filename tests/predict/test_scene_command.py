# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs scene``: which stages run, and which are taken from an earlier try."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers")
pytest.importorskip("pycolmap")

import small_transformers

from panoptic_gs import InputError
from panoptic_gs.cli.main import main
from panoptic_gs.cli.scene import SceneFromPhotos
from panoptic_gs.predict.geometry.colmap import Colmap
from panoptic_gs.predict.geometry.found import Geometry, pinhole
from panoptic_gs.predict.masks.query_models import QueryModel


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)).save(folder / f"{index}.png")
    shutil.copy(folder / "2.png", folder / "2_copy.png")
    return folder


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The stages that ran; cameras are made up, training and association only leave their mark."""
    ran: list[str] = []

    def find(self, photos, progress):
        ran.append("cameras")
        K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
        points = np.zeros((5, 3), np.float32), np.zeros((5, 3), np.uint8)
        cameras = {photo.stem: pinhole(np.eye(4), K, photo) for photo in photos if photo.stem != "3"}
        return Geometry(cameras, points, left_out={"3": "no overlap"}, notes=("made up",))

    def predict(self, photo, real=QueryModel.predict):
        ran.append(f"masks of {photo.stem}")
        return real(self, photo)

    def train(self, trainer, training):
        ran.append("training")
        if (self.out / "fail").exists():
            raise InputError("ns-train", "exit code 1", "0", "See the log.")
        training.mkdir()
        (training / "step.ckpt").touch()

    def associate(self, training):
        ran.append("association")
        (self.out / "labelled").mkdir()
        (self.out / "labelled" / "segments.json").write_text("{}")

    monkeypatch.setattr(Colmap, "find", find)
    monkeypatch.setattr(QueryModel, "predict", predict)
    monkeypatch.setattr(SceneFromPhotos, "_train", train)
    monkeypatch.setattr(SceneFromPhotos, "_associate", associate)
    monkeypatch.setattr("panoptic_gs.cli.scene._program", lambda name: name)
    return ran


def test_a_scene_goes_on_where_it_was_stopped(photos, calls, tmp_path, capsys):
    checkpoint, out = small_transformers.write("eomt", tmp_path / "eomt"), tmp_path / "scene"
    command = ["scene", str(photos), "--out", str(out), "--masks", str(checkpoint), "--no-view"]
    main(command)
    printed = capsys.readouterr().out
    assert "2_copy.png: a duplicate of 2.png" in printed
    assert "3: no overlap" in printed
    masks = ["masks of 0", "masks of 1", "masks of 2"]
    assert calls == ["cameras", *masks, "training", "association"]
    calls.clear()
    main(command)
    assert calls == []
    assert "done before" in capsys.readouterr().out
    # Whatever is missing is made again, and nothing else.
    shutil.rmtree(out / "labelled")
    shutil.rmtree(out / "training")
    shutil.rmtree(out / "masks_per_image")
    shutil.rmtree(out / "image_predictions" / "1")
    (out / "fail").touch()
    with pytest.raises(SystemExit):
        main(command)
    assert calls == ["masks of 1", "training"]
    calls.clear()
    (out / "fail").unlink()
    main(command)
    assert calls == ["training", "association"]
    # Other options mean another scene.
    with pytest.raises(SystemExit):
        main([*command, "--classes", "object=person|chair|wall|floor|sky:thing"])
    assert "made with classes None" in capsys.readouterr().err
    calls.clear()
    main([*command, "--classes", "object=person|chair|wall|floor|sky:thing", "--overwrite"])
    assert calls == ["cameras", *masks, "training", "association"]
    assert json.loads((out / "assembled.json").read_text())["left_out"] == {"3": "no overlap"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "one of them"), (["PHOTOS", "--video", "a.mp4"], "one of them"), (["--video", "a.mp4"], "no such file"),
     (["FEW"], "2 usable photos")],
)  # fmt: skip
def test_bad_input_is_named(photos, calls, tmp_path, capsys, arguments, message):
    checkpoint = small_transformers.write("eomt", tmp_path / "eomt")
    few = tmp_path / "few"
    few.mkdir()
    for name in ("0.png", "2.png", "2_copy.png"):
        shutil.copy(photos / name, few)
    paths = {"PHOTOS": str(photos), "FEW": str(few)}
    given = [paths.get(argument, argument) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["scene", *given, "--out", str(tmp_path / "out"), "--masks", str(checkpoint)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert calls == []
