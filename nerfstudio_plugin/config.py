# SPDX-License-Identifier: Apache-2.0
"""What nerfstudio's commands find by their entry points: the method and the dataparser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nerfstudio_plugin.dataparser import panoptic_scene

if TYPE_CHECKING:
    from nerfstudio_plugin.method import panst3r_ludvig

__all__ = ["panoptic_scene", "panst3r_ludvig"]


def __getattr__(name: str) -> Any:
    # nerfstudio asks for the dataparser while its datamanagers are still being imported, so what needs those waits.
    if name == "panst3r_ludvig":
        from nerfstudio_plugin.method import panst3r_ludvig

        return panst3r_ludvig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
