# SPDX-License-Identifier: Apache-2.0
"""The objects of a labelled scene: opening it, what it holds, which way is up, boxes around them."""
