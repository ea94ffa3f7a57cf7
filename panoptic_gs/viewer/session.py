# SPDX-License-Identifier: Apache-2.0
"""What a viewer shows and has done so far, without any browser: the model behind the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.mesh.surface import LabelledMesh
from panoptic_gs.objects.cut_out import strays
from panoptic_gs.objects.opening import OpenedScene
from panoptic_gs.objects.picking import pick, pick_point
from panoptic_gs.objects.survey import Survey
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.palette import colors_of
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import LabelledScene, save_labelled_scene
from panoptic_gs.viewer import appearance, edits
from panoptic_gs.viewer.appearance import ColorBy, PaletteName, Shown
from panoptic_gs.viewer.journal import Done, Journal, Step
from panoptic_gs.viewer.operations import Operation


@dataclass
class Look:
    """What the page's controls say."""

    shown: Shown = "splats"
    """What is drawn where there is a mesh, too."""
    color_by: ColorBy = "panoptic"
    palette: PaletteName = "distinct"
    shuffle: int = 0
    """Seed of the palette "shuffled"."""
    shaded: bool = True
    """Whether label colours keep the photo's light and dark."""
    min_confidence: float = 0.0
    """Gaussians below it are hidden, unlabelled ones too where it is above 0."""
    unlabelled: bool = True
    """Whether Gaussians without a label are drawn."""
    hidden: set[int] = field(default_factory=set)
    """Objects that are hidden."""
    selected: int = 0
    """The object that is lit up; 0 for none."""


class Derived:
    """What follows from one state of the scene; made anew after each edit, parts of it only when asked for."""

    def __init__(self, table: ObjectTable) -> None:
        self.scene, self.table = table.scene, table

    @cached_property
    def photo(self) -> np.ndarray:
        """Colours ``[N, 3]`` uint8."""
        return self.scene.splats.base_colors()

    @cached_property
    def colors(self) -> dict[int, tuple[int, int, int]]:
        """The colour of each segment, as everywhere."""
        return colors_of(self.scene.labelling)

    @cached_property
    def category_of(self) -> np.ndarray:
        """The category ``[N]`` of each Gaussian, 0 = none."""
        lookup = np.zeros(int(self.table.segment_of.max(initial=0)) + 1, dtype=np.int64)
        for row in self.table:
            if row.id < len(lookup):
                lookup[row.id] = row.category.id
        return lookup[self.table.segment_of]

    @cached_property
    def plain_splats(self) -> Splats:
        """The Gaussians without their dependence on the view, which picking does not need."""
        splats = self.scene.splats
        return Splats(splats.means, splats.quats, splats.scales, splats.opacities, splats.sh[:, :1])


class Session:
    """A labelled scene that is looked at and edited.

    Args:
        opened: the scene.
        out: folder inside the scene's folder where edits are saved; by default ``edited``, or ``edited-2`` … where an
            earlier one is there.
        mesh: a panoptic mesh of the scene, in its units, to be looked at beside the Gaussians. It keeps the labels that
            it was made with.
        cameras: of the photos, by which boxes end where surfaces are seen.
        up: ``[3]``; found out by default.
        meters_per_unit: size of the scene's unit.

    Raises:
        InputError: ``out`` is not inside the scene's folder, is the scene itself, or has content.
    """

    def __init__(
        self,
        opened: OpenedScene,
        out: Path | None = None,
        mesh: LabelledMesh | None = None,
        cameras: Sequence[Camera] = (),
        up: np.ndarray | None = None,
        meters_per_unit: float = 1.0,
    ) -> None:
        self.opened, self.mesh, self.meters_per_unit = opened, mesh, meters_per_unit
        self.history = edits.History(opened.scene)
        self.look = Look()
        self.out = _output_folder(opened.folder, out)
        self.restored = ""
        """What there is to say of edits that were taken over, once the page is there."""
        self.journal = Journal(opened.folder, opened.scene)
        """The edits that were not saved, on the disk."""
        self._saved_here = False
        self._survey = Survey(opened.scene, cameras, opened.rasterize_mode, up)
        self.up = self._survey.up
        """Away from the ground ``[3]``, in which boxes stand."""
        self._derived = Derived(self._survey.table)
        self._drawn: tuple[tuple[object, ...], LabelledScene] | None = None

    @property
    def scene(self) -> LabelledScene:
        """The scene as edited so far."""
        return self.history.current

    @property
    def derived(self) -> Derived:
        """What follows from the current scene."""
        if self._derived.scene is not self.scene:
            self._derived = Derived(self._survey.of(self.scene))
        return self._derived

    @property
    def table(self) -> ObjectTable:
        """The objects as they are now."""
        return self.derived.table

    # What is drawn

    def visible(self) -> np.ndarray:
        """Which Gaussians ``[N]`` bool are drawn."""
        table, look = self.table, self.look
        return appearance.shown_rows(
            table.segment_of, table.confidence, look.hidden, look.min_confidence, look.unlabelled
        )

    def colors(self) -> np.ndarray:
        """The colour ``[N, 3]`` uint8 of each Gaussian, the selected object lit up."""
        derived, look = self.derived, self.look
        if look.color_by == "colour":
            colors = derived.photo
        elif look.color_by == "confidence":
            colors = appearance.confidence_colors(derived.table.confidence)
        elif look.color_by == "category":
            colors = appearance.category_colors(derived.category_of, self.scene.categories, look.palette, look.shuffle)
        else:
            colors = self.object_colors(derived.table.segment_of)
        if look.shaded and look.color_by in ("panoptic", "category"):
            colors = appearance.shaded(colors, derived.photo)
        if look.selected:
            colors = appearance.spotlit(colors, derived.table.segment_of == look.selected)
        return colors

    def drawn_mesh(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The faces ``[F, 3]`` of the mesh that are drawn, and the colours ``[V, 3]`` uint8 of its vertices; None where
        it is not shown. What the look says of Gaussians holds for vertices."""
        mesh, look = self.mesh, self.look
        if mesh is None or look.shown == "splats":
            return None
        colors = mesh.color
        if look.color_by == "confidence":
            colors = appearance.confidence_colors(mesh.confidence)
        elif look.color_by == "category":
            category = self.scene.labelling.category_of()
            known = np.where(mesh.segment < len(category), mesh.segment, 0)
            colors = appearance.category_colors(category[known], self.scene.categories, look.palette, look.shuffle)
        elif look.color_by == "panoptic":
            colors = self.object_colors(mesh.segment)
        if look.selected:
            colors = appearance.spotlit(colors, mesh.segment == look.selected)
        shown = ~np.isin(mesh.segment, list(look.hidden)) & (mesh.confidence >= look.min_confidence)
        if not look.unlabelled:
            shown &= mesh.segment != 0
        return mesh.faces[shown[mesh.faces].sum(axis=1) >= 2], colors

    def object_colors(self, ids: np.ndarray) -> np.ndarray:
        """The colours ``[..., 3]`` uint8 of a map of segment ids, by the palette that is chosen; 0 is dark grey."""
        known, look = self.scene.labelling.segment_ids, self.look
        colors = appearance.label_colors(ids.ravel(), known, look.palette, look.shuffle, self.derived.colors)
        return colors.reshape(*ids.shape, 3)

    def swatches(self) -> dict[int, tuple[int, int, int]]:
        """The colour by which each object is told in the list: as it is drawn where labels are coloured."""
        rows, look = list(self.table), self.look
        if look.color_by == "category":
            ids = np.array([row.category.id for row in rows], dtype=np.int64)
            colors = appearance.category_colors(ids, self.scene.categories, look.palette, look.shuffle)
        elif look.color_by == "confidence":
            colors = appearance.confidence_colors(np.array([row.confidence for row in rows]))
        else:
            colors = self.object_colors(np.array([row.id for row in rows], dtype=np.int64))
        return {row.id: (int(r), int(g), int(b)) for row, (r, g, b) in zip(rows, colors.tolist())}

    def drawn(self) -> LabelledScene:
        """The Gaussians that are drawn, without their dependence on the view, and their labels."""
        look = self.look
        state = (self.scene, look.min_confidence, look.unlabelled, frozenset(look.hidden))
        if self._drawn is None or self._drawn[0][0] is not state[0] or self._drawn[0][1:] != state[1:]:
            shown = torch.from_numpy(self.visible())
            splats, labels = self.derived.plain_splats, self.scene.labels
            if not bool(shown.all()):
                splats, labels = splats.subset(shown), labels.subset(shown)
            self._drawn = state, LabelledScene(splats, labels, self.scene.labelling)
        return self._drawn[1]

    def pick(self, origin: np.ndarray, direction: np.ndarray, fov_y: float, height: int = 800) -> int:
        """The object that a click's ray meets among the drawn Gaussians, 0 for none."""
        drawn = self.drawn()
        return pick(drawn.splats, drawn.labels, origin, direction, fov_y, height)

    def pick_point(self, origin: np.ndarray, direction: np.ndarray, fov_y: float) -> np.ndarray | None:
        """The point ``[3]`` that a click's ray meets among the drawn Gaussians, None for none."""
        return pick_point(self.drawn().splats, origin, direction, fov_y)

    def select(self, segment_id: int) -> None:
        """Light an object up; 0, or an id that there is not, for none."""
        self.look.selected = segment_id if self.table.get(segment_id) else 0

    def show_only(self, segment_ids: set[int]) -> None:
        """Hide every object but these, and what has no label."""
        self.look.hidden = {row.id for row in self.table} - segment_ids
        self.look.unlabelled = False

    def show_all(self) -> None:
        """Show every object, and what has no label."""
        self.look.hidden = set()
        self.look.unlabelled = True

    # Edits

    def strays(self, segment_id: int) -> np.ndarray:
        """The Gaussians ``[S]`` of an object that are none of it: floaters, and the halo of what it touches."""
        return strays(self.table, segment_id, self.up)

    def edit(self, description: str, operation: Operation) -> None:
        """Edit the current scene; the edit is on the disk when this returns, or :attr:`journal` says why it is not.

        Raises:
            InputError: it cannot be done, or the scene was thinned.
        """
        if self.opened.thinned:
            raise InputError(
                "edit",
                f"{len(self.opened.scene.splats):,} of {self.opened.num_gaussians:,} Gaussians",
                "the whole scene",
                "Start without --max-gaussians to edit.",
            )
        self.history.apply(description, operation.apply(self.scene))
        self.journal.add(Done(operation, description))
        self._after_change()

    def restore(self) -> list[str]:
        """Make the edits again that an earlier viewer of this scene left without saving; what is to be said of them."""
        entries, notes = self.journal.take_up()
        for number, entry in enumerate(entries):
            try:
                if isinstance(entry, Step):
                    (self.history.undo if entry.step == "undo" else self.history.redo)()
                else:
                    self.history.apply(entry.description, entry.edit.apply(self.scene))
            except InputError as error:
                notes.append(f"Edit {number + 1} of {len(entries)} cannot be made again. {error}")
                notes.append(self.journal.keep(number))
                break
        if self.history.unsaved:
            edits_left = "1 edit" if len(entries) == 1 else f"{len(entries)} edits"
            were = "was" if len(entries) == 1 else "were"
            self.restored = f"{edits_left} of an earlier viewer, which ended without saving, {were} made again."
            notes.insert(0, f"{self.restored} Undo takes them back; Save keeps them.")
        if self.journal.trouble is not None:
            notes.append(str(self.journal.trouble))
        self._after_change()
        return notes

    def undo(self) -> str | None:
        """Take the last edit back; its description."""
        description = self.history.undo()
        if description is not None:
            self.journal.add(Step("undo"))
        self._after_change()
        return description

    def redo(self) -> str | None:
        """Do the last edit that was taken back again; its description."""
        description = self.history.redo()
        if description is not None:
            self.journal.add(Step("redo"))
        self._after_change()
        return description

    def save(self) -> Path:
        """Write the edited scene as a labelled scene folder; the original stays untouched. Gives the folder.

        Raises:
            InputError: it cannot be written.
        """
        scene = self.scene
        source = f"edited from {self.opened.folder.resolve().name}"
        labelling = scene.labelling.with_source(source)
        save_labelled_scene(self.out, scene.splats, scene.labels, labelling, overwrite=self._saved_here)
        self._saved_here = True
        self.history.mark_saved()
        self.journal.clear()
        return self.out

    def close(self) -> bool:
        """Let go of the edits on the disk; whether some are left there for the next viewer."""
        if not self.history.unsaved:
            self.journal.clear()
        self.journal.close()
        return self.history.unsaved and self.journal.trouble is None

    def _after_change(self) -> None:
        ids = {row.id for row in self.table}
        self.look.hidden &= ids
        if self.look.selected not in ids:
            self.look.selected = 0


def _output_folder(folder: Path, out: Path | None) -> Path:
    root = folder.resolve()
    if out is None:
        names = ("edited", *(f"edited-{number}" for number in range(2, 10_000)))
        return next(root / name for name in names if not (root / name).exists())
    chosen = (root / out).resolve()
    if root not in chosen.parents:
        raise InputError(
            "--out",
            str(out),
            f"a folder inside {root}, relative to it",
            "Give a name as in --out corrected; copy it elsewhere afterwards.",
        )
    if chosen.exists() and any(chosen.iterdir() if chosen.is_dir() else [chosen]):
        raise InputError("--out", f"{chosen}, which has content", "a new folder", "Choose another name.")
    return chosen
