# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfstudio_plugin.datamanager import PanopticDatamanagerConfig, camera_of
from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig
from panoptic_gs.errors import InputError
from panoptic_gs.merge import merge_predictions
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import synthesize, write_synthetic_scene
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries


def test_cameras_points_and_splits_are_the_scene_s(room: Path) -> None:
    scene = Scene.load(room)
    parser = PanopticSceneDataParserConfig(data=room).setup()
    for split, expected in (("train", "train"), ("val", "test"), ("test", "test")):
        outputs = parser.get_dataparser_outputs(split)
        assert tuple(path.stem for path in outputs.image_filenames) == tuple(sorted(scene.splits[expected]))
        for index, path in enumerate(outputs.image_filenames):
            camera, frame = camera_of(outputs.cameras[index : index + 1]), scene.frame(path.stem)
            torch.testing.assert_close(camera.viewmat, frame.camera.viewmat, atol=1e-5, rtol=0)
            torch.testing.assert_close(camera.K, frame.camera.K)
            assert (camera.width, camera.height) == (frame.camera.width, frame.camera.height)
    assert scene.points is not None
    np.testing.assert_allclose(outputs.metadata["points3D_xyz"].numpy(), scene.points[0], atol=1e-5)


def test_normalised_poses_and_points_stay_together(room: Path) -> None:
    plain = PanopticSceneDataParserConfig(data=room).setup().get_dataparser_outputs()
    options = {"orientation_method": "up", "center_method": "poses", "auto_scale_poses": True}
    normal = PanopticSceneDataParserConfig(data=room, **options).setup().get_dataparser_outputs()
    assert normal.cameras.camera_to_worlds[..., 3].abs().max() <= 1 + 1e-5
    for index in range(3):
        seen = [
            (points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T
            for camera, points in (
                (camera_of(o.cameras[index : index + 1]), o.metadata["points3D_xyz"]) for o in (plain, normal)
            )
        ]
        front = seen[0][:, 2] > 0.1
        pixels = [points[front, :2] / points[front, 2:] for points in seen]
        torch.testing.assert_close(pixels[0], pixels[1], atol=0.05, rtol=1e-3)


def test_without_splits_every_eighth_view_is_for_evaluation(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room, tmp_path / "scene")
    (tmp_path / "scene" / "splits.json").unlink()
    parser = PanopticSceneDataParserConfig(data=tmp_path / "scene").setup()
    assert [len(parser.get_dataparser_outputs(split).image_filenames) for split in ("train", "test")] == [8, 2]


def test_no_training_views_is_bad_input(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room, tmp_path / "scene")
    (tmp_path / "scene" / "splits.json").write_text(json.dumps({"train": [], "test": ["0001"]}))
    with pytest.raises(InputError, match="no training views"):
        PanopticSceneDataParserConfig(data=tmp_path / "scene").setup().get_dataparser_outputs("train")


def test_items_have_labels_of_the_image_s_size(room: Path) -> None:
    scene = Scene.load(room)
    for downscale, size in ((None, (72, 96)), (2.0, (36, 48))):
        config = PanopticDatamanagerConfig(data=room)
        config.dataparser.downscale_factor = downscale
        datamanager = config.setup(device="cpu", test_mode="val")
        camera, item = datamanager.next_train(0)
        assert (int(camera.height), int(camera.width)) == size == tuple(item["image"].shape[:2])
        assert size == tuple(item["panoptic"].shape) == tuple(item["panoptic_gt"].shape)
        stem = datamanager.train_dataset.image_filenames[item["image_idx"]].stem
        assert set(item["panoptic"].unique().tolist()) <= set(np.unique(scene.load_panoptic().maps[stem]).tolist())
        if downscale is None:
            np.testing.assert_array_equal(item["panoptic"].numpy(), scene.load_panoptic().maps[stem])


def test_views_without_a_map_train_colour_only(room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(room, tmp_path / "scene")
    file = tmp_path / "scene" / "panoptic" / "panoptic.json"
    document = json.loads(file.read_text())
    document["annotations"] = document["annotations"][1:]
    document["images"] = document["images"][1:]
    file.write_text(json.dumps(document))
    datamanager = PanopticDatamanagerConfig(data=tmp_path / "scene").setup(device="cpu", test_mode="val")
    assert "1 of 8 training views have no map" in capsys.readouterr().out
    items = datamanager.cached_train
    assert ["panoptic" in item for item in items] == [False] + 7 * [True]
    assert len(list(datamanager.labelled_views())) == 7


def test_colmap_model_and_lens(shared_data: Path) -> None:
    root = shared_data / "livingroom" / "distorted"
    outputs = PanopticSceneDataParserConfig(data=root).setup().get_dataparser_outputs("train")
    scene = Scene.load(root)
    assert len(outputs.image_filenames) == len(scene.frames) - 2
    assert outputs.cameras.distortion_params is None or not outputs.cameras.distortion_params.any()
    assert scene.points is not None
    assert len(outputs.metadata["points3D_xyz"]) == len(scene.points[0])
    assert int(outputs.cameras.width[0]) in range(950, 961)


@pytest.mark.parametrize("method", ["qubo", "standard"])
def test_raw_predictions_are_merged_anew(tmp_path: Path, method: str) -> None:
    room = synthesize(seed=1, views=6, width=64, height=48, seed_points=200)
    write_synthetic_scene(tmp_path / "room", room, room.truth)
    raw = simulate_queries(room.truth, room.cameras, QueryNoise.none(), 1)
    raw.save(tmp_path / "room" / "predictions")
    config = PanopticDatamanagerConfig(data=tmp_path / "room")
    config.dataparser.merge, config.dataparser.weight_by_confidence = method, "uplift"
    datamanager = config.setup(device="cpu", test_mode="val")
    merge = merge_predictions(raw, method)
    weights = datamanager.vote_weights()
    for index, item in enumerate(datamanager.cached_train):
        ids, confidence = merge.label_map(datamanager.train_dataset.image_filenames[index].stem)
        assert torch.equal(item["panoptic"], ids)
        torch.testing.assert_close(weights[index], confidence)
    assert len(item["panoptic"].unique()) > 3
    raw = replace(raw, images=tuple(replace(image, name=f"other{i}.png") for i, image in enumerate(raw.images)))
    raw.save(tmp_path / "room" / "predictions")
    with pytest.raises(InputError, match="other0"):
        config.setup(device="cpu", test_mode="val")
