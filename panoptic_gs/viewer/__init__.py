# SPDX-License-Identifier: Apache-2.0
"""A labelled scene in the browser: look at it, click its objects, mend its labels."""
