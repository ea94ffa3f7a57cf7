# SPDX-License-Identifier: Apache-2.0
"""``python -m panoptic_gs`` is ``panoptic-gs``."""

from panoptic_gs.cli.main import main

if __name__ == "__main__":
    main()
