# SPDX-License-Identifier: Apache-2.0
"""From masks that are numbered image by image to one labelling of the scene."""

from panoptic_gs.associate.association import AssociatedObject, Association, ViewAssociation
from panoptic_gs.associate.closed_form import associate, associate_evidence
from panoptic_gs.associate.evidence import MaskEvidence, ViewEvidence
from panoptic_gs.associate.formats import read_masks
from panoptic_gs.associate.masks import ImageMasks, ViewMasks

__all__ = [
    "AssociatedObject",
    "Association",
    "ImageMasks",
    "MaskEvidence",
    "ViewAssociation",
    "ViewEvidence",
    "ViewMasks",
    "associate",
    "associate_evidence",
    "read_masks",
]
