# SPDX-License-Identifier: Apache-2.0
"""Depth in training: where it comes from, what it pulls on, and the points that it starts from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig
from nerfstudio_plugin.depth_seeds import view_scale
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.ply import write_points
from panoptic_gs.scene import Scene
from panoptic_gs.scene.depth import depth_to_millimetres
from panoptic_gs.synthetic import SyntheticScene, synthesize
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries

Train = Callable[..., PanopticTrainer]
SPARSE = 150


@pytest.fixture(scope="module")
def made() -> SyntheticScene:
    """What the room was made of, with points all over its surfaces."""
    return synthesize(seed=1, views=10, width=96, height=72, seed_points=100_000)


@pytest.fixture(scope="module")
def deep(room: Path, made: SyntheticScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The room with exact depth in ``depth/``, half as fine as its photos, and few seed points."""
    folder = tmp_path_factory.mktemp("deep") / "room"
    shutil.copytree(room, folder)
    for stem, view in made.views.items():
        write_png(folder / "depth" / f"{stem}.png", depth_to_millimetres(view.depth[::2, ::2]))
    write_points(folder / "points3D.ply", (made.points[0][:SPARSE], made.points[1][:SPARSE]))
    return folder


def parsed(scene: Path, split: str = "train", **options: Any) -> dict:
    return PanopticSceneDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split).metadata


def test_depth_that_may_be_the_truth_takes_part_only_where_it_is_asked_for(deep: Path, tmp_path: Path) -> None:
    assert parsed(deep)["depth"] is None
    assert len(parsed(deep)["points3D_xyz"]) == SPARSE
    assert parsed(deep, depth="photos")["depth"] is not None
    assert parsed(deep, "test", depth="photos")["depth"] is None
    shutil.copytree(deep, tmp_path / "named")
    transforms = json.loads((tmp_path / "named" / "transforms.json").read_text())
    for frame in transforms["frames"]:
        frame["depth_file_path"] = f"depth/{Path(frame['file_path']).stem}.png"
    (tmp_path / "named" / "transforms.json").write_text(json.dumps(transforms))
    assert parsed(tmp_path / "named")["depth"] is not None
    assert parsed(tmp_path / "named", depth="none")["depth"] is None


def test_missing_or_unreadable_depth_is_refused_where_it_is_asked_for(
    room: Path, deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in ("photos", "predictions"):
        with pytest.raises(InputError, match="depth" if source == "photos" else "predictions"):
            parsed(room, depth=source)
    shutil.copytree(deep, tmp_path / "grey")
    stem = Scene.load(deep).frames[0].stem
    write_png(tmp_path / "grey" / "depth" / f"{stem}.png", np.full((36, 48), 90, np.uint8))
    with pytest.raises(InputError, match=r"uint8 of shape"):
        parsed(tmp_path / "grey", depth="photos")
    # Nobody asked for it: it is left aside, and said.
    transforms = json.loads((tmp_path / "grey" / "transforms.json").read_text())
    transforms["frames"][0]["depth_file_path"] = "gone.png"
    (tmp_path / "grey" / "transforms.json").write_text(json.dumps(transforms))
    capsys.readouterr()
    assert parsed(tmp_path / "grey")["depth"] is None
    said = capsys.readouterr().out
    assert "takes no part" in said
    assert "gone.png" in said
    (tmp_path / "grey" / "predictions").mkdir()
    (tmp_path / "grey" / "predictions" / "predictions.json").write_text("{")
    for frame in transforms["frames"]:
        frame.pop("depth_file_path", None)
    (tmp_path / "grey" / "transforms.json").write_text(json.dumps(transforms))
    assert parsed(tmp_path / "grey")["depth"] is None
    assert "takes no part" in capsys.readouterr().out


def test_seeds_from_depth_lie_on_the_surfaces_of_the_room(deep: Path, made: SyntheticScene) -> None:
    metadata = parsed(deep, depth="photos", depth_seed_points=3000)
    seeds = metadata["points3D_xyz"].numpy()
    assert 2500 < len(seeds) <= 3000
    dense = made.points
    distances = torch.cdist(torch.from_numpy(seeds[SPARSE:]), torch.from_numpy(dense[0])).min(1)
    near = distances.values
    assert near.median() < 0.04  # metres; a pixel of the far walls is 5 cm
    assert near.quantile(0.95) < 0.1
    colors = metadata["points3D_rgb"][SPARSE:].float()
    assert (colors - torch.from_numpy(dense[1]).float()[distances.indices]).abs().mean() < 15
    assert len(parsed(deep, depth="photos", depth_seed_points=0)["points3D_xyz"]) == SPARSE


def test_the_scale_of_a_view_is_the_one_that_visible_points_agree_on(deep: Path, made: SyntheticScene) -> None:
    scene = Scene.load(deep)
    frame, rng = scene.frames[0], np.random.default_rng(0)
    depth = scene.load_depth().read(frame)
    dense = made.points[0][::20]
    assert view_scale(frame.camera, depth / 1.7, dense) == pytest.approx(1.7, rel=0.01)
    # Twice as many points behind what the view shows, each somewhere else.
    center = frame.camera.center.double().numpy()
    behind = np.concatenate([center + rng.uniform(1.2, 3, (len(dense), 1)) * (dense - center) for _ in range(2)])
    assert view_scale(frame.camera, depth / 1.7, np.concatenate([dense, behind])) == pytest.approx(1.7, rel=0.03)
    assert np.isnan(view_scale(frame.camera, depth, dense[:10]))
    assert np.isnan(view_scale(frame.camera, np.zeros_like(depth), dense))


def test_depth_pulls_gaussians_onto_the_surfaces(deep: Path, train: Train, tmp_path: Path) -> None:
    errors = {}
    for name, options in (("without", {}), ("with", {"pipeline__datamanager__dataparser__depth": "photos",
                                                     "pipeline__datamanager__dataparser__depth_seed_points": 0,
                                                     "model__depth_loss_weight": 1.0})):  # fmt: skip
        trainer = train(deep, tmp_path / name, 80, **options)
        model = trainer.pipeline.model
        losses = trainer.pipeline.get_train_loss_dict(80)[1]
        assert ("depth_loss" in losses) == (name == "with")
        true = Scene.load(deep)
        found = []
        for camera, item in trainer.pipeline.datamanager.fixed_indices_eval_dataloader:
            assert "depth" not in item
            rendered = model.eval().get_outputs(camera)["depth"][..., 0]
            frame = true.split("test")[len(found)]
            ratio = (rendered / torch.from_numpy(true.load_depth().read(frame))).log()
            found.append(float(ratio.abs().median()))
        errors[name] = np.mean(found)
    assert errors["with"] < 0.85 * errors["without"]


def test_point_maps_of_raw_predictions_take_part_by_themselves(
    room: Path, made: SyntheticScene, tmp_path: Path
) -> None:
    shutil.copytree(room, tmp_path / "scene")
    raw = simulate_queries(made.truth, made.cameras, QueryNoise.preset("low"), 1)
    raw.save(tmp_path / "scene" / "predictions")
    assert parsed(tmp_path / "scene")["depth"] is None  # masks alone
    points, width, height = [], *raw.network_size
    assert raw.to_original is not None
    for image, crop in zip(raw.images, raw.to_original.double(), strict=True):
        camera, view = made.cameras[image.stem], made.views[image.stem]
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        pixels = crop.numpy() @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        z = view.depth[pixels[1].astype(int), pixels[0].astype(int)].astype(np.float64)
        local = (np.linalg.inv(camera.K.double().numpy()) @ pixels * z).T
        viewmat = camera.viewmat.double().numpy()
        points.append(((local - viewmat[:3, 3]) @ viewmat[:3, :3]).reshape(height, width, 3))
    known = replace(raw, points=torch.from_numpy(np.stack(points)).float(),
                    confidence=torch.ones(len(points), height, width))  # fmt: skip
    known.save(tmp_path / "scene" / "predictions")
    read = parsed(tmp_path / "scene")["depth"].read
    assert parsed(tmp_path / "scene", depth="none")["depth"] is None
    for frame in Scene.load(tmp_path / "scene").split("train"):
        found = read(frame)
        seen = frame.fit_labels(found["depth"])
        true = made.views[frame.stem].depth
        assert (seen > 0).mean() > 0.85  # the crop shows 8 of 9 pixels
        assert np.median(np.abs(np.log(seen[seen > 0] / true[seen > 0]))) < 0.01

    # They lie in the scene's own frame, whatever its unit is and what else lies there.
    transforms = json.loads((tmp_path / "scene" / "transforms.json").read_text())
    transforms["meters_per_unit"] = 0.5
    (tmp_path / "scene" / "transforms.json").write_text(json.dumps(transforms))
    for stem, view in made.views.items():
        write_png(tmp_path / "scene" / "depth" / f"{stem}.png", depth_to_millimetres(view.depth))
    assert parsed(tmp_path / "scene")["depth"].unit == 1.0
    assert parsed(tmp_path / "scene", depth="photos")["depth"].unit == 2.0
