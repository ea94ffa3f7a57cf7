# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from furnished import cameras, furnished

from panoptic_gs.mesh import FusionOptions, MeshOptions, PanopticMesh, reconstruct


@pytest.fixture(scope="session")
def room_mesh() -> PanopticMesh:
    """The mesh of the furnished room at 3 cm."""
    return reconstruct(furnished(), list(cameras().values()), np.array([0, 0, 1.0]),
                       FusionOptions(voxel=0.03, quantile=0.5), MeshOptions())  # fmt: skip
