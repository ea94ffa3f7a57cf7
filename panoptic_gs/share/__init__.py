# SPDX-License-Identifier: Apache-2.0
"""A labelled scene as one static page that opens from a disk: splats, labels and the list of objects."""

from panoptic_gs.share.content import SharedScene, shared_scene
from panoptic_gs.share.page import render_page, write_page

__all__ = ["SharedScene", "render_page", "shared_scene", "write_page"]
