# SPDX-License-Identifier: Apache-2.0
"""Masks that are numbered image by image become scene-wide maps while a training runs."""

from __future__ import annotations

from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_plugin.compat import input_errors_exit
from nerfstudio_plugin.datamanager import PanopticDatamanager
from nerfstudio_plugin.model import PanopticSplatfactoModel
from panoptic_gs.associate import MaskEvidence, associate_evidence
from panoptic_gs.panoptic import PanopticScene

FIRST, AGAIN = 1 / 3, 0.9
"""Shares of the training after which masks are associated: once shapes are there, and once they are nearly final."""


class MaskAssociation:
    """Associates the masks of the training views with the Gaussians as they are, and trains with the maps from then on.

    Up to the first time training learns colour alone. Objects keep their ids from one time to the next.

    Args:
        datamanager: has the masks, and takes the maps.
        model: the Gaussians.
        steps: of the whole training.
    """

    def __init__(self, datamanager: PanopticDatamanager, model: PanopticSplatfactoModel, steps: int) -> None:
        self._datamanager, self._model = datamanager, model
        self._steps = (int(FIRST * steps), int(AGAIN * steps))

    def after_step(self, step: int) -> None:
        """Associate where it is time, and in a training that was resumed past the first time."""
        if step in self._steps or (step > self._steps[0] and self._model.panoptic is None):
            with input_errors_exit():
                self.associate()

    def associate(self) -> None:
        """Make scene-wide maps of the masks now.

        Raises:
            InputError: masks that cannot be read, or that see no Gaussians.
        """
        model = self._model
        masks = self._datamanager.train_dataset.metadata["image_masks"]
        splats = model.splats().to("cpu")
        evidence = MaskEvidence(splats, rasterize_mode=model.config.rasterize_mode)
        views = {}
        for view in self._datamanager.masked_views(model.camera_optimizer.apply_to_camera):
            camera = view.camera.to("cpu")
            evidence.add(view.stem, camera, view.masks)
            views[view.stem] = (camera, view.masks)
        association = associate_evidence(evidence, masks.categories, masks.source)
        before = model.current_labels()
        if before is not None:
            association = association.named_after(before.labels.to("cpu"), before.meaning.segments)
        maps = {}
        for stem, (camera, of) in views.items():
            shown = lambda camera=camera: association.shown(splats, camera, model.config.rasterize_mode)
            maps[stem] = association.label_map(stem, of, shown)
        self._datamanager.take_maps(maps)
        model.take_meaning(PanopticScene(association.categories, association.segments(), {}, association.source))
        total = sum(len(view.ids) for view in association.views.values())
        CONSOLE.print(f"Associated {total} masks of {len(maps)} views: {len(association.things)} objects.")
