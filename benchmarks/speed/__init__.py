# SPDX-License-Identifier: Apache-2.0
"""Milliseconds, pairs per second and ratios of the kernels: ``python -m benchmarks.speed``."""
