# SPDX-License-Identifier: Apache-2.0
"""Networks that see one photo at a time: masks whose ids mean nothing in the next photo, for association."""

from panoptic_gs.predict.masks.found import MaskGenerator, MaskOptions, MaskPredictor, MaskTracker, load_mask_predictor

__all__ = ["MaskGenerator", "MaskOptions", "MaskPredictor", "MaskTracker", "load_mask_predictor"]
