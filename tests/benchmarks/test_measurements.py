# SPDX-License-Identifier: Apache-2.0
"""Measurements are kept, done again where what they depend on changed, and done by every engine alike."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from squares import Squares

import benchmarks
from benchmarks.association import AssociationBenchmark
from benchmarks.geometry import GeometryBenchmark
from benchmarks.learned_association import LearnedAssociationBenchmark
from benchmarks.mesh import MeshBenchmark
from benchmarks.objects import Objects
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.on_engine import OnEngine
from benchmarks.real import Real
from benchmarks.void_threshold import VoidThreshold
from panoptic_gs import InputError
from panoptic_gs.files import read_json

pytest.importorskip("submitit")
ROOT = Path(benchmarks.__file__).parent.parent


@pytest.mark.parametrize("engine", [None, "local"])
def test_what_is_finished_stays_and_a_failing_scene_is_named(tmp_path, engine):
    squares = Squares(out=tmp_path, engine=engine, jobs=2, numbers=(3, -1, 4))
    outcome = squares.run()
    assert [(r["number"], r["square"]) for r in outcome.results] == [(3, 9), (4, 16)]
    assert {r["process"] == os.getpid() for r in outcome.results} == {engine is None}
    assert list(outcome.failures) == ["-1"]
    assert "OSError: not so" in outcome.failures["-1"]
    again = replace(squares, numbers=(3, 4, 5)).run()
    assert again.results[:2] == outcome.results
    assert not again.failures
    assert squares.calls() == (2 if engine else 1) * [-1] + [3, 4, 5]  # an engine tries once more


def test_a_scene_whose_process_dies_takes_no_other_along(tmp_path):
    outcome = Squares(out=tmp_path, engine="local", numbers=(13, 2)).run()
    assert [result["square"] for result in outcome.results] == [4]
    assert "exit code 1" in outcome.failures["13"]


def test_another_signature_is_another_measurement_and_a_damaged_file_is_named(tmp_path):
    squares = Squares(out=tmp_path, numbers=(3, 4))
    squares.run()
    one = squares.measurement(3)
    assert one.kept() is not None
    assert replace(one, signature={"number": 3, "more": [1]}).kept() is None
    one.file.write_text("{")
    outcome = squares.run()
    assert str(one.file) in outcome.failures["3"]
    assert [result["square"] for result in outcome.results] == [16]


def test_a_program_s_class_is_sent_by_the_name_of_its_module(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-m", "squares", "--out", str(tmp_path), "--numbers", "2", "--engine", "local"]
    done = subprocess.run(command, cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
    assert read_json(tmp_path / "2.json")["module"] == "squares"


class Trainings(NerfstudioRun):
    """Stands in for ns-train: what it was asked for is a line of a file."""

    def train(self, scene, options=()):
        with (self.folder / "asked").open("a") as asked:
            asked.write(f"{' '.join(options)}\n")
        self.config.parent.mkdir(parents=True)
        self.config.touch()
        if "fail" in options:
            raise InputError("ns-train", "exit code 1", "0", "See the log.")


def test_a_training_is_kept_until_its_options_or_its_scene_change(tmp_path):
    scene = tmp_path / "scene"
    scene.mkdir()
    (scene / "transforms.json").write_text("{}")
    run = Trainings(tmp_path / "run", Console(quiet=True))
    run.train_once(scene, ["7"])
    run.train_once(scene, ["7"])
    run.train_once(scene, ["8"])
    with pytest.raises(InputError):
        run.train_once(scene, ["fail"])
    run.train_once(scene, ["7"])  # what was interrupted is no training
    os.utime(scene / "transforms.json", (1, 1))
    run.train_once(scene, ["7"])
    assert (run.folder / "asked").read_text().split() == ["7", "8", "fail", "7", "7"]


def test_what_benchmarks_send_can_be_read_by_other_processes(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(OnEngine, "measured", lambda self, work, *_: sent.extend(work) or _Stop.now())
    scene = MeshBenchmark(out=tmp_path, views=5, width=32).scene(0, Console(quiet=True))
    rooms = {"out": tmp_path, "rooms": 1, "views": 5, "width": 32}
    of_rooms = [made(**rooms) for made in (AssociationBenchmark, LearnedAssociationBenchmark, Objects, VoidThreshold)]
    for benchmark in (Real((scene,), seeds=1), GeometryBenchmark((scene,)), MeshBenchmark(**rooms), *of_rooms):
        before = len(sent)
        with pytest.raises(_Stop):
            benchmark.run()
        assert len(sent) > before
    _read_elsewhere(sent, tmp_path)


class _Stop(Exception):
    @classmethod
    def now(cls):
        raise cls


def _read_elsewhere(sent, folder):
    import cloudpickle  # what submitit and Ray send with

    (folder / "sent").write_bytes(cloudpickle.dumps(sent))
    code = (
        "import json, pickle, sys\n"
        "found = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(json.dumps([[m.name, callable(m.function), json.dumps(m.signature)] for m in found]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder / "sent")], cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert json.loads(done.stdout) == [[m.name, True, json.dumps(m.signature)] for m in sent]


def test_association_of_a_room_is_kept_level_by_level(tmp_path):
    bench = AssociationBenchmark(out=tmp_path, rooms=1, views=8, width=48, levels=("none",), baselines=(),
                                 parts=("rooms",))  # fmt: skip
    assert not bench.run().failures
    first = tmp_path / "cases" / "none room-0.json"
    before = first.stat().st_mtime_ns
    outcome = replace(bench, levels=("none", "low")).run()
    assert first.stat().st_mtime_ns == before
    assert [case["group"] for case in outcome.results[0]["cases"]] == ["none", "low"]
    assert [case["group"] for case in read_json(tmp_path / "results.json")["cases"]] == ["none", "low"]
