# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs scene``: which stages run, and which are taken from an earlier try."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers")
pytest.importorskip("pycolmap")

import small_transformers
import transformers

from panoptic_gs import InputError
from panoptic_gs.cli.main import main
from panoptic_gs.cli.scene import SceneFromPhotos
from panoptic_gs.cli.training_run import TrainingRun
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

    def train(self, progress):
        ran.append(f"training from {self.done}")
        checkpoints = self.folder / "nerfstudio_models"
        if (self.scene / "fail").exists():
            raise InputError("ns-train", "exit code 1", "0", "See the log.")
        checkpoints.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yml").touch()
        write_checkpoint(checkpoints, self.iterations)

    def associate(self, training, progress, console):
        ran.append("association")
        (self.out / "labelled").mkdir(exist_ok=True)
        (self.out / "labelled" / "segments.json").write_text("{}")

    def report(self, training, progress, console):
        ran.append("report")
        (self.out / "report.html").write_text("<!doctype html>")

    monkeypatch.setattr(Colmap, "find", find)
    monkeypatch.setattr(QueryModel, "predict", predict)
    monkeypatch.setattr(TrainingRun, "train", train)
    monkeypatch.setattr(SceneFromPhotos, "_associate", associate)
    monkeypatch.setattr(SceneFromPhotos, "_report", report)
    monkeypatch.setattr("panoptic_gs.cli.scene.find_program", lambda name: name)
    return ran


def write_checkpoint(folder: Path, iterations: int) -> Path:
    """A file that a checkpoint of so many iterations may be taken for."""
    file = folder / f"step-{iterations - 1:09d}.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", "x")
    return file


def test_a_scene_goes_on_where_it_was_stopped(photos, calls, tmp_path, capsys):
    checkpoint, out = small_transformers.write("eomt", tmp_path / "eomt"), tmp_path / "scene"
    command = ["scene", str(photos), "--out", str(out), "--masks", str(checkpoint), "--no-view"]
    main(command)
    printed = capsys.readouterr().out
    assert "2_copy.png: a duplicate of 2.png" in printed
    assert "3: no overlap" in printed
    masks = ["masks of 0", "masks of 1", "masks of 2"]
    assert calls == ["cameras", *masks, "training from 0", "association", "report"]
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
    assert calls == ["masks of 1", "training from 0"]
    calls.clear()
    (out / "fail").unlink()
    main(command)
    assert calls == ["training from 0", "association", "report"]
    # A training that was killed halfway goes on from its checkpoint, and one that is to be longer, too; what was made
    # of the shorter one is made again.
    checkpoints = TrainingRun(out, 7000).folder / "nerfstudio_models"
    (checkpoints / "step-000006999.ckpt").unlink()
    write_checkpoint(checkpoints, 4001)
    (checkpoints / "step-000005000.ckpt").write_bytes(b"PK cut off")
    calls.clear()
    main(command)
    assert calls == ["training from 4001", "association", "report"]
    assert "goes on from iteration 4001 of 7000" in capsys.readouterr().out
    calls.clear()
    main([*command, "--iterations", "9000"])
    assert calls == ["training from 7000", "association", "report"]
    (out / "report.html").unlink()
    calls.clear()
    main([*command, "--iterations", "9000"])
    assert calls == ["report"]
    # Other options mean another scene.
    with pytest.raises(SystemExit):
        main([*command, "--classes", "object=person|chair|wall|floor|sky:thing"])
    assert "made with classes None" in capsys.readouterr().err
    calls.clear()
    main([*command, "--classes", "object=person|chair|wall|floor|sky:thing", "--overwrite"])
    assert calls == ["cameras", *masks, "training from 0", "association", "report"]
    assert json.loads((out / "assembled.json").read_text())["left_out"] == {"3": "no overlap"}


def test_other_photos_are_another_scene_wherever_they_lie(photos, calls, tmp_path, capsys):
    checkpoint, out = small_transformers.write("eomt", tmp_path / "eomt"), tmp_path / "scene"
    command = ["--out", str(out), "--masks", str(checkpoint), "--no-view"]
    main(["scene", str(photos), *command])
    calls.clear()
    main(["scene", str(photos.rename(tmp_path / "moved")), *command])
    assert calls == []
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "moved" / "4.png")
    with pytest.raises(SystemExit) as stopped:
        main(["scene", str(tmp_path / "moved"), *command])
    assert stopped.value.code == 2
    assert "made with photos 5 files" in capsys.readouterr().err
    assert calls == []


def test_one_photo_in_two_formats_is_taken_once_and_two_of_one_name_are_refused(photos, calls, tmp_path, capsys):
    checkpoint = small_transformers.write("eomt", tmp_path / "eomt")
    Image.open(photos / "1.png").save(photos / "1.jpg", quality=97, subsampling=0)
    command = ["scene", str(photos), "--out", str(tmp_path / "scene"), "--masks", str(checkpoint), "--no-view"]
    main(command)
    assert "1.png: a duplicate of 1.jpg" in capsys.readouterr().out
    Image.open(photos / "0.png").rotate(90, expand=True).save(photos / "1.jpg", quality=97)
    with pytest.raises(SystemExit) as stopped:
        main([*command[:3], str(tmp_path / "other"), *command[4:]])
    assert stopped.value.code == 2
    assert "1.jpg and 1.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(["--masks", "nobody/has-this"], "hf download nobody/has-this"), (["--masks", "BERT"], "of the kind 'bert'"),
     (["--masks", "EOMT", "--classes", "unicorn:thing"], "'unicorn'")],
)  # fmt: skip
def test_cameras_are_kept_where_masks_cannot_be_had(photos, calls, tmp_path, capsys, monkeypatch, wrong, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checkpoint, bert, out = tmp_path / "eomt", tmp_path / "bert", tmp_path / "scene"
    small_transformers.write("eomt", checkpoint)
    transformers.BertConfig().save_pretrained(bert)
    paths = {"BERT": str(bert), "EOMT": str(checkpoint)}
    command = ["scene", str(photos), "--out", str(out), "--no-view"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, *(paths.get(argument, argument) for argument in wrong)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert calls == ["cameras"]
    calls.clear()
    main([*command, "--masks", str(checkpoint)])  # another network may take over, without new cameras
    assert calls == ["masks of 0", "masks of 1", "masks of 2", "training from 0", "association", "report"]
    assert json.loads((out / "assembled.json").read_text())["masks"] == str(checkpoint)


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
