# SPDX-License-Identifier: Apache-2.0
"""A training on two processes is that of one with two photos a step; what cannot be started is refused by name."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio.scripts.train import train_loop

from benchmarks.data_parallel import doubled_batch
from nerfstudio_plugin.launching import _first_that_fails, launch, prepare_launch
from nerfstudio_plugin.method import method_config, panoptic_splatting
from nerfstudio_plugin.trainer import PanopticTrainerConfig
from panoptic_gs.errors import InputError
from panoptic_gs.report.training_log import TrainingLog

STEPS, SAVED = 30, 15


def config_of(room: Path, out: Path) -> PanopticTrainerConfig:
    """A training that densifies at 10, 20, …, with a camera optimizer, some of whose gradients are of one photo."""
    config = method_config("cpu")
    config.data = config.pipeline.datamanager.data = room
    config.output_dir, config.timestamp, config.vis = out, "run", "tensorboard"
    config.max_num_iterations, config.schedule_iterations = STEPS, 0
    config.steps_per_save, config.save_only_latest_checkpoint = SAVED, False
    model = config.pipeline.model
    model.warmup_length, model.refine_every, model.stop_split_at, model.reset_alpha_every = 5, 10, 28, 100
    model.densify_grad_thresh, model.num_downscales, model.background_color = 2e-4, 0, "black"
    model.camera_optimizer.mode, model.uplift_every = "SO3xR3", 12
    return config


def train_and_resume(
    local_rank: int, world_size: int, configs: tuple[PanopticTrainerConfig, ...], global_rank: int
) -> None:
    for config in configs:
        train_loop(local_rank, world_size, config, global_rank)


def test_two_processes_follow_one_with_the_doubled_batch_also_when_resumed(room: Path, tmp_path: Path) -> None:
    two, resumed = config_of(room, tmp_path / "two"), config_of(room, tmp_path / "resumed")
    resumed.load_dir, resumed.load_step = two.get_checkpoint_dir(), SAVED
    for config in (two, resumed):
        config.machine.num_devices = 2
        config.save_config()
    launch(train_and_resume, 2, config=(two, resumed), device_type="cpu")

    torch.manual_seed(42)  # as ns-train does
    trainer = config_of(room, tmp_path / "one").setup(local_rank=0, world_size=1)
    trainer.setup()
    losses, counts = doubled_batch(trainer, STEPS)
    assert counts[-1] > 1.05 * counts[0], "it densified"
    for config in (two, resumed):
        state = torch.load(config.get_checkpoint_dir() / f"step-{STEPS - 1:09d}.ckpt", weights_only=True)["pipeline"]
        assert len(state["_model.gauss_params.means"]) == pytest.approx(counts[-1], rel=0.005)
        labels = state["_model._extra_state"]["labels"]
        assert len(labels["indptr"]) - 1 == len(state["_model.gauss_params.means"])
        assert labels["label"].unique().numel() > 3
        curves = TrainingLog.load(config.get_base_dir())
        assert curves is not None
        assert [loss for _, loss in curves.curve("loss")] == pytest.approx(losses, rel=2e-3)


class Ending:
    """A process that ends while it is asked a second time, as one does once in a while."""

    name = "process 1"

    def __init__(self, sentinel: Any, *codes: int | None) -> None:
        self.sentinel, self._codes = sentinel, list(codes)

    @property
    def exitcode(self) -> int | None:
        return self._codes.pop(0) if len(self._codes) > 1 else self._codes[0]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("asked", range(4))
@pytest.mark.parametrize(("last", "found"), [(0, None), (3, ("process 1", 3))])
def test_processes_that_end_together_are_not_waited_for(asked: int, last: int, found: tuple[str, int] | None) -> None:
    pipes = [multiprocessing.Pipe() for _ in range(2)]
    for _, other in pipes:
        other.close()  # who waits for this end is told at once, as of a process that has ended
    processes: Any = [Ending(pipes[0][0], 0), Ending(pipes[1][0], *[None] * asked, last)]
    assert _first_that_fails(processes) == found


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"num_devices": 0}, "0 devices"),
        ({"num_devices": 2, "device_type": "mps"}, "mps with 2 devices"),
        ({"num_devices": 4096, "device_type": "cuda"}, "4096 on a machine with"),
        ({"num_devices": 1, "num_machines": 2, "device_type": "cpu"}, "auto"),
        ({"num_devices": 1, "num_machines": 2, "machine_rank": 2, "device_type": "cpu"}, "machine 2 of 2"),
    ],
)
def test_what_cannot_be_started_is_refused(machine: dict[str, Any], said: str) -> None:
    config = method_config("cpu")
    for name, value in machine.items():
        setattr(config.machine, name, value)
    with pytest.raises(InputError, match=said):
        prepare_launch(config)


def test_a_method_that_learns_queries_is_refused() -> None:
    config = panoptic_splatting.config
    assert isinstance(config, PanopticTrainerConfig)
    devices = config.machine.num_devices
    try:
        config.machine.num_devices = 2
        with pytest.raises(InputError, match="2 for panoptic-splatting"):
            prepare_launch(config)
    finally:
        config.machine.num_devices = devices
