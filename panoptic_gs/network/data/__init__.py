# SPDX-License-Identifier: Apache-2.0
"""What the network is trained on, as sets of views of one scene."""
