# SPDX-License-Identifier: Apache-2.0
"""Score one training: ``python -m benchmarks.quality.score_run RUN`` renders the held-out views, and the baselines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

# Before torch is imported: its idle threads would spin on the cores that the kernels need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import tyro
import yaml
from rich.console import Console
from tyro.conf import Positional

from benchmarks.quality.baselines import (
    BASELINES,
    SourceView,
    dense_labels,
    hard_labels,
    nearest_view_labels,
    render_dense,
    require_baselines,
    view_distance,
)
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.view_quality import ViewQuality
from nerfstudio_plugin.compat import default_device, label_device
from nerfstudio_plugin.datamanager import PanopticDataset, camera_of
from nerfstudio_plugin.pipeline import PanopticPipeline
from nerfstudio_plugin.report import EvaluationReport
from nerfstudio_plugin.trainer import PanopticTrainerConfig, latest_checkpoint
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.files import write_json, write_png
from panoptic_gs.metrics import point_table, score_points
from panoptic_gs.metrics.point_sources import depth_truth, labelled_splats
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.rasterize import rasterization
from panoptic_gs.scene import Scene
from panoptic_gs.uplift import GaussianLabels, render_panoptic, save_labelled_scene, uplift_labels

MOST_SOURCES = 12
"""Training views that a new view may take labels from in ``nearest-view``."""
LEAST_ACCUMULATION = 0.5
"""A rendered depth counts where at least this much of the pixel is covered."""
POINT_VOXEL, POINT_MIN_OPACITY = 0.02, 0.1
"""Of the 3D scores, as ``panoptic-gs evaluate-points`` has them."""


@dataclass(frozen=True)
class ScoreRun:
    """Render the held-out views of a training of panst3r-ludvig, and score them."""

    run_folder: Positional[Path]
    """Folder that holds training/ as the harness makes it; receives renders/, labelled/, scores.json, report.html."""
    baselines: tuple[str, ...] = BASELINES
    """Any of nearest-view, average, hard-labels, dense-eq7."""

    def run(self) -> None:
        require_baselines(self.baselines)
        config = NerfstudioRun(self.run_folder, Console()).config
        trained = TrainedRun.load(config)
        folder = self.run_folder / "labelled"
        trained.save_labelled(folder)
        rows = {"predictions": trained.score_predictions(), "uplifted": trained.score_uplifted(self.run_folder)}
        title = "/".join(self.run_folder.resolve().parts[-2:])
        trained.report.write(self.run_folder / "report.html", config.parent, trained.image_scores, title=title)
        for name in self.baselines:
            rows[name] = trained.score_test(trained.baseline(name))
        result = {"rows": rows, "images": trained.image_scores, "gaussians": len(trained.splats)}
        points = trained.score_points(folder)
        write_json(self.run_folder / "scores.json", result | ({} if points is None else {"points": points}))


class TrainedRun:
    """A training that was loaded: Gaussians, labels, and the views of both splits at their cameras' size."""

    def __init__(self, pipeline: PanopticPipeline) -> None:
        self.pipeline, self.model = pipeline, pipeline.model
        uplifted = self.model.current_labels()
        if uplifted is None:
            raise InputError("checkpoint", "no labels", "uplifted labels", "Train with panoptic maps.")
        self.labels, self.meaning = uplifted.labels, uplifted.meaning
        self.device = label_device(self.model.device)
        self.splats = self.model.splats().to(self.device)
        self.rasterize_mode: RasterizeMode = self.model.config.rasterize_mode
        self.train, self.test = pipeline.datamanager.train_dataset, pipeline.datamanager.eval_dataset
        truth = self.test.metadata["panoptic_gt"]
        if truth is None:
            raise InputError("scene", "no panoptic_gt/", "true maps to score with", "Add them to the scene folder.")
        self.truth: PanopticScene = truth
        self.image_scores: dict[str, float] = {}
        self.report = EvaluationReport(pipeline)

    @classmethod
    def load(cls, config: Path) -> TrainedRun:
        """Load the last checkpoint of a training by its ``config.yml``.

        As nerfstudio's ``eval_setup``, but without the list of all its methods, whose import takes as long as scoring.
        The file is YAML that builds Python objects: load only trainings of your own.
        """
        settings: PanopticTrainerConfig = yaml.load(config.read_text(encoding="utf-8"), Loader=yaml.Loader)
        folder, step = latest_checkpoint(config.parent, settings.relative_model_dir)
        pipeline = settings.pipeline.setup(device=default_device(), test_mode="test")
        assert isinstance(pipeline, PanopticPipeline)
        pipeline.eval()
        state = torch.load(folder / f"step-{step:09d}.ckpt", map_location="cpu", weights_only=True)
        pipeline.load_pipeline(state["pipeline"], state["step"])
        return cls(pipeline)

    def save_labelled(self, folder: Path) -> None:
        """Write the labelled splats."""
        save_labelled_scene(folder, self.splats.to("cpu"), self.labels.to("cpu"), self.meaning, overwrite=True)

    # Rows

    def score_predictions(self) -> dict[str, Any]:
        """The predictions themselves, on the training views that have a true map."""
        quality = ViewQuality(self.meaning, self.truth)
        for index in range(len(self.train)):
            true = self.train.labels(index, "panoptic_gt")
            if true is not None:
                ids = self.train.labels(index, "panoptic")
                quality.add(None if ids is None else ids.numpy(), true.numpy())
        return quality.as_dict()

    def score_uplifted(self, run_folder: Path) -> dict[str, Any]:
        """The method: ids as ``ns-render`` gives them, and the colour's PSNR and SSIM; renders are kept."""
        quality, maps, metrics, seconds = ViewQuality(self.meaning, self.truth), {}, [], 0.0
        self.model.on_evaluated = self.report.add
        for camera, batch in self.pipeline.datamanager.fixed_indices_eval_dataloader:
            start = time.perf_counter()
            outputs = self.model.get_outputs_for_camera(camera=camera)
            seconds += time.perf_counter() - start
            image_metrics, _ = self.model.get_image_metrics_and_images(outputs, batch)
            metrics.append({name: float(image_metrics[name]) for name in ("psnr", "ssim")})
            stem = stem_of(self.test, int(batch["image_idx"]))
            ids = outputs["segment_id"][..., 0].cpu().numpy().astype(np.int32)
            rgb = (255 * outputs["rgb"].detach().cpu()).round().to(torch.uint8).numpy()
            write_png(run_folder / "renders" / "rgb" / f"{stem}.png", rgb)
            maps[stem] = ids
            if "panoptic_gt" in batch:
                confidence = outputs["panoptic_confidence"][..., 0].cpu().numpy()
                quality.add(ids, batch["panoptic_gt"].cpu().numpy(), confidence)
        self.model.on_evaluated = None
        self.image_scores |= {name: float(np.mean([m[name] for m in metrics])) for name in ("psnr", "ssim")}
        rendered = PanopticScene(self.meaning.categories, self.meaning.segments, maps, source="rendered")
        rendered.save(run_folder / "renders" / "panoptic", overwrite=True)
        return {**quality.as_dict(), "seconds_per_view": seconds / max(1, len(maps))}

    def score_test(self, labels_of: Callable[[Camera], np.ndarray]) -> dict[str, Any]:
        """Score a way to label the held-out views."""
        quality, views = ViewQuality(self.meaning, self.truth), 0
        start = time.perf_counter()
        for index in range(len(self.test)):
            true = self.test.labels(index, "panoptic_gt")
            if true is not None:
                quality.add(labels_of(self.camera(self.test, index)), true.numpy())
                views += 1
        return {**quality.as_dict(), "seconds_per_view": (time.perf_counter() - start) / max(1, views)}

    def score_points(self, labelled: Path) -> dict[str, float | None] | None:
        """3D scores of the labelled splats where the scene has depth maps; None where it has none."""
        config = self.pipeline.datamanager.config
        root = Path(config.data or config.dataparser.data)
        if not (root / "depth").is_dir():
            return None
        pred, truth = labelled_splats(labelled, POINT_MIN_OPACITY), depth_truth(Scene.load(root), POINT_VOXEL)
        scores = score_points(point_table(pred.points, truth.points), truth.categories, pred.scores)
        return {name: None if np.isnan(value) else value for name, value in scores.items()}

    # Baselines

    def baseline(self, name: str) -> Callable[[Camera], np.ndarray]:
        """How a baseline labels a camera."""
        if name == "nearest-view":
            return self._nearest_view
        if name in ("average", "hard-labels"):
            average = self._uplift("abstain")
            labels = hard_labels(average) if name == "hard-labels" else average
            return lambda camera: self._render(labels, camera)
        dense, ids = dense_labels(self._uplift("label"))
        return lambda camera: render_dense(self.splats, dense, ids, camera, self.rasterize_mode).cpu().numpy()

    def _uplift(self, void: Literal["abstain", "label"]) -> GaussianLabels:
        """Eq. 7 of the predictions as they are."""
        views = [(camera, ids) for camera, ids in self._predicted_views()]
        return uplift_labels(
            self.splats, ((camera, torch.from_numpy(ids).to(self.device)) for camera, ids in views), void=void,
            rasterize_mode=self.rasterize_mode,
        )  # fmt: skip

    def _render(self, labels: Any, camera: Camera) -> np.ndarray:
        return render_panoptic(self.splats, labels, camera, rasterize_mode=self.rasterize_mode).ids.cpu().numpy()

    def _predicted_views(self) -> Sequence[tuple[Camera, np.ndarray]]:
        labelled = ((index, self.train.labels(index, "panoptic")) for index in range(len(self.train)))
        return [(self.camera(self.train, index), ids.numpy()) for index, ids in labelled if ids is not None]

    def _nearest_view(self, camera: Camera) -> np.ndarray:
        depth = self._depth(camera)
        mean = float(depth[depth > 0].mean()) if (depth > 0).any() else 1.0
        labelled = [
            (view_distance(camera, source, mean), index)
            for index, source in enumerate(self._train_cameras())
            if self.train.labels(index, "panoptic") is not None
        ]
        nearest = [index for _, index in sorted(labelled)[:MOST_SOURCES]]
        return nearest_view_labels(camera, depth, [self._source(index) for index in nearest])

    @lru_cache(maxsize=1)  # noqa: B019 (one object a process)
    def _train_cameras(self) -> list[Camera]:
        return [self.camera(self.train, index) for index in range(len(self.train))]

    @lru_cache(maxsize=256)  # noqa: B019 (one object a process)
    def _source(self, index: int) -> SourceView:
        camera, labels = self._train_cameras()[index], self.train.labels(index, "panoptic")
        assert labels is not None
        return SourceView(camera, self._depth(camera), labels.numpy())

    @torch.no_grad()
    def _depth(self, camera: Camera) -> np.ndarray:
        """The Gaussians' expected depth ``[H, W]``, 0 where they cover too little."""
        splats = self.splats
        image, alpha, _ = rasterization(
            splats.means, splats.quats, splats.scales, splats.opacities, splats.sh[:, 0], camera.viewmat[None],
            camera.K[None], camera.width, camera.height, render_mode="ED", rasterize_mode=self.rasterize_mode,
        )  # fmt: skip
        depth = torch.where(alpha[0, ..., 0] >= LEAST_ACCUMULATION, image[0, ..., -1], 0.0)
        return depth.cpu().numpy()

    def camera(self, dataset: PanopticDataset, index: int) -> Camera:
        """The toolkit's camera of a view, where the Gaussians are."""
        return camera_of(dataset.cameras[index : index + 1]).to(self.device)


def stem_of(dataset: PanopticDataset, index: int) -> str:
    """The name of a view."""
    return dataset.metadata["frames"][index].stem


if __name__ == "__main__":
    try:
        tyro.cli(ScoreRun).run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
