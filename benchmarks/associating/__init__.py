# SPDX-License-Identifier: Apache-2.0
"""Pieces of ``python -m benchmarks.association``."""
