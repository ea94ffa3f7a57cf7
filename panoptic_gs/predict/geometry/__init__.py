# SPDX-License-Identifier: Apache-2.0
"""Where the photos were taken: one file for each way to find cameras and seed points."""

from panoptic_gs.predict.geometry.found import Geometry, GeometryFinder, GeometryOptions, load_geometry

__all__ = ["Geometry", "GeometryFinder", "GeometryOptions", "load_geometry"]
