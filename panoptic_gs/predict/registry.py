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
class KnownNetwork:
    """A network with a name of its own.

    Args:
        home: its class, as package.module:Class.
        packages: what has to be importable → how to install it.
        licence: of its code and weights, in a sentence.
    """

    home: str
    packages: Mapping[str, str]
    licence: str


NETWORKS = {
    "panst3r": KnownNetwork(
        "panoptic_gs.predict.panst3r:PanSt3R",
        {
            "panst3r": "Install PanSt3R into this environment as https://github.com/naver/panst3r says, and download a "
            "checkpoint. Other networks: --network package.module:Class.",
        },
        "PanSt3R is under a licence for non-commercial use only.",
    ),
}


def require_installed(name: str) -> None:
    """Stop where a network that is known by name is not installed; other names are not looked at.

    Raises:
        InputError: a package is missing.
    """
    network = NETWORKS.get(name)
    if network is None:
        return
    for package, install in network.packages.items():
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"network '{name}'", f"no package '{package}'", f"an installation of {package}",
                f"{install} {network.licence}",
            )  # fmt: skip
