# SPDX-License-Identifier: Apache-2.0
"""Training that can be killed at any moment, of any length."""

from __future__ import annotations

import pickle
import re
import zipfile
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_plugin.compat import config_being_evaluated, input_errors_exit, plain_python
from nerfstudio_plugin.data_parallel import (
    SharedOptimizers,
    leave_gathered_to_the_first,
    mean_of_processes,
    sum_gathered,
)
from nerfstudio_plugin.dataparser import no_seed_points, require_predictions, scene_root
from nerfstudio_plugin.launching import prepare_launch
from nerfstudio_plugin.pipeline import PanopticPipeline, PanopticPipelineConfig
from nerfstudio_plugin.report import start_log
from nerfstudio_plugin.running_state import resume_state, running_state
from panoptic_gs import kernels
from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing, sweep
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.scene import Scene

LEAST_REFINE_EVERY = 50
"""Densification needs the gradients of about this many views."""
LEAST_RESET_EVERY = 1000
"""Opacities need several hundred steps to recover from a reset, so shorter trainings do without."""
_SCHEDULED = (
    "warmup_length",
    "resolution_schedule",
    "sh_degree_interval",
    "stop_screen_size_at",
    "stop_split_at",
)
"""Step counts of the model that follow the length of the training."""


@dataclass
class PanopticTrainerConfig(TrainerConfig):
    """Nerfstudio's options; ``max_num_iterations`` is the total, also of a training that is resumed."""

    _target: type = field(default_factory=lambda: PanopticTrainer)
    """target class to instantiate"""
    pipeline: PanopticPipelineConfig = field(default_factory=PanopticPipelineConfig)
    """Photos, labels and Gaussians."""
    schedule_iterations: int = 30000
    """The number of iterations that the step counts of the model and of the learning rate schedules are meant for. They
    are stretched to max_num_iterations; 0 takes them as they are."""

    def save_config(self) -> None:
        """Write ``config.yml``, but not for a scene that cannot be trained on."""
        with input_errors_exit():
            prepare_launch(self)
            parser = self.pipeline.datamanager.dataparser
            parser = replace(parser, data=self.pipeline.datamanager.data or parser.data)
            scene = Scene.load(scene_root(parser.data))
            require_predictions(parser)
            if scene.points is None and not self.pipeline.model.random_init:
                raise no_seed_points()
            try:
                super().save_config()
            except OSError as error:
                raise InputError(
                    self.get_base_dir(),
                    f"a folder that cannot be written ({error.strerror})",
                    "a writable folder",
                    "Choose another --output-dir.",
                ) from error

    def get_checkpoint_dir(self) -> Path:
        """Where checkpoints are: beside the ``config.yml`` that is evaluated, also of a run that was copied."""
        file = config_being_evaluated()
        return super().get_checkpoint_dir() if file is None else file.parent / self.relative_model_dir

    def setup(self, **kwargs: Any) -> Any:
        """Make the trainer, with the schedules stretched to the length of the training."""
        return self._target(stretched(self), **kwargs)


def stretched(config: PanopticTrainerConfig) -> PanopticTrainerConfig:
    """A copy of ``config`` whose step counts fit ``max_num_iterations`` instead of ``schedule_iterations``."""
    config = deepcopy(config)
    if not config.schedule_iterations:
        return config
    factor = config.max_num_iterations / config.schedule_iterations
    model = config.pipeline.model
    for name in _SCHEDULED:
        setattr(model, name, max(1, round(getattr(model, name) * factor)))
    reset_every = model.reset_alpha_every * model.refine_every * factor
    model.refine_every = max(LEAST_REFINE_EVERY, round(model.refine_every * factor))
    if reset_every < LEAST_RESET_EVERY:
        reset_every = 2 * config.max_num_iterations
    model.reset_alpha_every = max(1, round(reset_every / model.refine_every))
    for key, group in config.optimizers.items():
        scheduler = group["scheduler"]
        if key == "camera_opt" and factor < 1:
            # Wrong poses are as wrong in a short training: steps that are fewer have to be longer.
            group["optimizer"].lr /= factor
            if scheduler is not None and getattr(scheduler, "lr_final", None) is not None:
                scheduler.lr_final /= factor
        for name in ("max_steps", "warmup_steps"):
            if scheduler is not None and hasattr(scheduler, name):
                setattr(scheduler, name, round(getattr(scheduler, name) * factor))
    config.schedule_iterations = 0
    return config


class PanopticTrainer(Trainer):
    """Writes each checkpoint in one move, with labels that fit its Gaussians, and resumes from the last whole one.

    ``training.json`` beside ``config.yml`` has the curves of the training up to the last checkpoint, and how it was
    started; a training that is resumed continues them.
    """

    config: PanopticTrainerConfig
    pipeline: PanopticPipeline
    log: TrainingLog
    _running: tuple[Path, Any] | None = None
    """The checkpoint that was loaded, and what it says of the running training."""

    def setup_optimizers(self) -> Optimizers:
        """Nerfstudio's optimizers; the means' learning rate is in units of the cameras' extent (Kerbl et al. 2023)."""
        extent = float(self.pipeline.datamanager.train_dataset.metadata["extent"])
        groups = {name: dict(group) for name, group in self.config.optimizers.items()}
        means = groups["means"]
        means["optimizer"] = replace(means["optimizer"], lr=means["optimizer"].lr * extent)
        if means["scheduler"] is not None and means["scheduler"].lr_final is not None:
            means["scheduler"] = replace(means["scheduler"], lr_final=means["scheduler"].lr_final * extent)
        if self.pipeline.processes.count == 1:
            return Optimizers(groups, self.pipeline.get_param_groups())
        return SharedOptimizers(groups, self.pipeline.get_param_groups(), self.pipeline.processes)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Make everything and load what ``load_dir`` holds; bad input ends in a message and exit code 2."""
        with input_errors_exit():
            super().setup(*args, **kwargs)
            self.pipeline.model.seed = self.config.machine.seed
            self.log = start_log(self.config, self.pipeline, self._start_step)

    def train_iteration(self, step: int) -> Any:
        """One step, noted in the log: the loss is the mean of all processes, its parts are those of the first."""
        self.pipeline.require_gaussians()
        loss, losses, metrics = super().train_iteration(step)
        loss = mean_of_processes(loss, self.pipeline.processes)
        self.log.add(step, {"loss": loss, **losses, **metrics})
        return loss, losses, metrics

    def train(self) -> None:
        """Train up to ``max_num_iterations`` in total."""
        remaining = max(0, self.config.max_num_iterations - self._start_step)
        if remaining == 0 and self._start_step > 0:
            CONSOLE.print(
                f"The training is finished: its checkpoint has {self._start_step} of {self.config.max_num_iterations} "
                "iterations. Pass a larger --max-num-iterations to go on.",
                soft_wrap=True,
            )
            return
        self.step = max(0, self._start_step - 1)
        self.config = replace(self.config, max_num_iterations=remaining)
        on_host = self.device == "cpu"
        with input_errors_exit(), kernels.one_torch_thread() if on_host else nullcontext():
            if self._running is not None:
                resume_state(*self._running, self.pipeline.datamanager, self.pipeline.model)
                self._running = None
                self._go_on_apart()
            super().train()

    def _go_on_apart(self) -> None:
        """What was read from the first process's checkpoint counts once, and each draws random numbers of its own."""
        processes = self.pipeline.processes
        leave_gathered_to_the_first(self.pipeline.model.strategy_state, processes)
        if not processes.leads:
            torch.manual_seed(self.config.machine.seed + processes.rank + self._start_step)

    def eval_iteration(self, step: int) -> None:
        """nerfstudio's evaluations while training, on the first process; the others wait at their next step."""
        if self.pipeline.processes.leads:
            super().eval_iteration(step)

    def save_checkpoint(self, step: int) -> None:
        """Uplift on all processes, then write a checkpoint under another name and move it into place."""
        self.pipeline.uplift()
        processes, gathered = self.pipeline.processes, self.pipeline.model.strategy_state
        sum_gathered(gathered, processes)
        if processes.leads:
            self._write_checkpoint(step)
        leave_gathered_to_the_first(gathered, processes)

    def _write_checkpoint(self, step: int) -> None:
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.optimizers.items()},
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "running": running_state(self.pipeline.datamanager, self.pipeline.model),
        }
        # Beside the folder, not in it: nerfstudio takes the number of every file there for a step.
        with replacing(path, beside=self.base_dir / path.name) as temporary:
            torch.save(plain_python(state), temporary)
        self.log.save(self.base_dir)
        if self.config.save_only_latest_checkpoint:
            for other in self.checkpoint_dir.glob("*.ckpt"):
                if other != path:
                    other.unlink()

    def _load_checkpoint(self) -> None:
        if self.config.load_dir is not None and self.config.load_step is None:
            folder, step = latest_checkpoint(self.config.load_dir, self.config.relative_model_dir)
            self.config = replace(self.config, load_dir=folder, load_step=step)
        super()._load_checkpoint()
        folder, file = self.config.load_dir, self.config.load_checkpoint
        if folder is not None:
            file = folder / f"step-{self.config.load_step:09d}.ckpt"
            sweep(folder.parent)
        if file is not None:
            self._running = file, torch.load(file, map_location="cpu", mmap=True, weights_only=True).get("running")


def latest_checkpoint(folder: Path, relative_model_dir: Path = Path("nerfstudio_models")) -> tuple[Path, int]:
    """The folder and step of the newest checkpoint that can be read, in a training's folder or its checkpoint folder.

    Raises:
        InputError: there is none.
    """
    if (folder / relative_model_dir).is_dir():
        folder = folder / relative_model_dir
    steps = {
        int(m[1]): path for path in folder.glob("step-*.ckpt") if (m := re.fullmatch(r"step-(\d+)\.ckpt", path.name))
    }
    for step in sorted(steps, reverse=True):
        try:
            torch.load(steps[step], map_location="cpu", mmap=True, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            CONSOLE.print(f"[yellow]{steps[step]} cannot be read ({type(error).__name__}); trying the one before.")
        else:
            return folder, step
    raise InputError(
        folder,
        "no checkpoint that can be read" if steps else "no checkpoint",
        "a file step-*.ckpt",
        "Pass the folder nerfstudio_models of a training with --load-dir.",
    )
