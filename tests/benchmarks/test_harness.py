# SPDX-License-Identifier: Apache-2.0
import io
import json
import pathlib
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks.quality.harness import (
    RunSettings,
    Task,
    finished_result,
    link_scene,
    require_scorable,
    run_tasks,
    seen_views,
    signature,
)
from benchmarks.quality.predictions import PredictionSource, views_of
from benchmarks.quality.variants import Variant, variants_of
from panoptic_gs import Camera, Category, InputError, PanopticScene, Segment
from panoptic_gs.engines import EngineOptions, engine_of
from panoptic_gs.scene import Scene, write_scene
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries

STEMS = [f"{index:04d}" for index in range(10)]


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "room"
    camera = Camera.look_at([0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.0, 48, 32)
    images = dict.fromkeys(STEMS, np.zeros((32, 48, 3), np.uint8))
    points = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)
    write_scene(root, dict.fromkeys(STEMS, camera), images, points, {"train": STEMS[:8], "test": STEMS[8:]})
    ids = np.ones((32, 48), np.int32)
    ids[8:24, 10:30] = 2
    categories = [Category(1, "wall", False), Category(5, "chair", True)]
    PanopticScene(categories, [Segment(1, 1), Segment(2, 5)], dict.fromkeys(STEMS, ids)).save(root / "panoptic_gt")
    return root


def fake_result(pq=0.5):
    scores = {"pq": pq, "sq": 1.0, "rq": pq, "pq_things": None, "pq_stuff": pq, "miou": pq, "macc": pq, "mcov": pq,
              "mwcov": pq}  # fmt: skip
    protocols = {"panoptic-lifting": scores, "strict": scores}
    return {"rows": {"predictions": {"scores": protocols}, "uplifted": {"scores": protocols}},
            "images": {"psnr": 20.0, "ssim": 0.8}, "minutes": {"total": 1.5}}  # fmt: skip


class Runner:
    """Stands in for training: notes what it was asked for."""

    def __init__(self, failing=(), error=None):
        self.done, self.failing, self.error = [], failing, error

    def __call__(self, task, settings, threads):
        self.done.append(task.label)
        if task.label in self.failing:
            raise self.error
        return fake_result()


@pytest.fixture
def tasks(scene_folder, tmp_path):
    return [
        Task(scene_folder.name, scene_folder, PredictionSource("simulated", level=level), Variant(), tmp_path / level,
             level)
        for level in ("low", "high")
    ]  # fmt: skip


def quiet():
    return Console(file=io.StringIO(), width=200)


def test_finished_runs_are_not_repeated(tasks):
    first = run_tasks(tasks, RunSettings(), quiet(), execute=Runner())
    again = Runner()
    assert run_tasks(tasks, RunSettings(), quiet(), execute=again) == first
    assert again.done == []
    assert [result["group"] for result in first.results] == ["low", "high"]


def test_a_killed_run_is_done_again_and_the_finished_one_kept(tasks):
    run_tasks(tasks, RunSettings(), quiet(), execute=Runner())
    (tasks[1].folder / "result.json").unlink()
    again = Runner()
    run_tasks(tasks, RunSettings(), quiet(), execute=again)
    assert again.done == [tasks[1].label]


@pytest.mark.parametrize("change", [
    lambda task, settings: (task, replace(settings, iterations=7)),
    lambda task, settings: (replace(task, variant=Variant(regularisation=False)), settings),
    lambda task, settings: (replace(task, predictions=PredictionSource("simulated", level="none")), settings),
    lambda task, settings: (task, replace(settings, train_options=("--pipeline.model.sh-degree", "1"))),
])  # fmt: skip
def test_other_settings_are_another_run(tasks, change):
    run_tasks(tasks[:1], RunSettings(), quiet(), execute=Runner())
    assert finished_result(tasks[0], RunSettings()) is not None
    assert finished_result(*change(tasks[0], RunSettings())) is None


def test_a_scene_that_was_made_again_is_another_run(tasks):
    run_tasks(tasks[:1], RunSettings(), quiet(), execute=Runner())
    splits = tasks[0].root / "splits.json"
    splits.write_text(splits.read_text())
    assert finished_result(tasks[0], RunSettings()) is None


def test_maps_that_were_written_again_are_another_run(scene_folder, tmp_path):
    maps = tmp_path / "maps" / scene_folder.name
    truth = PanopticScene.load(scene_folder / "panoptic_gt")
    truth.save(maps)
    task = Task("room", scene_folder, PredictionSource.parse(str(tmp_path / "maps"), scene_folder), Variant(),
                tmp_path / "run")  # fmt: skip
    before = signature(task, RunSettings())
    truth.save(maps, overwrite=True)
    assert json.loads(json.dumps(before)) == before != signature(task, RunSettings())


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("error", [InputError("ns-train", "exit code 1", "0", "See the log."), OSError("exit code 1")])
def test_a_failing_run_is_named_and_does_not_stop_the_others(tasks, jobs, error):
    console = quiet()
    outcome = run_tasks(tasks, RunSettings(), console, jobs, Runner([tasks[0].label], error))
    assert list(outcome.failures) == [tasks[0].label]
    assert [result["group"] for result in outcome.results] == ["high"]
    assert "exit code 1" in console.file.getvalue()
    assert not (tasks[0].folder / "result.json").exists()
    if isinstance(error, OSError):
        assert "Traceback" in (tasks[0].folder / "log.txt").read_text()


def test_a_run_has_its_own_splits_and_predictions_and_shares_the_rest(scene_folder, tmp_path):
    scene = Scene.load(scene_folder)
    seen = seen_views(scene, 3)
    assert seen == ["0000", "0004", "0007"]
    own = link_scene(scene, tmp_path / "own", seen)
    loaded = Scene.load(own)
    assert [frame.stem for frame in loaded.split("train")] == seen
    assert [frame.stem for frame in loaded.split("test")] == STEMS[8:]
    PredictionSource("simulated").write(own / "panoptic", scene, seen, "qubo", seed=0)
    assert loaded.load_panoptic().stems == seen
    assert not (scene_folder / "panoptic").exists()
    with pytest.raises(InputError, match="8 training views"):
        seen_views(scene, 9)


def test_a_scene_without_truth_or_held_out_views_is_refused(scene_folder, tmp_path):
    require_scorable(scene_folder)
    for name in ("no-truth", "no-test"):
        copy = shutil.copytree(scene_folder, tmp_path / name)
        if name == "no-truth":
            shutil.rmtree(copy / "panoptic_gt")
        else:
            (copy / "splits.json").write_text(json.dumps({"train": STEMS, "test": []}))
        with pytest.raises(InputError, match="panoptic_gt" if name == "no-truth" else "split 'test'"):
            require_scorable(copy)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_command_ends_with_the_benchmark_that_was_killed(tmp_path):
    code = ("import pathlib, sys; from rich.console import Console; "
            "from benchmarks.quality.nerfstudio_run import NerfstudioRun as Run; "
            "Run(pathlib.Path(sys.argv[1]), Console(), pathlib.Path(sys.argv[1]) / 'log.txt').call("
            "['/bin/sh', '-c', f'echo $$ > {sys.argv[1]}/pid; exec sleep 60'])")  # fmt: skip
    pid = tmp_path / "pid"
    benchmark = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_until(lambda: pid.is_file() and pid.read_text().endswith("\n"))
    benchmark.kill()
    benchmark.wait()
    wait_until(lambda: not running(int(pid.read_text())))


def running(pid):
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_raw_predictions_are_merged_over_the_seen_views_alone(scene_folder, tmp_path):
    scene = Scene.load(scene_folder)
    truth = scene.load_panoptic("panoptic_gt")
    raw = simulate_queries(truth, {frame.stem: frame.camera for frame in scene.frames}, QueryNoise.none(), 0)
    raw.save(tmp_path / "room" / "predictions")
    part = views_of(raw, ["0001", "0003"])
    assert [image.stem for image in part.images] == ["0001", "0003"]
    assert (part.mask_logits[1] == raw.mask_logits[3]).all()
    source = PredictionSource.parse(str(tmp_path), scene_folder)
    assert source.is_raw
    source.write(tmp_path / "merged", scene, ["0001", "0003"], "qubo", 0)
    merged = PanopticScene.load(tmp_path / "merged")
    assert merged.stems == ["0001", "0003"]
    assert len(merged.segments) == 2
    with pytest.raises(InputError, match="no prediction of a training view"):
        views_of(raw, ["elsewhere"])


@pytest.mark.parametrize("spec", ["scene", "simulated:loud", "nowhere"])
def test_predictions_that_are_not_there_are_named(scene_folder, spec):
    with pytest.raises(InputError):
        PredictionSource.parse(spec, scene_folder)


def test_ablations_are_the_papers_products():
    assert variants_of([]) == [Variant()]
    names = [variant.name for variant in variants_of(["regularisation", "merge"])]
    assert names == ["full", "no regularisation", "merge standard", "merge standard, no regularisation",
                     "merge standard-v2", "merge standard-v2, no regularisation"]  # fmt: skip
    assert [variant.views for variant in variants_of(["views"], [10, 25])] == [None, 10, 25]
    assert len({variant.slug for variant in variants_of(["regularisation", "merge", "views"], [5])}) == 7
    with pytest.raises(InputError, match="colour"):
        variants_of(["colour"])
    with pytest.raises(InputError, match="--views"):
        variants_of(["views"])


def test_runs_on_an_engine_are_kept_and_a_failing_one_is_named(tasks, tmp_path):
    engine = engine_of("local", EngineOptions(folder=tmp_path / "logs", at_once=2))
    console, runner = quiet(), Runner([tasks[1].label], OSError("no luck"))
    outcome = run_tasks(tasks, RunSettings(), console, execute=runner, engine=engine)
    assert list(outcome.failures) == [tasks[1].label]
    assert "OSError: no luck" in console.file.getvalue()
    again = Runner()
    assert run_tasks(tasks, RunSettings(), quiet(), execute=again).results[:1] == outcome.results
    assert again.done == [tasks[1].label]
