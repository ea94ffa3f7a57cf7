# SPDX-License-Identifier: Apache-2.0
"""The 21 reduced classes of the PanLift benchmark, which the rooms are labelled with."""

from __future__ import annotations

from panoptic_gs.datasets.classes import REDUCED21

CATEGORIES = REDUCED21.categories

CATEGORY_IDS: dict[str, int] = REDUCED21.ids
