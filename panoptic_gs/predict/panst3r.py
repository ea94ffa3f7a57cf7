# SPDX-License-Identifier: Apache-2.0
"""Official PanSt3R, where the user has installed it.

PanSt3R is under a non-commercial licence. Nothing of it is part of this toolkit: it is called, through
``forward_inference_multi_ar``, and only documented facts about that call are relied on. What is not documented is
confined to `PanSt3R.load_model` and `PanSt3R.call`; where an installation differs, a subclass of a few lines overrides
them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import NetworkInput, NetworkOptions, NetworkOutput, PointMapNetwork

PACKAGE = "panst3r"
METHOD = "forward_inference_multi_ar"
LOADERS = ("PanSt3R.from_checkpoint", "PanSt3R.from_pretrained", "load_model", "load_panst3r")
"""Where a function from a checkpoint's path to a model is looked for in the package."""


class PanSt3R(PointMapNetwork):
    """PanSt3R: Multi-view Consistent Panoptic Segmentation (Zust et al., ICCV 2025).

    Keyframes are chosen by PanSt3R itself: evenly, or by its retrieval model where similarity is asked for.

    Raises:
        InputError: PanSt3R is not installed, or there is no checkpoint, or the user did not agree to opening it.
    """

    name: ClassVar[str] = "PanSt3R"

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options)
        if importlib.util.find_spec(PACKAGE) is None:
            raise InputError(
                "network 'panst3r'",
                f"no package '{PACKAGE}'",
                "an installation of PanSt3R",
                "Install it from https://github.com/naver/panst3r into this environment, and download a checkpoint. "
                "Its licence allows non-commercial use only. Other networks: --network package.module:Class.",
            )
        if options.checkpoint is None:
            raise InputError(
                "network 'panst3r'",
                "no checkpoint",
                "the file with PanSt3R's weights",
                "Give it with --checkpoint.",
            )
        if not options.checkpoint.is_file():
            raise InputError(options.checkpoint, "no such file", "a checkpoint of PanSt3R", "Check the path.")
        if not options.trust_checkpoint:
            raise InputError(
                options.checkpoint,
                "a checkpoint that nobody has vouched for",
                "--trust-checkpoint",
                "Loading it evaluates strings that it contains: it is code, and runs with your rights. Pass "
                "--trust-checkpoint if you have it from its authors and compared its checksum.",
            )
        self.model = self.load_model()
        if not callable(getattr(self.model, METHOD, None)):
            raise InputError(
                "network 'panst3r'",
                f"a {type(self.model).__name__} without {METHOD}",
                "PanSt3R v0.2.1 or one that is called alike",
                "Install this version, or override load_model in a subclass (docs/predicting.md).",
            )

    def load_model(self) -> Any:
        """The model in evaluation mode on the device, from the checkpoint."""
        package = importlib.import_module(PACKAGE)
        for path in LOADERS:
            loader: Any = package
            for part in path.split("."):
                loader = getattr(loader, part, None)
            if callable(loader):
                model: Any = loader(str(self.options.checkpoint))
                return model.to(self.options.device).eval()
        public = sorted(name for name in vars(package) if not name.startswith("_"))
        raise InputError(
            f"package '{PACKAGE}' ({getattr(package, '__file__', None)})",
            f"no function that loads a checkpoint among {', '.join(public) or 'nothing'}",
            f"one of {', '.join(LOADERS)}",
            "Derive a class from panoptic_gs.predict.panst3r.PanSt3R, override load_model with this version's way of "
            "loading, and name it with --network (docs/predicting.md).",
        )

    def call(self, views: NetworkInput, classes: list[str], keyframes: Keyframes) -> tuple[Any, Mapping[str, Any]]:
        """Geometry and panoptic output of PanSt3R; images are [1, 3, H, W] in -1…1, shapes [1, 2] height and width."""
        pixels = torch.from_numpy(views.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        images = [image[None].to(self.options.device) for image in pixels]
        width, height = views.size
        true_shape = [torch.tensor([[height, width]]) for _ in images]
        amp: str | bool = False if self.options.amp == "off" else self.options.amp
        geometry, panoptic = getattr(self.model, METHOD)(
            images, true_shape, classes, num_keyframes=keyframes.number(len(images)),
            use_retrieval=keyframes.by == "similarity", max_bs=1, outdevice="cpu", amp=amp,
        )  # fmt: skip
        return geometry, panoptic

    def forward(self, views: NetworkInput, classes: Sequence[Category], keyframes: Keyframes) -> NetworkOutput:
        geometry, panoptic = self.call(views, [category.name for category in classes], keyframes)
        count, (width, height) = len(views.images), views.size
        for key in ("pred_logits", "pred_masks"):
            if not isinstance(panoptic, Mapping) or key not in panoptic:
                raise _unexpected("panoptic output", panoptic, f"a dictionary with '{key}'")
        masks = panoptic["pred_masks"]
        if len(masks) != count:
            raise _unexpected("pred_masks", masks, f"{count} tensors, one a view")
        # PanSt3R's own post-processing overwrites the masks in place: these are copies.
        first = _without_batch("pred_masks", masks[0], 3)
        copies = torch.empty((count, *first.shape), dtype=torch.float16)
        for copy, view in zip(copies, masks, strict=True):
            view = _without_batch("pred_masks", view, 3)
            if view.shape != first.shape:
                raise _unexpected("pred_masks", view, f"{list(first.shape)} as in the first view")
            copy.copy_(view)
        maps = {
            key: torch.stack([
                _without_batch(key, view, 3 if key != "conf" else 2).float().cpu()
                for view in _per_view(geometry, key, count)
            ])
            for key in ("pts3d", "pts3d_local", "conf")
        }  # fmt: skip
        for key, tensor in maps.items():
            if tensor.shape[1:3] != (height, width):
                raise _unexpected(key, tensor, f"maps of {height}×{width}, the size of the input")
        logits = _without_batch("pred_logits", panoptic["pred_logits"], 2).to("cpu", torch.float32, copy=True)
        return NetworkOutput(copies, logits, maps["pts3d"], maps["pts3d_local"], maps["conf"])


def _per_view(geometry: Any, key: str, count: int) -> list[Any]:
    """A quantity of all views from a list of dictionaries, or from a dictionary of lists."""
    if isinstance(geometry, Mapping):
        values = list(geometry.get(key, ()))
    elif isinstance(geometry, Sequence) and all(isinstance(view, Mapping) and key in view for view in geometry):
        values = [view[key] for view in geometry]
    else:
        raise _unexpected("geometry", geometry, f"one dictionary with '{key}' for each view")
    if len(values) != count:
        raise _unexpected(f"geometry, {key}", values, f"{count} maps, one a view")
    return values


def _without_batch(key: str, value: Any, dimensions: int) -> Tensor:
    tensor = torch.as_tensor(np.asarray(value) if isinstance(value, list) else value).detach()
    if tensor.ndim == dimensions + 1 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != dimensions:
        raise _unexpected(key, value, f"{dimensions} dimensions after the batch of 1")
    return tensor


def _unexpected(what: str, found: Any, expected: str) -> InputError:
    if isinstance(found, Mapping):
        description = f"a dictionary of {', '.join(map(str, found)) or 'nothing'}"
    elif isinstance(found, Tensor):
        description = f"shape {list(found.shape)}"
    else:
        length = f" of {len(found)}" if hasattr(found, "__len__") else ""
        description = f"a {type(found).__name__}{length}"
    return InputError(
        f"PanSt3R, {what}",
        description,
        expected,
        "This version of PanSt3R gives other output than v0.2.1: override call in a subclass (docs/predicting.md).",
    )
