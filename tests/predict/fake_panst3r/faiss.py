# SPDX-License-Identifier: Apache-2.0
"""Stands in for a package that PanSt3R imports."""
