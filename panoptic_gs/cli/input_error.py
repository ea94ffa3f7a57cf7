# SPDX-License-Identifier: Apache-2.0
"""How bad input looks on the command line."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from panoptic_gs.errors import InputError


def print_input_error(error: InputError) -> None:
    """Print what was wrong and how to mend it to standard error, on one screen."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold red]Cannot use[/] [bold]{escape(error.source)}[/]")
    console.print(f"  found     {escape(error.found)}", highlight=False)
    console.print(f"  expected  {escape(error.expected)}", highlight=False)
    console.print(f"  [green]{escape(error.mend)}[/]", highlight=False)
