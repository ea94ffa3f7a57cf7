# SPDX-License-Identifier: Apache-2.0
"""The command line ``panoptic-gs``: one module a command."""
