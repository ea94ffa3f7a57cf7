# SPDX-License-Identifier: Apache-2.0
"""What the network is trained to: masks and classes that are matched to the truth, and point maps."""
