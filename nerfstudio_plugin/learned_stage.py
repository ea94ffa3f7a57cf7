# SPDX-License-Identifier: Apache-2.0
"""The stage of a training in which instance queries learn objects from masks, on Gaussians that stay as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_plugin.compat import input_errors_exit
from nerfstudio_plugin.datamanager import PanopticDatamanager
from nerfstudio_plugin.learned_model import LearnedModel
from panoptic_gs.associate import LearnedAssociation, LearnedOptions, ViewMasks, associate_learned
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.progress import progress_bars

LabelsFrom = Literal["matches", "queries"]


class LearnedStage:
    """Learns the queries once shapes are there, and freezes them, so that labels stay those of what was learned.

    A checkpoint is written first, so that a training that is stopped while it learns resumes with learning.

    Args:
        datamanager: has the masks.
        model: the Gaussians; takes the labels.
        options: of the queries.
        labels_from: ``matches``: the object that each mask is matched to at the end makes scene-wide maps, which are
            uplifted; ``queries``: each Gaussian has what the panoptic head says of it.
        start: the iteration that is the first with frozen shapes.
        save: writes the checkpoint of an iteration.
    """

    def __init__(
        self,
        datamanager: PanopticDatamanager,
        model: LearnedModel,
        options: LearnedOptions,
        labels_from: LabelsFrom,
        start: int,
        save: Callable[[int], None],
    ) -> None:
        self._datamanager, self._model = datamanager, model
        self._options, self._labels_from = options, labels_from
        self._start, self._save = start, save
        self._first = True

    def before_step(self, step: int) -> None:
        """Learn and freeze where it is time, and in a training that was resumed past that time without queries.

        A training that is resumed to be longer moves its Gaussians again, so it learns again at its own time.
        """
        if step < self._start or self._model.frozen:
            self._first = False
            return
        if step == self._start or self._model.queries is None:
            if step > 0 and not self._first:
                self._save(step - 1)
            with input_errors_exit():
                self.learn(step)
        self._model.freeze()

    def learn(self, step: int) -> LearnedAssociation:
        """Learn the objects now, and label the Gaussians.

        Raises:
            InputError: masks that cannot be read, or that see no Gaussians.
        """
        model, metadata = self._model, self._datamanager.train_dataset.metadata
        made = metadata["image_masks"] if metadata["image_masks"] is not None else metadata["panoptic"]
        cameras: dict[str, Camera] = {}
        masks: dict[str, ViewMasks] = {}
        for view in self._datamanager.masked_views(model.camera_optimizer.apply_to_camera):
            cameras[view.stem], masks[view.stem] = view.camera.to("cpu"), view.masks
        if not masks:
            raise InputError(
                made.source or "masks", "no masks of any training view", "masks of the training views",
                "Name them as the photos are named.",
            )  # fmt: skip
        began = time.monotonic()
        total = sum(len(of) for of in masks.values())
        CONSOLE.print(
            f"Learning objects from {total} masks of {len(masks)} views, {self._options.steps} steps; "
            "shapes are frozen from here on.",
            soft_wrap=True,
        )
        with progress_bars(CONSOLE) as progress:
            learned = associate_learned(
                model.splats().to("cpu"), cameras, masks, made.categories, self._options,
                rasterize_mode=model.config.rasterize_mode, progress=progress,
            )  # fmt: skip
        learned = replace(learned, source=made.source)
        model.take_queries(learned, step)
        if self._labels_from == "matches":
            scene = learned.scene(masks)
            self._datamanager.take_maps(scene.maps)
            model.take_meaning(PanopticScene(scene.categories, scene.segments, {}, scene.source))
        else:
            model.take_labels(learned.labels, learned.labelling)
        CONSOLE.print(f"Learned {len(learned.things)} objects in {time.monotonic() - began:.0f} s.")
        return learned
