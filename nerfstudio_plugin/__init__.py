# SPDX-License-Identifier: Apache-2.0
"""The nerfstudio method ``panst3r-ludvig``: a thin wiring of :mod:`panoptic_gs` into nerfstudio."""
