# SPDX-License-Identifier: Apache-2.0
"""Pictures of a panoptic scene."""

from panoptic_gs.report.contact_sheet import contact_sheet, error_map, match_objects

__all__ = ["contact_sheet", "error_map", "match_objects"]
