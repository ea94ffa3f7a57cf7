# SPDX-License-Identifier: Apache-2.0
"""Labels and features from pixels to Gaussians and back (Marrie et al., LUDVIG, Eq. 7)."""

from panoptic_gs.uplift.features import uplift_features
from panoptic_gs.uplift.labelled_scene import LabelledScene, load_labelled_scene, save_labelled_scene
from panoptic_gs.uplift.labels import GaussianLabels
from panoptic_gs.uplift.masks import MaskVotes, MaskWeights
from panoptic_gs.uplift.panoptic_render import PanopticRender, render_panoptic
from panoptic_gs.uplift.sparse import SparseMatrix
from panoptic_gs.uplift.votes import LabelVotes, uplift_labels
from panoptic_gs.uplift.weights import ViewWeights

__all__ = [
    "GaussianLabels",
    "LabelVotes",
    "LabelledScene",
    "MaskVotes",
    "MaskWeights",
    "PanopticRender",
    "SparseMatrix",
    "ViewWeights",
    "load_labelled_scene",
    "render_panoptic",
    "save_labelled_scene",
    "uplift_features",
    "uplift_labels",
]
