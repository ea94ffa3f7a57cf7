# SPDX-License-Identifier: Apache-2.0
"""A benchmark whose scenes are numbers, light to import: ``python -m squares --numbers 2 3``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.quality.command import main
from benchmarks.quality.measurements import Measurement, Outcome
from benchmarks.quality.on_engine import OnEngine


@dataclass(frozen=True)
class Squares(OnEngine):
    """Square numbers; a negative one fails, and 13 takes its process along."""

    out: Path = Path()
    """Folder of what is kept."""
    numbers: tuple[int, ...] = (1,)
    """To square."""

    def run(self) -> Outcome:
        """Do what is not done yet."""
        work = [self.measurement(number) for number in self.numbers]
        return self.measured(work, Console(quiet=True), self.out / "logs")

    def measurement(self, number: int) -> Measurement:
        """Of one number."""
        file = self.out / f"{number}.json"
        return Measurement(str(number), self._squared, (number,), file, {"number": number}, file.with_suffix(".log"))

    def _squared(self, number: int, threads: int) -> dict[str, Any]:
        with (self.out / "calls").open("a") as calls:
            calls.write(f"{number}\n")
        if number < 0:
            raise OSError("not so")
        if number == 13:
            os._exit(1)
        return {"number": number, "square": number**2, "threads": threads, "process": os.getpid(),
                "module": type(self).__module__}  # fmt: skip

    def calls(self) -> list[int]:
        """What was squared, in order of the numbers."""
        return sorted(map(int, (self.out / "calls").read_text().split()))


if __name__ == "__main__":
    main(Squares)
