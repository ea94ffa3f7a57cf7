# SPDX-License-Identifier: Apache-2.0
"""Train, render and score a scene folder with nerfstudio's own commands, as a user would type them."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.quality.measurements import scene_stamp
from benchmarks.quality.with_parent import guarded
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json

METHOD = "panst3r-ludvig"


@dataclass(frozen=True)
class NerfstudioRun:
    """A training in ``folder``; every command's output goes to the terminal, or to a log.

    Args:
        folder: receives ``training/``, ``renders/`` and ``scores.json``.
        console: where the commands are echoed.
        log: a file that the commands and their output are appended to instead.
        threads: of each command; by default as torch decides.
    """

    folder: Path
    console: Console
    log: Path | None = None
    threads: int | None = None

    @property
    def config(self) -> Path:
        """The training's ``config.yml``."""
        return self.folder / "training" / "scene" / METHOD / "run" / "config.yml"

    @property
    def renders(self) -> Path:
        """What ``ns-render`` wrote of the held-out views: one folder an output."""
        return self.folder / "renders" / "test"

    def train(self, scene: Path, options: Sequence[str] = ()) -> None:
        """``ns-train panst3r-ludvig``; ``options`` are its command-line options."""
        self._call("ns-train", METHOD, "--data", scene, "--output-dir", self.folder / "training", "--experiment-name",
                   "scene", "--timestamp", "run", "--vis", "tensorboard", *options)  # fmt: skip

    def train_once(self, scene: Path, options: Sequence[str] = ()) -> None:
        """:meth:`train` where none of the same scene and options has finished; an interrupted one begins anew."""
        done, wanted = self.folder / "trained.json", {**scene_stamp(scene, "panoptic"), "options": list(options)}
        if done.is_file() and read_json(done) == wanted and self.config.is_file():
            return
        done.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "training", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.train(scene, options)
        write_json(done, wanted)

    def render(self, outputs: Sequence[str] = ("rgb", "panoptic", "gt-rgb", "raw-segment_id")) -> None:
        """``ns-render dataset`` of the held-out views, lossless."""
        self._call("ns-render", "dataset", "--load-config", self.config, "--split", "test", "--image-format", "png",
                   "--output-path", self.folder / "renders", "--rendered-output-names", *outputs)  # fmt: skip

    def evaluate(self) -> dict[str, Any]:
        """``ns-eval``; its results, as it wrote them."""
        scores = self.folder / "scores.json"
        self._call("ns-eval", "--load-config", self.config, "--output-path", scores)
        return read_json(scores)["results"]

    def rendered_ids(self) -> dict[str, np.ndarray]:
        """Segment ids ``[H, W]`` int32 of every rendered held-out view, by image name."""
        maps = {}
        for path in sorted((self.renders / "raw-segment_id").glob("*.npy.gz")):
            with gzip.open(path, "rb") as file:
                maps[path.name.removesuffix(".npy.gz")] = np.load(file)[..., 0].astype(np.int32)
        return maps

    def call(self, words: Sequence[str]) -> None:
        """Run a command with the environment that trainings have.

        Raises:
            InputError: it ended with another exit code than 0.
        """
        # nerfstudio's dependencies deprecate what nerfstudio uses; those pages hide what a user wants to see.
        # torch's threads would spin after each operation, on cores that the kernels could use.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONWARNINGS": "ignore"}
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        command = Path(words[0]).name
        if self.log is None:
            self.console.print(f"[bold cyan]$ {command}[/] {shlex.join(words[1:])}", highlight=False, soft_wrap=True)
            result = subprocess.run(guarded(words), stdin=subprocess.DEVNULL, env=environment, check=False)
            mend = "Its own output above says why."
        else:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"$ {shlex.join([command, *words[1:]])}\n")
                log.flush()
                result = subprocess.run(guarded(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=environment, check=False)  # fmt: skip
            mend = f"The end of {self.log} says why."
        if result.returncode != 0:
            raise InputError(command, f"exit code {result.returncode}", "0", mend)

    def _call(self, command: str, *arguments: object) -> None:
        self.call([str(Path(sys.executable).with_name(command)), *map(str, arguments)])
