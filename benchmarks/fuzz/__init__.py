# SPDX-License-Identifier: Apache-2.0
"""Damaged files, whether by accident or on purpose: every reader refuses them by name, soon and in little memory."""
