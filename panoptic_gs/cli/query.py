# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs query``: find objects by words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json, write_png
from panoptic_gs.progress import progress_bars
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.objects.opening import OpenedScene
    from panoptic_gs.query import Hit, HubEncoder, ObjectEmbeddings
    from panoptic_gs.scene import Frame

_INDEX = "query.json"


@dataclass(frozen=True)
class Query(Output):
    """Find objects by words, as in "the chair next to the window".

    With a CLIP or SigLIP model (--model), words are compared with pictures of each object; its vectors are kept in the
    scene's folder, and later queries take seconds. Without one, by the objects' names. Where something is (on, in,
    under, next to, against, hanging from) is answered by the scene graph.
    """

    scene: Positional[Path]
    """Folder made by 'panoptic-gs uplift' or 'panoptic-gs view', or a training's folder or config.yml."""
    text: Positional[str]
    """What to look for."""
    model: str | None = None
    """CLIP or SigLIP model of transformers: a folder, or a name on the hub. By default the one whose vectors the scene
    has, else none: search by name."""
    by_name: bool = False
    """Search by name, also where the scene has vectors."""
    data: Path | None = None
    """Scene folder with the photos that objects are cut from, and that say where boxes end; by default the one that was
    trained on."""
    views: int = 4
    """Views an object, those that show it best."""
    rendered: bool = False
    """Cut objects from rendered views in place of photos."""
    top: int = 5
    """How many objects to list."""
    out: Path | None = None
    """New folder for query.json and a picture of each object that is listed."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """Direction away from the ground, for the scene graph."""
    meters_per_unit: float | None = None
    """Size of the scene's unit; by default what the scene folder says, else 1."""
    device: str = "cpu"
    """Where the model runs."""
    overwrite: bool = False
    """Replace --out if it has content."""

    def run(self) -> None:
        from panoptic_gs.export import placed_objects, relate_objects
        from panoptic_gs.objects.opening import open_scene
        from panoptic_gs.objects.orientation import axis_named
        from panoptic_gs.objects.survey import Survey, photos_of, unit_of
        from panoptic_gs.query import by_embedding, by_name, parse_query, search

        console = self.console()
        self._check_arguments()
        parse_query(self.text)
        if self.out is not None:
            require_replaceable(self.out, overwrite=self.overwrite, known_by=_INDEX)
        opened = open_scene(self.scene)
        photos = photos_of(self.scene, self.data)
        cameras = [] if photos is None else [frame.camera for frame in photos.frames]
        survey = Survey(opened.scene, cameras, opened.rasterize_mode, axis_named(self.up))
        unit = unit_of(photos, self.meters_per_unit)
        contact = 0.05 / unit
        objects = placed_objects(survey.table, survey.up, uncertain=False, gap=2 * contact)
        relations = relate_objects(opened.scene.splats, objects, survey.up, contact)
        embedded = None if self.by_name else self._embedded(opened, [entry.id for entry in objects], console)
        likeness = by_name(objects) if embedded is None else by_embedding(objects, *embedded)
        hits = search(self.text, objects, relations, likeness, unit)[: self.top]
        self._say(hits, {entry.id: entry.label for entry in objects}, embedded, console)
        document: dict[str, Any] = {
            "query": self.text, "by": "name" if embedded is None else embedded[0].model,
            "objects": [_row(hit, unit) for hit in hits],
        }  # fmt: skip
        written = [] if self.out is None else self._write(self.out, document, hits, embedded, opened)
        self.finish(written, **document)

    def _embedded(
        self, opened: OpenedScene, ids: Sequence[int], console: Console
    ) -> tuple[ObjectEmbeddings, HubEncoder] | None:
        """The objects' vectors, made where they are not there yet, and the model; None without a model."""
        from panoptic_gs.query import HOW_TO_GET_ONE, HubEncoder, embed_objects, kept_models, load_embeddings, scene_key

        name = self.model or next(iter(kept_models(opened.folder)), None)
        if name is None:
            console.print(f"[yellow]Searching by name. To search by what things look like: {escape(HOW_TO_GET_ONE)}.")
            return None
        encoder = HubEncoder(name, self.device)
        key = scene_key(opened.scene)
        kept = load_embeddings(opened.folder, encoder.name, key)
        if kept is None:
            from panoptic_gs.query.crops import crops_of, find_sightings

            frames = self._frames()
            with progress_bars(console) as progress:
                sightings = find_sightings(opened.scene, frames, ids, self.views, opened.rasterize_mode, progress)
            scene = opened.scene if self.rendered else None
            crops = crops_of(sightings, frames, scene, opened.rasterize_mode)
            kept = embed_objects(encoder, crops, sightings, key)
            path = kept.save(opened.folder)
            console.print(f"{len(kept.ids)} objects embedded: {path}", markup=False)
        return kept, encoder

    def _frames(self) -> tuple[Frame, ...]:
        from panoptic_gs.report.scene_report import trained_data

        return trained_data(self.scene, self.data).frames

    def _write(
        self,
        out: Path,
        document: dict[str, Any],
        hits: Sequence[Hit],
        embedded: tuple[ObjectEmbeddings, HubEncoder] | None,
        opened: OpenedScene,
    ) -> list[Path]:
        from panoptic_gs.query.crops import crops_of, find_sightings

        frames, ids = self._frames(), [hit.object.id for hit in hits]
        if embedded is None:
            sightings = find_sightings(opened.scene, frames, ids, 1, opened.rasterize_mode)
        else:
            sightings = {segment: list(embedded[0].sightings.get(segment, ()))[:1] for segment in ids}
        crops = crops_of(sightings, frames, opened.scene if self.rendered else None, opened.rasterize_mode)
        with replacing_folder(out, overwrite=self.overwrite, known_by=_INDEX) as folder:
            for number, row in enumerate(document["objects"]):
                pictures = crops.get(row["id"])
                row["picture"] = f"{number + 1:02d}_{row['id']}.png" if pictures else None
                if pictures:
                    write_png(folder / row["picture"], pictures[0])
            write_json(folder / _INDEX, document)
        return [out / _INDEX, *(out / row["picture"] for row in document["objects"] if row["picture"])]

    def _say(self, hits: Sequence[Hit], labels: dict[int, str], embedded: object, console: Console) -> None:
        if not hits:
            console.print(f"Nothing is called that: {self.text}", markup=False)
            return
        table = Table("object", "score", "place", "where")
        for hit in hits:
            where = ", ".join(labels[other] for other in hit.beside)
            table.add_row(escape(hit.object.label), f"{hit.score:.3f}", f"{hit.place:.2f}", escape(where))
        console.print(table)

    def _check_arguments(self) -> None:
        for name, value in (("--views", self.views), ("--top", self.top)):
            if value < 1:
                raise InputError(name, str(value), "at least 1", "Correct it.")
        if self.meters_per_unit is not None and not 0 < self.meters_per_unit < float("inf"):
            raise InputError("--meters-per-unit", f"{self.meters_per_unit}", "a positive length", "Correct it.")
        if self.model is not None and self.by_name:
            raise InputError("--by-name", "a --model, too", "one of them", "Leave one out.")


def _row(hit: Hit, meters_per_unit: float) -> dict[str, Any]:
    box = hit.object.box
    return {
        "id": hit.object.id, "name": hit.object.object.name, "category": hit.object.object.category.name,
        "score": round(hit.score, 5), "likeness": round(hit.likeness, 5), "place": round(hit.place, 4),
        "beside": list(hit.beside),
        "box": {
            "center": [round(float(v), 5) for v in box.center * meters_per_unit],
            "axes": [[round(float(v), 5) for v in axis] for axis in box.axes.T],
            "size": [round(float(v), 5) for v in box.size * meters_per_unit],
        },
    }  # fmt: skip
