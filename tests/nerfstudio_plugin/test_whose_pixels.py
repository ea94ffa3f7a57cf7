# SPDX-License-Identifier: Apache-2.0
"""What training learns from: straight photos before a background, and no label of a pixel that does not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.captures.folder import capture, write_capture
from benchmarks.captures.lenses import Lens
from nerfstudio_plugin.datamanager import PanopticDatamanagerConfig, PanopticDataset
from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig
from panoptic_gs.scene import Scene

BARREL = Lens("OPENCV", 120, 80, 50.0, more=(("k1", -0.35), ("k2", 0.12)))


def masked(root: Path, kept: np.ndarray, lens: Lens) -> Path:
    write_capture(root, capture(lens, 9), frame_extra=lambda stem: {"mask_path": "mask.png"})
    Image.fromarray(kept).save(root / "mask.png")
    return root


def test_a_mask_takes_photo_and_labels_through_the_same_lens(tmp_path: Path) -> None:
    kept = np.ones((80, 120), dtype=bool)
    kept[40:, :60] = False
    root = masked(tmp_path, kept, BARREL)
    dataset = PanopticDataset(PanopticSceneDataParserConfig(data=root).setup().get_dataparser_outputs("train"))
    item = dataset.get_data(0)
    assert item["image"].shape == (80, 120, 3)
    mask = item["mask"][..., 0]
    assert 0.7 < float(mask.float().mean()) < 0.8
    assert torch.equal(item["panoptic"] != 0, mask)
    assert torch.equal(item["counting"], mask)
    frame = Scene.load(root).frames[1]
    np.testing.assert_array_equal(np.asarray(dataset.get_data(0)["image"] * 255).round(), frame.read_image())


def test_masked_pixels_weigh_nothing_where_void_is_a_label(tmp_path: Path) -> None:
    kept = np.ones((80, 120), dtype=bool)
    kept[:20] = False
    datamanager = PanopticDatamanagerConfig(data=masked(tmp_path, kept, Lens("PINHOLE", 120, 80, 75.0))).setup(
        device="cpu", test_mode="val"
    )
    weights = datamanager.vote_weights()
    assert weights is not None
    assert len(weights) == len(list(datamanager.labelled_views()))
    for weight in weights:
        np.testing.assert_array_equal(weight.numpy(), kept)


def test_photos_keep_their_alpha_until_the_background_is_known(tmp_path: Path) -> None:
    made = capture(Lens("PINHOLE", 120, 80, 75.0), 9)
    for stem, photo in made.photos.items():
        made.photos[stem] = np.dstack([photo, np.where(made.maps[stem] == 1, 0, 255)]).astype(np.uint8)
    root = write_capture(tmp_path, made)
    dataset = PanopticDataset(PanopticSceneDataParserConfig(data=root).setup().get_dataparser_outputs("train"))
    item = dataset.get_data(0)
    assert item["image"].shape == (80, 120, 4)
    assert "mask" not in item, "the cut-out is trained on, as background"
    assert not (item["panoptic"] == 1).any()
    assert torch.equal(item["image"][..., 3] == 0, item["panoptic"] == 0)


def test_the_field_of_view_is_an_option(tmp_path: Path) -> None:
    root = write_capture(tmp_path, capture(Lens("OPENCV_FISHEYE", 160, 90, 40.0), 9))
    for degrees in (90.0, 140.0):
        cameras = PanopticSceneDataParserConfig(data=root, max_fov=degrees).setup().get_dataparser_outputs().cameras
        field = 2 * torch.atan(0.5 * cameras.width[0] / cameras.fx[0])
        assert abs(float(torch.rad2deg(field)) - degrees) < 0.1
