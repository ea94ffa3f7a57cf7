# SPDX-License-Identifier: Apache-2.0
"""The one exception for bad input, and how it looks on a screen."""

from __future__ import annotations

import re
from pathlib import Path

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class InputError(Exception):
    """Something handed to the toolkit cannot be used, and the user can mend it.

    Raised at the border only: reading a file, constructing a :class:`~panoptic_gs.Camera`, a
    :class:`~panoptic_gs.Splats`, a :class:`~panoptic_gs.PanopticScene`, calling a public function. The command line
    prints it on one screen and exits with code 2.

    It is no :class:`ValueError`: a reader that turns the errors of a parser into an ``InputError`` catches those, and
    must never catch, and blur, an ``InputError`` that already says what is wrong.

    Args:
        source: the file or argument.
        found: what it holds.
        expected: what it should hold.
        mend: how to mend it, as a sentence.
    """

    def __init__(self, source: str | Path, found: str, expected: str, mend: str) -> None:
        self.source, self.found, self.expected, self.mend = (
            printable(text) for text in (str(source), found, expected, mend)
        )
        super().__init__(f"{self.source}: found {self.found}; expected {self.expected}. {self.mend}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        # Exceptions are pickled by their message alone; this one has to reach the parent of a worker process whole.
        return type(self), (self.source, self.found, self.expected, self.mend)

    def inside(self, file: str | Path) -> InputError:
        """The same error for what was read from ``file``: an argument's name becomes part of what was found."""
        return InputError(file, f"{self.source} with {self.found}", self.expected, self.mend)


def printable(text: str) -> str:
    """The text as any terminal and any file takes it: lone surrogates and control characters are spelled out."""
    encodable = text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", encodable)


def print_input_error(error: InputError) -> None:
    """Print what was wrong and how to mend it to standard error, on one screen."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold red]Cannot use[/] [bold]{escape(error.source)}[/]")
    console.print(f"  found     {escape(error.found)}", highlight=False)
    console.print(f"  expected  {escape(error.expected)}", highlight=False)
    console.print(f"  [green]{escape(error.mend)}[/]", highlight=False)
