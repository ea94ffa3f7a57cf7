# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from furnished_room import BOXES, CATEGORIES, COLORS, SPACING, surface

from panoptic_gs import Segment, Splats
from panoptic_gs.labelling import Labelling
from panoptic_gs.splats import SH_C0
from panoptic_gs.uplift import GaussianLabels, LabelledScene


@pytest.fixture(scope="session")
def furnished() -> LabelledScene:
    """A cup on a table, a chair beside it, a lamp under the ceiling; one Gaussian every 4 cm, z up, metres."""
    clouds = {segment: surface(*box) for segment, box in BOXES.items()}
    ids = np.repeat(list(clouds), [len(points) for points in clouds.values()])
    means = torch.from_numpy(np.concatenate(list(clouds.values()))).float()
    count = len(means)
    splats = Splats(
        means,
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), SPACING / 3),
        torch.full((count,), 0.95),
        torch.from_numpy((COLORS[ids - 1] - 0.5) / SH_C0).float()[:, None],
    )
    labels = GaussianLabels(
        torch.arange(count + 1), torch.from_numpy(ids).int(), torch.ones(count), torch.ones(count), torch.zeros(count)
    )
    segments = tuple(Segment(k, k, 0.9 if k == 3 else None) for k in BOXES)
    return LabelledScene(splats, labels, Labelling(CATEGORIES, segments))
