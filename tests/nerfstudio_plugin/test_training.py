# SPDX-License-Identifier: Apache-2.0
"""Training on the CPU: losses, densification, labels, checkpoints, resuming."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gsplat.strategy import ops
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

from nerfstudio_plugin.datamanager import camera_of
from nerfstudio_plugin.trainer import PanopticTrainer, latest_checkpoint, stretched
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.refine import lean_on_neighbours, uplift_weighed
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.scene import Scene
from panoptic_gs.scene.confidence import encode_confidence
from panoptic_gs.uplift import GaussianLabels, uplift_labels

Train = Callable[..., PanopticTrainer]


def test_a_training_densifies_and_learns(trained: PanopticTrainer, room: Path) -> None:
    model = trained.pipeline.model
    points = Scene.load(room).points
    assert points is not None
    count = model.num_points
    assert count > 1.1 * len(points[0])
    for name, parameter in model.gauss_params.items():
        (group,) = trained.optimizers.optimizers[name].param_groups
        assert len(parameter) == count
        assert group["params"][0] is parameter
    trained.pipeline.eval()
    errors = [
        torch.nn.functional.mse_loss(model.get_outputs_for_camera(camera)["rgb"], batch["image"].float() / 255)
        for camera, batch in (trained.pipeline.datamanager.next_train(0) for _ in range(8))
    ]
    assert -10 * torch.stack(errors).mean().log10() > 18


def test_the_last_checkpoint_has_labels_of_its_own_gaussians(trained: PanopticTrainer) -> None:
    path = trained.checkpoint_dir / "step-000000149.ckpt"
    assert [path] == list(trained.checkpoint_dir.iterdir())
    state = torch.load(path, weights_only=True)["pipeline"]
    labels = state["_model._extra_state"]["labels"]
    assert len(labels["indptr"]) - 1 == len(state["_model.gauss_params.means"])
    model = trained.pipeline.model
    expected = uplift_weighed(model.splats(), trained.pipeline.datamanager.labelled_views())
    expected = lean_on_neighbours(expected, model.splats())
    size = 1 + int(expected.label.max())
    torch.testing.assert_close(GaussianLabels(**labels).to_dense(size), expected.to_dense(size), atol=1e-3, rtol=0)


def test_panoptic_loss_moves_and_shapes_the_gaussians(trained: PanopticTrainer) -> None:
    model, datamanager = trained.pipeline.model, trained.pipeline.datamanager
    model.train()
    camera, batch = datamanager.next_train(0)
    loss = model.get_loss_dict(model.get_outputs(camera), batch)["panoptic_loss"]
    names = ("means", "scales", "quats", "opacities", "panoptic_colors", "features_dc")
    gradients = torch.autograd.grad(loss, [model.gauss_params[name] for name in names], allow_unused=True)
    for name, gradient in zip(names[:5], gradients):
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
    assert gradients[5] is None or gradients[5].abs().sum() == 0


def test_labels_follow_gaussians_that_are_copied_split_and_removed(trained: PanopticTrainer) -> None:
    model = trained.pipeline.model
    trained.pipeline.uplift()
    before = model.current_labels()
    assert before is not None
    strongest = before.labels.best()[0]
    saved = {name: parameter.detach().clone() for name, parameter in model.gauss_params.items()}
    # Marks travel with the Gaussians: panoptic colours are copied on every change and never altered by one.
    model.gauss_params["panoptic_colors"].data[:, 0] = torch.arange(len(strongest)).float()
    optimizers = trained.optimizers.optimizers
    for operation in (ops.duplicate, ops.split, ops.remove):
        mask = torch.rand(model.num_points, generator=torch.Generator().manual_seed(1)) < 0.2
        operation(params=model.gauss_params, optimizers=optimizers, state=model.strategy_state, mask=mask)
    origin = model.gauss_params["panoptic_colors"][:, 0].detach().long()
    after = model.current_labels()
    assert after is not None
    assert len(after.labels) == model.num_points != len(strongest)
    assert torch.equal(after.labels.best()[0], strongest[origin])
    model.load_state_dict({**model.state_dict(), **{f"gauss_params.{name}": value for name, value in saved.items()}})
    trained.pipeline.uplift()


def test_without_the_loss_labels_are_uplifted_all_the_same(room: Path, train: Train, tmp_path: Path) -> None:
    trainer = train(room, tmp_path, 3, model__panoptic_loss_weight=0.0)
    model = trainer.pipeline.model
    assert "panoptic_colors" not in model.gauss_params
    camera, batch = trainer.pipeline.datamanager.next_train(0)
    model.train()
    assert "panoptic_loss" not in model.get_loss_dict(model.get_outputs(camera), batch)
    model.eval()
    assert model.get_outputs_for_camera(camera)["segment_id"].unique().numel() > 2


def test_a_killed_training_resumes_from_its_last_whole_checkpoint(room: Path, train: Train, tmp_path: Path) -> None:
    options = {"steps_per_save": 4, "save_only_latest_checkpoint": False, "model__warmup_length": 15,
               "schedule_iterations": 0}  # fmt: skip
    first = train(room, tmp_path / "first", 11, **options)
    folder = first.checkpoint_dir
    assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:09d}.ckpt" for step in (4, 8, 10)]
    last = folder / "step-000000010.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert latest_checkpoint(folder) == (folder, 8)

    second = train(room, tmp_path / "second", 12, load_dir=folder.parent, **options)
    assert second._start_step == 9
    assert second.step == 11
    optimizer = second.optimizers.optimizers["means"]
    parameter = second.pipeline.model.means
    assert optimizer.param_groups[0]["params"][0] is parameter
    assert int(optimizer.state[parameter]["step"]) == 12
    moved = torch.load(folder / "step-000000008.ckpt", weights_only=True)["pipeline"]["_model.gauss_params.means"]
    assert not torch.equal(moved, parameter.detach())
    first_log, second_log = (TrainingLog.load(trainer.base_dir) for trainer in (first, second))
    assert [step for step, _ in first_log.curve("psnr")] == list(range(1, 12))
    assert [step for step, _ in second_log.curve("gaussian_count")] == list(range(1, 13))
    assert second_log.curve("loss")[:9] == first_log.curve("loss")[:9]
    assert len(second_log.origin["commands"]) == 2
    assert second_log.origin["held_out"] == list(Scene.load(room).splits["test"])


def test_resuming_from_nothing_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        latest_checkpoint(tmp_path)


def test_poses_can_be_optimised(room: Path, train: Train, tmp_path: Path) -> None:
    trainer = train(room, tmp_path, 3, model__camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"))
    assert trainer.pipeline.model.camera_optimizer.pose_adjustment.abs().max() > 0


def test_schedules_follow_the_number_of_iterations(trained: PanopticTrainer) -> None:
    from nerfstudio_plugin.method import method_config

    config = method_config("cpu")
    config.max_num_iterations = 3000
    short = stretched(config)
    assert short.pipeline.model.stop_split_at == config.pipeline.model.stop_split_at // 10
    assert short.optimizers["means"]["scheduler"].max_steps == 3000
    assert short.optimizers["means"]["optimizer"].lr == config.optimizers["means"]["optimizer"].lr
    poses = config.optimizers["camera_opt"]["optimizer"].lr  # which have as far to go
    assert short.optimizers["camera_opt"]["optimizer"].lr == pytest.approx(10 * poses)
    assert stretched(short).pipeline.model.stop_split_at == short.pipeline.model.stop_split_at
    config.max_num_iterations = config.schedule_iterations
    assert stretched(config).pipeline.model == config.pipeline.model


def test_rendered_colour_equals_the_toolkit_s(trained: PanopticTrainer) -> None:
    from panoptic_gs.rasterize import rasterization

    pipeline = trained.pipeline
    cameras = pipeline.datamanager.eval_dataset.cameras[:1]
    pipeline.eval()
    outputs = pipeline.model.get_outputs_for_camera(cameras)
    camera: Camera = camera_of(cameras)
    splats = pipeline.model.splats()
    colors, alphas, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, sh_degree=splats.sh_degree,
    )  # fmt: skip
    background = pipeline.model.background_color
    expected = (colors[0] + (1 - alphas[0]) * background).clamp(0, 1)
    errors = (outputs["rgb"] - expected).abs().amax(dim=-1)
    assert (errors > 1e-5).float().mean() < 1e-3
    assert errors.max() < 1 / 255, "a Gaussian may miss the least alpha by its last digit"


def test_confidence_weighs_votes_and_loss(room: Path, train: Train, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(room, scene)
    confidences = {}
    for number, frame in enumerate(Scene.load(scene).frames):
        confidences[frame.stem] = np.full((72, 96), number % 2, dtype=np.float32)
        confidences[frame.stem][:, :20] = 0.25
        write_png(scene / "panoptic" / "confidence" / f"{frame.stem}.png", encode_confidence(confidences[frame.stem]))
    option = "pipeline__datamanager__dataparser__weight_by_confidence"
    pipeline = train(scene, tmp_path / "out", 2, **{option: "both"}).pipeline
    model, datamanager = pipeline.model, pipeline.datamanager
    weights = [torch.from_numpy(confidences[path.stem]) for path in datamanager.train_dataset.image_filenames]
    expected = uplift_labels(model.splats(), datamanager.labelled_views(), weights)
    pipeline.uplift()
    labels = model.current_labels()
    assert labels is not None
    torch.testing.assert_close(labels.labels.total, expected.total, rtol=1e-4, atol=0)
    model.train()
    camera, batch = datamanager.next_train(0)
    outputs = model.get_outputs(camera)
    weighed = model.get_loss_dict(outputs, batch)["panoptic_loss"]
    batch["panoptic_confidence"] = torch.ones_like(batch["panoptic_confidence"])
    assert model.get_loss_dict(outputs, batch)["panoptic_loss"] > 1.5 * weighed
    pipeline = train(scene, tmp_path / "unweighted", 2, **{option: "none"}).pipeline
    assert "panoptic_confidence" not in pipeline.datamanager.cached_train[0]
    assert pipeline.datamanager.vote_weights() is None
