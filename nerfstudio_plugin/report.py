# SPDX-License-Identifier: Apache-2.0
"""The report that ``ns-eval`` writes beside its JSON, and the log of a training that it shows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from nerfstudio.engine.trainer import TrainerConfig
from torch import Tensor

from nerfstudio_plugin.datamanager import camera_of
from panoptic_gs.report.environment import command_line, environment
from panoptic_gs.report.evaluation import Evaluator, evenly
from panoptic_gs.report.objects import labelled_objects
from panoptic_gs.report.page import write_report
from panoptic_gs.report.scene_report import SceneReport, scene_title, training_facts
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.report.views import View
from panoptic_gs.uplift import LabelledScene

if TYPE_CHECKING:
    from nerfstudio_plugin.pipeline import PanopticPipeline

MOST_VIEWS = 12
_IMAGE_METRICS = ("psnr", "ssim", "lpips")


class EvalCommand(NamedTuple):
    """The ``ns-eval`` that this process is."""

    load_config: Path
    output_path: Path


def eval_command() -> EvalCommand | None:
    """The files of the ``ns-eval`` that this process is; None where it is another program.

    ``ns-eval`` tells the pipeline nothing about itself, so its command line is read a second time.
    """
    program = Path(sys.argv[0])
    if program.stem != "ns-eval" and program.parts[-3:] != ("nerfstudio", "scripts", "eval.py"):
        return None
    import tyro
    from nerfstudio.scripts.eval import ComputePSNR

    parsed = tyro.cli(ComputePSNR)
    return EvalCommand(parsed.load_config, parsed.output_path)


class EvaluationReport:
    """Collects the evaluated views of a pipeline that has labels.

    Args:
        pipeline: the trained pipeline.
    """

    def __init__(self, pipeline: PanopticPipeline) -> None:
        uplifted = pipeline.model.current_labels()
        assert uplifted is not None
        self._pipeline, self._uplifted = pipeline, uplifted
        self._frames = pipeline.datamanager.eval_dataset.metadata["frames"]
        self._evaluator = Evaluator(
            uplifted.meaning,
            pipeline.datamanager.eval_dataset.metadata["panoptic_gt"],
            evenly([frame.stem for frame in self._frames], MOST_VIEWS),
        )

    def add(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Count one view; what ``PanopticSplatfactoModel.on_evaluated`` is called with."""
        model = self._pipeline.model
        shown = model.composite_with_background(model.get_gt_img(batch["image"]), outputs["background"])
        photo = (255 * shown).round().to(torch.uint8).cpu()
        rgb = (255 * outputs["rgb"].detach().clamp(0, 1)).round().to(torch.uint8).cpu()
        truth, mask = batch.get("panoptic_gt"), batch.get("mask")
        self._evaluator.add(View(
            self._frames[int(batch["image_idx"])].stem,
            outputs["segment_id"][..., 0].to(torch.int64).cpu().numpy(),
            None if truth is None else truth.cpu().numpy(),
            photo.numpy(),
            rgb.numpy(),
            None if mask is None else mask[..., 0].cpu().numpy(),
        ))  # fmt: skip

    def write(
        self,
        path: Path,
        run: Path | None = None,
        metrics: Mapping[str, float] | None = None,
        commands: Sequence[str] = (),
        title: str | None = None,
    ) -> None:
        """Write the report.

        Args:
            path: HTML file.
            run: the training's folder, for its curves.
            metrics: means over the views; PSNR, SSIM and LPIPS are shown.
            commands: how it was made, besides the training.
            title: by default the scene folder's name.

        Raises:
            InputError: the file cannot be written.
        """
        manager, meaning = self._pipeline.datamanager, self._uplifted.meaning
        splats, labels = self._pipeline.model.splats().to("cpu"), self._uplifted.labels.to("cpu")
        scene = LabelledScene(splats, labels, meaning)
        posed = {
            frame.stem: camera_of(dataset.cameras[index : index + 1]).to("cpu")
            for dataset in (manager.train_dataset, manager.eval_dataset)
            for index, frame in enumerate(dataset.metadata["frames"])
        }
        cameras = [posed[stem] for stem in sorted(posed)]  # of all photos, as every command sizes objects by
        training = None if run is None else TrainingLog.load(run)
        root = Path(manager.config.data or manager.config.dataparser.data)
        facts = {"scene": str(root), "Gaussians": f"{len(splats):,}", **training_facts(training)}
        if run is not None:
            facts = {"source": str(run), **facts}
        started = [] if training is None else training.origin.get("commands", [])
        images = {name: float((metrics or {})[name]) for name in _IMAGE_METRICS if name in (metrics or {})}
        scale = float(manager.train_dataparser_outputs.dataparser_scale)
        write_report(path, SceneReport(
            title or scene_title(root), self._evaluator.finish(images), labelled_objects(scene, cameras, 1 / scale),
            training, (*started, *commands), facts=facts, kind="held-out",
        ))  # fmt: skip


def start_log(config: TrainerConfig, pipeline: PanopticPipeline, start_step: int) -> TrainingLog:
    """The log of a training that begins, or goes on after ``start_step`` steps."""
    manager = config.pipeline.datamanager
    data = manager.data or manager.dataparser.data  # pyright: ignore[reportAttributeAccessIssue]
    before = None
    if config.load_dir is not None:
        for folder in (Path(config.load_dir), Path(config.load_dir).parent):
            before = before or TrainingLog.load(folder)
    frames = pipeline.datamanager.eval_dataset.metadata["frames"]
    origin = {
        "method": config.method_name,
        "commands": [*([] if before is None else before.origin.get("commands", [])), command_line()],
        "data": str(Path(data).resolve()),
        "held_out": [frame.stem for frame in frames],
        "iterations": config.max_num_iterations,
        "seed": config.machine.seed,
        "device": str(pipeline.device),
        "rasterize_mode": pipeline.model.config.rasterize_mode,
        "environment": environment(),
    }
    return TrainingLog.start(origin, config.max_num_iterations, None if before is None else before.up_to(start_step))
