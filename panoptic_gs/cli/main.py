# SPDX-License-Identifier: Apache-2.0
"""The entry point of ``panoptic-gs``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Union

import tyro

from panoptic_gs.cli.evaluate import Evaluate
from panoptic_gs.cli.evaluate_points import EvaluatePoints
from panoptic_gs.cli.export import Export
from panoptic_gs.cli.input_error import print_input_error
from panoptic_gs.cli.merge import Merge
from panoptic_gs.cli.output import complete_json
from panoptic_gs.cli.predict import Predict
from panoptic_gs.cli.prepare import Prepare
from panoptic_gs.cli.render import Render
from panoptic_gs.cli.report import Report
from panoptic_gs.cli.synth import Synth
from panoptic_gs.cli.uplift import Uplift
from panoptic_gs.cli.view import View
from panoptic_gs.errors import InputError

Command = Union[  # noqa: UP007 (tyro reads the annotations)
    Annotated[Synth, tyro.conf.subcommand("synth")],
    Annotated[Prepare, tyro.conf.subcommand("prepare")],
    Annotated[Predict, tyro.conf.subcommand("predict")],
    Annotated[Merge, tyro.conf.subcommand("merge")],
    Annotated[Uplift, tyro.conf.subcommand("uplift")],
    Annotated[Render, tyro.conf.subcommand("render")],
    Annotated[View, tyro.conf.subcommand("view")],
    Annotated[Export, tyro.conf.subcommand("export")],
    Annotated[Report, tyro.conf.subcommand("report")],
    Annotated[Evaluate, tyro.conf.subcommand("evaluate")],
    Annotated[EvaluatePoints, tyro.conf.subcommand("evaluate-points")],
]


def main(arguments: list[str] | None = None) -> None:
    """Panoptic 3D Gaussian Splatting: make, label, render and score scenes."""
    try:
        command = tyro.cli(Command, prog="panoptic-gs", description=main.__doc__,
                           args=complete_json(sys.argv[1:] if arguments is None else arguments),
                           config=(tyro.conf.OmitSubcommandPrefixes,))  # fmt: skip
        command.run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `panoptic-gs … | head`: nobody reads on, and nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
