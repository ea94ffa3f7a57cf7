# SPDX-License-Identifier: Apache-2.0
"""A training on masks that are numbered image by image: it associates them by itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfstudio_plugin.mask_association import MaskAssociation
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.files import write_png
from panoptic_gs.panoptic import PanopticScene, encode_ids

Train = Callable[..., PanopticTrainer]


@pytest.fixture(scope="module")
def renumbered(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The room with the truth as predictions, ids drawn anew in every photo."""
    scene = tmp_path_factory.mktemp("renumbered") / "scene"
    shutil.copytree(room, scene, ignore=shutil.ignore_patterns("panoptic"))
    truth = PanopticScene.load(room / "panoptic_gt")
    rng = np.random.default_rng(0)
    annotations = []
    for number, stem in enumerate(truth.stems):
        ids = truth.maps[stem]
        new = np.zeros(max(segment.id for segment in truth.segments) + 1)
        present = np.unique(ids[ids > 0])
        new[present] = rng.permutation(1000)[: len(present)] + 1
        write_png(scene / "panoptic" / f"{stem}.png", encode_ids(new.astype(int)[ids]))
        of = truth.category_of()
        infos = [{"id": int(new[i]), "category_id": int(of[i])} for i in present]
        annotations.append({"image_id": number, "file_name": f"{stem}.png", "segments_info": infos})
    categories = [{"id": c.id, "name": c.name, "isthing": int(c.isthing)} for c in truth.categories]
    document = {"images": [], "annotations": annotations, "categories": categories}
    (scene / "panoptic" / "panoptic.json").write_text(json.dumps(document))
    return scene


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
