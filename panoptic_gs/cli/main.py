# SPDX-License-Identifier: Apache-2.0
"""The entry point of ``panoptic-gs``."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from panoptic_gs.cli.output import complete_json
from panoptic_gs.cli.registry import COMMANDS
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.processes import started_processes, tell_torchrun


def main(arguments: list[str] | None = None) -> None:
    """Panoptic 3D Gaussian Splatting: make, label, render and score scenes."""
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        print_input_error(error)
        tell_torchrun(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `panoptic-gs … | head`: nobody reads on, and nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(arguments: Sequence[str]) -> None:
    name = arguments[0] if arguments else ""
    count = started_processes().count
    if count > 1 and name in COMMANDS and not COMMANDS[name].on_processes:
        able = ", ".join(known for known, command in COMMANDS.items() if command.on_processes)
        raise InputError("torchrun", f"'{name}' on {count} processes", f"one process, or one of {able}",
                         f"Run `panoptic-gs {name} …`.")  # fmt: skip
    if name in COMMANDS:
        # One command is parsed by itself, so that the modules of the others are not imported.
        command = _parse(COMMANDS[name].load(), f"panoptic-gs {name}", arguments[1:])
        if COMMANDS[name].many_scenes:
            from panoptic_gs.cli import many_scenes

            many_scenes.run(command)
        else:
            command.run()
    elif name in ("-h", "--help"):
        _print_commands(Console(highlight=False))
        sys.stdout.flush()
        sys.exit(0)
    elif name.startswith("--tyro-"):  # shell completion lists the options of every command
        members = tuple(
            Annotated[command.load(), tyro.conf.subcommand(name)]  # pyright: ignore[reportInvalidTypeForm]
            for name, command in COMMANDS.items()
        )
        _parse(Union[members], "panoptic-gs", arguments)  # noqa: UP007 (made at run time)
    else:
        console = Console(stderr=True, highlight=False)
        if name:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            console.print(f"[bold red]No command[/] '{escape(name)}'.{hint}\n")
        _print_commands(console)
        sys.exit(2)


def _parse(options: Any, program: str, arguments: Sequence[str]) -> Any:
    return tyro.cli(options, prog=program, args=complete_json(arguments), config=(tyro.conf.OmitSubcommandPrefixes,))


def _print_commands(console: Console) -> None:
    console.print(
        "usage: panoptic-gs COMMAND [OPTIONS]   (panoptic-gs COMMAND --help lists its options)\n", markup=False
    )
    console.print(f"{main.__doc__}\n")
    table = Table.grid(padding=(0, 2))
    for name, command in COMMANDS.items():
        table.add_row(f"  [bold]{name}[/]", escape(command.summary))
    console.print(table)
