# SPDX-License-Identifier: Apache-2.0
"""A multi-view panoptic network: posed by nobody, one set of queries for all views; its losses and its training."""
