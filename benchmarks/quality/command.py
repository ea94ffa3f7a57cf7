# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks' commands share: how they end, and how their options go into JSON."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

from panoptic_gs.errors import InputError, print_input_error


def main(command: type[Any]) -> None:
    """Run a benchmark's command: exit code 1 where a run is missing, 2 for bad input."""
    try:
        outcome = tyro.cli(importable(command)).run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if outcome.failures else 0)


def importable(command: type[Any]) -> type[Any]:
    """A class of the program that is run, as other processes import it: what an engine sends them names its module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if command.__module__ != "__main__" or spec is None:
        return command
    return getattr(importlib.import_module(spec.name), command.__name__)


def require_known(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse what is none of the names that an option takes.

    Raises:
        InputError: there is such a one.
    """
    names = tuple(known)
    for name in given:
        if name not in names:
            raise InputError(option, f"'{name}'", f"any of {', '.join(names)}", "Choose among these.")


def plain(value: Any) -> Any:
    """An option's value for JSON."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
