# SPDX-License-Identifier: Apache-2.0
"""What commands open: labelled scene folders and checkpoints, whole or thinned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from panoptic_gs import memory
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.palette import colors_of
from panoptic_gs.ply import count_vertices
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.splats.reading import SPLAT_ENDINGS, rasterize_mode_of
from panoptic_gs.uplift import LabelledScene, load_labelled_scene
from panoptic_gs.uplift.checkpoint import is_run, load_checkpoint

_PEAK = 3.5  # memory while a PLY is read, in sizes of the file


@dataclass(frozen=True, eq=False)
class OpenedScene:
    """A labelled scene and where it came from."""

    scene: LabelledScene
    folder: Path
    """The scene's folder; edits are saved inside it."""
    num_gaussians: int
    """All Gaussians of the scene; more than ``scene`` has where it was thinned."""
    rasterize_mode: RasterizeMode = "classic"
    """How the Gaussians were trained, as the PLY or the training says."""

    @property
    def thinned(self) -> bool:
        """Whether some Gaussians were left out; then it cannot be edited."""
        return len(self.scene.splats) < self.num_gaussians


def open_scene(path: Path | str, max_gaussians: int | None = None, *, sampled: bool = False) -> OpenedScene:
    """Open a labelled scene folder, its ``splats.ply``, or a nerfstudio run of ``panst3r-ludvig``.

    Args:
        path: the folder, the PLY, or the run's ``config.yml``.
        max_gaussians: take an even random sample of this many; all by default.
        sampled: whether what opens the scene has the option ``--max-gaussians``, so that errors may advise it.

    Raises:
        InputError: no such thing, splats without labels, labels of another scene, or more than the memory holds.
    """
    path = Path(path)
    if max_gaussians is not None and max_gaussians < 1:
        raise InputError("--max-gaussians", str(max_gaussians), "at least 1", "Leave it out to take all.")
    if not path.exists():
        raise InputError(path, "no such file or folder", "a labelled scene", "Check the path.")
    if path.suffix == ".ckpt" or is_run(path):
        folder = path if path.is_dir() else path.parent
        scene = _with_fixed_colors(load_checkpoint(path))
        if not len(scene.splats):
            raise _no_gaussians(path)
        return OpenedScene(_thinned(scene, max_gaussians), folder, len(scene.splats), _mode_of_run(folder))
    folder = path if path.is_dir() else path.parent
    _require_labels(path, folder)
    count = count_vertices(folder / "splats.ply")
    if not count:
        raise _no_gaussians(folder / "splats.ply")
    chosen = _sample(count, max_gaussians)
    _require_memory(folder / "splats.ply", count, 1.0 if chosen is None else len(chosen) / count, sampled)
    scene = _with_fixed_colors(load_labelled_scene(folder, chosen))
    return OpenedScene(scene, folder, count, rasterize_mode_of(folder / "splats.ply") or "classic")


_UNTELLING = frozenset({
    "run", "labelled", "edited", "splats", "training", "nerfstudio_models", "out", "output", "scene", "data",
})  # fmt: skip


def scene_name(opened: OpenedScene, data: Path | None = None) -> str:
    """What a scene is called: as the labels say, as the folder of its photos, else as the folder that it lies in.

    Args:
        opened: the scene.
        data: the folder of its photos where that is known; a training knows it by itself.
    """
    if data is None and opened.scene.labelling.scene:
        return opened.scene.labelling.scene
    if data is None:
        data = _trained_on(opened.folder)
    return telling_name(opened.folder if data is None else data)


def data_of(path: Path) -> Path | None:
    """The folder of the photos that a scene was trained on, where a training says so and it is there."""
    data = _trained_on(path if path.is_dir() else path.parent)
    return data if data is not None and data.is_dir() else None


def _trained_on(folder: Path) -> Path | None:
    for place in (folder, folder.absolute().parent):
        if (place / "training.json").is_file():
            document = read_json(place / "training.json")
            if isinstance(document, dict) and isinstance(document.get("data"), str):
                return Path(document["data"])
    return None


def telling_name(folder: Path) -> str:
    """The name of a folder, or of the nearest one above it whose name says more than "scene" or "run"."""
    parts = folder.resolve().parts[:0:-1]
    telling = (part for part in parts if part.rstrip("-0123456789").casefold() not in _UNTELLING)
    return next(telling, parts[0] if parts else "scene")


def _mode_of_run(folder: Path) -> RasterizeMode:
    """What ``training.json`` of a run, or of the run above its checkpoint folder, says."""
    for place in (folder, folder.absolute().parent):
        if (place / "training.json").is_file():
            document = read_json(place / "training.json")
            mode = document.get("rasterize_mode") if isinstance(document, dict) else None
            return "antialiased" if mode == "antialiased" else "classic"
    return "classic"


def _with_fixed_colors(scene: LabelledScene) -> LabelledScene:
    """With every segment's colour, so that edits do not change those of others."""
    return scene._replace(labelling=scene.labelling.with_colors(colors_of(scene.labelling)))


def _no_gaussians(path: Path) -> InputError:
    return InputError(path, "no Gaussians", "at least one", "Train or label again; all were pruned or left out.")


def _require_labels(path: Path, folder: Path) -> None:
    missing = [n for n in ("splats.ply", "labels.safetensors", "segments.json") if not (folder / n).is_file()]
    if path.is_dir() and (folder / "transforms.json").is_file() and missing:
        raise InputError(
            path,
            "a scene folder: photos and cameras, no labelled splats",
            "a labelled scene with splats.ply, labels.safetensors and segments.json",
            f"Train and label it first, then: panoptic-gs view LABELLED --data {path}",
        )
    unlabelled = path.suffix in SPLAT_ENDINGS and path.name != "splats.ply"
    ply = path if unlabelled else folder / "splats.ply"
    if (missing and ply.is_file()) or unlabelled:
        raise InputError(
            ply,
            "splats without labels",
            "a folder with splats.ply, labels.safetensors and segments.json",
            f"Label them first: panoptic-gs uplift {ply} SCENE --out labelled && panoptic-gs view labelled",
        )
    if missing or (path.suffix not in ("", ".ply") and not path.is_dir()):
        raise InputError(
            path,
            f"no {', '.join(missing)}" if missing else f"a {path.suffix} file",
            "a labelled scene folder, or config.yml of a panst3r-ludvig training",
            "Make one with 'panoptic-gs uplift'.",
        )


def _require_memory(ply: Path, count: int, share: float, sampled: bool) -> None:
    needed, free = _PEAK * ply.stat().st_size * share, memory.available()
    mend = memory.MEND
    if sampled and free is not None:
        mend = f"Look at a sample of them: --max-gaussians {max(1, int(0.6 * count * share * free / max(needed, 1)))}"
    memory.require(ply, f"{count:,} Gaussians", needed, mend)


def _sample(count: int, most: int | None) -> torch.Tensor | None:
    """An even random sample ``[M]`` of row numbers, ascending, or None for all; the same each time."""
    if most is None or count <= most:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _thinned(scene: LabelledScene, most: int | None) -> LabelledScene:
    chosen = _sample(len(scene.splats), most)
    if chosen is None:
        return scene
    return scene._replace(splats=scene.splats.subset(chosen), labels=scene.labels.subset(chosen))
