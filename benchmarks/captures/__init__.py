# SPDX-License-Identifier: Apache-2.0
"""Captures as people bring them, made from an exact room, and what the toolkit makes of each."""
