# SPDX-License-Identifier: Apache-2.0
"""What nerfstudio's commands find by their entry points: the methods and the dataparser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nerfstudio_plugin.dataparser import panoptic_scene

if TYPE_CHECKING:
    from nerfstudio_plugin.method import panoptic_splatting, panopticrecon, panst3r_ludvig

_METHODS = ("panst3r_ludvig", "panoptic_splatting", "panopticrecon")
__all__ = ["panoptic_scene", "panoptic_splatting", "panopticrecon", "panst3r_ludvig"]


def __getattr__(name: str) -> Any:
    # nerfstudio asks for the dataparser while its datamanagers are still being imported, so what needs those waits.
    if name in _METHODS:
        from nerfstudio_plugin import method

        return getattr(method, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
