# SPDX-License-Identifier: Apache-2.0
"""Everything that a report says, from a labelled scene, a training, or panoptic maps that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from panoptic_gs.backends import RasterizeMode
from panoptic_gs.errors import InputError
from panoptic_gs.mesh.reading import read_mesh
from panoptic_gs.objects.opening import open_scene, telling_name
from panoptic_gs.objects.survey import is_moved, unit_of
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.progress import Progress, silent
from panoptic_gs.report.environment import environment
from panoptic_gs.report.evaluation import Evaluation, evaluate_views
from panoptic_gs.report.objects import ObjectRow, labelled_objects, mapped_objects
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.report.views import mapped_views, rendered_views
from panoptic_gs.scene import Frame, Scene, has_cameras
from panoptic_gs.scene.maps import unposed
from panoptic_gs.uplift.checkpoint import is_run
from panoptic_gs.uplift.placement import TRANSFORMS_FILE


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
        kind: what kind of views they are, as ``held-out``; empty where they are all views.
    """

    title: str
    evaluation: Evaluation
    objects: tuple[ObjectRow, ...] = ()
    training: TrainingLog | None = None
    commands: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=environment)
    facts: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class ReportOptions:
    """What to report on, and how.

    Args:
        data: the scene folder with photos and truth; by default the one that the training was given.
        split: of ``splits.json``, or ``all``; by default ``test`` for Gaussians, where there is one.
        truth: subfolder of the scene with the true maps.
        rasterize_mode: how the splats were trained; by default what the training says, else classic.
        meters_per_unit: size of the scene's unit; by default what the scene folder says, else 1.
        max_views: how many views are shown; all are scored.
        width: of the pictures, at most.
        training: the run that labelled splats are from, where they do not lie in it.
        color_by_truth: give objects the colours of true ones, which two reports share.
        mesh: folder made by ``panoptic-gs mesh`` of this scene, to be pictured.
    """

    data: Path | None = None
    split: str | None = None
    truth: str = "panoptic_gt"
    rasterize_mode: RasterizeMode | None = None
    meters_per_unit: float | None = None
    max_views: int = 12
    width: int = 640
    training: Path | None = None
    color_by_truth: bool = False
    mesh: Path | None = None


def make_report(
    source: Path, options: ReportOptions | None = None, commands: Sequence[str] = (), progress: Progress = silent
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
    source = find_source(source)
    run = _run_folder(source) or _training_of(options)
    training = None if run is None else TrainingLog.load(run)
    started = [] if training is None else [str(line) for line in training.origin.get("commands", [])]
    maps = _maps_folder(source)
    data = Scene.load(_data_folder(source, options.data, training, is_maps=maps is not None))
    truth = data.load_panoptic(options.truth) if (data.root / options.truth / "panoptic.json").is_file() else None
    facts = {"source": str(source), "scene": str(data.root)}
    mesh = None if options.mesh is None else read_mesh(options.mesh)
    if mesh is not None:
        facts["mesh"] = f"{options.mesh}, {len(mesh.faces):,} triangles"
    if maps is not None:
        if mesh is not None:
            raise InputError("--mesh", f"a mesh for the maps of {maps}", "a mesh of labelled Gaussians",
                             "Report on the labelled scene that the mesh was made of.")  # fmt: skip
        labelling = PanopticScene.load(maps, [*(frame.stem for frame in data.frames), *unposed(data.frames)])
        if not (source / "rgb").is_dir():
            labelling = data.of_photos(labelling, maps.name)
        kind = kind_of_split(options.split or "all")
        views = mapped_views(labelling, maps, data, options.split or "all", source / "rgb", truth)
        objects = mapped_objects(labelling)
    else:
        if run is not None:
            _require_unmoved(run, data)
        trained_as = None if training is None else training.origin.get("rasterize_mode")
        mode = options.rasterize_mode or ("antialiased" if trained_as == "antialiased" else "classic")
        scene = open_scene(source).scene
        frames, kind = _frames(data, options.split, training)
        views = rendered_views(scene, frames, truth, mode, mesh)
        unit = unit_of(data, options.meters_per_unit)
        objects = labelled_objects(scene, [frame.camera for frame in data.frames], unit, mode)
        facts |= {"Gaussians": f"{len(scene.splats):,}"}
    if data.notes:
        facts["notes"] = "; ".join(data.notes)
    return SceneReport(
        scene_title(data.root),
        evaluate_views(views, options.max_views, options.width, progress, color_by_truth=options.color_by_truth),
        objects,
        training,
        (*started, *commands),
        facts=facts | training_facts(training),
        kind=kind,
    )


def trained_data(source: Path, data: Path | None) -> Scene:
    """The scene folder with the photos of a training, or of a labelled scene.

    Args:
        source: the training's folder or ``config.yml``, or a labelled scene.
        data: the scene folder, by default the one that was trained on.

    Raises:
        InputError: it is not known, not there, or the training moved the cameras.
    """
    run = _run_folder(source)
    training = None if run is None else TrainingLog.load(run)
    scene = Scene.load(_data_folder(source, data, training, is_maps=False))
    if run is not None:
        _require_unmoved(run, scene)
    return scene


def _frames(data: Scene, split: str | None, training: TrainingLog | None) -> tuple[dict[str, Frame], str]:
    """The views to render by name: a split, or those that the training held out; and what kind of views they are."""
    held_out = [] if training is None else training.origin.get("held_out", [])
    known = {frame.stem: frame for frame in data.frames}
    if split is None and held_out and all(stem in known for stem in held_out):
        return {stem: known[stem] for stem in held_out}, "held-out"
    split = split or ("test" if data.splits.get("test") else "all")
    return {frame.stem: frame for frame in data.split(split)}, kind_of_split(split)


def kind_of_split(split: str) -> str:
    """What views of a split are called in front of "views"."""
    return {"test": "held-out", "val": "validation", "train": "training", "all": ""}.get(split, f"'{split}'")


def find_source(source: Path | str) -> Path:
    """What there is to report on: ``source`` itself, else the training a level above, the one training up to two levels
    below, or the labelled scene one level below.

    Raises:
        InputError: several trainings lie below.
    """
    source = Path(source)
    if not source.is_dir() or is_run(source) or _is_reported(source):
        return source
    if is_run(source.absolute().parent):
        return source.absolute().parent
    below = sorted({file.parent for depth in ("*", "*/*") for file in source.glob(f"{depth}/config.yml")})
    runs = [folder for folder in below if is_run(folder)]
    runs = runs or sorted(file.parent for file in source.glob("*/labels.safetensors"))
    if len(runs) > 1:
        names = ", ".join(str(run.relative_to(source)) for run in runs[:5])
        raise InputError(source, f"{len(runs)} scenes: {names}{', …' if len(runs) > 5 else ''}", "one",
                         "Give the folder of one; two are compared by 'panoptic-gs report A B'.")  # fmt: skip
    return runs[0] if runs else source


def _is_reported(folder: Path) -> bool:
    return (folder / "labels.safetensors").is_file() or _maps_folder(folder) is not None


def _run_folder(source: Path) -> Path | None:
    if not is_run(source):
        return None
    return source.parent if source.name == "config.yml" else source


def _training_of(options: ReportOptions) -> Path | None:
    if options.training is None:
        return None
    if (run := _run_folder(options.training)) is None:
        raise InputError(
            options.training, "no config.yml with nerfstudio_models/", "a nerfstudio run", "Check the path."
        )
    return run


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


def _require_unmoved(run: Path, data: Scene) -> None:
    """The Gaussians have to be where the scene folder's cameras are."""
    if not is_moved(run, data):
        return
    raise InputError(
        run / TRANSFORMS_FILE,
        "a training that moved or scaled its cameras",
        "Gaussians in the frame of transforms.json",
        "Take the report that ns-eval writes beside its --output-path: it renders with the training's own cameras.",
    )


def scene_title(root: Path) -> str:
    """What a scene folder is called, as on every page: its name, or of the nearest one above that says more than
    "scene"."""
    return telling_name(root)


def training_facts(training: TrainingLog | None) -> dict[str, str]:
    """What is told of how a training was started."""
    if training is None:
        return {}
    names = {"method": "method", "iterations": "iterations", "seed": "seed", "device": "trained on"}
    return {said: str(training.origin[name]) for name, said in names.items() if training.origin.get(name) is not None}
