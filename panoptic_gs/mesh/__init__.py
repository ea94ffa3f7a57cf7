# SPDX-License-Identifier: Apache-2.0
"""The panoptic mesh: rendered depth and labels fused into surfaces, an object each, for simulators."""

from panoptic_gs.mesh.fusion import Fusion, FusionOptions, fuse
from panoptic_gs.mesh.materials import MATERIALS, Material, read_materials
from panoptic_gs.mesh.physics import Physics, make_physics
from panoptic_gs.mesh.reconstruction import MeshOptions, PanopticMesh, reconstruct, scene_surface
from panoptic_gs.mesh.shell import Plane, Shell, fill_shell
from panoptic_gs.mesh.simulators import write_simulation
from panoptic_gs.mesh.solids import Solid, Support, close_object
from panoptic_gs.mesh.surface import LabelledMesh, extract_surface
from panoptic_gs.mesh.writing import write_mesh_ply, write_panoptic_mesh

__all__ = [
    "MATERIALS",
    "Fusion",
    "FusionOptions",
    "LabelledMesh",
    "Material",
    "MeshOptions",
    "PanopticMesh",
    "Physics",
    "Plane",
    "Shell",
    "Solid",
    "Support",
    "close_object",
    "extract_surface",
    "fill_shell",
    "fuse",
    "make_physics",
    "read_materials",
    "reconstruct",
    "scene_surface",
    "write_mesh_ply",
    "write_panoptic_mesh",
    "write_simulation",
]
