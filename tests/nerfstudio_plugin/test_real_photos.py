# SPDX-License-Identifier: Apache-2.0
"""A short training on real photos: the labels of new views are better than the predictions they came from."""

from collections.abc import Callable
from pathlib import Path

from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.scene import Scene


def test_uplifted_views_of_an_office_score_above_their_predictions(
    shared_data: Path, train: Callable[..., PanopticTrainer], tmp_path: Path
) -> None:
    scene = shared_data / "tum_fr3_office"
    trainer = train(scene, tmp_path, 300, pipeline__datamanager__dataparser__downscale_factor=2.0)
    scores = trainer.pipeline.get_average_eval_image_metrics()
    assert int(trainer.pipeline.datamanager.eval_dataset.cameras.width[0]) == 320
    assert len(Scene.load(scene).split("test")) == 4
    assert scores["psnr"] > 16
    assert scores["strict/pq"] > 0.35
