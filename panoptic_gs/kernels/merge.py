# SPDX-License-Identifier: Apache-2.0
"""Overlaps of query masks."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_gs import _kernels
from panoptic_gs.kernels.core import checked, num_threads


def add_overlaps(sums: Tensor, masks: Tensor) -> None:
    """Add to ``sums [Q, Q]`` int64 the minima of all pairs of masks over pixels, in units of 2⁻³⁴.

    ``masks [Q, P]`` are float16 logits before the sigmoid, or float32 probabilities; no NaN.
    """
    sums = checked("sums", sums, (len(masks), len(masks)), torch.int64)
    if masks.dtype == torch.float16:
        logits = checked("masks", masks, (None, None), torch.float16).view(torch.int16)
        _kernels.add_overlaps_of_logits(logits, num_threads(), sums)
    else:
        _kernels.add_overlaps_of_masks(checked("masks", masks, (None, None)), num_threads(), sums)
