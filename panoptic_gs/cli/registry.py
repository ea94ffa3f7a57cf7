# SPDX-License-Identifier: Apache-2.0
"""The commands of ``panoptic-gs``, by name. A new command is a module in this folder and a line here.

Modules are imported when their command runs: some of them need torch, which takes seconds to import, and the list of
commands shall appear at once.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol


class Runnable(Protocol):
    """A dataclass of options that runs."""

    def run(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """A command: its module in this folder, its class there, and the first sentence of the class's docstring."""

    module: str
    class_name: str
    summary: str
    on_processes: bool = False
    """Whether the processes of torchrun share its work."""
    many_scenes: bool = False
    """Whether {scene} in its paths stands for each of many scenes, which an engine runs."""

    def load(self) -> type[Runnable]:
        """Import what runs it."""
        return getattr(importlib.import_module(f"panoptic_gs.cli.{self.module}"), self.class_name)


COMMANDS = {
    "synth": Command(
        "synth",
        "Synth",
        "Make a procedural room: photos, cameras, seed points, exact panoptic truth and simulated predictions.",
    ),
    "prepare": Command(
        "prepare",
        "Prepare",
        "Make a scene folder of one scene of a public dataset: photos, cameras, depth, seed points, "
        "true panoptic maps.",
        many_scenes=True,
    ),
    "predict": Command(
        "predict",
        "Predict",
        "Predict panoptic masks, cameras and shape from photos: a scene folder ready for ns-train.",
        many_scenes=True,
    ),
    "scene": Command(
        "scene",
        "SceneFromPhotos",
        "Photos to a labelled scene: cameras, masks, training, association, report, viewer.",
    ),
    "merge": Command(
        "merge",
        "Merge",
        "Merge the query masks of a multi-view network into panoptic maps with one id an object.",
        on_processes=True,
        many_scenes=True,
    ),
    "associate": Command(
        "associate",
        "Associate",
        "Give masks that are numbered image by image one id an object, by the Gaussians that they saw.",
        on_processes=True,
    ),
    "clean": Command(
        "clean",
        "Clean",
        "Make a scene's predicted maps consistent over its views, as input for any other tool.",
    ),
    "uplift": Command(
        "uplift",
        "Uplift",
        "Label trained 3D Gaussians (PLY, SPZ, SOG, .splat, glTF, USD) from a scene folder's panoptic maps.",
        on_processes=True,
    ),
    "render": Command(
        "render",
        "Render",
        "Render a labelled scene from the cameras of a scene folder: photos, depth and COCO panoptic maps.",
    ),
    "view": Command(
        "view",
        "View",
        "Look at a labelled scene in the browser: click its objects, filter, recolour, and mend its labels.",
    ),
    "export": Command("export", "Export", "Take a labelled scene to other programs."),
    "share": Command(
        "share",
        "Share",
        "Make one page of a labelled scene that opens from a disk or any web server, without Python and without a "
        "network.",
    ),
    "mesh": Command(
        "mesh",
        "Mesh",
        "Make a panoptic mesh of a labelled scene: its surface, a closed mesh an object, the room without them.",
    ),
    "query": Command("query", "Query", 'Find objects by words, as in "the chair next to the window".'),
    "report": Command(
        "report",
        "Report",
        "Report on a scene in one HTML file that opens anywhere, without a network.",
    ),
    "evaluate": Command(
        "evaluate",
        "Evaluate",
        "Score panoptic maps against the truth, over all views of a scene together.",
        on_processes=True,
    ),
    "evaluate-points": Command(
        "evaluate_points",
        "EvaluatePoints",
        "Score labels in 3D: each true point takes the label of the nearest predicted one.",
    ),
}
