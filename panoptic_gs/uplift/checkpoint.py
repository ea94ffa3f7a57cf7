# SPDX-License-Identifier: Apache-2.0
"""The labelled Gaussians in a nerfstudio checkpoint of ``panst3r-ludvig``, read without nerfstudio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.palette import colors_of
from panoptic_gs.records import Name, parse_record
from panoptic_gs.splats import SH_C0, Splats
from panoptic_gs.uplift.labelled_scene import LabelledScene
from panoptic_gs.uplift.labels import LABEL_TENSORS, GaussianLabels

STATE_VERSION = 2
"""Of the labels in a checkpoint; raised when they are written in another form."""
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
    splats = _splats(state, path)
    labels, labelling = labels_from_state(extra, path)
    try:
        labels.require_count(len(splats))
    except InputError as error:
        raise error.inside(path) from error
    return LabelledScene(splats, labels, labelling)


def load_checkpoint_splats(path: Path | str) -> Splats:
    """The Gaussians of the last checkpoint of a nerfstudio run, whether it has labels or not.

    See :func:`load_checkpoint` for the arguments and the frame.

    Raises:
        InputError: no checkpoint, one of another method, or a damaged file.
    """
    path, state = _last_state(path)
    return _splats(state, path)


def _last_state(path: Path | str) -> tuple[Path, Mapping[str, Any]]:
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
    state = _read(path)
    extra = state.get("_model._extra_state")
    if not isinstance(extra, Mapping) or "_model.gauss_params.means" not in state:
        raise InputError(
            path,
            "a checkpoint of another method",
            _EXPECTED,
            "Export it with 'ns-export gaussian-splat' and label the PLY with 'panoptic-gs uplift'.",
        )
    return path, state


def labels_to_state(labels: GaussianLabels, labelling: Labelling) -> dict[str, Any]:
    """Labels and what they mean as a checkpoint holds them: tensors and plain containers only."""
    return {
        "version": STATE_VERSION,
        "labels": {name: value.cpu() for name, value in labels.tensors().items()},
        "labelling": labelling.with_colors(colors_of(labelling)).to_json(),
    }


def labels_from_state(state: Mapping[str, Any], file: Path | str) -> tuple[GaussianLabels, Labelling]:
    """Read what :func:`labels_to_state` gave, also that of checkpoints from before there was a version in it.

    Args:
        state: it, with labels.
        file: where it is from, for errors.

    Raises:
        InputError: a field is missing or malformed, a label is no segment, or the state is of a newer version.
    """
    version = parse_record(state, _Form, file).version
    if version == 1:
        labelling = _first_labelling(state, file)
    elif version == STATE_VERSION:
        labelling = Labelling.from_json(state.get("labelling"), file)
    else:
        raise InputError(file, f"labels in the form {version}", f"form 1 or {STATE_VERSION}",
                         "Update panoptic_gs, or train again with this version.")  # fmt: skip
    tensors = state["labels"]
    if not isinstance(tensors, Mapping) or not all(_is_stored(tensors.get(name)) for name in LABEL_TENSORS):
        raise InputError(file, "labels that are no tensors", ", ".join(LABEL_TENSORS), "Copy the checkpoint again.")
    try:
        labels = GaussianLabels(**{name: tensors[name].clone() for name in LABEL_TENSORS})
    except InputError as error:
        raise error.inside(file) from error
    labelling.require_known(labels.label.cpu().numpy(), file, "Copy the checkpoint again; it may be damaged.")
    return labels, labelling


@dataclass(frozen=True)
class _Form:
    version: int = 1


@dataclass(frozen=True)
class _FirstState:
    segments: tuple[tuple[int, int, float | None], ...]
    categories: tuple[tuple[int, Name, bool, tuple[int, int, int] | None], ...]
    source: str = ""


def _first_labelling(state: Mapping[str, Any], file: Path | str) -> Labelling:
    read = parse_record(state, _FirstState, file, mend="Copy the checkpoint again.")
    categories = tuple(Category(*entry) for entry in read.categories)
    try:
        return Labelling(categories, tuple(Segment(*entry) for entry in read.segments), read.source)
    except InputError as error:
        raise error.inside(file) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        # Whatever a damaged pickle or archive makes of torch's reader, the file is not one that it wrote.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", _EXPECTED, "Check the path.") from error
    except Exception as error:
        raise InputError(
            path, f"a file that cannot be read ({type(error).__name__})", _EXPECTED, "Copy it again."
        ) from error
    state = checkpoint.get("pipeline") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError(path, "a file without a pipeline", _EXPECTED, "Give a checkpoint of nerfstudio.")
    return state


def _is_stored(value: object) -> bool:
    """Whether it is a plain tensor with every value in the file: one may claim a size that its strides repeat."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _splats(state: Mapping[str, Any], path: Path) -> Splats:
    """The Gaussians, with their activations applied."""
    prefix = "_model.gauss_params."
    rows = state[f"{prefix}means"].shape[0] if isinstance(state[f"{prefix}means"], Tensor) else 0
    shapes = {"means": (rows, 3), "quats": (rows, 4), "scales": (rows, 3), "opacities": (rows, 1),
              "features_dc": (rows, 3), "features_rest": (rows, None, 3)}  # fmt: skip
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        value = state.get(prefix + name)
        fits = (
            isinstance(value, Tensor)
            and value.is_floating_point()
            and _is_stored(value)
            and len(value.shape) == len(shape)
            and all(size in (None, actual) for size, actual in zip(shape, value.shape))
        )
        if not fits:
            found = f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else "no tensor"
            raise InputError(
                path, f"{name}: {found}", f"{name} as numbers of shape {['K' if s is None else s for s in shape]}",
                "Copy the checkpoint again.",
            )  # fmt: skip
        assert isinstance(value, Tensor)
        tensors[name] = value.clone().float()
    dc, rest = tensors["features_dc"], tensors["features_rest"]
    if rest.shape[1] == 0:  # nerfstudio keeps the logits of plain colours where there are no spherical harmonics
        dc = (dc.sigmoid() - 0.5) / SH_C0
    try:
        return Splats(
            tensors["means"],
            tensors["quats"],
            tensors["scales"].exp(),
            tensors["opacities"].sigmoid().squeeze(-1),
            torch.cat([dc[:, None], rest], dim=1),
        )
    except InputError as error:
        raise error.inside(path) from error
