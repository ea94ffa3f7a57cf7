# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs clean``: predictions made consistent over views, each change with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.placed_splats import PlacedSplats, read_trained_splats
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.progress import progress_bars
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from panoptic_gs.camera import Camera
    from panoptic_gs.labelling import Labelling
    from panoptic_gs.refine import Change, CleanedMap
    from panoptic_gs.scene import Frame

MOST_PICTURES = 24
MOST_LINES = 12


@dataclass(frozen=True)
class Clean(PlacedSplats):
    """Make a scene's predicted maps consistent over its views, as input for any other tool.

    Each map is held against all others: their labels on the Gaussians are rendered into its view, and where they agree
    on another label than the map's, they overrule it. An object that was missed in one view comes back, a hole is
    filled, an outline moves to where most views have it. Every region that changed is listed with its reason.
    """

    scene: Positional[Path]
    """Scene folder with the posed photos and the predicted maps."""
    splats: Path
    """Trained 3DGS PLY, or a nerfstudio run of panst3r-ludvig (its folder, or config.yml); colour-only ones will do."""
    out: Path | None = None
    """New folder for the cleaned COCO panoptic maps, changes.json and changes/*.png; by default PANOPTIC-cleaned in the
    scene."""
    panoptic: str = "panoptic"
    """Subfolder of the scene with the panoptic maps."""
    split: str = "train"
    """Images whose maps are cleaned: a split of splits.json, or 'all'. Without splits.json: all."""
    fill: bool = True
    """Whether pixels without a label take that of the other views."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the PLY says, else classic."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.panoptic import PanopticScene
        from panoptic_gs.refine import RefineOptions, changes_between, find_doubts, refine_labels
        from panoptic_gs.refine.photo_maps import on_photo
        from panoptic_gs.scene import Scene

        console = self.console()
        out = self.out or self.scene / f"{self.panoptic}-cleaned"
        if out.resolve() == (self.scene / self.panoptic).resolve():
            raise InputError("--out", f"{out}, where the predictions are", "another folder", "Keep the predictions.")
        require_replaceable(out, overwrite=self.overwrite, known_by="panoptic.json")
        scene = Scene.load(self.scene)
        predicted = scene.load_panoptic(self.panoptic)
        read = read_trained_splats(self.splats)
        mode = self.rasterize_mode or read.rasterize_mode or "classic"
        splats, said = self.place(
            read.splats, scene, self.splats, console, mode=mode, has_colors=read.has_colors, notes=read.notes
        )
        frames = [f for f in scene.split(self.split if scene.splits else "all") if f.stem in predicted.maps]
        if len(frames) < 2:
            raise InputError(self.scene / self.panoptic, f"{len(frames)} maps of split '{self.split}'",
                             "at least two: each is held against the others", "Choose another --split.")  # fmt: skip
        views = [(frame.camera, frame.fit_labels(predicted.maps[frame.stem])) for frame in frames]
        masked = any(frame.mask_path or frame.has_alpha for frame in frames)
        weights = [_counting(frame) for frame in frames] if masked else None
        options = RefineOptions() if self.fill else RefineOptions(fill=1.0)
        maps: dict[str, np.ndarray] = {}
        changes: dict[str, list[Change]] = {}
        cleaned: dict[str, np.ndarray] = {}
        with progress_bars(console) as show:

            def take(position: int, view: CleanedMap) -> None:
                frame, before = frames[position], views[position][1]
                changes[frame.stem] = changes_between(before, view.ids, view.share)
                cleaned[frame.stem] = view.ids
                maps[frame.stem] = on_photo(predicted.maps[frame.stem], before, view.ids, frame.fit_labels)
                show("Cleaning", position + 1, len(frames))

            refine_labels(splats, views, weights, options, take, rasterize_mode=mode)
        labelling = predicted.labelling.with_source(f"{predicted.source}, cleaned by panoptic-gs".lstrip(", "))
        shown = sorted(frames, key=lambda f: -sum(change.area for change in changes[f.stem]))[:MOST_PICTURES]
        stems = [frame.stem for frame in frames]
        doubts = find_doubts(splats, views, labelling, weights, rasterize_mode=mode)
        look_at = [doubt.to_json(labelling, stems) for doubt in doubts] + _shrunk(changes, views, labelling)
        document = {
            "look_at": look_at,
            "images": [
                {"stem": stem, "width": cleaned[stem].shape[1], "height": cleaned[stem].shape[0],
                 "changed": round(sum(c.area for c in found) / cleaned[stem].size, 5),
                 "changes": [change.to_json() for change in found]}
                for stem, found in changes.items()
            ]
        }  # fmt: skip
        with replacing_folder(out, overwrite=self.overwrite, known_by="panoptic.json") as folder:
            PanopticScene(labelling.categories, labelling.segments, maps, labelling.source).save(folder)
            write_json(folder / "changes.json", document)
            for frame in shown:
                if changes[frame.stem]:
                    picture = _picture(frame, predicted.maps[frame.stem], cleaned[frame.stem], labelling)
                    write_png(folder / "changes" / f"{frame.stem}.png", picture)
        _print_summary(console, changes, cleaned)
        for entry in look_at[:MOST_LINES]:
            console.print(f"  [yellow]look at[/] {escape(entry['what'])}")
        if len(look_at) > MOST_LINES:
            console.print(f"  … and {len(look_at) - MOST_LINES} more in changes.json")
        console.print(f"Written: {escape(str(out))} (panoptic maps, changes.json, changes/)")
        self.finish([out, out / "changes.json"], **document, **said)


def _shrunk(
    changes: dict[str, list[Change]], views: Sequence[tuple[Camera, np.ndarray]], labelling: Labelling
) -> list[dict[str, Any]]:
    """Segments of which less than half is left, those that lost most first."""
    before, balance = Counter[int](), Counter[int]()
    for _, ids in views:
        before.update(dict(zip(*(values.tolist() for values in np.unique(ids, return_counts=True)))))
    for found in changes.values():
        for change in found:
            balance[change.new] += change.area
            balance[change.old] -= change.area
    names, class_of = labelling.category_names, {s.id: s.category_id for s in labelling.segments}
    lost = sorted((-balance[i] / before[i], i) for i in before if i and 2 * balance[i] < -before[i])
    return [
        {"kind": "worn down", "segments": [i], "share": round(share, 4), "views": [],
         "what": f"{names[class_of[i]]} {i}: {100 * share:.0f} % of its pixels went to others"}
        for share, i in lost[::-1]
    ]  # fmt: skip


def _counting(frame: Frame) -> np.ndarray | None:
    counting = frame.counting()
    return None if counting is None else counting.astype(np.float32)


def _picture(frame: Frame, predicted: np.ndarray, cleaned: np.ndarray, labelling: Labelling) -> np.ndarray:
    """The map before, after, and the photo with what changed in colour, side by side ``[H, 3 W, 3]`` uint8."""
    from panoptic_gs.palette import palette_of

    palette = palette_of(labelling)
    before = frame.fit_labels(predicted)
    colors = [np.rint(255 * palette.colorize(ids)).astype(np.uint8) for ids in (before, cleaned)]
    photo = frame.read_image()
    dim = (photo // 3 + 40).astype(np.uint8)
    changed = np.where((before != cleaned)[..., None], colors[1], dim)
    return np.concatenate([*colors, changed], axis=1)


def _print_summary(console: Any, changes: dict[str, list[Change]], cleaned: dict[str, np.ndarray]) -> None:
    regions, areas = Counter[str](), Counter[str]()
    for found in changes.values():
        for change in found:
            regions[change.reason] += 1
            areas[change.reason] += change.area
    pixels = sum(ids.size for ids in cleaned.values())
    console.print(f"[bold]{100 * sum(areas.values()) / pixels:.1f} %[/] of all pixels of {len(cleaned)} maps changed:")
    for reason, area in areas.most_common():
        console.print(f"  {reason}: {regions[reason]} regions, {100 * area / pixels:.2f} % of all pixels")
