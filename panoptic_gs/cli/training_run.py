# SPDX-License-Identifier: Apache-2.0
"""A training of ``ns-train`` as a part of another command: how far it is, what it left, and going on from there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress

try:
    import fcntl
except ImportError:  # Windows: two trainings of one scene are not told apart there
    fcntl = None

STAGE = "Training"
_METHOD = "panst3r-ludvig"
_CHECKPOINTS = "nerfstudio_models"
_LOOK_EVERY = 0.5  # seconds
_STEP = re.compile(rb"^(\d+) \(\d+\.\d+%\)", re.MULTILINE)
_DRAWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[─-╿]")


@dataclass(frozen=True)
class TrainingRun:
    """A training without labels of the scene folder ``scene``, in its subfolder ``training``.

    Args:
        scene: the scene folder.
        iterations: in all, also of one that goes on.
        device: ``cpu`` keeps it off a GPU.
    """

    scene: Path
    iterations: int
    device: str = "cpu"

    @property
    def folder(self) -> Path:
        """The run's folder, with its ``config.yml``."""
        return self.scene / "training" / "scene" / _METHOD / "run"

    @property
    def log(self) -> Path:
        """What ``ns-train`` printed, try after try."""
        return self.scene / "training.log"

    @property
    def checkpoint(self) -> Path | None:
        """The newest whole checkpoint."""
        files = sorted((self.folder / _CHECKPOINTS).glob("step-*.ckpt"), key=_iterations_of, reverse=True)
        return next((file for file in files if zipfile.is_zipfile(file)), None)

    @property
    def done(self) -> int:
        """Iterations that need not be trained again."""
        return 0 if (newest := self.checkpoint) is None else _iterations_of(newest)

    @property
    def finished(self) -> bool:
        """Whether the checkpoint of the last iteration is there; one from halfway is none."""
        return (self.folder / "config.yml").is_file() and self.done >= self.iterations

    def train(self, progress: Progress) -> None:
        """Train to the last iteration, from the newest whole checkpoint where there is one.

        Args:
            progress: called with the iterations that are done.

        Raises:
            InputError: no nerfstudio, another process trains this scene, or the training failed or left no checkpoint.
        """
        begun = self.done
        command = [
            find_program("ns-train"), _METHOD, "--data", str(self.scene), "--output-dir", str(self.scene / "training"),
            "--experiment-name", "scene", "--timestamp", "run", "--vis", "tensorboard",
            "--max-num-iterations", str(self.iterations), "--logging.local-writer.max-log-size", "0",
        ]  # fmt: skip
        if begun:
            command += ["--load-dir", str(self.folder / _CHECKPOINTS)]
        command.append("--pipeline.datamanager.dataparser.panoptic-folder=")  # there are no scene-wide labels yet
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"} | (
            {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}
        )
        with self.log.open("ab") as output, self.log.open("rb") as printed:
            # The child inherits the lock: it holds for as long as anybody trains, even if this command is killed.
            _lock(output, self.log)
            if not begun:
                shutil.rmtree(self.scene / "training", ignore_errors=True)
            start = printed.seek(0, os.SEEK_END)
            progress(STAGE, begun, self.iterations)
            with _child(command, output, environment) as child:
                while child.poll() is None:
                    time.sleep(_LOOK_EVERY)
                    # Lines may be cut where reading meets writing; the next one says more anyway.
                    if steps := _STEP.findall(printed.read()):
                        progress(STAGE, min(int(steps[-1]) + 1, self.iterations), self.iterations)
        if child.returncode or not self.finished:
            self._refuse(child.returncode, start)
        progress(STAGE, self.iterations, self.iterations)

    def _refuse(self, code: int, start: int) -> None:
        kept = f"the {self.done} iterations of its checkpoint are kept" if self.done else "the stages before are kept"
        if code < 0:
            found = f"ended by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        else:
            found = f"exit code {code}" if code else f"a checkpoint of {self.done} iterations"
        raise InputError(
            "ns-train", f"{found}; it said: {_end_of(self.log, start)}", f"a training of {self.iterations} iterations",
            f"All of it is in {self.log}. Mend it and run the same command again; {kept}.",
        )  # fmt: skip


def find_program(name: str) -> str:
    """A command of this environment.

    Raises:
        InputError: it is not installed.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / name).is_file():
            return str(folder / name)
    if (found := shutil.which(name)) is not None:
        return found
    raise InputError(name, "no such command", "nerfstudio", "Run: pip install 'panoptic-gs[nerfstudio]'.")


@contextmanager
def _child(command: list[str], output: IO[bytes], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when the block is left, also by Ctrl-C or when this process is told to end."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if in_main else None
    with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
            if in_main:
                signal.signal(signal.SIGTERM, before)


def _lock(file: IO[bytes], path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            path, "another process that trains this scene", "one training at a time",
            "Wait for it or end it, then run the same command again.",
        ) from error  # fmt: skip
    except OSError:  # a file system without locks
        return


def _iterations_of(checkpoint: Path) -> int:
    match = re.fullmatch(r"step-(\d+)", checkpoint.stem)
    return int(match[1]) + 1 if match else 0


def _end_of(log: Path, start: int) -> str:
    """The last lines that say something."""
    with log.open("rb") as file:
        file.seek(start)
        text = _DRAWN.sub("", file.read().decode(errors="replace"))
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:] or "nothing"
