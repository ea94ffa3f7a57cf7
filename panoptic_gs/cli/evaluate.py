# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs evaluate``: score predicted panoptic maps against true ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.processes import Processes, joined_processes

if TYPE_CHECKING:
    from panoptic_gs.metrics import SceneScores


@dataclass(frozen=True)
class Evaluate(Output):
    """Score panoptic maps against the truth, over all views of a scene together.

    Prints PQ, SQ, RQ (all classes, things, stuff), mIoU, mAcc, mCov and mWCov in percent, one line a protocol:
    panoptic-lifting is what published tables use, strict are the COCO rules, in which leaving pixels unlabelled costs.
    Maps are matched by name, classes by id and name.
    """

    pred: Positional[Path]
    """Folder of COCO panoptic maps (panoptic.json and PNGs), or a scene folder that has them under panoptic/."""
    gt: Positional[Path]
    """The same with the truth; of a scene folder, panoptic_gt/ is taken."""
    protocols: tuple[str, ...] = ("panoptic-lifting", "strict")
    """Any of panoptic-lifting, strict, panopticrecon:THRESHOLD (0.1 on ScanNet, 0.3 on ScanNet++ and Replica; maps at a
    quarter of their size, mIoU and mAcc averaged over frames)."""
    splits: tuple[str, ...] = ()
    """Score only the views of these splits, each on its own; by default all views that have a true map."""
    splits_file: Path | None = None
    """Where the splits are; by default splits.json in, or beside, the folder of the truth or the prediction."""
    allow_missing: bool = False
    """Count views without a predicted map as entirely unpredicted instead of refusing them."""
    per_class: bool = False
    """Print the classes too."""

    def run(self) -> None:
        with joined_processes() as processes:
            self._run(processes)

    def _run(self, processes: Processes) -> None:
        from panoptic_gs.metrics import Protocol, evaluate_scenes
        from panoptic_gs.metrics.scenes import view_order

        console = self.console()
        rules = [Protocol.parse(name) for name in self.protocols]
        pred, gt = _load(self.pred, "panoptic"), _load(self.gt, "panoptic_gt")
        pred, gt, notes = _on_the_same_pixels(pred, gt, (self.gt, self.pred))
        for note in notes:
            console.print(f"[yellow]{escape(note)}")
        document: dict = {"prediction": pred.source, "truth": gt.source, "notes": notes, "splits": {}}
        for split, stems in self._views(gt).items():
            views = sorted(stems, key=view_order)
            missing = [stem for stem in views if stem not in pred.maps]
            with console.status(f"Scoring {len(views)} views"):
                scores = evaluate_scenes(pred, gt, views, rules, allow_missing=self.allow_missing,
                                         processes=processes)  # fmt: skip
            console.print(_summary(split, len(views), scores))
            for line in _notes(missing, scores):
                console.print(f"[dim]{escape(line)}[/]", highlight=False)
            if self.per_class:
                for score in scores.values():
                    console.print(_class_table(score))
            document["splits"][split] = {
                "views": views,
                "missing": missing,
                "scores": {name: score.as_dict() for name, score in scores.items()},
            }
        ignored = [stem for stem in pred.maps if stem not in gt.maps]
        if ignored:
            console.print(f"[dim]Ignored: {len(ignored)} predicted maps of views without truth.[/]", highlight=False)
        self.finish(**document)

    def _views(self, gt: PanopticScene) -> dict[str, list[str]]:
        """Split name → stems; ``all`` where none was asked for."""
        if not self.splits:
            return {"all": list(gt.maps)}
        file = self.splits_file or _find_splits(self.gt, self.pred)
        document = read_json(file)
        views: dict[str, list[str]] = {}
        for name in self.splits:
            stems = document.get(name) if isinstance(document, dict) else None
            if not stems or not isinstance(stems, list):
                known = sorted(document) if isinstance(document, dict) else []
                raise InputError(
                    file,
                    f"no views in split '{name}'",
                    f"one of {known}" if known else "lists of views",
                    'Choose another split, or add it, as in {"train": ["0001"], "test": ["0002"]}.',
                )
            views[name] = [str(stem) for stem in stems]
        return views


def _load(folder: Path, subfolder: str) -> PanopticScene:
    """The maps in ``folder`` or its ``subfolder``, named by the folder so that errors point to it."""
    for candidate in (folder, folder / subfolder):
        if (candidate / "panoptic.json").is_file():
            scene = PanopticScene.load(candidate)
            return PanopticScene(scene.categories, scene.segments, scene.maps, source=str(candidate))
    found = "no such folder" if not folder.is_dir() else f"neither panoptic.json nor {subfolder}/panoptic.json"
    raise InputError(
        folder,
        found,
        f"a folder of COCO panoptic maps, or a scene folder with {subfolder}/",
        "Check the path; panoptic.json lists the maps, their segments and the categories.",
    )


def _on_the_same_pixels(
    pred: PanopticScene, gt: PanopticScene, folders: tuple[Path, Path]
) -> tuple[PanopticScene, PanopticScene, list[str]]:
    """Both as the scene's photos see them, void where masks hide them; the truth of renders on the renders' pixels.

    Without a scene folder around the maps, and where its photos are plain, they stay as they are.
    """
    from panoptic_gs.scene import Scene, has_cameras
    from panoptic_gs.scene.maps import folder_of_renders

    root = next((f for given in folders for f in (given, given.resolve().parent) if has_cameras(f)), None)
    if root is None:
        return pred, gt, []
    try:
        scene = Scene.load(root)
        if not scene.photos_differ:
            return pred, gt, []
        gt = scene.of_photos(gt, Path(gt.source).name)
        if folder_of_renders(Path(pred.source)) is not None:
            return pred, scene.on_cameras(gt), scene.notes
        return scene.of_photos(pred, Path(pred.source).name), gt, scene.notes
    except InputError as error:
        if any(Path(part.source) in Path(error.source).parents for part in (pred, gt)):
            raise
        return pred, gt, [f"the photos' lenses and masks are not looked at: {error}"]


def _find_splits(*folders: Path) -> Path:
    for folder in folders:
        for candidate in (folder / "splits.json", folder.resolve().parent / "splits.json"):
            if candidate.is_file():
                return candidate
    raise InputError(
        folders[0],
        "no splits.json in it or beside it",
        '{"train": [names], "test": [names]}',
        "Give its path with --splits-file, or leave --splits out to score all views.",
    )


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _summary(split: str, num_views: int, scores: dict[str, SceneScores]) -> Table:
    title = f"{'All' if split == 'all' else split.capitalize()} views ({num_views})"
    table = _table(title)
    table.add_column("protocol", no_wrap=True)
    for name in ("PQ", "SQ", "RQ", "PQ\nthings", "PQ\nstuff", "mIoU", "mAcc", "mCov", "mWCov"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, score in scores.items():
        q = score.panoptic
        numbers = (q.pq, q.sq, q.rq, q.pq_things, q.pq_stuff, score.miou, score.macc, score.mcov, score.mwcov)
        table.add_row(name, *map(_percent, numbers))
    return table


def _notes(missing: list[str], scores: dict[str, SceneScores]) -> list[str]:
    lines = []
    if missing:
        lines.append(f"{len(missing)} views have no prediction and count as unpredicted: {', '.join(missing)}")
    for name, score in scores.items():
        small = [category.name for category in score.panoptic.left_out]
        if small:
            share = f"{100 * score.protocol.min_share:g}%"
            lines.append(f"{name} leaves out {len(small)} classes below {share} of the pixels in prediction or truth: "
                         f"{', '.join(small)}")  # fmt: skip
    return lines


def _class_table(score: SceneScores) -> Table:
    table = _table(f"Classes in {score.protocol.name}")
    table.add_column("class", overflow="fold")
    table.add_column("kind", no_wrap=True)
    for name in ("PQ", "SQ", "RQ", "TP", "FP", "FN", "IoU", "Acc"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in score.panoptic.classes:
        kind = "thing" if c.category.isthing else "stuff"
        table.add_row(escape(c.category.name), kind, _percent(c.pq), _percent(c.sq), _percent(c.rq), str(c.tp),
                      str(c.fp), str(c.fn), _percent(score.iou.get(c.category.id)),
                      _percent(score.accuracy.get(c.category.id)))  # fmt: skip
    return table
