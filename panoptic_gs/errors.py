# SPDX-License-Identifier: Apache-2.0
"""The one exception for bad input."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Something handed to the toolkit cannot be used, and the user can mend it.

    Raised at the border only: reading a file, constructing a :class:`~panoptic_gs.Camera`, a
    :class:`~panoptic_gs.Splats`, a :class:`~panoptic_gs.PanopticScene`, calling a public function. The command line
    prints it on one screen and exits with code 2.

    Args:
        source: the file or argument.
        found: what it holds.
        expected: what it should hold.
        mend: how to mend it, as a sentence.
    """

    def __init__(self, source: str | Path, found: str, expected: str, mend: str) -> None:
        self.source, self.found, self.expected, self.mend = str(source), found, expected, mend
        super().__init__(f"{source}: found {found}; expected {expected}. {mend}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        # Exceptions are pickled by their message alone; this one has to reach the parent of a worker process whole.
        return type(self), (self.source, self.found, self.expected, self.mend)
