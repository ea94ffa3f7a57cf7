# SPDX-License-Identifier: Apache-2.0
"""``{scene}`` in a command's paths: many scenes, each as by a command of its own, finished ones kept."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from panoptic_gs.cli import many_scenes
from panoptic_gs.cli.main import main
from panoptic_gs.cli.many_scenes import ManyScenes
from panoptic_gs.cli.merge import Merge
from panoptic_gs.cli.prepare import Prepare, PrepareReplica
from panoptic_gs.errors import InputError


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms with raw predictions, and one whose predictions are damaged."""
    root = tmp_path_factory.mktemp("rooms")
    main(["synth", str(root / "hall"), "--views", "5", "--width", "48", "--height", "36", "--raw"])
    for name in ("attic", "cellar"):
        shutil.copytree(root / "hall", root / name)
    (root / "cellar" / "predictions" / "predictions.json").write_text("{")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_scene_as_by_itself_failures_named_and_finished_ones_kept(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["merge", str(rooms / "{scene}" / "predictions"), "--out", "maps/{scene}", "--json", "summary.json"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--scenes-at-once", "2"])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "1 of 3 scenes failed: cellar" in said
    summary = json.loads(Path("summary.json").read_text())
    assert sorted(summary["scenes"]) == ["attic", "hall"]
    assert "predictions.json" in summary["failures"]["cellar"]
    assert "queries compete" in Path("panoptic-gs-logs/hall.log").read_text()
    for name in ("hall", "attic"):
        main(["merge", str(rooms / name / "predictions"), "--out", f"alone/{name}"])
        assert contents(Path("maps", name)) == contents(Path("alone", name))
    assert not Path("maps/cellar").exists()

    changed = {name: os.stat(f"maps/{name}/panoptic.json").st_mtime_ns for name in ("hall", "attic")}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*words, "--engine", "local"])
    assert "2 of 3 scenes are finished already" in capsys.readouterr().out
    assert changed == {name: os.stat(f"maps/{name}/panoptic.json").st_mtime_ns for name in changed}


@dataclass(frozen=True)
class Drops(ManyScenes):
    """A command that ends with exit code 1, as ``prepare`` does where frames were dropped."""

    given: str
    out: Path

    def run(self) -> None:
        self.out.write_text(self.given)
        sys.exit(1 if self.given == "drops" else 0)


def test_exit_code_1_of_a_scene_is_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command = Drops("{scene}", tmp_path / "{scene}.txt", scenes=("works", "drops"))
    for finished in (False, True):
        with pytest.raises(SystemExit) as ended:
            many_scenes.run(command)
        assert ended.value.code == 1
        said = capsys.readouterr().out
        assert ("2 of 2 scenes are finished already" in said) == finished
        assert "1 scenes are finished with exit code 1" in said
        assert (tmp_path / "drops.txt").read_text() == "drops"


def test_what_is_finished_is_known_by_its_command_and_its_output(rooms: Path, tmp_path: Path) -> None:
    command = Merge(rooms / "{scene}" / "predictions", out=tmp_path / "{scene}", scenes=("hall",), logs=tmp_path)
    (job,) = many_scenes.jobs_of(command, command)
    assert not many_scenes.is_finished(job, tmp_path)
    before = Path.cwd()
    try:
        assert job.function(*job.arguments) == 0
    finally:
        os.chdir(before)
    assert many_scenes.is_finished(job, tmp_path)
    other = Merge(command.predictions, out=command.out, scenes=("hall",), logs=tmp_path, penalty=3.0)
    (changed,) = many_scenes.jobs_of(other, other)
    assert not many_scenes.is_finished(changed, tmp_path)
    (tmp_path / "hall").rename(tmp_path / "gone")
    assert not many_scenes.is_finished(job, tmp_path)


def test_the_engine_s_options_are_not_a_scene_s(tmp_path: Path) -> None:
    dataset = PrepareReplica(tmp_path / "raw" / "{scene}", out=tmp_path / "{scene}" / "made", engine="ray",
                             scenes=("a", "b"), cpus_per_scene=4, gpus_per_scene=0.5)  # fmt: skip
    first, second = many_scenes.jobs_of(Prepare(dataset), dataset)
    assert (first.name, second.name) == ("a", "b")
    alone = first.arguments[0].dataset
    assert (alone.raw, alone.out) == (tmp_path / "raw" / "a", tmp_path / "a" / "made")
    assert (alone.engine, alone.scenes, alone.cpus_per_scene, alone.gpus_per_scene) == (None, (), 1, 0.0)
    options = many_scenes.engine_options(dataset)
    assert (options.cpus, options.gpus) == (4, 0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": Path("maps"), "scenes": ("hall", "attic")}, "would write the same"),
        ({"predictions": Path("nowhere/{scene}/x")}, "no such path for any name"),
        ({"scenes": ("..",)}, "names of folders"),
        ({"scenes": ("a/b",)}, "names of folders"),
        ({"scenes": ("a", "a")}, "each name once"),
        ({"cpus_per_scene": 0}, "cpus-per-scene"),
    ],
)
def test_scenes_that_cannot_be(rooms: Path, changes: dict, said: str) -> None:
    given = {"predictions": rooms / "{scene}" / "predictions", "out": Path("maps/{scene}"), **changes}
    with pytest.raises(InputError, match=said):
        many_scenes.run(Merge(**given))


def test_many_scenes_under_torchrun_are_refused(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun"):
        many_scenes.run(Merge(rooms / "{scene}" / "predictions", out=Path("maps/{scene}")))
