# SPDX-License-Identifier: Apache-2.0
"""3D Gaussians and the files they come in."""

from panoptic_gs.splats.gaussians import Splats
from panoptic_gs.splats.harmonics import SH_C0
from panoptic_gs.splats.reading import SplatFile, read_splats

__all__ = ["SH_C0", "SplatFile", "Splats", "read_splats"]
