# SPDX-License-Identifier: Apache-2.0
"""Per-image masks as other tools write them: one reader a layout, and the door that finds out which it is."""

from panoptic_gs.associate.formats.reading import read_masks

__all__ = ["read_masks"]
