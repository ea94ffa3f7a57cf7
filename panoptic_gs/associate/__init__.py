# SPDX-License-Identifier: Apache-2.0
"""From masks that are numbered image by image to one labelling of the scene."""

from panoptic_gs.associate.association import AssociatedObject, Association, ViewAssociation
from panoptic_gs.associate.closed_form import associate, associate_evidence
from panoptic_gs.associate.evidence import MaskEvidence, ViewEvidence
from panoptic_gs.associate.formats import read_masks
from panoptic_gs.associate.learned import associate_learned
from panoptic_gs.associate.learned_options import PANOPTIC_RECON, PANOPTIC_SPLATTING, LearnedOptions
from panoptic_gs.associate.learned_result import LearnedAssociation
from panoptic_gs.associate.masks import ImageMasks, ViewMasks

__all__ = [
    "PANOPTIC_RECON",
    "PANOPTIC_SPLATTING",
    "AssociatedObject",
    "Association",
    "ImageMasks",
    "LearnedAssociation",
    "LearnedOptions",
    "MaskEvidence",
    "ViewAssociation",
    "ViewEvidence",
    "ViewMasks",
    "associate",
    "associate_evidence",
    "associate_learned",
    "read_masks",
]
