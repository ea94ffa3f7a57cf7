# SPDX-License-Identifier: Apache-2.0
"""A resumed training goes on as if it had not stopped; one that was killed while it wrote a checkpoint has the last."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio_plugin.trainer import PanopticTrainer, latest_checkpoint

Train = Callable[..., PanopticTrainer]
# Densification at 10, 20, …; checkpoints in the middle between two of them, and of a round through the 8 photos.
OPTIONS = {
    "schedule_iterations": 0, "model__warmup_length": 5, "model__refine_every": 10, "model__reset_alpha_every": 100,
    "model__stop_split_at": 45, "model__densify_grad_thresh": 2e-4, "model__num_downscales": 0,
    "model__sh_degree_interval": 15, "model__uplift_every": 20, "model__background_color": "random",
    "model__camera_optimizer__mode": "SO3xR3", "steps_per_save": 25, "save_only_latest_checkpoint": False,
    "steps_per_eval_image": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(room: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> PanopticTrainer:
    return train(room, tmp_path_factory.mktemp("uninterrupted"), 48, **OPTIONS)


def checkpoint(trainer: PanopticTrainer, step: int) -> dict:
    return torch.load(trainer.checkpoint_dir / f"step-{step:09d}.ckpt", weights_only=True)


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))  # type: ignore
    return one == other


def test_a_resumed_training_equals_the_uninterrupted_one_bit_for_bit(
    uninterrupted: PanopticTrainer, room: Path, train: Train, tmp_path: Path
) -> None:
    random.seed(5)  # as in another process
    np.random.seed(5)
    torch.manual_seed(5)
    resumed = train(room, tmp_path, 48, load_dir=uninterrupted.checkpoint_dir, load_step=25, **OPTIONS)
    before, whole, again = checkpoint(uninterrupted, 25), checkpoint(uninterrupted, 47), checkpoint(resumed, 47)
    means = "_model.gauss_params.means"
    assert len(before["pipeline"][means]) != len(whole["pipeline"][means])  # it densified in between
    for part in whole:
        assert same(whole[part], again[part]), part
    curves = [trainer.log.curve("loss") for trainer in (uninterrupted, resumed)]
    assert [step for step, _ in curves[0]] == [step for step, _ in curves[1]]
    losses = [[loss for _, loss in curve] for curve in curves]
    assert losses[0][26:] == losses[1][26:]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # the file keeps six digits


def test_the_order_of_photos_and_the_random_numbers_are_what_makes_them_equal(
    uninterrupted: PanopticTrainer, room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = checkpoint(uninterrupted, 25)
    del state["running"]
    torch.save(state, tmp_path / "step-000000025.ckpt")
    resumed = train(room, tmp_path / "out", 30, load_dir=tmp_path, **OPTIONS)
    assert "order of photos: it is drawn anew" in capsys.readouterr().out.replace("\n", " ")
    assert resumed.log.curve("loss")[-4:] != uninterrupted.log.curve("loss")[26:30]


@pytest.mark.parametrize(
    "damage",
    [
        lambda running: running.update(photos={}), lambda running: running["photos"].update(train=[8]),
        lambda running: running["photos"].update(train=[]), lambda running: running["photos"].update(order=(3, (), 0)),
        lambda running: running.update(torch=torch.zeros(3)), lambda running: running.update(python=1),
        lambda running: running.update(numpy=["MT19937", torch.zeros(3), 0, 0, 0.0]),
        lambda running: running["gathered"].update(count=torch.zeros(3)), lambda running: running.clear(),
    ],
)  # fmt: skip
def test_a_malformed_state_is_refused(
    uninterrupted: PanopticTrainer, damage: Callable[[dict], None], tmp_path: Path
) -> None:
    from nerfstudio_plugin.running_state import resume_state
    from panoptic_gs import InputError

    state = checkpoint(uninterrupted, 47)["running"]
    manager, model = uninterrupted.pipeline.datamanager, uninterrupted.pipeline.model
    resume_state(tmp_path / "whole.ckpt", state, manager, model)
    damage(state)
    with pytest.raises(InputError, match=r"bad\.ckpt: found a malformed state"):
        resume_state(tmp_path / "bad.ckpt", state, manager, model)


_PAUSED = """
import sys, time
from pathlib import Path
import torch
import nerfstudio_plugin.trainer as trainer
from nerfstudio_plugin.method import method_config

scene, out = map(Path, sys.argv[1:])
save = torch.save

def half(state, path):
    save(state, path)
    if state["step"] == 8:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        (out / "paused").write_text(str(path))
        time.sleep(600)

trainer.torch.save = half
config = method_config("cpu")
config.data = config.pipeline.datamanager.data = scene
config.output_dir, config.timestamp, config.vis = out, "run", "tensorboard"
config.max_num_iterations, config.steps_per_save, config.save_only_latest_checkpoint = 12, 4, True
config.save_config()
training = config.setup(local_rank=0, world_size=1)
training.setup()
training.train()
"""


def test_a_training_killed_in_the_middle_of_a_checkpoint_has_the_one_before(
    room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "-c", _PAUSED, room, tmp_path], stdout=log, stderr=log)
    paused = tmp_path / "paused"
    while not paused.exists() and process.poll() is None:
        time.sleep(0.05)
    assert paused.exists(), (tmp_path / "log").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    part = Path(paused.read_text())
    assert part.is_file()
    (first,) = tmp_path.glob("**/nerfstudio_models")
    assert [path.name for path in first.iterdir()] == ["step-000000004.ckpt"]
    assert latest_checkpoint(first) == (first, 4)
    resumed = train(room, tmp_path / "again", 12, load_dir=first)
    assert resumed._start_step == 5
    assert [path.name for path in resumed.checkpoint_dir.iterdir()] == ["step-000000011.ckpt"]
    assert not part.exists()
