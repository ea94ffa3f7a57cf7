# SPDX-License-Identifier: Apache-2.0
"""The labels of the Gaussians of a training: uplifted now and then, carried along while Gaussians come and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape
from torch import Tensor

from nerfstudio_plugin.compat import label_device
from panoptic_gs.backends import RasterizeMode, backend_of
from panoptic_gs.camera import Camera
from panoptic_gs.labelling import Labelling
from panoptic_gs.palette import PanopticPalette
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.refine import Doubt, LabelRule, label_gaussians
from panoptic_gs.refine.uniting import sentences
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, render_panoptic
from panoptic_gs.uplift.checkpoint import labels_from_state, labels_to_state
from panoptic_gs.uplift.maps import Repeated

_ROW = "label_row"


class UpliftedLabels(NamedTuple):
    """The label distribution of each Gaussian, what the labels mean, and their colours."""

    labels: GaussianLabels
    meaning: Labelling
    palette: PanopticPalette


class TrainedLabels:
    """What the model knows of labels.

    Between two uplifts the densification strategy's running state carries, for each Gaussian, the row of the Gaussian
    that it was split or copied from. So labels stay right while Gaussians come and go, and the model hands that state
    to each call.

    Args:
        rule: how label maps become labels of Gaussians, see :func:`panoptic_gs.refine.label_gaussians`.
        rasterize_mode: how the splats are trained.
        unite: whether parts of one object get one label.
    """

    def __init__(self, rule: LabelRule, rasterize_mode: RasterizeMode, unite: bool = True) -> None:
        self._rule: LabelRule = rule
        self._unite = unite
        self._told: list[tuple[int, ...]] = []
        self._rasterize_mode: RasterizeMode = rasterize_mode
        self._uplifted: UpliftedLabels | None = None

    def uplift(
        self,
        splats: Splats,
        views: Iterable[tuple[Camera, Tensor]],
        weights: Iterable[Tensor] | None,
        meaning: Labelling,
        strategy_state: dict[str, Any],
        processes: Processes = ALONE,
    ) -> None:
        """Give the Gaussians the labels of the pixels that show them (LUDVIG, Eq. 7).

        Args:
            splats: the Gaussians as they are now.
            views: camera and predicted segment ids ``[H, W]`` of each training view; an iterator is kept in memory.
            weights: a factor ``[H, W]`` for the votes of each view's pixels; all count the same by default.
            meaning: what the ids mean.
            strategy_state: the running state of the densification strategy.
            processes: that have the other views; each gets the labels of all.
        """
        device = label_device(splats.means.device)
        weights = list(weights) if isinstance(weights, Iterator) else weights
        views = list(views) if isinstance(views, Iterator) else views
        labels = label_gaussians(
            self._rule,
            splats.to(device),
            Repeated(lambda: ((camera.to(device), ids.to(device)) for camera, ids in views)),
            None if weights is None else Repeated(lambda: (factors.to(device) for factors in weights)),
            meaning,
            processes,
            self._unite,
            lambda pairs: self._tell(pairs, meaning),
            rasterize_mode=self._rasterize_mode,
            alpha_max=backend_of(splats.means.device).alpha_max,  # of the forward pass, wherever labels are uplifted
        )
        self.take(labels, meaning, strategy_state, splats.means.device)

    def _tell(self, pairs: Sequence[Doubt], meaning: Labelling) -> None:
        """Say which things became one, once."""
        found = [pair.segments for pair in pairs]
        if found != self._told:
            self._told = found
            for sentence in sentences(pairs, meaning):
                CONSOLE.print(f"Labels: {escape(sentence)}.", soft_wrap=True, highlight=False)

    def current(self, strategy_state: Mapping[str, Any]) -> UpliftedLabels | None:
        """Labels of the Gaussians as they are now; None before the first uplift."""
        if self._uplifted is None:
            return None
        rows = strategy_state[_ROW]
        if len(rows) == len(self._uplifted.labels) and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            return self._uplifted
        return self._uplifted._replace(labels=self._uplifted.labels.subset(rows.to(self._uplifted.labels.device)))

    def forget(self) -> None:
        """Go back to before the first uplift."""
        self._uplifted = None

    def state(self, strategy_state: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint keeps: plain containers and tensors only."""
        uplifted = self.current(strategy_state)
        return {"labels": None} if uplifted is None else labels_to_state(uplifted.labels, uplifted.meaning)

    def load_state(self, state: Mapping[str, Any], strategy_state: dict[str, Any], device: torch.device) -> None:
        """Take labels from a checkpoint.

        Raises:
            InputError: they are malformed, or of a newer version.
        """
        if state["labels"] is None:
            self.forget()
            return
        labels, meaning = labels_from_state(state, "the checkpoint's labels")
        self.take(labels, meaning, strategy_state, device)

    def outputs(
        self, splats: Splats, camera: Camera, inside: Tensor | None, strategy_state: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """The panoptic outputs of one camera, ``[H, W, C]``; void where there are no labels.

        Args:
            splats: the Gaussians as they are now.
            camera: the view.
            inside: which Gaussians ``[N]`` bool are drawn; all by default.
            strategy_state: the running state of the densification strategy.
        """
        device = splats.means.device
        uplifted = self.current(strategy_state)
        if uplifted is None:
            return no_labels(camera.height, camera.width, device)
        labels = uplifted.labels
        if inside is not None:
            splats, labels = splats.subset(inside), labels.subset(inside.to(labels.device))
        ids, confidence, _ = render_panoptic(
            splats.to(labels.device),
            labels,
            camera.to(labels.device),
            rasterize_mode=self._rasterize_mode,
            alpha_max=backend_of(device).alpha_max,
        )
        ids, confidence = ids.to(device), confidence.to(device)
        category_of = torch.from_numpy(uplifted.meaning.category_of()).to(device)
        return {
            "panoptic": uplifted.palette.colorize(ids),
            "segment_id": ids[..., None].float(),
            "category_id": category_of[ids][..., None].float(),
            "panoptic_confidence": confidence[..., None].float(),
        }

    def take(
        self, labels: GaussianLabels, meaning: Labelling, strategy_state: dict[str, Any], device: torch.device
    ) -> None:
        """Have these labels from now on.

        Args:
            labels: of the Gaussians as they are now.
            meaning: what the labels mean.
            strategy_state: the running state of the densification strategy.
            device: where the Gaussians are.
        """
        labels = labels.to(label_device(device))
        strategy_state[_ROW] = torch.arange(len(labels), device=device)
        self._uplifted = UpliftedLabels(labels, meaning, PanopticPalette(meaning.segment_ids))


def no_labels(height: int, width: int, device: torch.device) -> dict[str, Tensor]:
    """The panoptic outputs of a view without labels."""
    single = torch.zeros(height, width, 1, device=device)
    return {
        "panoptic": single.expand(height, width, 3),
        "segment_id": single,
        "category_id": single.clone(),
        "panoptic_confidence": single.clone(),
    }
