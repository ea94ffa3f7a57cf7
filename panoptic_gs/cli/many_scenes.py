# SPDX-License-Identifier: Apache-2.0
"""One command for many scenes: ``{scene}`` in its paths stands for each of them, an engine runs them."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from panoptic_gs.engines import Ended, EngineOptions, Job

PLACE = "{scene}"
_SEVERAL = ("engine", "scenes", "cpus_per_scene", "gpus_per_scene", "scenes_at_once", "hours_per_scene",
            "ray_address", "slurm_partition", "logs")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ManyScenes(Output):
    """Options of commands that run on one scene, or with ``{scene}`` in their paths on each of many."""

    engine: Literal["local", "ray", "slurm"] | None = None
    """Who runs many scenes, {scene} in paths standing for each: this machine (the default), a Ray cluster, or Slurm.
    What is finished stays, and is not done again."""
    scenes: tuple[str, ...] = ()
    """Names for {scene}; by default those that the input's path is found for."""
    cpus_per_scene: int = 1
    """Cores of a scene."""
    gpus_per_scene: float = 0.0
    """GPUs of a scene."""
    scenes_at_once: int | None = None
    """Most scenes at a time; by default one here, and as many as fit on a cluster."""
    hours_per_scene: float = 24.0
    """Slurm: that a scene may take before it is queued again and goes on."""
    ray_address: str | None = None
    """Ray: the cluster; by default RAY_ADDRESS, else one is started here."""
    slurm_partition: str | None = None
    """Slurm: its partition."""
    logs: Path = Path("panoptic-gs-logs")
    """With many scenes: folder of a log for each, and of what is finished, on storage that all machines share."""


def run(command: Any) -> None:
    """Run a command here, or on each of the scenes that it is for."""
    options = _options_of(command)
    if options is None or (options.engine is None and not options.scenes and not _has_place(command)):
        command.run()
        return
    console = options.console()
    jobs = jobs_of(command, options)
    waiting = [job for job in jobs if not is_finished(job, options.logs)]
    noted = [job.name for job in jobs if job not in waiting and _exit_code(job, options.logs) == 1]
    if len(waiting) < len(jobs):
        console.print(f"{len(jobs) - len(waiting)} of {len(jobs)} scenes are finished already.")
    from panoptic_gs.engines import engine_of

    engine = engine_of(options.engine or "local", engine_options(options))
    failures: dict[str, str] = {}
    for number, ended in enumerate(engine.run(waiting) if waiting else (), 1):
        _say(ended, f"[{number}/{len(waiting)}]", console)
        if ended.error is not None:
            failures[ended.job.name] = ended.reasons()
        elif ended.result == 1:
            noted.append(ended.job.name)
    summary = replace(options, json=None) if PLACE in str(options.json) else options
    summary.finish(
        [str(job.arguments[1]) for job in jobs if job.name not in failures],
        scenes=[job.name for job in jobs if job.name not in failures], failures=failures, noted=sorted(noted),
    )  # fmt: skip
    if failures:
        console.print(f"{len(failures)} of {len(jobs)} scenes failed: {', '.join(sorted(failures))}; logs are in "
                      f"{options.logs}. The same command does them again.", style="red", markup=False)  # fmt: skip
    if noted:
        console.print(f"{len(noted)} scenes are finished with exit code 1, as their logs in {options.logs} explain: "
                      f"{', '.join(sorted(noted))}", style="yellow", markup=False)  # fmt: skip
    if failures or noted:
        sys.exit(1)


def engine_options(options: ManyScenes) -> EngineOptions:
    """What the command line says of the engine."""
    from panoptic_gs.engines import EngineOptions

    return EngineOptions(options.cpus_per_scene, options.gpus_per_scene, options.scenes_at_once, options.ray_address,
                         options.logs, options.hours_per_scene, options.slurm_partition)  # fmt: skip


def jobs_of(command: Any, options: ManyScenes) -> list[Job]:
    """A job for each scene.

    Raises:
        InputError: no scenes, outputs that are the same for all, or names that are no folder's.
    """
    from panoptic_gs.engines import Job
    from panoptic_gs.processes import started_processes

    if started_processes().count > 1:
        raise InputError("torchrun", "many scenes", "one scene on several processes, or many on an engine",
                         "Leave torchrun out.")  # fmt: skip
    out = Path(options.out)  # pyright: ignore[reportAttributeAccessIssue] (of every command with this option)
    names = options.scenes or (_found(command) if _has_place(command) else (out.name,))
    if len(names) > 1 and PLACE not in str(out):
        raise InputError("--out", str(out), f"a path with {PLACE}", f"All {len(names)} scenes would write the same.")
    for name in names:
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise InputError("--scenes", repr(name), "names of folders", f"Write {PLACE} where the name stands.")
    if len(set(names)) < len(names):
        raise InputError("--scenes", ", ".join(names), "each name once", "Leave out the others.")
    alone: dict[str, Any] = {name: _default(name) for name in _SEVERAL}
    if PLACE not in str(options.json):
        alone["json"] = None  # it is the summary's
    single = _changed(command, lambda value: value, alone)
    logs = options.logs.absolute()
    jobs = []
    for name in names:
        of = _changed(single, lambda value, name=name: value.replace(PLACE, name), {})
        jobs.append(Job(name, run_one, (of, str(out).replace(PLACE, name), str(logs), name, str(Path.cwd()))))
    return jobs


def run_one(command: Any, out: str, logs: str, name: str, folder: str) -> int:
    """Run the command of one scene where it was given, and note that it is finished; its exit code, 0 or 1.

    Raises:
        InputError: this machine does not have the folder.
    """
    from panoptic_gs.files import write_json

    if not Path(folder).is_dir():
        raise InputError(folder, "no such folder on this machine", "storage that all machines share",
                         "Run the command in a folder that each of them has at the same path.")  # fmt: skip
    os.chdir(folder)
    code = 0
    try:
        command.run()
    except SystemExit as ended:
        code = 0 if ended.code is None else ended.code if isinstance(ended.code, int) else 1
        if code > 1:
            raise
    write_json(_note(Path(logs), name), {"command": repr(command), "out": out, "exit_code": code})
    return code


def is_finished(job: Job, logs: Path) -> bool:
    """Whether an earlier run of the same command finished this scene, and its output is still there."""
    from panoptic_gs.files import read_json

    command, out, _, name, _ = job.arguments
    note = _note(logs.absolute(), name)
    return note.is_file() and Path(out).exists() and read_json(note).get("command") == repr(command)


def _note(logs: Path, name: str) -> Path:
    from panoptic_gs.engines.jobs import file_name

    return logs / f"{file_name(name)}.json"


def _exit_code(job: Job, logs: Path) -> int:
    from panoptic_gs.files import read_json

    return int(read_json(_note(logs.absolute(), job.name)).get("exit_code", 0))


def _say(ended: Ended, number: str, console: Console) -> None:
    where = ended.attempts[-1].host
    if ended.error is not None:
        console.print(f"{number} {ended.job.name}: {ended.reasons()}", style="red", markup=False)
    else:
        again = f", after a first try: {ended.attempts[0].error}" if len(ended.attempts) > 1 else ""
        note = ", exit code 1" if ended.result == 1 else ""
        console.print(f"{number} {ended.job.name}: done on {where}{note}{again}", markup=False)


def _options_of(command: Any) -> ManyScenes | None:
    if isinstance(command, ManyScenes):
        return command
    inner = (getattr(command, field.name) for field in fields(command)) if is_dataclass(command) else ()
    return next((value for value in inner if isinstance(value, ManyScenes)), None)


def _texts(command: Any) -> list[str]:
    found: list[str] = []
    _changed(command, lambda text: (found.append(text), text)[1], {})
    return found


def _has_place(command: Any) -> bool:
    return any(PLACE in text for text in _texts(command))


def _found(command: Any) -> Sequence[str]:
    """The names for which the first path with the place in it, other than the output, exists."""
    pattern = next(text for text in _texts(command) if PLACE in text)
    expression = re.escape(pattern).replace(re.escape(PLACE), "(?P<scene>[^/]+)", 1)
    expression = expression.replace(re.escape(PLACE), "(?P=scene)")
    every = glob.glob("*".join(glob.escape(part) for part in pattern.split(PLACE)))
    names = sorted(match["scene"] for path in every if (match := re.fullmatch(expression, path)))
    if not names:
        raise InputError(pattern, "no such path for any name", f"scenes where {PLACE} stands",
                         "Check the path, or name the scenes with --scenes.")  # fmt: skip
    return names


def _changed(command: Any, change: Callable[[str], str], values: dict[str, Any]) -> Any:
    """The same command with every text and path changed, and some fields of its options replaced."""
    if isinstance(command, Path):
        return Path(change(str(command)))
    if isinstance(command, str):
        return change(command)
    if isinstance(command, tuple):
        return tuple(_changed(item, change, values) for item in command)
    if not is_dataclass(command) or isinstance(command, type):
        return command
    own = values if isinstance(command, ManyScenes) else {}
    return replace(command, **{
        field.name: own[field.name] if field.name in own else _changed(getattr(command, field.name), change, values)
        for field in fields(command) if field.init
    })  # fmt: skip


def _default(name: str) -> Any:
    (field,) = (field for field in fields(ManyScenes) if field.name == name)
    assert field.default is not MISSING
    return field.default
