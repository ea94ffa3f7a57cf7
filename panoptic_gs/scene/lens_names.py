# SPDX-License-Identifier: Apache-2.0
"""Lenses by the names that ``transforms.json`` and COLMAP give to camera models and coefficients, both ways.

What is not understood is refused by name: a coefficient that is passed over bends every label a little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_gs.errors import InputError
from panoptic_gs.scene.lens import CAMERA_MODELS, COEFFICIENTS, Distortion

_RATIONAL = ("k5", "k6", "s1", "s2", "s3", "s4")
_OPENCV = {"k1", "k2", "k3", "k4", "p1", "p2", *_RATIONAL}
_ALIASES = {"FISHEYE624": "RAD_TAN_THIN_PRISM_FISHEYE"}
# Keys of transforms.json that can only be lens parameters, ours or some other program's.
_LENS_KEY = re.compile(r"k|[kpsb]\d+|s[xy]\d+|omega|xi|skew|tau_?[xXyY]|ftheta_\w+")
# nerfstudio's order in "distortion_params".
_LISTED = ("k1", "k2", "k3", "k4", "p1", "p2")
_LISTED_624 = ("k1", "k2", "k3", "k4", "k5", "k6", "p2", "p1", "s1", "s2", "s3", "s4")

K4_NOTE = (
    "k4 of camera model OPENCV is read as the factor of r⁸, which Metashape, RealityCapture and nerfstudio mean by it; "
    "where it is OpenCV's factor of r² in the denominator, name the model FULL_OPENCV"
)


def refuse_model(source: str | Path, name: str) -> InputError:
    """The error of a camera model that is not known."""
    mend = "Undistort the photos first, as COLMAP's image_undistorter does."
    if "EQUIRECT" in name.upper() or "SPHER" in name.upper():
        mend = "Cut perspective views out of the panoramas, as ns-process-data does with --camera-type equirectangular."
    return InputError(source, f"camera model {name}", f"one of {', '.join(CAMERA_MODELS)}", mend)


def lens_from_parameters(
    source: str | Path, name: str, parameters: Sequence[float]
) -> tuple[tuple[float, float, float, float], Distortion]:
    """Intrinsics (fx, fy, cx, cy) and lens of a camera as COLMAP lists its parameters.

    Raises:
        InputError: an unknown model, or another number of parameters than it has.
    """
    model = CAMERA_MODELS.get(name)
    if model is None:
        raise refuse_model(source, name)
    names = model.parameters.split()
    if len(names) != len(parameters) or not all(map(math.isfinite, parameters)):
        raise InputError(
            source,
            f"parameters {list(parameters)} of camera model {name}",
            f"{len(names)} finite numbers ({model.parameters})",
            "Export the model again.",
        )
    values = dict(zip(names, map(float, parameters)))
    fx = values["fx"] if "fx" in values else values["f"]
    lens = Distortion(**{key: values[key] for key in model.coefficients}, model=model.family)
    return (fx, values.get("fy", fx), values["cx"], values["cy"]), lens


def lens_from_transforms(source: str, values: Mapping[str, Any]) -> tuple[Distortion, str | None]:
    """The lens of a frame of ``transforms.json``, and what there is to say about how it was read.

    Args:
        source: the file and frame, for errors.
        values: the frame's entries over the document's.

    Raises:
        InputError: an unknown camera model, a coefficient that the model does not have, or no finite number.
    """
    name = values.get("camera_model")
    if name is None:
        name = "OPENCV_FISHEYE" if values.get("is_fisheye") is True else "OPENCV"
    model = CAMERA_MODELS.get(_ALIASES.get(name, name)) if isinstance(name, str) else None
    if model is None:
        raise refuse_model(source, str(name))
    family = model.family
    allowed = _OPENCV if name in ("OPENCV", "FULL_OPENCV") else model.coefficients
    listed = _listed(source, values, name)
    found: dict[str, float] = dict(listed)
    for key, value in values.items():
        own = _own_name(key, name, allowed)
        if own is None and not _LENS_KEY.fullmatch(key):
            continue
        if not _is_finite(value):
            raise InputError(
                source, f"{key} = {_written(value)}", "a finite number", "Correct it, or export the file again."
            )
        if own is not None:
            if not listed:
                found[own] = float(value)
        elif value:
            raise InputError(
                source,
                f"{key} = {value:g}, which camera model {name} does not have",
                f"coefficients of {name}: {', '.join(sorted(allowed)) or 'none'}",
                "Name the camera model that it belongs to, or undistort the photos.",
            )
    note = None
    if name == "OPENCV" and found.get("k4") and not any(found.get(key) for key in _RATIONAL):
        family, note = "polynomial", K4_NOTE
    return Distortion(**found, model=family), note


def lens_to_transforms(lens: Distortion) -> dict[str, Any]:
    """``camera_model`` and coefficients as entries of ``transforms.json``; empty without distortion."""
    if not lens:
        return {}
    used = {name: value for name in COEFFICIENTS if (value := getattr(lens, name))}
    prism = {"s1": "sx1", "s3": "sy1"}
    if lens.model == "fisheye" and used.keys() - {"k1", "k2", "k3", "k4", "beta"}:
        return {"camera_model": "FISHEYE624", "distortion_params": [getattr(lens, name) for name in _LISTED_624]}
    if lens.model == "thin_prism_fisheye":
        return {"camera_model": "THIN_PRISM_FISHEYE"} | {prism.get(k, k): v for k, v in used.items() if k != "beta"}
    if lens.model == "eucm":
        return {"camera_model": "EUCM", "alpha": lens.alpha, "beta": lens.beta}
    used.pop("beta", None)
    rational = used.keys() & {"k4", *_RATIONAL} and lens.model == "opencv"
    names = {"fisheye": "OPENCV_FISHEYE", "fov": "FOV", "division": "DIVISION"}
    return {"camera_model": names.get(lens.model, "FULL_OPENCV" if rational else "OPENCV")} | used


def _own_name(key: str, model: str, allowed: set[str]) -> str | None:
    """The coefficient that a key of ``transforms.json`` names, or None where this model has none of that name."""
    if model == "THIN_PRISM_FISHEYE":
        key = {"sx1": "s1", "sy1": "s3", "s1": "", "s3": ""}.get(key, key)
    if key == "k" and "k1" in allowed and "k2" not in allowed:
        key = "k1"
    if model in ("RAD_TAN_THIN_PRISM_FISHEYE", "FISHEYE624"):  # counted from 0 or from 1, so only the list is clear
        return None
    return key if key in allowed else None


def _listed(source: str, values: Mapping[str, Any], model: str) -> dict[str, float]:
    """What "distortion_params" holds, in nerfstudio's order."""
    numbers = values.get("distortion_params")
    if numbers is None:
        return {}
    names = _LISTED_624 if model in ("RAD_TAN_THIN_PRISM_FISHEYE", "FISHEYE624") else _LISTED
    right = isinstance(numbers, list) and len(numbers) == len(names)
    if not right or not all(map(_is_finite, numbers)):
        raise InputError(
            source,
            f"distortion_params {numbers!r}"[:200],
            f"{len(names)} finite numbers ({', '.join(names)}) with camera model {model}",
            "Correct it, or name the coefficients one by one.",
        )
    allowed = _OPENCV if model in ("OPENCV", "FULL_OPENCV") else CAMERA_MODELS[_ALIASES.get(model, model)].coefficients
    for name, value in zip(names, numbers):
        if value and name not in allowed:
            raise InputError(
                source,
                f"{name} = {value:g} in distortion_params, which camera model {model} does not have",
                f"coefficients of {model}: {', '.join(sorted(allowed)) or 'none'}",
                "Name the camera model that it belongs to, or undistort the photos.",
            )
    return {name: float(value) for name, value in zip(names, numbers) if value}


def _is_finite(value: object) -> bool:
    """Whether it is a number that a double holds; whole ones in JSON may have any number of digits."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300


def _written(value: object) -> str:
    return (
        f"{value!r}" if not isinstance(value, int) or abs(value) < 10**20 else "a whole number of more than 20 digits"
    )
