# SPDX-License-Identifier: Apache-2.0
"""One training on one process, on several, and on one that shows as many photos a step, for ``benchmarks.processes``.

Photos a second of processor time say what a second process gains; losses and numbers of Gaussians, that the training
is the same; bytes, what each process hands to the reduction in a step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro
from rich.table import Table
from torch import distributed

if TYPE_CHECKING:
    from nerfstudio_plugin.trainer import PanopticTrainer, PanopticTrainerConfig

_SKIPPED = 10
"""Steps at the start whose time does not count: files are read and memory is found."""


@dataclass(frozen=True)
class TrainingRun:
    """One of the trainings."""

    scene: Path
    """Scene folder."""
    folder: Path
    """Where its output lies; ``measured-RANK.json`` of each process is left here."""
    steps: int
    """Steps."""
    processes: int = 1
    """Processes."""
    photos: int = 1
    """Photos that a process shows in each step."""


def config_of(run: TrainingRun) -> PanopticTrainerConfig:
    """A short training that densifies every 20 steps."""
    from nerfstudio_plugin.method import method_config

    config = method_config("cpu")
    config.data = config.pipeline.datamanager.data = run.scene
    config.output_dir, config.timestamp, config.vis = run.folder, "run", "tensorboard"
    config.max_num_iterations, config.schedule_iterations, config.steps_per_save = run.steps, 0, 10 * run.steps
    config.steps_per_eval_image = config.steps_per_eval_all_images = config.steps_per_eval_batch = 10 * run.steps
    config.machine.num_devices = run.processes
    model = config.pipeline.model
    model.warmup_length, model.refine_every, model.stop_split_at = 20, 20, 4 * run.steps // 5
    model.reset_alpha_every, model.num_downscales, model.uplift_every = 1000, 0, 10 * run.steps
    model.densify_grad_thresh, model.background_color = 2e-4, "black"
    return config


def doubled_batch(trainer: PanopticTrainer, steps: int, photos: int = 2, used: list[float] | None = None) -> tuple[
    list[float], list[int]
]:  # fmt: skip
    """One process that shows several photos before each step: losses and numbers of Gaussians.

    As gsplat counts a batch of cameras: the loss is the mean, screen-space gradients are of each photo's own loss.

    Args:
        trainer: that was set up.
        steps: to train.
        photos: a step.
        used: takes the processor time after each step.
    """
    from nerfstudio_plugin.data_parallel import same_random_numbers

    pipeline, optimizers = trainer.pipeline, trainer.optimizers
    model = pipeline.model
    pipeline.train()
    losses, counts = [], []
    for step in range(steps):
        model.step_cb(optimizers, step)
        optimizers.zero_grad_all()
        total, infos = 0.0, []
        for _ in range(photos):
            camera, batch = pipeline.datamanager.next_train(step)
            loss = torch.stack([*model.get_loss_dict(model(camera), batch).values()]).sum() / photos
            loss.backward()
            total += float(loss)
            infos.append({**model.info, "n_cameras": photos})
        for optimizer in optimizers.optimizers.values():
            optimizer.step()
        optimizers.scheduler_step_all(step)
        if 0 < step < model.config.stop_split_at:
            for info in infos[:-1]:
                model.strategy._update_state(model.gauss_params, model.strategy_state, info)
            with same_random_numbers(trainer.config.machine.seed, step, model.device):
                model.strategy.step_post_backward(
                    model.gauss_params, model.optimizers, model.strategy_state, step, infos[-1]
                )
        losses.append(total)
        counts.append(model.num_points)
        if used is not None:
            used.append(time.process_time())
    return losses, counts


def trained(local_rank: int, world_size: int, run: TrainingRun, global_rank: int) -> None:
    """Train in this process, and leave what was measured."""
    from panoptic_gs import kernels

    torch.manual_seed(42 + global_rank)  # as ns-train does
    trainer: PanopticTrainer = config_of(run).setup(local_rank=local_rank, world_size=world_size)
    trainer.setup()
    used, sent = list[float](), list[int]()
    if run.photos > 1:
        with kernels.one_torch_thread():
            losses, counts = doubled_batch(trainer, run.steps, run.photos, used)
    else:
        counts, step_of, bytes_of_step = list[int](), trainer.train_iteration, 0
        reduce = distributed.all_reduce

        def counted(tensor: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            nonlocal bytes_of_step
            bytes_of_step += tensor.numel() * tensor.element_size()
            return reduce(tensor, *arguments, **named)

        def timed(step: int) -> Any:
            nonlocal bytes_of_step
            bytes_of_step = 0
            made = step_of(step)
            used.append(time.process_time())
            sent.append(bytes_of_step)
            counts.append(trainer.pipeline.model.num_points)
            return made

        trainer.train_iteration, distributed.all_reduce = timed, counted
        trainer.train()
        losses = [loss for _, loss in trainer.log.curve("loss")]
    (run.folder / f"measured-{global_rank}.json").write_text(json.dumps(
        {"used": used, "sent": sent, "losses": losses, "gaussians": counts}
    ))  # fmt: skip


def _small_room(folder: Path, width: int, seed_points: int) -> None:
    from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize, write_synthetic_scene

    scene = synthesize(seed=1, views=24, width=width, height=3 * width // 4, seed_points=seed_points)
    write_synthetic_scene(folder, scene, simulate_predictions(scene.truth, PredictionNoise.preset("default"), 1))


def measure(processes: tuple[int, ...], steps: int, width: int, seed_points: int) -> list[dict[str, Any]]:
    """A row for each number of processes, and before each of several one process with as many photos a step."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene"
        _small_room(scene, width, seed_points)
        for count in processes:
            beside = [(1, count)] if count > 1 else []
            reference = None
            for ranks, photos in (*beside, (count, 1)):
                run = TrainingRun(scene, Path(folder) / f"{ranks}x{photos}", steps, ranks, photos)
                run.folder.mkdir()
                words = [f"--{name}={value}" for name, value in vars(run).items()]
                subprocess.run([sys.executable, "-m", "benchmarks.data_parallel", *words], check=True,
                               stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1",
                                                              "PANOPTIC_GS_NUM_THREADS": "1"})  # fmt: skip
                found = [json.loads(file.read_text()) for file in sorted(run.folder.glob("measured-*.json"))]
                row = {"processes": ranks, "photos": photos, **_figures(found, steps, ranks * photos)}
                if reference is not None:
                    row |= _compared(found[0], reference)
                reference = found[0]
                rows.append(row)
    return rows


def _figures(found: list[dict[str, Any]], steps: int, photos: int) -> dict[str, Any]:
    """Of the processes of one training, by the busiest."""
    most = max(of["used"][-1] - of["used"][_SKIPPED - 1] for of in found) / (steps - _SKIPPED)
    sent = found[0]["sent"][_SKIPPED:]
    return {"cpu_seconds_a_step": most, "photos_a_cpu_second": photos / most,
            "bytes_a_step": statistics.median(sent) if sent else 0,
            "bytes_a_gaussian": statistics.median(s / n for s, n in zip(sent, found[0]["gaussians"][_SKIPPED:]))
            if sent else 0.0,
            "loss": statistics.fmean(found[0]["losses"][-20:]), "gaussians": found[0]["gaussians"][-1]}  # fmt: skip


def _compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """By how much losses differ, step by step, and numbers of Gaussians at most, as shares."""
    losses = [abs(a - b) / b for a, b in zip(one["losses"], other["losses"])]
    counts = [abs(a - b) / b for a, b in zip(one["gaussians"], other["gaussians"])]
    return {"loss_apart": statistics.median(losses), "loss_farthest": max(losses), "gaussians_apart": max(counts)}


def table(rows: list[dict[str, Any]]) -> Table:
    """A row a training."""
    made = Table("processes", "photos a step", "CPU s a step", "photos a CPU s", "MB a step", "bytes a Gaussian",
                 "loss, last 20", "Gaussians", "loss apart", "farthest", "Gaussians apart")  # fmt: skip
    for row in rows:
        apart = [f"{100 * row[name]:.2f} %" if name in row else "" for name in
                 ("loss_apart", "loss_farthest", "gaussians_apart")]  # fmt: skip
        made.add_row(str(row["processes"]), str(row["processes"] * row["photos"]), f"{row['cpu_seconds_a_step']:.3f}",
                     f"{row['photos_a_cpu_second']:.2f}", f"{row['bytes_a_step'] / 1e6:.2f}",
                     f"{row['bytes_a_gaussian']:.0f}", f"{row['loss']:.4f}", f"{row['gaussians']:,}",
                     *apart)  # fmt: skip
    return made


def main(run: TrainingRun) -> None:
    """Start the processes of one training."""
    if run.processes == 1:
        trained(0, 1, run, 0)
        return
    from nerfstudio_plugin.launching import launch

    launch(trained, run.processes, config=run, device_type="cpu")  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    # Processes that are spawned import this module by its name, and find the function there.
    from benchmarks import data_parallel

    data_parallel.main(tyro.cli(data_parallel.TrainingRun))
