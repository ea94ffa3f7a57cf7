# SPDX-License-Identifier: Apache-2.0
"""What networks predict, before it becomes label maps."""

from panoptic_gs.predict.raw import RawImage, RawPredictions

__all__ = ["RawImage", "RawPredictions"]
