# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs export``: a labelled scene for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_json
from panoptic_gs.panoptic import PanopticWriter
from panoptic_gs.replacing import replacing_folder, require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.camera import Camera
    from panoptic_gs.export import PlacedObject
    from panoptic_gs.objects.survey import Survey
    from panoptic_gs.splats.gaussians import RasterizeMode
    from panoptic_gs.uplift import LabelledScene

Format = Literal[
    "splats",
    "objects",
    "points",
    "boxes",
    "graph",
    "maps",
    "video",
    "glb",
    "ply",
    "spz",
    "sog",
    "usd",
    "usdz",
    "match",
]
_STILL: tuple[Format, ...] = ("splats", "objects", "points", "boxes", "graph")
_ALONG_PATH: tuple[Format, ...] = ("maps", "video")
_BY_NAME: tuple[Format, ...] = ("glb", "ply", "spz", "sog", "usd", "usdz", "match")
"""The Gaussians once more for one program or another: written where they are asked for."""
_INDEX = "export.json"
_MOST_FRAMES = 20_000


@dataclass(frozen=True)
class Export(Output):
    """Take a labelled scene to other programs.

    splats: one PLY with segment_id, category_id and confidence, which any 3DGS viewer opens. objects: one such PLY for
    each object. points: a point cloud with colour, instance and semantic ids. boxes: a GLB of named, upright boxes.
    graph: a JSON of objects, boxes in metres and what stands on what. maps: COCO panoptic maps along a camera path.
    video: an MP4 with colour and panoptic side by side: along the path, or asked for without one once around the room,
    with names and a legend. Written where they are named: glb: all Gaussians
    as glTF (KHR_gaussian_splatting), each with its object in a table of id, name, category, confidence. ply: a PLY with
    class_id and instance_id, by which SuperSplat and splat-transform select. spz, sog: one SPZ or SOG for each object
    and an index. usd: a prim for each object, with semantics labels, z up, in metres; usdz: the same as a package.
    match: the labels in the order of another file
    of the same Gaussians (--match).
    """

    labelled: Positional[Path]
    """Folder made by 'panoptic-gs uplift' or 'panoptic-gs view', or a training's folder or config.yml."""
    out: Path
    """New folder."""
    formats: Annotated[tuple[Format, ...], tyro.conf.arg(aliases=["--format"])] = ()
    """What to write; by default all but glb, ply, spz, sog, usd, usdz and match; maps and video where --path is
    given."""
    node_each: bool = False
    """In the GLB, a node for each object, named after it, in place of one for all."""
    match: Path | None = None
    """A file of the same Gaussians that another program reordered, thinned or quantised; for the format match."""
    tolerance: float | None = None
    """Largest distance at which a Gaussian of --match is still the same; by default half the usual distance between
    neighbours."""
    path: Path | None = None
    """Cameras for maps and video: a scene folder, or a path exported from nerfstudio's viewer. Without one the video
    turns once around the room."""
    data: Path | None = None
    """The scene folder with the photos: boxes end where these show surfaces, and a video without a path goes where they
    were taken; that of a training is known."""
    split: str = "all"
    """Which of a scene folder's cameras: a split of splits.json, or 'all'."""
    interpolate: int = 1
    """Frames from one camera of a scene folder to the next."""
    fps: float = 24.0
    """Frames a second of the video."""
    seconds: float = 12.0
    """What a video takes that turns around the room."""
    names: bool | None = None
    """Write the objects' names and a legend into the video; by default where it turns around the room."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """Direction away from the ground, in which boxes stand; by default that of the photos' cameras and of
    what is called floor, else z."""
    meters_per_unit: float | None = None
    """Size of the scene's unit, for boxes, graph and USD; by default what the scene folder says, else 1."""
    contact: float = 0.05
    """Largest gap between objects that touch, in metres."""
    uncertain: bool = False
    """Write also the objects for which too little speaks: fewer than 10 Gaussians, or less than a quarter of the
    pixels that were labelled as them kept."""
    clean: bool = False
    """Write objects, SPZ and SOG files without floaters and without the halo of what they touch: of each thing what
    lies in its box, or on surfaces that views show. Their Gaussians are then not all of the scene's."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the scene says. PLYs of antialiased ones say so in their header."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        from panoptic_gs.export import load_camera_path
        from panoptic_gs.objects.opening import open_scene
        from panoptic_gs.objects.orientation import axis_named
        from panoptic_gs.objects.survey import Survey, photos_of, unit_of

        console = self.console()
        formats = self.formats or (_STILL if self.path is None else (*_STILL, *_ALONG_PATH))
        if self.path is None and "maps" in formats:
            raise InputError("--path", "none", "cameras for maps", "Pass a scene folder with --path.")
        if not 0 < self.seconds * self.fps <= _MOST_FRAMES:
            raise InputError("--seconds", f"{self.seconds:g} at {self.fps:g} frames a second",
                             f"1 to {_MOST_FRAMES:,} frames", "Choose others.")  # fmt: skip
        for name, value in (("--meters-per-unit", self.meters_per_unit), ("--contact", self.contact)):
            if value is not None and not value > 0:
                raise InputError(name, f"{value}", "a positive length", "Correct it.")
        if ("match" in formats) != (self.match is not None):
            found = "none" if self.match is None else "without the format match"
            raise InputError("--match", found, "a file and --formats match", "Pass both, or neither.")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError("--tolerance", f"{self.tolerance}", "a distance", "Correct it.")
        if self.clean and not {"objects", "spz", "sog"} & set(formats):
            raise InputError("--clean", "no objects, spz or sog among the formats", "--formats objects", "Add one.")
        if self.node_each and "glb" not in formats:
            raise InputError("--node-each", "no glb among the formats", "--formats glb", "Add it.")
        require_replaceable(self.out, overwrite=self.overwrite, known_by=_INDEX)
        opened = open_scene(self.labelled)
        scene, mode = opened.scene, self.rasterize_mode or opened.rasterize_mode
        path = {} if self.path is None else load_camera_path(self.path, self.split, self.interpolate)
        # A path that is a scene folder has the photos, too, and all of them count, whatever the split.
        along = self.path if self.path is not None and self.path.is_dir() else None
        photos = photos_of(self.labelled, self.data or along)
        cameras = [] if photos is None else [frame.camera for frame in photos.frames]
        survey = Survey(scene, cameras, mode, axis_named(self.up))
        unit = unit_of(photos, self.meters_per_unit)
        written: dict[str, str] = {}
        with replacing_folder(self.out, overwrite=self.overwrite, known_by=_INDEX) as folder:
            if set(formats) & {*_STILL, *_BY_NAME}:
                written |= self._write_still(folder, survey, unit, formats, mode)
            if set(formats) & set(_ALONG_PATH):
                written |= self._write_path(folder, survey, path, cameras, formats, console, mode)
            write_json(folder / _INDEX, {"source": self.labelled.name, "files": written})
        for name, what in written.items():
            console.print(f"{self.out / name}  [dim]{what}")
        self.finish([self.out / name for name in written], files=written)

    def _write_still(
        self,
        folder: Path,
        survey: Survey,
        unit: float,
        formats: Sequence[Format],
        mode: RasterizeMode,
    ) -> dict[str, str]:
        from panoptic_gs import export
        from panoptic_gs.palette import colors_of
        from panoptic_gs.uplift import save_labelled_scene

        written = {}
        table, up, scene = survey.table, survey.up, survey.table.scene
        gap = 2 * self.contact / unit
        every = export.placed_objects(table, up, gap=gap)
        objects = [entry for entry in every if self.uncertain or not entry.object.uncertain]
        if not objects:
            raise InputError(self.labelled, "no Gaussian with a label", "labelled splats", "Uplift the labels again.")
        left_out = f", {len(table.uncertain)} uncertain ones left out" if table.uncertain and not self.uncertain else ""
        if "splats" in formats:
            save_labelled_scene(folder / "splats", scene.splats, scene.labels, scene.labelling, rasterize_mode=mode)
            written["splats/splats.ply"] = f"{len(scene.splats):,} Gaussians with segment_id, category_id, confidence"
        if "objects" in formats:
            chosen = export.cut_out_objects(table, objects, up) if self.clean else objects
            files = export.write_objects(folder / "objects", scene, chosen, mode)
            gone = sum(len(a.members) - len(b.members) for a, b in zip(objects, chosen))
            cleaned = f", cleaned of {gone:,} Gaussians" if self.clean else ""
            written["objects/"] = f"{len(files)} PLYs, one for each object{left_out}{cleaned}"
        if "points" in formats:
            count = export.write_point_cloud(folder / "points.ply", scene)
            written["points.ply"] = f"{count:,} points with colour, instance, semantic, confidence"
        if "boxes" in formats:
            export.write_boxes(folder / "boxes.glb", objects, unit, colors_of(scene.labelling))
            written["boxes.glb"] = f"{len(objects)} named boxes{left_out}"
        if "graph" in formats:
            relations = export.relate_objects(scene.splats, objects, up, self.contact / unit)
            export.write_scene_graph(folder / "scene_graph.json", objects, relations, up, unit,
                                     source=self.labelled.name)  # fmt: skip
            written["scene_graph.json"] = f"{len(objects)} objects, {len(relations)} relations{left_out}"
        # Splats of the whole scene keep every label; what is left out of lists and boxes is not taken out of them.
        cut = export.cut_out_objects(table, every, up) if self.clean and {"spz", "sog"} & set(formats) else every
        return written | self._write_by_name(folder, scene, every, cut, up, unit, formats, mode)

    def _write_by_name(
        self,
        folder: Path,
        scene: LabelledScene,
        objects: Sequence[PlacedObject],
        cut: Sequence[PlacedObject],
        up: np.ndarray,
        unit: float,
        formats: Sequence[Format],
        mode: RasterizeMode,
    ) -> dict[str, str]:
        from panoptic_gs import export

        written = {}
        if "glb" in formats:
            export.write_gaussian_gltf(folder / "splats.glb", scene, objects, up, mode, node_each=self.node_each)
            nodes = "a node each" if self.node_each else "in one node"
            written["splats.glb"] = f"{len(scene.splats):,} Gaussians, {len(objects)} objects {nodes}"
        if "ply" in formats:
            export.write_labelled_ply(folder / "labelled.ply", scene, objects, mode)
            written["labelled.ply"] = f"{len(scene.splats):,} Gaussians with class_id, instance_id, confidence"
            written["labelled.json"] = "what class_id and instance_id mean"
        if "spz" in formats:
            files = export.write_spz_objects(folder / "spz", scene, cut, mode)
            written["spz/"] = f"{len(files)} SPZ files, one for each object, and index.json"
        if "sog" in formats:
            files = export.write_sog_objects(folder / "sog", scene, cut, mode)
            written["sog/"] = f"{len(files)} SOG bundles, one for each object, and index.json"
        for kind, ending in (("usd", "usdc"), ("usdz", "usdz")):
            if kind in formats:
                name = f"splats.{ending}"
                export.write_gaussian_usd(folder / name, scene, objects, up, unit, mode)
                written[name] = f"{len(scene.splats):,} Gaussians, {len(objects)} objects with semantics labels"
        if "match" in formats and self.match is not None:
            matched = export.write_matched_labels(folder / "matched.npz", scene, self.match, self.tolerance)
            document = {"file": self.match.name, **matched.report(), "labelling": scene.labelling.to_json()}
            write_json(folder / "matched.json", document)
            written["matched.npz"] = (
                f"labels of {len(matched.rows):,} Gaussians of {self.match.name}: {matched.exact:,} in the same place, "
                f"{matched.nearest:,} within {matched.tolerance:.2g}, {matched.unmatched:,} not found"
            )
            written["matched.json"] = "the counts, and what ids mean"
        return written

    def _write_path(
        self,
        folder: Path,
        survey: Survey,
        path: Mapping[str, Camera],
        cameras: Sequence[Camera],
        formats: Sequence[Format],
        console: Console,
        mode: RasterizeMode,
    ) -> dict[str, str]:
        from panoptic_gs import export
        from panoptic_gs.palette import colors_of

        table, scene = survey.table, survey.table.scene
        turns = self.path is None
        if turns:
            means = scene.splats.means.numpy()
            path = export.around_the_room(table, means, survey.up, round(self.seconds * self.fps), cameras)
        colors = colors_of(scene.labelling)
        named = self.names if self.names is not None else turns
        names = {row.id: row.name for row in table.certain}
        entries = export.legend_entries(table, colors)
        source = scene.labelling.with_source(f"rendered from {self.labelled.name}")
        maps = PanopticWriter(folder / "panoptic", source) if "maps" in formats else None
        with ExitStack() as stack:
            video = None
            if "video" in formats:
                video = stack.enter_context(export.VideoWriter(folder / "video.mp4", self.fps))
            views = export.render_path(scene, path, mode)
            for view in track(views, total=len(path), description="Rendering", console=console):
                if video is not None:
                    if named:
                        view = view._replace(panoptic=export.name_objects(view.panoptic, view.ids, names))
                    frame = export.side_by_side(view)
                    strip = [export.legend(frame.shape[1], entries)] if named else []
                    video.add(np.concatenate([frame, *strip]))
                if maps is not None:
                    maps.add(view.name, view.ids)
        written = {}
        if maps is not None:
            maps.finish()
            written["panoptic/"] = f"{len(path)} COCO panoptic maps"
        if "video" in formats:
            around = " once around" if turns else ""
            written["video.mp4"] = f"{len(path)} frames, {len(path) / self.fps:.1f} s{around}"
        return written
