# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs associate``: masks that are numbered image by image to scene-wide maps and labelled splats."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.placed_splats import PlacedSplats, read_trained_splats
from panoptic_gs.errors import InputError
from panoptic_gs.processes import ALONE, Processes, joined_processes
from panoptic_gs.progress import Progress, progress_bars
from panoptic_gs.replacing import require_replaceable

if TYPE_CHECKING:
    import numpy as np

    from panoptic_gs.associate import Association, ImageMasks
    from panoptic_gs.panoptic import PanopticScene
    from panoptic_gs.scene import Scene
    from panoptic_gs.scene.frame import Frame
    from panoptic_gs.splats import Splats
    from panoptic_gs.uplift import GaussianLabels


@dataclass(frozen=True)
class Associate(PlacedSplats):
    """Give masks that are numbered image by image one id an object, by the Gaussians that they saw.

    Masks of a 2D network, of SAM, or of a tracker that lost its objects become scene-wide panoptic maps, ready for
    ns-train, and labelled splats. Masks of different photos that saw the same Gaussians are one object; no training is
    needed beyond the splats, which may be any colour-only ones.
    """

    splats: Positional[Path]
    """3D Gaussians (PLY, SPZ, SOG, .splat, glTF, USD), or a nerfstudio run of panst3r-ludvig (folder or config.yml)."""
    masks: Positional[Path]
    """Masks of the photos: COCO panoptic maps, id maps, a folder of binary masks a photo, SAM's JSON, .npz."""
    data: Path
    """Scene folder with the posed photos."""
    out: Path
    """Folder for the scene-wide COCO panoptic maps, usually SCENE/panoptic."""
    labelled: Path | None = None
    """Folder for the labelled splats; by default 'labelled' beside --out."""
    split: str = "all"
    """Images to take masks of: a split of splits.json, or 'all'."""
    rasterize_mode: Literal["classic", "antialiased"] = "classic"
    """How the splats were trained."""
    overwrite: bool = False
    """Replace the output folders if they have content."""

    def run(self) -> None:
        console = self.console()
        with joined_processes() as processes, progress_bars(console) as show:
            written, result = self.label(console, show, processes)
            self.finish(written, **result)

    def label(
        self, console: Console, progress: Progress, processes: Processes = ALONE
    ) -> tuple[list[Path], dict[str, Any]]:
        """Associate, write and print what was found; what was written, and the rest for scripts.

        The masks are weighed by all processes; what comes after is done by the one that leads.
        """
        from panoptic_gs.associate import associate, read_masks
        from panoptic_gs.refine import label_gaussians
        from panoptic_gs.scene import Scene

        labelled = self.labelled or self.out.absolute().parent / "labelled"
        self._require_outputs(labelled)
        scene = Scene.load(self.data)
        masks_of_photos = read_masks(self.masks, _photo_sizes(scene))
        masks = _on_cameras(masks_of_photos, scene, self.split)
        splats, said = self._splats(scene, console)
        cameras = {frame.stem: frame.camera for frame in scene.frames}
        association = associate(splats, cameras, masks, rasterize_mode=self.rasterize_mode, processes=processes,
                                progress=progress)  # fmt: skip
        if not processes.leads:
            return [], {}
        maps = association.scene(masks, lambda stem: association.shown(splats, cameras[stem], self.rasterize_mode))
        labels = label_gaussians(
            "average", splats, ((cameras[stem], maps.maps[stem]) for stem in maps.stems), None, maps.labelling,
            rasterize_mode=self.rasterize_mode,
        )  # fmt: skip
        # Uplifting takes maps on the ideal cameras' pixels; a folder of maps holds those of the photos, lens and all.
        of_photos = association.scene(
            masks_of_photos,
            lambda stem: _on_masks(
                association.shown(splats, cameras[stem], self.rasterize_mode),
                scene.frame(stem),
                masks_of_photos[stem].regions.shape,
            ),
        )
        _save(self.out, labelled, splats, labels, of_photos, overwrite=self.overwrite)
        _print_summary(console, association, masks)
        written = [self.out, labelled]
        console.print(f"Written: {escape(str(self.out))} (panoptic maps), {escape(str(labelled))} (labelled splats)")
        return written, {**_result(association), **said}

    def _splats(self, scene: Scene, console: Console) -> tuple[Splats, dict[str, Any]]:
        """The Gaussians in the scene's frame, and what is said of them."""
        read = read_trained_splats(self.splats)
        return self.place(
            read.splats, scene, self.splats, console, mode=self.rasterize_mode, has_colors=read.has_colors,
            notes=read.notes,
        )  # fmt: skip

    def _require_outputs(self, labelled: Path) -> None:
        masks, out = self.masks.resolve(), self.out.resolve()
        if out == masks or out in masks.parents or masks in out.parents:
            raise InputError(
                "--out",
                f"{self.out}, where the masks are",
                "another folder",
                "Move the masks, say to SCENE/masks, so that they stay when the maps are written.",
            )
        if labelled.resolve() == out:
            raise InputError(
                "--labelled", f"{labelled}, as --out", "two folders", "Give the labelled splats a folder of their own."
            )
        require_replaceable(self.out, overwrite=self.overwrite, known_by="panoptic.json")
        require_replaceable(labelled, overwrite=self.overwrite, known_by="segments.json")


def _photo_sizes(scene: Scene) -> dict[str, tuple[int, int]]:
    return {frame.stem: (frame.sensor.width, frame.sensor.height) for frame in scene.frames}


def _on_cameras(masks: ImageMasks, scene: Scene, split: str) -> ImageMasks:
    """The masks of a split on the pixels of their ideal cameras."""
    from dataclasses import replace

    frames = {frame.stem: frame for frame in scene.split(split)}
    readers = {
        stem: lambda read=read, fit=frames[stem].fit_labels: read().remapped(fit)
        for stem, read in masks.readers.items()
        if stem in frames
    }
    if not readers:
        raise InputError(
            masks.source, f"masks of no image of split '{split}'", "masks of its images", "Choose another --split."
        )
    without = tuple(stem for stem in frames if stem not in readers)
    return replace(masks, readers=readers, without=without)


def _on_masks(ids: np.ndarray, frame: Frame, shape: tuple[int, ...]) -> np.ndarray:
    """Ids on the pixels of a frame's ideal camera, carried back to the pixels of its masks ``shape``, lens and all.

    A pixel that no pixel of the ideal camera comes from takes the nearest one's id.
    """
    import numpy as np
    from scipy import ndimage

    height, width = shape
    origin = frame.fit_labels(np.arange(1, height * width + 1).reshape(height, width))
    flat = np.full(height * width + 1, -1, np.int64)
    flat[origin.ravel()] = ids.ravel()
    on_masks = flat[1:].reshape(height, width)
    nearest = ndimage.distance_transform_edt(on_masks < 0, return_distances=False, return_indices=True)
    return on_masks[tuple(nearest)]  # pyright: ignore[reportArgumentType, reportOptionalIterable]


def _save(
    out: Path, labelled: Path, splats: Splats, labels: GaussianLabels, maps: PanopticScene, *, overwrite: bool
) -> None:
    """Write both folders completely under temporary names, then move both into place."""
    from panoptic_gs.replacing import replacing_folder
    from panoptic_gs.uplift import save_labelled_scene

    with ExitStack() as folders:
        new_labelled = folders.enter_context(replacing_folder(labelled, overwrite=overwrite, known_by="segments.json"))
        new_out = folders.enter_context(replacing_folder(out, overwrite=overwrite, known_by="panoptic.json"))
        maps.save(new_out)
        save_labelled_scene(new_labelled, splats, labels, maps)


def _print_summary(console: Console, association: Association, masks: ImageMasks) -> None:
    views = association.views.values()
    total = sum(len(view.ids) for view in views)
    abstaining = sum(int((view.objects == 0).sum()) for view in views)
    names = {category.id: category.name for category in association.categories}
    counts = Counter(names[thing.category_id] for thing in association.things)
    console.print(
        f"[bold]{total} masks[/] in {len(association.views)} photos ({escape(masks.kind)}): "
        f"{len(association.things)} objects, {abstaining} masks abstain"
    )
    if counts:
        console.print("  " + ", ".join(f"{escape(name)} {count}" for name, count in counts.most_common()))
    whole = _whole_photos(association)
    if whole:
        listed = ", ".join(whole[:3]) + (" …" if len(whole) > 3 else "")
        console.print(
            f"  {len(whole)} photos have a mask of a thing over (nearly) all of them, which tells nothing apart: "
            f"{escape(listed)}. Leave such masks out where they are not meant."
        )
    if masks.without:
        listed = ", ".join(masks.without[:3]) + (" …" if len(masks.without) > 3 else "")
        console.print(f"  {len(masks.without)} photos without masks: {escape(listed)}")
    doubtful = sorted((thing for thing in association.things if thing.score < 0.5), key=lambda thing: thing.score)
    for thing in doubtful[:5]:
        console.print(f"  doubtful: {escape(names[thing.category_id])} {thing.id}, {escape(thing.reason)}")


def _whole_photos(association: Association) -> list[str]:
    """Photos with a mask of a thing over at least 95 % of their pixels: the frame of a map, or a background."""
    import numpy as np

    stuff = [entry.id for entry in association.objects if not entry.isthing]
    return sorted(
        stem for stem, view in association.views.items() if (view.covers[~np.isin(view.objects, stuff)] > 0.95).any()
    )


def _result(association: Association) -> dict[str, Any]:
    return {
        "objects": [
            {
                "id": entry.id,
                "category_id": entry.category_id,
                "isthing": entry.isthing,
                "masks": entry.masks,
                "views": entry.views,
                "score": entry.score,
                "reason": entry.reason,
            }
            for entry in association.objects
        ],
        "masks": {
            stem: [
                {"id": int(i), "object": int(o), "score": float(score), "reason": reason}
                for i, o, score, reason in zip(view.ids, view.objects, view.scores, view.reasons)
            ]
            for stem, view in association.views.items()
        },
    }
