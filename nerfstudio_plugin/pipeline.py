# SPDX-License-Identifier: Apache-2.0
"""Photos, labels and Gaussians together: uplifting while training, scores over all evaluation views at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfstudio_plugin.compat import input_errors_exit, mark_exports_as_antialiased
from nerfstudio_plugin.data_parallel import joined, start_alike
from nerfstudio_plugin.datamanager import PanopticDatamanager, PanopticDatamanagerConfig
from nerfstudio_plugin.gaussians import count_visible
from nerfstudio_plugin.mask_association import MaskAssociation
from nerfstudio_plugin.model import PanopticSplatfactoModel, PanopticSplatfactoModelConfig
from nerfstudio_plugin.report import EvaluationReport, eval_command
from panoptic_gs.errors import InputError
from panoptic_gs.metrics import SceneScores, Scorer, evaluate_scenes
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.report.environment import command_line
from panoptic_gs.uplift.maps import Repeated

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import Trainer

_QUALITIES = ("pq", "sq", "rq", "pq_things", "pq_stuff")


@dataclass
class PanopticPipelineConfig(VanillaPipelineConfig):
    """Configuration of the pipeline."""

    _target: type = field(default_factory=lambda: PanopticPipeline)
    """target class to instantiate"""
    datamanager: PanopticDatamanagerConfig = field(default_factory=PanopticDatamanagerConfig)
    """Photos and label maps."""
    model: PanopticSplatfactoModelConfig = field(default_factory=PanopticSplatfactoModelConfig)
    """The Gaussians."""

    @property
    def works_on_several_processes(self) -> bool:
        """Whether processes that train together stay alike."""
        return True

    def setup(self, **kwargs: Any) -> Any:
        """Make the pipeline; bad input ends in a message and exit code 2."""
        with input_errors_exit():
            return super().setup(**kwargs)


def _view_taker(scorer: Scorer) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]:
    """What counts a rendered view, if there is a true map of it."""

    def take(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        if "panoptic_gt" in batch:
            scorer.add(outputs["segment_id"][..., 0].to(torch.int64), batch["panoptic_gt"])

    return take


def _metrics(scores: Mapping[str, SceneScores], prefix: str = "") -> dict[str, float]:
    """Scene-PQ and mIoU as ``PROTOCOL/pq`` and so on; those without any class are left out."""
    results: dict[str, float] = {}
    for name, score in scores.items():
        values = {key: getattr(score.panoptic, key) for key in _QUALITIES} | {"miou": score.miou}
        results |= {f"{prefix}{name}/{key}": value for key, value in values.items() if not math.isnan(value)}
    return results


class PanopticPipeline(VanillaPipeline):
    """Nerfstudio's pipeline, which also uplifts labels from the training views and scores them.

    Raises:
        InputError: no seed point projects into any training view.
    """

    config: PanopticPipelineConfig
    datamanager: PanopticDatamanager
    model: PanopticSplatfactoModel

    processes: Processes = ALONE

    def __init__(
        self, config: PanopticPipelineConfig, *args: Any, world_size: int = 1, local_rank: int = 0, **kwargs: Any
    ) -> None:
        # As one process: nerfstudio would wrap the model for gradients of parameters that never change their shape.
        super().__init__(config, *args, **kwargs)
        if world_size > 1:
            self.processes = self.datamanager.processes = self.model.processes = joined(world_size)
            start_alike(self.model)
        if self.model.config.rasterize_mode == "antialiased":
            mark_exports_as_antialiased()
        dataset = self.datamanager.train_dataset
        if self.test_mode == "val" and not count_visible(self.model.means.detach().cpu(), dataset.cameras):
            raise InputError(
                "seed points",
                f"none of {len(self.model.means)} in any of {len(dataset)} training views",
                "points in front of the cameras",
                "Check that poses and points share one world frame and one axis convention.",
            )

    def require_gaussians(self) -> None:
        """Check that training left some Gaussians.

        Raises:
            InputError: all of them were pruned.
        """
        if self.model.num_points == 0:
            raise InputError(
                "training",
                f"no Gaussians left at step {self.model.step}: all of them were pruned",
                "Gaussians that the photos hold in place",
                "Check poses, seed points and masks, or prune less: lower --pipeline.model.cull-alpha-thresh, raise "
                "--pipeline.model.cull-scale-thresh.",
            )

    def uplift(self) -> None:
        """Give the Gaussians labels from the training views' maps, seen from the poses that training refined."""
        self.require_gaussians()
        if self.model.panoptic is None:  # colours alone are trained, or masks have yet to be associated
            return
        # Each map is held against all others where labels are refined, so there every process has all views.
        sharing = ALONE if self.model.config.labels == "refined" else self.processes
        refine = self.model.camera_optimizer.apply_to_camera
        views = Repeated(lambda: self.datamanager.labelled_views(refine, sharing))
        self.model.uplift(views, self.datamanager.vote_weights(sharing), sharing)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Nerfstudio's callbacks, then uplifting every so many steps."""
        uplift = TrainingCallback(
            [TrainingCallbackLocation.AFTER_TRAIN_ITERATION],
            lambda step: self.uplift(),
            update_every_num_iters=max(1, self.model.config.uplift_every),
        )
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        # Before uplifting, so that labels are those of the maps that were just made.
        return [*callbacks, *(() if trainer is None else self.object_callbacks(trainer)), uplift]

    def object_callbacks(self, trainer: Trainer) -> list[TrainingCallback]:
        """What finds objects in masks that are numbered image by image, while training runs."""
        if self.datamanager.train_dataset.metadata["image_masks"] is None:
            return []
        association = MaskAssociation(self.datamanager, self.model, trainer.config.max_num_iterations)
        return [TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], association.after_step, 1)]

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, float]:
        """Mean PSNR, SSIM (and LPIPS) over the evaluation views; scene-PQ and mIoU of all of them together.

        Where training views have true maps, ``predictions/…`` are the scores of the predictions themselves there. In
        ``ns-eval`` a report is written beside its JSON.
        """
        truth = self.datamanager.eval_dataset.metadata["panoptic_gt"]
        uplifted = self.model.current_labels()
        scorer = None
        with input_errors_exit():
            if truth is not None and uplifted is not None:
                scorer = Scorer(uplifted.meaning, truth)
        command = eval_command() if step is None and uplifted is not None else None
        report = None if command is None else EvaluationReport(self)
        takers = [] if scorer is None else [_view_taker(scorer)]
        takers += [] if report is None else [report.add]

        def take(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
            for add in takers:
                add(outputs, batch)

        self.model.on_evaluated = take if takers else None
        try:
            metrics = super().get_average_eval_image_metrics(step=step, output_path=output_path, get_std=get_std)
        finally:
            self.model.on_evaluated = None
        if scorer is not None:
            metrics |= _metrics(scorer.scores())
        if step is None:
            metrics |= self._prediction_scores()
        if command is not None and report is not None:
            path = command.output_path.with_suffix(".html")
            with input_errors_exit():
                report.write(path, command.load_config.parent, metrics, [command_line()])
            CONSOLE.print(f"Report: {path}", soft_wrap=True)
        return metrics

    def _prediction_scores(self) -> dict[str, float]:
        metadata = self.datamanager.train_dataset.metadata
        predictions, truth = metadata["panoptic"], metadata["panoptic_gt"]
        if predictions is None or truth is None:
            return {}
        stems = [frame.stem for frame in metadata["frames"] if frame.stem in truth.maps]
        if not any(stem in predictions.maps for stem in stems):
            return {}
        return _metrics(evaluate_scenes(predictions, truth, stems, allow_missing=True), "predictions/")
