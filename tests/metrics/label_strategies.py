# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for small panoptic scenes with an imperfect prediction."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from panoptic_gs import Category

CATEGORIES = [
    Category(1, "wall", False),
    Category(2, "floor", False),
    Category(3, "chair", True),
    Category(7, "cup", True),
]
THINGS = {c.id for c in CATEGORIES if c.isthing}
CLASSES = [c.id for c in CATEGORIES]

LABELS = [(0, 0), (1, 0), (1, 9), (2, 4), (3, 0), (3, 5), (3, 2**31 - 1), (7, 5), (7, 6)]
"""(category, instance) pairs: void, stuff with and without ids, things with id 0, one id in two classes."""


@st.composite
def scenes(draw, views=2):
    """Four maps ``[views, H, W]``: pred category, pred instance, true category, true instance."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    shape = (views, height, width)
    choice = st.integers(0, len(LABELS) - 1)
    truth = draw(npst.arrays(np.int64, shape, elements=choice))
    relabel = np.array(draw(st.lists(choice, min_size=len(LABELS), max_size=len(LABELS))))
    keep = draw(st.booleans())
    noise = draw(npst.arrays(np.int64, shape, elements=choice))
    noisy = draw(npst.arrays(np.bool_, shape, elements=st.sampled_from([False, False, False, True])))
    pred = np.where(noisy, noise, truth if keep else relabel[truth])
    table = np.array(LABELS)
    return table[pred, 0], table[pred, 1], table[truth, 0], table[truth, 1]
