# SPDX-License-Identifier: Apache-2.0
"""The engines by name. Those that need the extra ``[cluster]`` are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import get_args

from panoptic_gs.engines.jobs import Engine, EngineName, EngineOptions
from panoptic_gs.errors import InputError

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
_HOMES = {"local": ("local", None), "ray": ("ray_cluster", "ray"), "slurm": ("slurm", "submitit")}


def engine_of(name: EngineName, options: EngineOptions | None = None) -> Engine:
    """The engine of this name.

    Raises:
        InputError: no such engine, or its package is missing.
    """
    if name not in _HOMES:
        raise InputError("--engine", f"'{name}'", f"any of {', '.join(ENGINES)}", "Choose among these.")
    module, package = _HOMES[name]
    if package is not None:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(f"--engine {name}", f"no {package} ({error})", f"the package {package}",
                             "Install it with: pip install 'panoptic-gs[cluster]'") from error  # fmt: skip
    return importlib.import_module(f"panoptic_gs.engines.{module}").make(options or EngineOptions())
