# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs merge``: raw query masks of a network to one panoptic labelling of all views."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.many_scenes import ManyScenes
from panoptic_gs.errors import InputError
from panoptic_gs.merge.registry import AUTO, MethodOrAuto
from panoptic_gs.processes import Processes, joined_processes
from panoptic_gs.progress import progress_bars
from panoptic_gs.replacing import require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.merge import Merge as Merged
    from panoptic_gs.raw_predictions import RawPredictions


@dataclass(frozen=True)
class Merge(ManyScenes):
    """Merge the query masks of a multi-view network into panoptic maps with one id an object.

    Masks of different queries overlap. 'qubo' chooses the queries that cover most and overlap least over all views
    (PanSt3R); 'standard' and 'standard-v2' are MaskFormer's rules. One view at a time is in memory.
    """

    predictions: Positional[Path]
    """Folder with predictions.safetensors and predictions.json."""
    out: Path
    """Folder for the COCO panoptic maps and confidence maps, usually SCENE/panoptic."""
    method: MethodOrAuto = AUTO
    """How to choose among the queries; auto: as the network's authors recommend for it, else qubo."""
    penalty: float = 2.0
    """qubo: what overlap costs, λ_p."""
    seed: int = 0
    """qubo: the same seed makes the same choice."""
    bound: bool = False
    """qubo: tell how far the choice can be from the best one; takes up to 20 seconds."""
    void_threshold: float = 0.5
    """qubo: pixels whose best mask is less probable are void; 0 labels every pixel, as PanSt3R's own decoder does."""
    min_confidence: float = 0.01
    """qubo: segments whose class and mask are less certain than this are dropped."""
    resolution: Literal["image", "mask"] = "image"
    """Size of the maps: the original images', with smooth outlines, or the network's masks', smaller and faster."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        with joined_processes() as processes:
            self._run(processes)

    def _run(self, processes: Processes) -> None:
        from panoptic_gs.merge import merge_predictions
        from panoptic_gs.raw_predictions import RawPredictions

        if (per_photo := _image_predictions(self.predictions)) is not None:
            if processes.leads:  # a photo at a time is no sum over views
                self._merge_photos(per_photo)
            return
        console = self.console()
        require_replaceable(self.out, overwrite=self.overwrite, known_by="panoptic.json")
        with progress_bars(console) as show:
            show("Reading predictions", 0, 1)
            predictions = RawPredictions.load(self.predictions)
            _require_images_of_scene(predictions, self.out)
            show("Reading predictions", 1, 1)
            merged = merge_predictions(
                predictions, self.method, penalty=self.penalty, seed=self.seed, bound=self.bound,
                void_threshold=self.void_threshold, min_confidence=self.min_confidence, progress=show,
                processes=processes,
            )  # fmt: skip
            if not processes.leads:
                return
            merged.save(self.out, overwrite=self.overwrite, resolution=self.resolution, progress=show)
        for line in _summary(merged):
            console.print(line)
        console.print(f"{len(predictions.images)} views written: {escape(str(self.out))}, confidence/")
        self.finish([self.out], method=merged.method, segments=len(merged.segments), objective=merged.objective,
                    gap=merged.gap)  # fmt: skip

    def _merge_photos(self, folder: Path) -> None:
        """Merge the predictions of single photos, each by itself."""
        from panoptic_gs.cli.assemble import PER_IMAGE_METHOD, print_masks
        from panoptic_gs.merge import MergeOptions, merge_predictions
        from panoptic_gs.predict.masks.found import image_predictions, merge_image_predictions

        console = self.console()
        require_replaceable(self.out, overwrite=self.overwrite, known_by="panoptic.json")
        method = PER_IMAGE_METHOD if self.method == AUTO else self.method
        options = MergeOptions(self.penalty, self.seed, self.void_threshold, self.min_confidence)
        with progress_bars(console) as show:
            count, without = merge_image_predictions(
                folder, self.out, lambda raw: merge_predictions(raw, method, options=options),
                overwrite=self.overwrite, progress=lambda done, total: show("Merging masks", done, total),
            )  # fmt: skip
        print_masks(console, count, len(image_predictions(folder)), without)
        console.print(f"Written: {escape(str(self.out))}, ids numbered photo by photo; associate them")
        self.finish([self.out], method=method, segments=count, without=without)


def _image_predictions(folder: Path) -> Path | None:
    """The folder, where it holds one of raw predictions for each photo."""
    from panoptic_gs.raw_predictions import DESCRIPTION

    single = not folder.is_dir() or (folder / DESCRIPTION).is_file()
    return None if single or not any(folder.glob(f"*/{DESCRIPTION}")) else folder


def _require_images_of_scene(predictions: RawPredictions, out: Path) -> None:
    """Where the maps go into a scene folder, they must be of its images."""
    from panoptic_gs.scene import Scene, has_cameras

    root = out.absolute().parent
    if not has_cameras(root):
        return
    known = {frame.stem for frame in Scene.load(root).frames}
    unknown = [image.name for image in predictions.images if image.stem not in known]
    if unknown:
        raise InputError(
            f"{predictions.source}, images",
            f"{len(unknown)} names of no image in {root}, the first '{unknown[0]}'",
            "predictions for images of the scene",
            "Give the predictions of this scene, or write outside the scene folder.",
        )


def _summary(merged: Merged) -> list[str]:
    queries = merged.predictions.class_logits.shape[0]
    lines = [f"[bold]{merged.method}[/]: {len(merged.contestants)} of {queries} queries compete for the pixels"]
    if merged.objective is not None:
        lines[0] += f", objective {merged.objective:.6f}"
    if merged.gap is not None:
        lines[0] += f", at most {100 * merged.gap:.4f}% below the optimum"
    for why, dropped in merged.dropped.items():
        lines.append(f"  dropped {len(dropped)}, {why}: queries {', '.join(map(str, dropped))}")
    names = {category.id: category for category in merged.categories}
    for kind, isthing in (("things", True), ("stuff", False)):
        counts = Counter(s.category_id for s in merged.segments if names[s.category_id].isthing == isthing)
        listed = ", ".join(escape(names[i].name) + (f" {n}" if isthing else "") for i, n in counts.most_common())
        lines.append(f"  {sum(counts.values())} {kind}: {listed}" if counts else f"  no {kind}")
    return lines
