# SPDX-License-Identifier: Apache-2.0
"""Pictures of a panoptic scene, and a report on it as one HTML file."""

from panoptic_gs.report.contact_sheet import contact_sheet, error_map, match_objects

__all__ = ["contact_sheet", "error_map", "match_objects"]
