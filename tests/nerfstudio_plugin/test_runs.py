# SPDX-License-Identifier: Apache-2.0
"""What becomes of a training: refined poses, copied runs, finished ones, exports, cameras that are no pinholes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio.scripts.exporter import ExportCameraPoses, ExportGaussianSplat
from nerfstudio.scripts.render import RenderCameraPath
from nerfstudio.utils.eval_utils import eval_setup

from nerfstudio_plugin.datamanager import camera_of
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs import uplift_labels
from panoptic_gs.splats import read_splats

Train = Callable[..., PanopticTrainer]


@pytest.fixture(scope="module")
def refined(room: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> PanopticTrainer:
    """A short training that refines its poses, antialiased."""
    trainer = train(
        room, tmp_path_factory.mktemp("refined"), 3, model__camera_optimizer__mode="SO3xR3",
        model__rasterize_mode="antialiased", model__labels="average",
    )  # fmt: skip
    optimizer = trainer.pipeline.model.camera_optimizer
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        optimizer.pose_adjustment.copy_(0.05 * torch.randn(optimizer.pose_adjustment.shape, generator=generator))
    trainer.save_checkpoint(3)
    return trainer


def test_labels_are_uplifted_from_refined_poses(refined: PanopticTrainer) -> None:
    pipeline = refined.pipeline
    manager, model = pipeline.datamanager, pipeline.model
    pipeline.uplift()
    found = model.current_labels()
    assert found is not None
    views = []
    for index, item in enumerate(manager.cached_train):
        camera = manager.train_dataset.cameras[index : index + 1]
        adjustment = model.camera_optimizer(torch.tensor([index]))[0].detach()
        pose = torch.cat([adjustment[:, :3] @ camera.camera_to_worlds[0][:, :3],
                          camera.camera_to_worlds[0][:, 3:] + adjustment[:, 3:]], dim=1)  # fmt: skip
        camera.camera_to_worlds = pose[None]
        views.append((camera_of(camera), item["panoptic"]))
    expected = uplift_labels(model.splats(), views, rasterize_mode="antialiased")
    assert torch.equal(found.labels.best()[0], expected.best()[0])
    plain = [(camera_of(manager.train_dataset.cameras[i : i + 1]), view[1]) for i, view in enumerate(views)]
    assert not torch.equal(uplift_labels(model.splats(), plain).best()[0], expected.best()[0])


def test_ns_export_cameras_gives_the_refined_poses(refined: PanopticTrainer, tmp_path: Path) -> None:
    ExportCameraPoses(load_config=refined.base_dir / "config.yml", output_dir=tmp_path).main()
    frames = json.loads((tmp_path / "transforms_train.json").read_text())
    dataset, optimizer = refined.pipeline.datamanager.train_dataset, refined.pipeline.model.camera_optimizer
    assert len(frames) == len(dataset) == 8
    for index, frame in enumerate(frames):
        before = dataset.cameras.camera_to_worlds[index]
        turn = optimizer(torch.tensor([index]))[0].detach()
        np.testing.assert_allclose(np.array(frame["transform"])[:, :3], turn[:, :3] @ before[:, :3], atol=1e-5)
        np.testing.assert_allclose(np.array(frame["transform"])[:, 3], turn[:, 3] + before[:, 3], atol=1e-5)
    assert len(json.loads((tmp_path / "transforms_eval.json").read_text())) == 2


def test_exported_gaussians_say_that_they_are_antialiased(
    refined: PanopticTrainer, trained: PanopticTrainer, tmp_path: Path
) -> None:
    for trainer, mode in ((refined, "antialiased"), (trained, None)):
        ExportGaussianSplat(load_config=trainer.base_dir / "config.yml", output_dir=tmp_path).main()
        read = read_splats(tmp_path / "splat.ply")
        assert len(read.splats) > 500
        assert read.rasterize_mode == mode or trainer is trained  # once marked, a process goes on marking


def test_a_copied_run_is_evaluated_by_its_own_checkpoint(trained: PanopticTrainer, tmp_path: Path) -> None:
    copy = tmp_path / "moved" / "run"
    shutil.copytree(trained.base_dir, copy)
    (file,) = (copy / "nerfstudio_models").glob("*.ckpt")
    state = torch.load(file, weights_only=True)
    state["pipeline"]["_model.gauss_params.means"] += 7.0
    torch.save(state, file)
    _, pipeline, path, _ = eval_setup(copy / "config.yml", test_mode="inference")
    assert path == file
    assert torch.equal(pipeline.model.means.cpu(), trained.pipeline.model.means.cpu() + 7.0)
    _, pipeline, path, _ = eval_setup(trained.base_dir / "config.yml", test_mode="inference")
    assert path.parent == trained.checkpoint_dir


def test_a_finished_training_says_so(
    trained: PanopticTrainer, room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = train(room, tmp_path, 150, load_dir=trained.checkpoint_dir)
    assert "is finished: its checkpoint has 150 of 150 iterations" in capsys.readouterr().out.replace("\n", " ")
    assert torch.equal(again.pipeline.model.means, trained.pipeline.model.means)


def test_a_training_that_prunes_everything_stops(
    room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(room, tmp_path, 60, schedule_iterations=0, model__warmup_length=5, model__refine_every=10,
              model__cull_alpha_thresh=0.45, model__stop_split_at=50, model__num_downscales=0,
              model__reset_alpha_every=100)  # fmt: skip
    assert stopped.value.code == 2
    assert "all of them were pruned" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("kind", ["fisheye", "equirectangular", "omnidirectional", "vr180"])
def test_camera_paths_that_are_no_pinholes_are_refused(
    kind: str, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ns-render needs ffmpeg")
    pose = np.eye(4).ravel().tolist()
    document = {"camera_type": kind, "render_width": 40, "render_height": 20, "seconds": 1, "fps": 1, "crop": None,
                "camera_path": 2 * [{"camera_to_world": pose, "fov": 60, "aspect": 2}]}  # fmt: skip
    file = tmp_path / "path.json"
    file.write_text(json.dumps(document))
    with pytest.raises(SystemExit) as stopped:
        RenderCameraPath(load_config=config_file, camera_path_filename=file, output_path=tmp_path / "out.mp4",
                         rendered_output_names=["rgb"]).main()  # fmt: skip
    assert stopped.value.code == 2
    assert kind.split("_")[0][:5] in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
    assert "nerfstudio" in sys.modules
