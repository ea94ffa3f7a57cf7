# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs predict --network panoptic-gs``: streaming, keyframes, sizes, and what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from network_parts import CLASSES, SMALL, box_views, small_network
from PIL import Image

from panoptic_gs.cli.main import main
from panoptic_gs.errors import InputError
from panoptic_gs.network import inference
from panoptic_gs.network.inference import choose_keyframes, input_sizes, predict_views
from panoptic_gs.network.model import PanopticNetwork, Views
from panoptic_gs.network.pictures import sheet
from panoptic_gs.network.predictor import PanopticGs
from panoptic_gs.network.weights import save_network
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import NetworkOptions, load_network
from panoptic_gs.raw_predictions import RawPredictions


@pytest.fixture(scope="module")
def network() -> PanopticNetwork:
    return small_network()


@pytest.fixture
def weights(tmp_path: Path, network: PanopticNetwork) -> Path:
    # Every query has a mask somewhere, and is of some class.
    moved = network.state_dict() | {"mask_bias": torch.tensor(3.0), "similarity.bias": torch.tensor(2.0)}
    save_network(path := tmp_path / "own.safetensors", network, moved, torch.float16)
    return path


def test_views_that_are_no_keyframes_are_seen_against_those_that_are(
    network: PanopticNetwork, monkeypatch: pytest.MonkeyPatch
):
    crops = list(box_views(7).images)
    scores = predict_views(network, crops, CLASSES, Keyframes(3)).class_logits.sigmoid().amax(1)
    monkeypatch.setattr(inference, "NO_CLASS", scores.median().item())
    output = predict_views(network, crops, CLASSES, Keyframes(3))
    descriptors = inference._descriptors(network, _views(network, crops))
    order = choose_keyframes(descriptors, Keyframes(3))
    with torch.inference_mode():
        keyframes = network.look(_views(network, [crops[index] for index in order]))
        queries = network.ask(keyframes)[-1]
        for index in range(7):
            reach = torch.eye(4, dtype=torch.bool)
            reach[:, :3] = True
            seen = network.look(_views(network, [*(crops[k] for k in order), crops[index]]), reach)
            expected = network.mask_logits(queries, seen.features[:, 3].permute(0, 2, 3, 1))[0]
            if index not in order:
                found = output.mask_logits[index].float()
                sure = output.class_logits.sigmoid().amax(1) >= inference.NO_CLASS
                assert 0 < sure.sum() < len(sure)
                torch.testing.assert_close(found[sure], expected[sure], atol=2e-2, rtol=1e-2)
                assert (found[~sure] == -30).all()  # a query of no class has no mask
    assert [tuple(points.shape) for points in output.points] == [(48, 64, 3)] * 7
    assert output.class_logits.shape == (8, 4)


def _views(network: PanopticNetwork, crops: list[np.ndarray]) -> Views:
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()[None] / 255
    return Views.padded(images, network.patch)


def test_keyframes_are_far_apart_in_the_networks_own_tokens():
    angles = torch.tensor([0.0, 0.05, 0.1, 1.5, 1.55, 3.0])
    descriptors = torch.stack([angles.cos(), angles.sin()], -1)
    chosen = choose_keyframes(descriptors, Keyframes(3, "similarity"))
    assert {0 if index < 3 else 1 if index < 5 else 2 for index in chosen} == {0, 1, 2}
    assert sorted(choose_keyframes(descriptors, Keyframes(3))) == [0, 2, 5]
    assert choose_keyframes(descriptors[:1], Keyframes(3)) == [0]


def test_large_masks_are_kept_in_a_file(network: PanopticNetwork, monkeypatch: pytest.MonkeyPatch):
    crops = list(box_views(4).images)
    inside = predict_views(network, crops, CLASSES, Keyframes(2))
    monkeypatch.setattr(inference, "IN_MEMORY", 0)
    outside = predict_views(network, crops, CLASSES, Keyframes(2))
    for a, b in zip(inside.mask_logits, outside.mask_logits, strict=True):
        assert torch.equal(a, b)


def test_photos_of_any_shape_become_raw_predictions(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index, size in enumerate([(200, 150), (150, 200), (320, 180), (64, 48)]):
        noise = rng.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize(size).save(tmp_path / "photos" / f"{index}.png")
    network = load_network(f"panoptic-gs:{weights}", NetworkOptions(estimate_cameras=False))
    assert isinstance(network, PanopticGs)
    from panoptic_gs.predict.photos import find_photos

    classes = [Category(index, name, index > 2) for index, name in enumerate(CLASSES, 1)]
    raw = network.predict(find_photos(tmp_path / "photos"), classes, Keyframes(2))
    raw.save(tmp_path / "raw")
    again = RawPredictions.load(tmp_path / "raw")
    assert again.network == "panoptic-gs"
    assert again.network_sizes == ((64, 48), (48, 64), (64, 40), (64, 48)) or len(set(again.network_sizes)) >= 2
    for (width, height), masks in zip(again.network_sizes, again.mask_logits, strict=True):
        assert masks.shape == (8, height // 4, width // 4)


def test_views_are_labelled_from_the_command_line(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "renders" / "rgb").mkdir(parents=True)
    for index, pixels in enumerate(box_views(3).images):
        Image.fromarray(pixels).save(tmp_path / "renders" / "rgb" / f"{index}.png")
    call = ["predict", "--views", str(tmp_path / "renders"), "--network", f"panoptic-gs:{weights}", "--out"]
    main([*call, str(tmp_path / "out"), "--classes", "wall:stuff,floor:stuff,chair:thing"])
    assert (tmp_path / "out" / "panoptic" / "panoptic.json").is_file()
    with pytest.raises(SystemExit, match="2"):
        main([*call, str(tmp_path / "other"), "--classes", "wall:stuff,sofa:thing"])
    assert "'sofa'" in capsys.readouterr().err
    missing = [*call[:-2], f"panoptic-gs:{tmp_path}/missing", "--out", str(tmp_path / "x"), "--classes", "wall:stuff"]
    with pytest.raises(SystemExit, match="2"):
        main(missing)
    assert "no such file" in capsys.readouterr().err


def test_weights_are_given_once(weights: Path):
    with pytest.raises(InputError, match="--checkpoint"):
        load_network(f"panoptic-gs:{weights}", NetworkOptions(checkpoint=weights.with_name("other")))
    with pytest.raises(InputError, match="fp16"):
        load_network("panoptic-gs", NetworkOptions(checkpoint=weights, amp="fp16"))


def test_sizes_have_the_width_of_the_training():
    assert input_sizes((160, 120)) == ((160, 120), (160, 160), (160, 104), (160, 88), (160, 80))
    assert all(side % 8 == 0 for size in input_sizes((512, 384)) for side in size)


def test_a_sheet_shows_photo_segments_and_depth(network: PanopticNetwork):
    views = box_views(3)
    picture = sheet(network, views)
    assert picture.shape == (3 * 48, 5 * 64, 3)
    assert (picture[:48, :64] == views.images[0]).all()
    assert len(np.unique(picture[:48, 128:192].reshape(-1, 3), axis=0)) == len(np.unique(views.segments[0]))


def test_an_online_network_predicts_alike(network: PanopticNetwork):
    online = PanopticNetwork(replace(SMALL, memory="online")).eval()
    online.load_state_dict(network.state_dict())
    output = predict_views(online, list(box_views(5).images), CLASSES, Keyframes(3))
    assert len(output.mask_logits) == 5
    assert all(torch.isfinite(mask.float()).all() for mask in output.mask_logits)
