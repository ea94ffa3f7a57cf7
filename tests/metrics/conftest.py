# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from panoptic_gs import Category

WALL, FLOOR, CHAIR, LAMP = 1, 2, 3, 4


@pytest.fixture
def toy_categories():
    return [
        Category(WALL, "wall", False),
        Category(FLOOR, "floor", False),
        Category(CHAIR, "chair", True),
        Category(LAMP, "lamp", True),
    ]


@pytest.fixture
def toy_truth():
    """Two views of 100×100: wall above, floor below, two chairs of 25×16 standing on it."""
    category, segment = np.full((2, 100, 100), WALL), np.full((2, 100, 100), 1)
    category[:, 50:], segment[:, 50:] = FLOOR, 2
    for chair, left in ((3, 0), (4, 50)):
        category[:, 64:80, left : left + 25], segment[:, 64:80, left : left + 25] = CHAIR, chair
    return category, segment
