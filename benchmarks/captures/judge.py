# SPDX-License-Identifier: Apache-2.0
"""What the library, the plugin and the command line make of a capture, against the exact room."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData

from benchmarks.captures.lenses import pinhole_rays
from benchmarks.captures.room import shoot
from panoptic_gs.errors import InputError

RIGHT = 0.99
"""Share of labels that has to be right."""
_WRONG_COLOR = 30
"""A pixel is wrong when a channel is off by more: half a pixel's shift at the room's edges stays well below 3 %."""


@dataclass(frozen=True)
class Verdict:
    """What became of a situation.

    Args:
        outcome: ``right``, ``wrong``, ``refused`` or ``crashed``.
        figure: share of right labels where there are any.
        message: of a refusal or a crash, and notes.
    """

    outcome: str
    figure: float | None = None
    message: str = ""


def _pixels(found: list[tuple[np.ndarray, int, int, np.ndarray, np.ndarray, np.ndarray]]) -> Verdict:
    """Compare (pose, width, height, K, label map, photo) of every view with rays of that camera."""
    right, shown, colors, seen = 0, 0, 0, 0
    for camera, width, height, K, labels, photo in found:
        true_labels, true_rgb = shoot(camera, pinhole_rays(width, height, K))
        known = labels != 0
        right += int((labels[known] == true_labels[known]).sum())
        shown += int(known.sum())
        seen += known.size
        error = np.abs(photo[..., :3].astype(float) - true_rgb).max(axis=-1)
        colors += int((error[known] > _WRONG_COLOR).sum())
    figure = right / max(1, shown)
    faults = [] if figure >= RIGHT else [f"{100 * figure:.1f} % of labels right"]
    if shown < 0.3 * seen:
        faults.append(f"only {100 * shown / seen:.0f} % of pixels have a label")
    if colors > 0.03 * max(1, shown):
        faults.append(f"{100 * colors / max(1, shown):.1f} % of pixels in a wrong colour")
    return Verdict("wrong" if faults else "right", figure, "; ".join(faults))


def library(root: Path) -> Verdict:
    """Label maps and photos as :class:`panoptic_gs.scene.Scene` gives them."""
    from panoptic_gs.scene import Scene

    def look() -> Verdict:
        scene = Scene.load(root)
        maps = scene.load_panoptic().maps
        return _pixels([
            (f.camera.to_opengl().numpy(), f.camera.width, f.camera.height, f.camera.K.double().numpy(),
             f.fit_labels(maps[f.stem]), f.read_image())
            for f in scene.frames if f.stem in maps
        ])  # fmt: skip

    return judged(look)


def plugin(root: Path, **options: Any) -> Verdict:
    """Label maps and photos that training learns from."""

    def look() -> Verdict:
        from nerfstudio_plugin.datamanager import PanopticDataset
        from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig

        outputs = PanopticSceneDataParserConfig(data=root, **options).setup().get_dataparser_outputs("train")
        dataset = PanopticDataset(outputs)
        found = []
        for index in range(len(dataset)):
            item, camera = dataset.get_data(index), outputs.cameras[index : index + 1]
            if "panoptic" not in item:
                continue  # a photo without a map trains colour alone
            image = np.asarray(item["image"])
            photo = image if image.dtype == np.uint8 else (image * 255).round()
            pose = np.eye(4)
            pose[:3] = camera.camera_to_worlds[0].double().numpy()
            K = camera.get_intrinsics_matrices()[0].double().numpy()
            labels = np.array(item["panoptic"])
            if "mask" in item:
                labels[~np.asarray(item["mask"])[..., 0]] = 0
            found.append((pose, int(camera.width), int(camera.height), K, labels, photo))
        return _pixels(found)

    return judged(look)


def uplifted(splats: Path, root: Path, out: Path, true_labels: np.ndarray, arguments: tuple[str, ...] = ()) -> Verdict:
    """Labels that ``panoptic-gs uplift`` writes; ``true_labels [N]`` are those of the file's rows that are kept."""

    def look() -> Verdict:
        result = command("uplift", str(splats), str(root), "--out", str(out), *arguments)
        found = np.asarray(PlyData.read(str(out / "splats.ply"))["vertex"]["segment_id"])
        notes = "; ".join(str(note) for note in result.get("notes", []))
        if len(found) != len(true_labels):
            return Verdict("wrong", None, f"{len(found)} Gaussians of {len(true_labels)}; {notes}")
        figure = float((found == true_labels).mean())
        return Verdict("right" if figure >= RIGHT else "wrong", figure, notes)

    return judged(look)


def command(*arguments: str) -> dict[str, Any]:
    """Run ``panoptic-gs`` in this process and return what it says by ``--json``.

    Raises:
        InputError: it ended with one.
    """
    from panoptic_gs.cli import main as cli

    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            cli.main([*arguments, "--json"])
        except SystemExit as ended:
            if ended.code == 2:
                raise InputError(arguments[0], " ".join(errors.getvalue().split()), "", "") from ended
            if ended.code:
                raise
    return json.loads(said.getvalue())


def judged(look: Any) -> Verdict:
    """The verdict of ``look()``, also where it ends in an exception."""
    try:
        return look()
    except InputError as error:
        return Verdict("refused", None, str(error))
    except SystemExit as ended:
        return Verdict("refused" if ended.code == 2 else "crashed", None, f"exit code {ended.code}")
    except Exception as error:
        return Verdict("crashed", None, f"{type(error).__name__}: {error}")
