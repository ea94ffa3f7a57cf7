# SPDX-License-Identifier: Apache-2.0
"""What a multi-view network finds without cameras, against the truth."""
