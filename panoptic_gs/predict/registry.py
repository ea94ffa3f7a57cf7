# SPDX-License-Identifier: Apache-2.0
"""The networks that ``panoptic-gs predict`` knows by name, what each needs, and under which licence it comes.

Nothing is imported here, so that a missing package is said before anything heavy is loaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from panoptic_gs.errors import InputError


@dataclass(frozen=True)
class Known:
    """A network, or another way to find something, that has a name of its own.

    Args:
        home: its class, as package.module:Class.
        packages: what has to be importable → how to install it.
        licence: of its code and weights, in a sentence.
        downloads: what it takes from a hub where it is not cached, its name and size.
    """

    home: str
    packages: Mapping[str, str]
    licence: str
    downloads: str = ""


NETWORKS = {
    "panst3r": Known(
        "panoptic_gs.predict.panst3r:PanSt3R",
        {
            "panst3r": "Install PanSt3R into this environment as https://github.com/naver/panst3r says, and download a "
            "checkpoint. Other networks: --network package.module:Class.",
        },
        "PanSt3R is under a licence for non-commercial use only.",
        "facebook/dinov2-large (1.2 GB) and google/siglip-base-patch16-224 (0.8 GB)",
    ),
    "panoptic-gs": Known(
        "panoptic_gs.network.predictor:PanopticGs",
        {},
        "Code and weights: Apache-2.0. The weights that come with the package learned from rendered rooms alone.",
    ),
}
"""Networks that find masks and cameras together."""

GEOMETRIES = {
    "known": Known("panoptic_gs.predict.geometry.known:KnownCameras", {}, "Nothing is run."),
    "colmap": Known(
        "panoptic_gs.predict.geometry.colmap:Colmap",
        {"pycolmap": "Run: pip install 'panoptic-gs[colmap]'."},
        "COLMAP is under the BSD-3-Clause licence; it has no weights.",
    ),
    "mapanything": Known(
        "panoptic_gs.predict.geometry.map_anything:MapAnythingCameras",
        {"mapanything": "Run: pip install git+https://github.com/facebookresearch/map-anything."},
        "MapAnything: code and the weights facebook/map-anything-apache are under Apache-2.0.",
        "2.3 to 3.9 GB, by release",
    ),
    "da3": Known(
        "panoptic_gs.predict.geometry.depth_anything:DepthAnythingCameras",
        {"depth_anything_3": "Run: pip install depth-anything-3."},
        "Depth Anything 3: code, and the weights of DA3-SMALL and DA3-BASE, are under Apache-2.0; larger ones are for "
        "non-commercial use.",
        "0.5 GB",
    ),
    "panst3r": Known(
        "panoptic_gs.predict.geometry.panst3r:PanSt3RCameras",
        NETWORKS["panst3r"].packages,
        NETWORKS["panst3r"].licence,
        NETWORKS["panst3r"].downloads,
    ),
}
"""Ways to find cameras and seed points."""

_TRANSFORMERS = {"transformers": "Run: pip install 'panoptic-gs[networks]'."}
_CODE = "Code: transformers, Apache-2.0."

MASKS = {
    "eomt": Known(
        "panoptic_gs.predict.masks.query_models:QueryModel", _TRANSFORMERS,
        f"EoMT (Kerssies et al., CVPR 2025). {_CODE} Weights: MIT.", "1.3 GB",
    ),
    "mask2former": Known(
        "panoptic_gs.predict.masks.query_models:QueryModel", _TRANSFORMERS,
        f"Mask2Former (Cheng et al., CVPR 2022). {_CODE} Weights: MIT.", "0.9 GB",
    ),
    "oneformer": Known(
        "panoptic_gs.predict.masks.query_models:QueryModel", _TRANSFORMERS,
        f"OneFormer (Jain et al., CVPR 2023). {_CODE} Weights: MIT.", "0.9 GB",
    ),
    "sam2": Known(
        "panoptic_gs.predict.masks.sam2:Sam2", _TRANSFORMERS,
        f"SAM 2 (Ravi et al., 2024): masks without classes. {_CODE} Weights: Apache-2.0.", "0.9 GB",
    ),
    "sam3": Known(
        "panoptic_gs.predict.masks.sam3:Sam3", _TRANSFORMERS,
        f"SAM 3 (Carion et al., 2025): masks of the classes that --classes names. {_CODE} Weights: SAM License, on "
        "whose terms facebook/sam3 can be had after a login (hf auth login).", "3.4 GB",
    ),
    "sam3-video": Known(
        "panoptic_gs.predict.masks.sam3_video:Sam3Video", _TRANSFORMERS,
        "SAM 3 (Carion et al., 2025): objects of the classes that --classes names, followed from photo to photo. "
        f"{_CODE} Weights: SAM License, on whose terms facebook/sam3 can be had after a login (hf auth login).",
        "3.4 GB",
    ),
}  # fmt: skip
"""Networks that find masks, of one photo or, ``sam3-video``, of all in their order."""


def require_installed(name: str, known: Mapping[str, Known] = NETWORKS) -> None:
    """Stop where something that is known by name is not installed; other names are not looked at.

    Raises:
        InputError: a package is missing.
    """
    found = known.get(name)
    if found is None:
        return
    for package, install in found.packages.items():
        if importlib.util.find_spec(package) is None:
            kind = "--geometry" if known is GEOMETRIES else "--masks" if known is MASKS else "network"
            raise InputError(
                f"{kind} '{name}'", f"no package '{package}'", f"an installation of {package}",
                f"{install} {found.licence}",
            )  # fmt: skip
