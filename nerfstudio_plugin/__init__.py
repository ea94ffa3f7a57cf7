# SPDX-License-Identifier: Apache-2.0
"""The nerfstudio methods ``panst3r-ludvig``, ``panoptic-splatting``, ``panopticrecon``: a thin wiring of
:mod:`panoptic_gs` into nerfstudio."""
