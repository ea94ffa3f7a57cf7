# SPDX-License-Identifier: Apache-2.0
"""How good the results are: scenes × variants are trained, rendered and scored; each command is a module beside."""
