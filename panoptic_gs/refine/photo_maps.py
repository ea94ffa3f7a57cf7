# SPDX-License-Identifier: Apache-2.0
"""Changes of a map on an ideal camera's pixels, carried back to the pixels of the map that it was made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage


def on_photo(
    photo_map: np.ndarray, before: np.ndarray, after: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The map of a photo, lens and all, with the changes that were made to it on the ideal camera's pixels.

    Each pixel that ``fit`` samples takes the new label. One between samples follows the nearest sampled one where both
    had the same label; one that the ideal camera does not see stays.

    Args:
        photo_map: ``[H, W]`` ids.
        before: ``[h, w]`` the same on the ideal camera's pixels.
        after: ``[h, w]`` what became of it.
        fit: takes a map ``[H, W]`` to the ideal camera's pixels, by nearest neighbour.

    Returns:
        ``[H, W]`` int32.
    """
    old = np.ascontiguousarray(photo_map, dtype=np.int32)
    # A number for each pixel, from 1 on: 0 is where the ideal camera sees past the photo's edge.
    source = fit(np.arange(1, old.size + 1, dtype=np.int32).reshape(old.shape)).ravel().astype(np.int64)
    inside = source > 0
    sampled, first = np.unique(source[inside] - 1, return_index=True)
    new = old.copy().ravel()
    was, became = before.ravel()[inside][first], after.ravel()[inside][first]
    new[sampled] = np.where(was == became, new[sampled], became)
    if len(sampled) in (0, old.size):
        return new.reshape(old.shape)
    missing = np.ones(old.shape, dtype=bool)
    missing.ravel()[sampled] = False
    # Samples lie no further apart than the photo's pixels for one of the ideal camera's, and those at a lens's edge.
    reach = 2 * max(1.0, old.shape[0] / before.shape[0], old.shape[1] / before.shape[1])
    distance, nearest = ndimage.distance_transform_edt(missing, return_indices=True)  # pyright: ignore (no types)
    y, x = nearest
    # Beyond the outermost samples lies what the ideal camera does not see.
    between = ndimage.binary_closing(np.pad(~missing, 3 * int(reach)), iterations=int(reach))
    between = between[tuple(slice(3 * int(reach), -3 * int(reach)) for _ in range(2))]
    follows = missing & between & (distance <= reach) & (old == old[y, x])
    grid = new.reshape(old.shape)
    return np.where(follows, grid[y, x], grid)
