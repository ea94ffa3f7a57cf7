# SPDX-License-Identifier: Apache-2.0
"""Everything that a report says, from a labelled scene, a training, or panoptic maps that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.errors import InputError
from panoptic_gs.export import render_path
from panoptic_gs.files import read_json, read_rgb
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.progress import Progress
from panoptic_gs.report.environment import environment
from panoptic_gs.report.evaluation import Evaluation, Evaluator, View, evenly
from panoptic_gs.report.objects import ObjectRow, labelled_objects, mapped_objects
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.scene import Frame, Scene, has_cameras
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.checkpoint import is_run


@dataclass(frozen=True, eq=False)
class SceneReport:
    """What a report says.

    Args:
        title: of the page.
        evaluation: scores and pictures.
        objects: of the scene.
        training: how it was trained, where that is known.
        commands: how everything was made, as typed.
        environment: name → version, of this process.
        facts: name → what else is to be told of the scene.
    """

    title: str
    evaluation: Evaluation
    objects: tuple[ObjectRow, ...] = ()
    training: TrainingLog | None = None
    commands: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=environment)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportOptions:
    """What to report on, and how.

    Args:
        data: the scene folder with photos and truth; by default the one that the training was given.
        split: of ``splits.json``, or ``all``; by default ``test`` for Gaussians, where there is one.
        truth: subfolder of the scene with the true maps.
        rasterize_mode: how the splats were trained; by default what the training says, else classic.
        meters_per_unit: size of the scene's unit.
        max_views: how many views are shown; all are scored.
        width: of the pictures, at most.
    """

    data: Path | None = None
    split: str | None = None
    truth: str = "panoptic_gt"
    rasterize_mode: RasterizeMode | None = None
    meters_per_unit: float = 1.0
    max_views: int = 12
    width: int = 640


def make_report(
    source: Path, options: ReportOptions | None = None, commands: Sequence[str] = (), progress: Progress | None = None
) -> SceneReport:
    """Render (where there are Gaussians), score and picture the views of a scene.

    Args:
        source: a training's folder or ``config.yml``, a labelled scene, a folder made by ``panoptic-gs render``, or a
            folder of COCO panoptic maps (also a scene folder with ``panoptic/``).
        options: by default all of them.
        commands: how it was made, as far as it is not known from the training.
        progress: called after each view.

    Raises:
        InputError: there is no such thing, no photos, no views in the split, or the training moved the cameras.
    """
    options = options or ReportOptions()
    source = Path(source)
    run = _run_folder(source)
    training = None if run is None else TrainingLog.load(run)
    started = [] if training is None else [str(line) for line in training.origin.get("commands", [])]
    maps = _maps_folder(source)
    data = Scene.load(_data_folder(source, options.data, training, is_maps=maps is not None))
    truth = data.load_panoptic(options.truth) if (data.root / options.truth / "panoptic.json").is_file() else None
    facts = {"source": str(source), "scene": str(data.root)}
    if maps is not None:
        evaluation, objects = _of_maps(maps, source, data, truth, options, progress)
    else:
        if run is not None:
            _require_unmoved(run, data.root)
        trained_as = None if training is None else training.origin.get("rasterize_mode")
        mode = options.rasterize_mode or ("antialiased" if trained_as == "antialiased" else "classic")
        scene = open_scene(source).scene
        frames = _frames(data, options.split, training)
        evaluation = _of_labelled(scene, frames, truth, options, mode, progress)
        objects = labelled_objects(scene, [frame.camera for frame in data.frames], options.meters_per_unit)
        facts |= {"Gaussians": f"{len(scene.splats):,}"}
    return SceneReport(
        scene_title(data.root),
        evaluation,
        objects,
        training,
        (*started, *commands),
        facts=facts | training_facts(training),
    )


def _frames(data: Scene, split: str | None, training: TrainingLog | None) -> dict[str, Frame]:
    """The views to render by name: a split, or those that the training held out."""
    held_out = [] if training is None else training.origin.get("held_out", [])
    known = {frame.stem: frame for frame in data.frames}
    if split is None and held_out and all(stem in known for stem in held_out):
        return {stem: known[stem] for stem in held_out}
    return {frame.stem: frame for frame in data.split(split or ("test" if data.splits.get("test") else "all"))}


def frame_view(frame: Frame, ids: np.ndarray, rendered: np.ndarray | None, truth: PanopticScene | None) -> View:
    """A view of a scene's photo, with its truth where there is some."""
    true_ids = None if truth is None or frame.stem not in truth.maps else frame.fit_labels(truth.maps[frame.stem])
    return View(frame.stem, ids, true_ids, frame.read_image(), rendered)


def _of_labelled(
    scene: LabelledScene,
    frames: Mapping[str, Frame],
    truth: PanopticScene | None,
    options: ReportOptions,
    mode: RasterizeMode,
    progress: Progress | None,
) -> Evaluation:
    shown = evenly(frames, options.max_views)
    evaluator = Evaluator(scene.labelling, truth, shown, options.width)
    path = {stem: frame.camera for stem, frame in frames.items()}
    for number, view in enumerate(render_path(scene, path, mode), start=1):
        evaluator.add(frame_view(frames[view.name], view.ids, view.rgb, truth))
        if progress is not None:
            progress("Views", number, len(path))
    return evaluator.finish()


def _of_maps(
    folder: Path, source: Path, data: Scene, truth: PanopticScene | None, options: ReportOptions,
    progress: Progress | None,
) -> tuple[Evaluation, tuple[ObjectRow, ...]]:  # fmt: skip
    maps = PanopticScene.load(folder, stems=[frame.stem for frame in data.frames])
    frames = {frame.stem: frame for frame in data.split(options.split or "all") if frame.stem in maps.maps}
    if not frames:
        raise InputError(
            folder, f"no map of any view of split '{options.split}'", "maps of the views to report on",
            "Choose another --split.",
        )  # fmt: skip
    evaluator = Evaluator(maps, truth, evenly(frames, options.max_views), options.width)
    for number, (stem, frame) in enumerate(frames.items(), start=1):
        file = source / "rgb" / f"{stem}.png"
        rendered = read_rgb(file) if file.is_file() else None
        evaluator.add(frame_view(frame, _fit(frame, maps.maps[stem], rendered), rendered, truth))
        if progress is not None:
            progress("Views", number, len(frames))
    return evaluator.finish(), mapped_objects(maps)


def _fit(frame: Frame, ids: np.ndarray, rendered: np.ndarray | None) -> np.ndarray:
    """Maps of photos are on the photo's pixels, lens distortion included; rendered ones are on the ideal camera's."""
    return frame.fit_labels(ids) if rendered is None else ids


def _run_folder(source: Path) -> Path | None:
    if not is_run(source):
        return None
    return source.parent if source.name == "config.yml" else source


def _maps_folder(source: Path) -> Path | None:
    for folder in (source, source / "panoptic"):
        if (folder / "panoptic.json").is_file() and not (source / "labels.safetensors").is_file():
            return folder
    return None


def _data_folder(source: Path, data: Path | None, training: TrainingLog | None, *, is_maps: bool) -> Path:
    if data is not None:
        return data
    if training is not None and training.origin.get("data"):
        folder = Path(str(training.origin["data"]))
        if not folder.is_dir():
            raise InputError(
                source,
                f"a training on {folder}, which is not there",
                "the scene folder that was trained on",
                "Give it with --data SCENE.",
            )
        return folder
    for folder in (source, source.absolute().parent) if is_maps else (source,):
        if has_cameras(folder):
            return folder
    if not source.exists():
        raise InputError(source, "no such file or folder", "a training or a labelled scene", "Check the path.")
    raise InputError(
        source,
        "nothing that says which photos it is of",
        "the scene folder with cameras, photos and truth",
        "Give it with --data SCENE.",
    )


def _require_unmoved(run: Path, root: Path) -> None:
    """The Gaussians have to be where the scene folder's cameras are."""
    file = run / "dataparser_transforms.json"
    if not file.is_file():
        return
    document = read_json(file)
    transforms = root / "transforms.json"
    applied = read_json(transforms).get("applied_transform") if transforms.is_file() else None
    try:
        expected = np.eye(4)[:3] if applied is None else np.asarray(applied, dtype=np.float64)[:3]
        moved = np.abs(np.asarray(document["transform"], dtype=np.float64)[:3] - expected).max() > 1e-4
        if not moved and abs(float(document["scale"]) - 1) < 1e-4:
            return
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            file, f"a missing or malformed field ({error})", "transform (3×4) and scale", "Train again."
        ) from error
    raise InputError(
        file,
        "a training that moved or scaled its cameras",
        "Gaussians in the frame of transforms.json",
        "Take the report that ns-eval writes beside its --output-path: it renders with the training's own cameras.",
    )


def scene_title(root: Path) -> str:
    """What a scene folder is called: its name, and that of the folder it is in, as in ``replica/room_0``."""
    return "/".join(part for part in root.resolve().parts[-2:] if part != root.anchor)


def training_facts(training: TrainingLog | None) -> dict[str, str]:
    """What is told of how a training was started."""
    if training is None:
        return {}
    names = {"method": "method", "iterations": "iterations", "seed": "seed", "device": "trained on"}
    return {said: str(training.origin[name]) for name, said in names.items() if training.origin.get(name) is not None}
