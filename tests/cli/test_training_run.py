# SPDX-License-Identifier: Apache-2.0
"""A training as a part of another command, with a program in the place of ``ns-train``."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from panoptic_gs import InputError
from panoptic_gs.cli.training_run import TrainingRun

STAND_IN = """#!{python}
import os, sys, time, zipfile
from pathlib import Path
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
run = Path(given["--output-dir"], given["--experiment-name"], sys.argv[1], given["--timestamp"])
models = run / "nerfstudio_models"
models.mkdir(parents=True, exist_ok=True)
(run / "config.yml").touch()
begin = 0
if "--load-dir" in given:
    begin = max(int(file.stem[5:]) for file in Path(given["--load-dir"]).glob("*.ckpt")) + 1
last = int(given["--max-num-iterations"]) - 1
plan = os.environ.get("PLAN", "")
print("begins at", begin, "sees", os.environ.get("CUDA_VISIBLE_DEVICES"))
for step in range(begin, last + 1, 10):
    print(f"{{step}} ({{100 * step / last:.2f}}%)         10 ms")
    time.sleep(0.05)
    if step == 40 and plan:
        with zipfile.ZipFile(models / f"step-{{step:09d}}.ckpt", "w") as archive:
            archive.writestr("data", "x")
        if plan == "fail":
            print("\\x1b[31mno room for more Gaussians\\x1b[0m")
            sys.exit(3)
        time.sleep(60)
if plan != "nothing":
    with zipfile.ZipFile(models / f"step-{{last:09d}}.ckpt", "w") as archive:
        archive.writestr("data", "x")
"""


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    program = tmp_path / "ns-train"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("panoptic_gs.cli.training_run.find_program", lambda name: str(program))
    monkeypatch.setattr("panoptic_gs.cli.training_run._LOOK_EVERY", 0.05)
    return program


@pytest.fixture
def run(tmp_path):
    (tmp_path / "scene").mkdir()
    return TrainingRun(tmp_path / "scene", 100)


def test_progress_is_what_the_training_prints_and_the_end_is_its_last_checkpoint(trainer, run):
    seen = []
    run.train(lambda stage, done, total: seen.append((done, total)))
    assert seen[0] == (0, 100)
    assert seen[-1] == (100, 100)
    assert len({done for done, _ in seen}) > 3
    assert seen == sorted(seen)
    assert run.finished
    assert not TrainingRun(run.scene, 101).finished
    assert b"sees \n" in run.log.read_bytes()


def test_a_training_that_failed_says_why_and_goes_on_from_its_checkpoint(trainer, run, monkeypatch):
    monkeypatch.setenv("PLAN", "fail")
    with pytest.raises(InputError, match="exit code 3") as refused:
        run.train(lambda *_: None)
    assert "no room for more Gaussians" in refused.value.found
    assert "41 iterations of its checkpoint are kept" in refused.value.mend
    assert (run.done, run.finished) == (41, False)
    # A later checkpoint that was cut off does not count.
    (run.folder / "nerfstudio_models" / "step-000000060.ckpt").write_bytes(b"PK\x03\x04 cut off")
    assert run.done == 41
    (run.folder / "nerfstudio_models" / "step-000000060.ckpt").unlink()
    monkeypatch.delenv("PLAN")
    seen = []
    run.train(lambda stage, done, total: seen.append(done))
    assert seen[0] == 41
    assert b"begins at 41" in run.log.read_bytes()
    assert run.finished


def test_one_without_its_last_checkpoint_is_no_training(trainer, run, monkeypatch):
    monkeypatch.setenv("PLAN", "nothing")
    monkeypatch.setattr("panoptic_gs.cli.training_run.TrainingRun.done", 0)
    with pytest.raises(InputError, match="a checkpoint of 0 iterations"):
        TrainingRun(run.scene, 30).train(lambda *_: None)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_training_is_left_behind_unnoticed(trainer, run, monkeypatch, how):
    monkeypatch.setenv("PLAN", "hang")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # shells ignore it in the background
        "import sys; from pathlib import Path; import panoptic_gs.cli.training_run as t;"
        f"t.find_program = lambda name: {str(trainer)!r};"
        f"t.TrainingRun(Path({str(run.scene)!r}), 100).train(lambda *_: None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    end_of_wait = time.monotonic() + 60
    while run.done < 41 and time.monotonic() < end_of_wait:
        time.sleep(0.05)
    assert run.done == 41
    try:
        os.kill(parent.pid, how)
        parent.wait(30)
        monkeypatch.delenv("PLAN")
        if how == signal.SIGKILL:  # nobody could end the training: it is seen, and not trained beside it
            with pytest.raises(InputError, match="another process that trains this scene"):
                run.train(lambda *_: None)
        else:
            run.train(lambda *_: None)
            assert run.finished
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_checkpoint_is_one_that_zip_can_read(run):
    models = run.folder / "nerfstudio_models"
    models.mkdir(parents=True)
    assert (run.checkpoint, run.done) == (None, 0)
    for step in (9, 100):
        with zipfile.ZipFile(models / f"step-{step:09d}.ckpt", "w") as archive:
            archive.writestr("data", "x")
    assert run.checkpoint == Path(models / "step-000000100.ckpt")
    assert not run.finished  # without its config.yml
