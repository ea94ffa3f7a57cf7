# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.quality.with_parent PID COMMAND …`` becomes the command and ends when its parent ``PID`` does.

A benchmark that was killed would otherwise leave a training behind that goes on writing into the folder of a run that
the next start of the benchmark does again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def guarded(words: Sequence[str]) -> list[str]:
    """The command line of a subprocess that is to end with this process; the first word is a path."""
    return [sys.executable, "-m", "benchmarks.quality.with_parent", str(os.getpid()), *words]


def main(parent: int, command: list[str]) -> None:
    """Where the system is not Linux, the command just runs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it could be watched
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
