# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nerfstudio")

from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_plugin.method import method_config
from nerfstudio_plugin.trainer import PanopticTrainer, PanopticTrainerConfig
from panoptic_gs.files import write_png
from panoptic_gs.panoptic import PanopticScene, encode_ids
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize, write_synthetic_scene

Train = Callable[..., PanopticTrainer]


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small procedural room as a scene folder: 8 training and 2 evaluation views."""
    scene = synthesize(seed=1, views=10, width=96, height=72, seed_points=1500)
    folder = tmp_path_factory.mktemp("rooms") / "room"
    write_synthetic_scene(folder, scene, simulate_predictions(scene.truth, PredictionNoise.preset("default"), 1))
    return folder


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def train() -> Train:
    """``train(scene, out, iterations, **options)`` runs what ns-train runs; ``model__x=0`` sets a nested option.

    ``method`` is another method than panst3r-ludvig.
    """

    def run(
        scene: Path, out: Path, iterations: int, method: MethodSpecification | None = None, **options: Any
    ) -> PanopticTrainer:
        config = method_config("cpu") if method is None else deepcopy(method.config)
        assert isinstance(config, PanopticTrainerConfig)
        config.data = config.pipeline.datamanager.data = scene
        config.output_dir, config.timestamp, config.vis = out, "run", "tensorboard"
        config.max_num_iterations = iterations
        config.viewer.quit_on_train_completion = True
        for name, value in options.items():
            owner: Any = config
            *path, last = name.replace("model__", "pipeline__model__").split("__")
            for part in path:
                owner = getattr(owner, part)
            assert hasattr(owner, last)
            object.__setattr__(owner, last, value)  # some options are frozen
        config.save_config()
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.train()
        return trainer

    return run


@pytest.fixture(scope="session")
def trained(room: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> PanopticTrainer:
    """A finished training that densified: refinement from step 20 to 120 of 150."""
    return train(
        room, tmp_path_factory.mktemp("trained"), 150, schedule_iterations=0, model__warmup_length=20,
        model__refine_every=20, model__reset_alpha_every=100, model__stop_split_at=120, model__num_downscales=0,
        model__densify_grad_thresh=2e-4, model__cull_alpha_thresh=0.005, model__sh_degree_interval=50,
        model__uplift_every=70,
    )  # fmt: skip


@pytest.fixture(scope="session")
def config_file(trained: PanopticTrainer) -> Path:
    """``config.yml`` of the finished training."""
    return trained.base_dir / "config.yml"
