# SPDX-License-Identifier: Apache-2.0
"""One damaged file in the place of its twin: read, or refused by name, within a time and within memory."""

from __future__ import annotations

import hashlib
import resource
import signal
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from benchmarks.fuzz.mutators import mutated
from benchmarks.fuzz.readers import Reader
from panoptic_gs.errors import InputError

_MEMORY = 500 << 20  # of any file; a larger one may take a hundred times its size
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged file: ``fault`` is empty where it was ``read`` or ``refused`` as it should be."""

    kind: str
    fault: str = ""
    text: str = ""


class _TooSlow(BaseException):
    """No :class:`Exception`, so that no reader takes it for a damaged file."""


class Trials:
    """A valid folder of a reader, in which one file after the other is damaged, read and restored.

    Args:
        reader: under test.
        folder: where its valid folder is made.
        seconds: processor time that a file may take.

    Raises:
        InputError: the valid folder is not read.
    """

    def __init__(self, reader: Reader, folder: Path, seconds: float = 1.0) -> None:
        self.reader, self.folder, self.seconds = reader, folder, seconds
        reader.make(folder)
        self.files = reader.files(folder)
        self.originals = [path.read_bytes() for path in self.files]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(2):  # what is imported or compiled at first use is no file's fault
                reader.read(folder)

    def damaged(self, seed: int) -> tuple[Path, bytes]:
        """The file and its damaged content of a seed."""
        random = Random(seed)
        index = random.randrange(len(self.files))
        return self.files[index], mutated(self.originals[index], self.files[index].suffix.lower(), random)

    def run(self, seed: int) -> Outcome:
        """Try the input of a seed."""
        file, content = self.damaged(seed)
        return self.run_content(file, content)

    def run_content(self, file: Path, content: bytes) -> Outcome:
        """Try a content in the place of one of the reader's files."""
        original = self.originals[self.files.index(file)]
        file.write_bytes(content)
        before = _peak(reset=True)
        signal.signal(signal.SIGPROF, _stop)
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.reader.read(self.folder)
            outcome = Outcome("read")
        except InputError as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            named = _names(str(error), file, self.folder)
            outcome = Outcome("refused") if named else Outcome("refused", "without the file's name", str(error)[:300])
        except _TooSlow as error:
            outcome = Outcome("slow", f"more than {self.seconds:g} s at {_place(error)}")
        except BaseException as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome = Outcome("raised", f"{type(error).__name__} at {_place(error)}", str(error)[:300])
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            file.write_bytes(original)
        taken = _peak() - before
        if not outcome.fault and taken > max(_MEMORY, 100 * len(content)):
            outcome = Outcome(outcome.kind, f"{taken >> 20} MiB of memory", f"{len(content)} bytes")
        return outcome


def digest(content: bytes) -> str:
    """A short name for a content."""
    return hashlib.sha256(content).hexdigest()[:6]


def limit_memory(more: int = 3 << 30) -> None:
    """Let this process take no more than ``more`` bytes on top of what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def _names(message: str, file: Path, root: Path) -> bool:
    """Whether a message names the damaged file, or its folder in a valid one (as of two files that disagree)."""
    return file.name in message or str(file.parent) in message or str(root) in message


def _place(error: BaseException) -> str:
    """The innermost line of the project that an error came through."""
    ours = lambda name: name.startswith(str(_ROOT)) and ".venv" not in Path(name).parts
    frames = [f for f in traceback.extract_tb(error.__traceback__) if ours(f.filename)]
    frames = [f for f in frames if "benchmarks/fuzz" not in f.filename] or frames
    if not frames:
        return "?"
    return f"{Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno} {frames[-1].name}"


def _stop(number: int, frame: FrameType | None) -> Any:
    raise _TooSlow


def _peak(reset: bool = False) -> int:
    """The most memory in bytes since it was reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0
