# SPDX-License-Identifier: Apache-2.0
"""A training on masks that are numbered image by image: it associates them by itself."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nerfstudio_plugin.mask_association import MaskAssociation
from nerfstudio_plugin.trainer import PanopticTrainer

Train = Callable[..., PanopticTrainer]


def test_training_associates_at_a_third_and_before_the_end(
    renumbered: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    associate = MaskAssociation.associate
    monkeypatch.setattr(MaskAssociation, "associate", lambda self: (steps.append(self._model.step), associate(self)))
    trainer = train(renumbered, tmp_path, 90, model__num_downscales=0, model__uplift_every=1000)
    model, datamanager = trainer.pipeline.model, trainer.pipeline.datamanager
    assert steps == [30, 81]
    assert any("panoptic_loss" in row for row in trainer.log.rows)
    assert all("panoptic" in item for item in datamanager.cached_train)
    uplifted = model.current_labels()
    assert uplifted is not None
    assert uplifted.labels.label.unique().numel() > 3
    pairs: dict[int, set[int]] = {}
    for index, item in enumerate(datamanager.cached_train):
        true = datamanager.train_dataset.labels(index, "panoptic_gt")
        assert true is not None
        for i in true.unique().tolist():
            found = item["panoptic"][true == i]
            if i and (true == i).sum() > 200:
                pairs.setdefault(i, set()).add(int(torch.mode(found).values))
    assert len(pairs) > 3
    assert sum(len(ids) == 1 for ids in pairs.values()) >= 0.8 * len(pairs), pairs


def test_a_training_that_is_resumed_associates_again(renumbered: Path, train: Train, tmp_path: Path) -> None:
    first = train(renumbered, tmp_path / "first", 40, model__num_downscales=0)
    before = first.pipeline.model.current_labels()
    assert before is not None
    resumed = train(renumbered, tmp_path / "second", 44, model__num_downscales=0, load_dir=first.checkpoint_dir)
    after = resumed.pipeline.model.current_labels()
    assert after is not None
    assert (before.labels.best()[0] == after.labels.best()[0]).float().mean() > 0.9


def test_masks_per_image_serve_where_no_map_is(renumbered: Path, train: Train, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(renumbered, scene)
    (scene / "panoptic").rename(scene / "masks_per_image")  # as `panoptic-gs predict --masks` leaves them
    trainer = train(scene, tmp_path / "out", 30, model__num_downscales=0)
    labels = trainer.pipeline.model.current_labels()
    assert labels is not None
    assert labels.labels.label.unique().numel() > 3


def test_colours_alone_are_trained_where_that_is_asked_for(renumbered: Path, train: Train, tmp_path: Path) -> None:
    options = {"pipeline__datamanager__dataparser__panoptic_folder": ""}
    trainer = train(renumbered, tmp_path, 2, model__num_downscales=0, **options)
    assert trainer.pipeline.model.current_labels() is None
