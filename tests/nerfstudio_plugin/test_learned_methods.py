# SPDX-License-Identifier: Apache-2.0
"""``panoptic-splatting`` and ``panopticrecon``: trainings that learn objects from masks."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nerfstudio_plugin.datamanager import camera_of
from nerfstudio_plugin.learned_stage import LearnedStage
from nerfstudio_plugin.method import panoptic_splatting, panopticrecon
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.camera import Camera
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene, Segment
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic, uplift_labels
from panoptic_gs.uplift.checkpoint import load_checkpoint

Train = Callable[..., PanopticTrainer]
METHODS = {"panoptic-splatting": panoptic_splatting, "panopticrecon": panopticrecon}
SHAPES = ("means", "quats", "scales", "opacities")
QUICK: dict[str, Any] = {
    "pipeline__queries__steps": 150, "pipeline__queries__prune_every": 40, "pipeline__queries__pixels": 1500,
    "model__num_downscales": 0,
}  # fmt: skip


def test_checkpoints_carry_labels_and_queries_and_frozen_shapes(
    renumbered: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: dict[str, torch.Tensor] = {}
    learn = LearnedStage.learn

    def noted(self: LearnedStage, step: int) -> Any:
        frozen.update({name: self._model.gauss_params[name].detach().clone() for name in SHAPES})
        frozen["colors"] = self._model.gauss_params["features_dc"].detach().clone()
        return learn(self, step)

    monkeypatch.setattr(LearnedStage, "learn", noted)
    trainer = train(renumbered, tmp_path, 120, method=METHODS["panopticrecon"], **QUICK)
    model = trainer.pipeline.model
    assert model.queries["step"] == 114
    assert all(torch.equal(model.gauss_params[name], frozen[name]) for name in SHAPES)
    assert not torch.equal(model.gauss_params["features_dc"], frozen["colors"])
    truth = PanopticScene.load(renumbered / "panoptic_gt")
    read = load_checkpoint(trainer.base_dir)
    views = _views(trainer, "train")
    true = uplift_labels(read.splats, ((camera, torch.from_numpy(truth.maps[stem])) for stem, camera in views.items()))
    best = _quality(read.splats, true, truth.segments, truth, views)
    assert _quality(read.splats, read.labels, read.labelling.segments, truth, views) > 0.8 * best > 0
    tokens = model.queries["tokens"]
    assert set(tokens["ids"].tolist()) <= {segment.id for segment in read.labelling.segments}


@pytest.mark.parametrize("method", METHODS)
def test_either_output_of_either_method_labels_new_views(
    renumbered: Path, train: Train, tmp_path: Path, method: str
) -> None:
    for source in ("matches", "queries") if method == "panoptic-splatting" else ("queries",):
        trainer = train(renumbered, tmp_path / source, 60, method=METHODS[method],
                        pipeline__labels_from=source, **QUICK)  # fmt: skip
        truth = PanopticScene.load(renumbered / "panoptic_gt")
        model = trainer.pipeline.model
        uplifted = model.current_labels()
        views = _views(trainer, "eval")
        true = uplift_labels(
            model.splats(),
            ((c, torch.from_numpy(truth.maps[stem])) for stem, c in _views(trainer, "train").items()),
        )
        best = _quality(model.splats(), true, truth.segments, truth, views)
        found = _quality(model.splats(), uplifted.labels, uplifted.meaning.segments, truth, views)
        assert found > (0.7 if source == "matches" else 0.5) * best
        metrics = trainer.pipeline.get_average_eval_image_metrics(step=60)
        assert metrics["strict/pq"] > 0


def test_a_resumed_training_keeps_what_was_learned_or_learns_it(
    renumbered: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    learn = LearnedStage.learn

    def noted(self: LearnedStage, step: int) -> Any:
        steps.append(step)
        return learn(self, step)

    def stopped(self: LearnedStage, step: int) -> Any:
        raise KeyboardInterrupt

    method, quick = METHODS["panopticrecon"], {**QUICK, "pipeline__freeze_after": 0.5}
    monkeypatch.setattr(LearnedStage, "learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(renumbered, tmp_path / "first", 60, method=method, **quick)
    checkpoints = next((tmp_path / "first").rglob("nerfstudio_models"))
    monkeypatch.setattr(LearnedStage, "learn", noted)
    second = train(renumbered, tmp_path / "second", 60, method=method, load_dir=checkpoints, **quick)
    assert steps == [30]
    before = second.pipeline.model.current_labels()
    third = train(renumbered, tmp_path / "third", 70, method=method, load_dir=second.checkpoint_dir, **quick)
    after = third.pipeline.model.current_labels()
    assert steps == [30]
    assert before is not None
    assert after is not None
    assert torch.equal(before.labels.weight, after.labels.weight)
    assert torch.equal(second.pipeline.model.means, third.pipeline.model.means)
    train(renumbered, tmp_path / "longer", 130, method=method, load_dir=third.checkpoint_dir, **quick)
    assert steps == [30], "shapes were frozen half-way, and stay so"


def test_masks_are_needed_and_found(room: Path, renumbered: Path, train: Train, tmp_path: Path, capsys) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(room, scene, ignore=shutil.ignore_patterns("panoptic", "panoptic_gt"))
    with pytest.raises(SystemExit):
        train(scene, tmp_path / "none", 20, method=METHODS["panopticrecon"], **QUICK)
    assert "masks" in capsys.readouterr().err
    shutil.copytree(renumbered / "panoptic", scene / "masks_per_image")
    trainer = train(scene, tmp_path / "found", 20, method=METHODS["panopticrecon"], **QUICK)
    assert trainer.pipeline.model.current_labels() is not None


def test_scene_wide_maps_are_masks_like_others(room: Path, train: Train, tmp_path: Path) -> None:
    trainer = train(room, tmp_path, 30, method=METHODS["panopticrecon"], **QUICK)
    assert trainer.pipeline.model.queries is not None
    assert trainer.pipeline.model.current_labels().meaning.source == PanopticScene.load(room / "panoptic").source


def test_options_come_back_from_the_config(renumbered: Path, train: Train, tmp_path: Path) -> None:
    trainer = train(
        renumbered, tmp_path, 10, method=METHODS["panoptic-splatting"], **{**QUICK, "pipeline__queries__steps": 5}
    )
    config = yaml.load((trainer.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert config.pipeline.queries == trainer.config.pipeline.queries
    assert (config.pipeline.queries.masks, config.pipeline.queries.steps) == ("softmax", 5)


def _views(trainer: PanopticTrainer, split: str) -> dict[str, Camera]:
    manager = trainer.pipeline.datamanager
    dataset = manager.train_dataset if split == "train" else manager.eval_dataset
    cameras = dataset.cameras
    return {f.stem: camera_of(cameras[k : k + 1]) for k, f in enumerate(dataset.metadata["frames"])}


def _quality(
    splats: Splats, labels: GaussianLabels, segments: Sequence[Segment], truth: PanopticScene, views: dict[str, Camera]
) -> float:
    """The strict PQ of what these labels render."""
    shown = {stem: render_panoptic(splats, labels, camera).ids.numpy() for stem, camera in views.items()}
    predicted = PanopticScene(truth.categories, segments, shown)
    return evaluate_scenes(predicted, truth, list(views), ("strict",))["strict"].panoptic.pq
