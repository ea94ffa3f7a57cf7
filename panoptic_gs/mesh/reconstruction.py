# SPDX-License-Identifier: Apache-2.0
"""From a labelled scene and its cameras to the panoptic mesh: the whole surface, an object each, and the shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from panoptic_gs.camera import Camera
from panoptic_gs.export import PlacedObject, Relation, placed_objects, relate_objects
from panoptic_gs.mesh.fusion import Fusion, FusionOptions, fuse
from panoptic_gs.mesh.shell import Shell, fill_shell
from panoptic_gs.mesh.smoothing import smooth
from panoptic_gs.mesh.solids import Solid, Support, close_object, support_height
from panoptic_gs.mesh.surface import LabelledMesh, extract_surface
from panoptic_gs.objects.survey import Survey
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.progress import Progress, silent
from panoptic_gs.splats.gaussians import RasterizeMode
from panoptic_gs.uplift import LabelledScene

_SEEN = 0.02  # of one pixel that looks straight at a surface


@dataclass(frozen=True)
class MeshOptions:
    """What is made of a fused volume.

    Args:
        least_views: how often a surface must have been seen, in views that look straight at it.
        least_area: of a connected piece of surface, in voxels'; smaller ones are floaters.
        smoothing: whether noise is taken out, edges kept.
        contact: largest gap between objects that touch, in world units.
    """

    least_views: float = _SEEN
    least_area: float = 100.0
    smoothing: bool = True
    contact: float = 0.05


@dataclass(frozen=True, eq=False)
class PanopticMesh:
    """The surfaces of a labelled scene.

    Args:
        surface: everything that was seen.
        solids: each thing as a closed mesh.
        shell: the stuff, with the things' places filled.
        objects: things and stuff with their boxes.
        relations: what stands on what.
        without_surface: objects of which too little was seen for a mesh.
        up: ``[3]`` direction away from the ground.
        fusion: the volume.
    """

    surface: LabelledMesh
    solids: tuple[Solid, ...]
    shell: Shell
    objects: tuple[PlacedObject, ...]
    relations: tuple[Relation, ...]
    without_surface: tuple[int, ...]
    up: np.ndarray
    fusion: Fusion


def reconstruct(
    scene: LabelledScene,
    cameras: Sequence[Camera],
    up: np.ndarray,
    fusion_options: FusionOptions,
    options: MeshOptions,
    rasterize_mode: RasterizeMode = "classic",
    progress: Progress = silent,
    table: ObjectTable | None = None,
) -> PanopticMesh:
    """Fuse, extract, smooth, and take apart.

    Args:
        scene: Gaussians and labels.
        cameras: of the views that are fused.
        up: ``[3]`` direction away from the ground.
        fusion_options: how.
        options: what is made of it.
        rasterize_mode: how the Gaussians were trained.
        progress: called as it goes on.
        table: the scene's objects; by default as these views show them.

    Raises:
        InputError: no camera, no surface, more voxels than the memory holds.
    """
    fusion = fuse(scene, cameras, up, fusion_options, rasterize_mode, progress)
    surface = scene_surface(fusion, options)
    progress("Closing objects", 0, 0)
    table = Survey(scene, cameras, rasterize_mode, up).table if table is None else table
    objects = placed_objects(table, up, uncertain=False, gap=max(2 * options.contact, 4 * fusion.voxel))
    relations = relate_objects(scene.splats, objects, up, options.contact)
    things = [entry for entry in objects if entry.object.category.isthing]
    by_id = {entry.id: entry for entry in objects}
    stands_on = {r.subject: r.object for r in relations if r.relation == "on"}
    tree = KDTree(surface.vertices)
    solids, missing = [], []
    for number, entry in enumerate(things):
        support = None
        if entry.id in stands_on and stands_on[entry.id] in by_id:
            height = support_height(surface, stands_on[entry.id], entry.box, up, fusion.voxel)
            support = None if height is None else Support(stands_on[entry.id], height)
        solid = close_object(entry.id, surface, tree, entry.box, up, support, fusion)
        if solid is None:
            missing.append(entry.id)
        else:
            solids.append(solid)
        progress("Closing objects", number + 1, len(things))
    shell = fill_shell(surface, {solid.id for solid in solids}, up, fusion)
    return PanopticMesh(surface, tuple(solids), shell, tuple(objects), tuple(relations), tuple(missing), up, fusion)


def scene_surface(fusion: Fusion, options: MeshOptions) -> LabelledMesh:
    """The smoothed surface of everything that was seen."""
    voxel = fusion.voxel
    surface = extract_surface(fusion.volume, options.least_views, options.least_area * voxel * voxel)
    if options.smoothing:
        surface = surface.moved(smooth(surface.vertices, surface.faces, 0.5 * voxel))
    return surface
