# SPDX-License-Identifier: Apache-2.0
"""The labelled Gaussians in a nerfstudio checkpoint of ``panst3r-ludvig``, read without nerfstudio."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category, Segment
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift.labelled_scene import LabelledScene
from panoptic_gs.uplift.labels import GaussianLabels

_EXPECTED = "a checkpoint of panst3r-ludvig with uplifted labels"


def is_run(path: Path | str) -> bool:
    """Whether this is a nerfstudio run: its ``config.yml``, or the folder that holds it and ``nerfstudio_models/``."""
    path = Path(path)
    folder = path.parent if path.name == "config.yml" else path
    return (folder / "config.yml").is_file() and (folder / "nerfstudio_models").is_dir()


def load_checkpoint(path: Path | str) -> LabelledScene:
    """Read the last checkpoint of a nerfstudio run.

    Only tensors and plain containers are unpickled, so a file from elsewhere cannot run code. The Gaussians are in the
    frame that the training used; that is the frame of ``transforms.json`` unless the training was told to move it.

    Args:
        path: ``config.yml``, the run's folder, or a ``.ckpt`` file.

    Raises:
        InputError: no checkpoint, one of another method, one without labels, or a damaged file.
    """
    path, state = _last_state(path)
    extra = state["_model._extra_state"]
    if extra.get("labels") is None:
        raise InputError(
            path,
            "no labels",
            _EXPECTED,
            "Train on a scene folder with panoptic maps, or export the splats and run 'panoptic-gs uplift'.",
        )
    splats = _splats(state)
    labels = GaussianLabels(**{name: value.clone() for name, value in extra["labels"].items()})
    labels.require_count(len(splats))
    return LabelledScene(
        splats,
        labels,
        tuple(Segment(*entry) for entry in extra["segments"]),
        tuple(Category(*entry) for entry in extra["categories"]),
    )


def load_checkpoint_splats(path: Path | str) -> Splats:
    """The Gaussians of the last checkpoint of a nerfstudio run, whether it has labels or not.

    See :func:`load_checkpoint` for the arguments and the frame.

    Raises:
        InputError: no checkpoint, one of another method, or a damaged file.
    """
    return _splats(_last_state(path)[1])


def _last_state(path: Path | str) -> tuple[Path, dict[str, Any]]:
    """The file of the last checkpoint, and the pipeline's state in it."""
    path = Path(path)
    if path.suffix != ".ckpt":
        folder = (path.parent if path.name == "config.yml" else path) / "nerfstudio_models"
        files = sorted(folder.glob("step-*.ckpt"))
        if not files:
            raise InputError(
                folder, "no step-*.ckpt", "a checkpoint", "Train until the first checkpoint is written, then try again."
            )
        path = files[-1]
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["pipeline"]
    except FileNotFoundError as error:
        raise InputError(path, "no such file", _EXPECTED, "Check the path.") from error
    except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            path,
            f"a file that cannot be read ({type(error).__name__})",
            _EXPECTED,
            "Copy it again.",
        ) from error
    extra = state.get("_model._extra_state")
    if not isinstance(extra, dict) or "_model.gauss_params.means" not in state:
        raise InputError(
            path,
            "a checkpoint of another method",
            _EXPECTED,
            "Export it with 'ns-export gaussian-splat' and label the PLY with 'panoptic-gs uplift'.",
        )
    return path, state


def _splats(state: dict[str, Any]) -> Splats:
    gaussians = {name.rpartition(".")[2]: value.clone() for name, value in state.items() if ".gauss_params." in name}
    dc, rest = gaussians["features_dc"], gaussians["features_rest"]
    if rest.shape[1] == 0:  # nerfstudio keeps the logits of plain colours where there are no spherical harmonics
        dc = (dc.sigmoid() - 0.5) / SH_C0
    return Splats(
        gaussians["means"],
        gaussians["quats"],
        gaussians["scales"].exp(),
        gaussians["opacities"].sigmoid().squeeze(-1),
        torch.cat([dc[:, None], rest], dim=1),
    )
