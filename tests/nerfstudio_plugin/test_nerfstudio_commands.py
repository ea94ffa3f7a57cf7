# SPDX-License-Identifier: Apache-2.0
"""ns-render, ns-eval and ns-export work from the checkpoint, offline; bad input ends with exit code 2."""

import gzip
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts import eval as nerfstudio_eval
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.render import DatasetRender
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from nerfstudio_plugin import report
from nerfstudio_plugin.datamanager import camera_of
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import render_panoptic

Train = Callable[..., PanopticTrainer]

pytestmark = pytest.mark.skipif("panst3r-ludvig" not in all_methods, reason="the package is not installed")


def read_raw(folder: Path) -> dict[str, np.ndarray]:
    """What ns-render wrote of a raw output, by image name."""
    images = {}
    for path in sorted(folder.glob("*.npy.gz")):
        with gzip.open(path, "rb") as file:
            images[path.name.removesuffix(".npy.gz")] = np.load(file)[..., 0]
    return images


def test_rendered_ids_are_exact(config_file: Path, trained: PanopticTrainer, room: Path, tmp_path: Path) -> None:
    names = ["raw-segment_id", "raw-category_id", "raw-panoptic_confidence"]
    DatasetRender(load_config=config_file, output_path=tmp_path, rendered_output_names=names).main()
    segments, categories, confidences = (read_raw(tmp_path / "test" / name) for name in names)
    _, pipeline, _, _ = eval_setup(config_file)
    dataset = pipeline.datamanager.eval_dataset
    assert sorted(segments) == [path.stem for path in dataset.image_filenames]
    uplifted = pipeline.model.current_labels()
    for index, stem in enumerate(sorted(segments)):
        ids, confidence, _ = render_panoptic(
            pipeline.model.splats(), uplifted.labels, camera_of(dataset.cameras[index : index + 1])
        )
        assert ids.unique().numel() > 2
        # Loaded twice, exponentials may differ in the last bit, which can turn a tie.
        assert (segments[stem] == ids.numpy()).mean() > 0.999
        np.testing.assert_array_equal(categories[stem], uplifted.meaning.category_of()[segments[stem].astype(int)])
        np.testing.assert_allclose(confidences[stem], confidence.numpy(), atol=1e-4)
    assert {segment.id for segment in Scene.load(room).load_panoptic().segments} >= set(
        np.unique(np.concatenate([s.ravel() for s in segments.values()])).astype(int)
    ) - {0}


def test_default_outputs_are_written(config_file: Path, tmp_path: Path) -> None:
    DatasetRender(load_config=config_file, output_path=tmp_path, image_format="png").main()
    written = {folder.name for folder in (tmp_path / "test").iterdir()}
    assert written >= {"rgb", "depth", "accumulation", "panoptic", "segment_id", "category_id", "panoptic_confidence"}
    for name in written:
        assert Image.open(next((tmp_path / "test" / name).glob("*.png"))).size == (96, 72)


def test_a_crop_without_gaussians_gives_every_output(trained: PanopticTrainer) -> None:
    from nerfstudio.data.scene_box import OrientedBox

    pipeline = trained.pipeline
    pipeline.eval()
    camera = pipeline.datamanager.eval_dataset.cameras[:1]
    full = pipeline.model.get_outputs_for_camera(camera)
    box = OrientedBox(R=torch.eye(3), T=torch.full((3,), 1e4), S=torch.ones(3))
    empty = pipeline.model.get_outputs_for_camera(camera, obb_box=box)
    pipeline.model.set_crop(None)
    assert {name: value.shape for name, value in empty.items()} == {name: value.shape for name, value in full.items()}


def test_ns_eval_scores_all_views_together(config_file: Path, room: Path, tmp_path: Path) -> None:
    ComputePSNR(load_config=config_file, output_path=tmp_path / "scores.json").main()
    results = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert {"psnr", "ssim", "psnr_std"} <= set(results)
    DatasetRender(load_config=config_file, output_path=tmp_path, rendered_output_names=["raw-segment_id"]).main()
    scene = Scene.load(room)
    predictions, truth = scene.load_panoptic(), scene.load_panoptic("panoptic_gt")
    maps = {stem: ids.astype(np.int32) for stem, ids in read_raw(tmp_path / "test" / "raw-segment_id").items()}
    rendered = PanopticScene(predictions.categories, predictions.segments, maps)
    for protocol, scores in evaluate_scenes(rendered, truth, list(maps)).items():
        assert results[f"{protocol}/pq"] == pytest.approx(scores.panoptic.pq)
        assert results[f"{protocol}/miou"] == pytest.approx(scores.miou)
    stems = [frame.stem for frame in scene.split("train")]
    for protocol, scores in evaluate_scenes(predictions, truth, stems).items():
        assert results[f"predictions/{protocol}/pq"] == pytest.approx(scores.panoptic.pq)


def test_ns_eval_writes_a_report_beside_its_scores(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tmp_path / "out" / "scores.json"
    monkeypatch.setattr(sys, "argv", ["ns-eval", "--load-config", str(config_file), "--output-path", str(scores)])
    surveyed, tell = [], report.labelled_objects
    monkeypatch.setattr(report, "labelled_objects", lambda *given: surveyed.append(given[1]) or tell(*given))
    nerfstudio_eval.entrypoint()
    frames = Scene.load(json.loads((config_file.parent / "training.json").read_text())["data"]).frames
    centers = [np.stack([c.center.numpy() for c in cameras]) for cameras in (surveyed[0], [f.camera for f in frames])]
    assert np.sort(centers[0], axis=0) == pytest.approx(np.sort(centers[1], axis=0), abs=1e-4), "of all photos"
    results = json.loads(scores.read_text())["results"]
    page = scores.with_suffix(".html").read_text()
    for name in ("panoptic-lifting/pq", "strict/pq"):
        assert f"<b>{100 * results[name]:.1f}</b>" in page
    assert f"<b>{results['psnr']:.2f}</b>" in page
    assert f"ns-eval --load-config {config_file}" in page
    assert page.count('class="chart"') == 3, "PSNR, loss and number of Gaussians"


def test_a_report_without_truth_has_pictures_and_no_scores(
    trained: PanopticTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in (trained.pipeline.datamanager.train_dataset, trained.pipeline.datamanager.eval_dataset):
        monkeypatch.setitem(dataset.metadata, "panoptic_gt", None)
    for item in trained.pipeline.datamanager.cached_eval:
        monkeypatch.delitem(item, "panoptic_gt", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ns-eval", "--load-config", str(trained.base_dir / "config.yml")])
    metrics = trained.pipeline.get_average_eval_image_metrics()
    assert "strict/pq" not in metrics
    page = (tmp_path / "output.html").read_text()
    assert "no true maps" in page
    assert page.count('class="view"') == 2
    monkeypatch.setattr(sys, "argv", ["another-program", "--output-path", "other.json"])
    trained.pipeline.get_average_eval_image_metrics()
    assert [path.name for path in tmp_path.iterdir()] == ["output.html"]


def test_lpips_is_left_out_where_its_weights_are_missing(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    ComputePSNR(load_config=config_file, output_path=tmp_path / "scores.json").main()
    assert "lpips" not in (tmp_path / "scores.json").read_text()


def test_exported_splats_keep_the_scene_s_world(
    config_file: Path, trained: PanopticTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        import open3d  # noqa: F401
    except (ImportError, OSError):  # its shared libraries are missing on many servers, and the export does not use it
        monkeypatch.setitem(sys.modules, "open3d", types.ModuleType("open3d"))
    from nerfstudio.scripts.exporter import ExportGaussianSplat

    ExportGaussianSplat(load_config=config_file, output_dir=tmp_path).main()
    exported = Splats.load_ply(tmp_path / "splat.ply")
    model = trained.pipeline.model.splats()
    assert 0.5 * len(model) < len(exported) <= len(model)
    distances = torch.cdist(exported.means[:50], model.means, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.amin(dim=1).max() < 1e-6


def ns_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "nerfstudio.scripts.train", "panst3r-ludvig", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_bad_input_ends_the_command_with_code_2_and_no_stack_trace(tmp_path: Path) -> None:
    result = ns_train("--data", tmp_path / "nowhere", "--output-dir", tmp_path / "out", "--vis", "tensorboard")
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fault", ["no predictions", "no seed points", "points out of view", "truncated map", "nan pose"]
)
def test_bad_scenes_are_refused(
    fault: str, room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(room, scene)
    transforms = json.loads((scene / "transforms.json").read_text())
    expected = "transforms.json"
    if fault == "no predictions":
        shutil.rmtree(scene / "panoptic")
        expected = "panoptic"
    elif fault == "no seed points":
        del transforms["ply_file_path"]
        expected = "seed points"
    elif fault == "points out of view":
        for frame in transforms["frames"]:  # far ahead, so that everything lies behind the camera
            pose = np.array(frame["transform_matrix"])
            pose[:3, 3] -= 1000 * pose[:3, 2]
            frame["transform_matrix"] = pose.tolist()
        expected = "seed points"
    elif fault == "truncated map":
        path = sorted((scene / "panoptic").glob("*.png"))[0]
        path.write_bytes(path.read_bytes()[:200])
        expected = path.name
    else:
        transforms["frames"][0]["transform_matrix"][0][0] = float("nan")
    (scene / "transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(SystemExit) as stopped:
        train(scene, tmp_path / "out", 1)
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err
    if fault not in ("points out of view", "truncated map"):
        assert not (tmp_path / "out").exists()
