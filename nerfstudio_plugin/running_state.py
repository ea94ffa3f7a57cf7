# SPDX-License-Identifier: Apache-2.0
"""What a training has in hand between two steps besides its parameters, so that a resumed one goes on as if it had not
stopped: random numbers, the order of the photos, and what densification has gathered."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_plugin.datamanager import PanopticDatamanager
from nerfstudio_plugin.model import PanopticSplatfactoModel
from panoptic_gs.errors import InputError

_GATHERED = ("grad2d", "count", "radii")
"""What gsplat's strategies sum between two densification steps."""


def running_state(manager: PanopticDatamanager, model: PanopticSplatfactoModel) -> dict[str, Any]:
    """The state between two steps: plain containers and tensors only.

    Args:
        manager: draws the photos.
        model: whose densification gathers gradients.
    """
    name, keys, *rest = np.random.get_state()  # the state that libraries draw from
    own = getattr(manager, "random_generator", None)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
        "photos": {
            "order": None if own is None else own.getstate(),
            "count": [len(manager.train_dataset), len(manager.eval_dataset)],
            "train": list(manager.train_unseen_cameras),
            "eval": list(manager.eval_unseen_cameras),
        },
        "gathered": {name: model.strategy_state.get(name) for name in _GATHERED},
    }


def resume_state(file: Path, state: Any, manager: PanopticDatamanager, model: PanopticSplatfactoModel) -> None:
    """Take up the state of a checkpoint; one without it, or of another number of photos, draws photos anew.

    Args:
        file: the checkpoint, for messages.
        state: of :func:`running_state`; None in checkpoints that have none.
        manager: draws the photos.
        model: whose densification gathers gradients.

    Raises:
        InputError: it is malformed.
    """
    if state is None:
        CONSOLE.print(f"{file} has no order of photos: it is drawn anew.", soft_wrap=True)
        return
    try:
        _take(file, state, manager, model)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            file,
            f"a malformed state of the running training ({str(error)[:200] or type(error).__name__})",
            "random numbers, photos to come and sums of gradients",
            "Resume from another checkpoint.",
        ) from error


def _take(file: Path, state: Any, manager: PanopticDatamanager, model: PanopticSplatfactoModel) -> None:
    photos, counts = state["photos"], [len(manager.train_dataset), len(manager.eval_dataset)]
    if photos["count"] == counts:
        for split, count in zip(("train", "eval"), counts, strict=True):
            if not all(type(index) is int and 0 <= index < count for index in photos[split]):
                raise ValueError(f"photos to come of {count}: {photos[split]}")
        if not photos["train"] or (counts[1] and not photos["eval"]):
            raise ValueError("no photos to come")
        if photos["order"] is not None:
            manager.random_generator = random.Random()
            manager.random_generator.setstate(photos["order"])
        manager.train_unseen_cameras, manager.eval_unseen_cameras = list(photos["train"]), list(photos["eval"])
    else:
        CONSOLE.print(f"{file} is of {photos['count'][0]} photos, not {counts[0]}: their order is drawn anew.",
                      soft_wrap=True)  # fmt: skip
    gathered = {}
    for name in _GATHERED:
        value = state["gathered"][name]
        if value is not None and not (value.shape == (model.num_points,) and value.is_floating_point()):
            raise ValueError(f"{name} of {tuple(value.shape)} {value.dtype}, for {model.num_points} Gaussians")
        if name in model.strategy_state:
            gathered[name] = None if value is None else value.to(model.device, copy=True)
    model.strategy_state.update(gathered)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
