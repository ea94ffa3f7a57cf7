# SPDX-License-Identifier: Apache-2.0
"""The commands as a user types them, on a small procedural room."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from scipy.spatial import KDTree

from panoptic_gs import PanopticScene, Splats
from panoptic_gs.cli.main import main
from panoptic_gs.cli.registry import COMMANDS
from panoptic_gs.files import write_png
from panoptic_gs.scene import Scene
from panoptic_gs.scene.confidence import encode_confidence
from panoptic_gs.splats import SH_C0


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("room") / "scene"
    main(["synth", str(root), "--views", "30", "--width", "96", "--height", "72", "--seed", "3"])
    return root


@pytest.fixture(scope="module")
def ply(room) -> Path:
    """Untrained Gaussians: one ball a seed point."""
    points = Scene.load(room).points
    assert points is not None
    positions, colors = points
    spacing = KDTree(positions).query(positions, k=4)[0][:, 1:].mean(axis=1).clip(0.005, 0.2)
    count = len(positions)
    splats = Splats(
        torch.from_numpy(positions),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.from_numpy(spacing).float()[:, None].repeat(1, 3) * 0.5,
        torch.full((count,), 0.99),
        ((torch.from_numpy(colors) / 255 - 0.5) / SH_C0)[:, None],
    )
    path = room.parent / "untrained.ply"
    splats.save_ply(path)
    return path


def test_labels_of_the_truth_come_back_from_untrained_splats(room, ply, capsys):
    out, renders, scores = (room.parent / name for name in ("labelled", "renders", "scores.json"))
    main(["uplift", str(ply), str(room), "--out", str(out), "--panoptic", "panoptic_gt"])
    main(["render", str(out), str(room), "--split", "test", "--out", str(renders)])
    main(["evaluate", str(renders / "panoptic"), str(room), "--splits", "test", "--json", str(scores)])
    assert "Gaussians carry" in capsys.readouterr().out
    scored = json.loads(scores.read_text())["splits"]["test"]["scores"]
    assert scored["panoptic-lifting"]["pq"] > 0.6
    assert scored["strict"]["pq"] > 0.5
    vertices = PlyData.read(out / "splats.ply")["vertex"]
    truth = PanopticScene.load(room / "panoptic_gt")
    labelled = vertices["segment_id"] > 0
    assert labelled.mean() > 0.9
    np.testing.assert_array_equal(truth.category_of()[vertices["segment_id"]], vertices["category_id"])
    assert len(list((renders / "rgb").glob("*.png"))) == len(Scene.load(room).split("test"))


def test_an_output_is_never_overwritten_unasked(room, ply, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["synth", str(room), "--views", "4"])
    assert stop.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SystemExit) as stop:
        main(["uplift", str(ply), str(room), "--out", str(tmp_path), "--overwrite"])
    assert stop.value.code == 2
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["uplift", "{tmp}/none.ply", "{room}", "--out", "{tmp}/out"], "none.ply"),
        (["uplift", "{ply}", "{tmp}", "--out", "{tmp}/out"], "transforms.json"),
        (["uplift", "{ply}", "{room}", "--out", "{tmp}/out", "--panoptic", "nothing"], "nothing"),
        (["uplift", "{ply}", "{room}", "--out", "{tmp}/out", "--split", "val"], "no split 'val'"),
        (["render", "{room}", "{room}", "--out", "{tmp}/out"], "segments.json"),
        (["evaluate", "{tmp}/none", "{room}"], "none"),
        (["evaluate", "{room}", "{room}", "--protocols", "best"], "best"),
        (["synth", "/proc/nowhere/scene", "--views", "5", "--width", "32", "--height", "32"], "/proc/nowhere"),
    ],
)
def test_bad_input_is_one_screen_and_exit_code_2(room, ply, tmp_path, capsys, arguments, word):
    with pytest.raises(SystemExit) as stop:
        main([argument.format(room=room, ply=ply, tmp=tmp_path) for argument in arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert word in message
    assert "expected" in message
    assert len(message.splitlines()) <= 12
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_splats_of_another_place_are_refused(room, tmp_path, capsys):
    far = Splats(torch.tensor([[0.0, 0.0, 1e4]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.1),
                 torch.tensor([0.9]), torch.zeros(1, 1, 3))  # fmt: skip
    far.save_ply(tmp_path / "far.ply")
    with pytest.raises(SystemExit) as stop:
        main(["uplift", str(tmp_path / "far.ply"), str(room), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "world frame" in capsys.readouterr().err


@pytest.mark.parametrize(("each", "what"), [(100, "Gaussians"), (150, "votes and labels of")])
def test_splats_that_the_memory_cannot_hold_or_label_are_refused(room, ply, tmp_path, capsys, monkeypatch, each, what):
    count = len(Splats.load_ply(ply))
    monkeypatch.setattr("panoptic_gs.memory.available", lambda: each * count)
    with pytest.raises(SystemExit) as ended:
        main(["uplift", str(ply), str(room), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{what} {count:,}" in said if each == 150 else f"{count:,} {what}, which take" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["synth", "uplift", "render", "evaluate"])
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--" in capsys.readouterr().out


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("panoptic-gs")
    result = subprocess.run([command, "--help"], capture_output=True, text=True, check=False,
                            env=os.environ | {"COLUMNS": "120"})  # fmt: skip
    assert result.returncode == 0
    for name in ("synth", "uplift", "render", "evaluate"):
        assert name in result.stdout


def test_the_list_says_what_each_command_is_for():
    for name, command in COMMANDS.items():
        assert inspect.getdoc(command.load()).startswith(command.summary), name


def test_the_list_needs_no_torch():
    """It takes a fraction of a second because of that."""
    program = "import sys; sys.argv = ['panoptic-gs', '--help']\nfrom panoptic_gs.cli.main import main\ntry: main()\n"
    program += "finally: print(*sorted({'torch', 'scipy', 'viser'} & set(sys.modules)), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == ""
    assert "uplift" in result.stdout


def test_options_of_no_command_need_torch():
    """Its import takes longer than a command may take to start."""
    program = (
        "import sys\nfrom panoptic_gs.cli.registry import COMMANDS\n"
        "for name, command in COMMANDS.items():\n"
        "    command.load()\n"
        "    if {'torch', 'viser'} & set(sys.modules): sys.exit(name)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"'{result.stderr.strip()}' imports torch"


@pytest.mark.skipif(importlib.util.find_spec("panst3r") is not None, reason="PanSt3R is installed")
def test_a_network_that_is_not_there_is_said_before_torch_is_imported(tmp_path):
    program = (
        f"import sys; sys.argv = ['panoptic-gs', 'predict', {str(tmp_path)!r}, '--out', {str(tmp_path / 'out')!r}]\n"
    )
    program += "from panoptic_gs.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "no package 'panst3r'" in result.stderr
    assert result.stdout.split()[-1] == "False"


def test_every_noise_level_may_be_named():
    from panoptic_gs.cli.synth import Synth
    from panoptic_gs.synthetic.noise import LEVELS

    assert typing.get_args(typing.get_type_hints(Synth)["noise"]) == LEVELS


def test_an_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["uplit"])
    assert stop.value.code == 2
    assert "No command 'uplit'. Did you mean 'uplift'?" in capsys.readouterr().err


def test_pixels_vote_with_their_confidence(room, ply, tmp_path):
    """Wrong labels without any confidence count as void ones do."""
    scene = Scene.load(room)
    truth = scene.load_panoptic("panoptic_gt")
    wrong, void = {}, {}
    for stem in scene.splits["train"]:
        ids = np.asarray(truth.maps[stem])
        confident = np.ones(ids.shape)
        confident[:, :48] = 0
        wrong[stem] = np.where(confident > 0, ids, np.roll(ids, 24, axis=1))
        void[stem] = np.where(confident > 0, ids, 0)
        write_png(room / "wrong" / "confidence" / f"{stem}.png", encode_confidence(confident))
    PanopticScene(truth.categories, truth.segments, void).save(room / "half")
    PanopticScene(truth.categories, truth.segments, wrong).save(tmp_path / "wrong")
    for file in (tmp_path / "wrong").iterdir():
        file.rename(room / "wrong" / file.name)

    def labels(name: str, *options: str) -> np.ndarray:
        out = tmp_path / (name + "".join(options))
        main(["uplift", str(ply), str(room), "--out", str(out), "--panoptic", name, *options])
        return PlyData.read(out / "splats.ply")["vertex"]["segment_id"]

    weighed = labels("wrong", "--weight-by-confidence")
    np.testing.assert_array_equal(weighed, labels("half"))
    assert (weighed != labels("wrong")).mean() > 0.02
    with pytest.raises(SystemExit):
        labels("half", "--weight-by-confidence", "--overwrite")


def test_nobody_reads_on():
    command = Path(sys.executable).parent / "panoptic-gs"
    with subprocess.Popen([command, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
