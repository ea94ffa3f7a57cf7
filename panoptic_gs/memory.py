# SPDX-License-Identifier: Apache-2.0
"""Memory that work will take, held against what is free before it begins."""

from __future__ import annotations

import re
from pathlib import Path

from panoptic_gs.errors import InputError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
MEND = "Take fewer Gaussians, free memory, or use a machine that has more."


def available() -> float | None:
    """Bytes that are free, caches included, on the machine and in its container; None where nothing tells."""
    found = [value for value in (_free_here(), _free_in_container()) if value is not None]
    return min(found, default=None)


def require(source: Path | str, what: str, needed: float, mend: str = MEND) -> None:
    """Refuse work whose memory is not there, which the system would end in the middle without a word.

    Args:
        source: file or argument that errors name.
        what: that takes the memory, in words with its number.
        needed: bytes, over what is taken now.
        mend: how to need less.

    Raises:
        InputError: less is free.
    """
    free = available()
    if free is not None and needed > free:
        raise InputError(source, f"{what}, which take about {needed / 2**30:.1f} GiB",
                         f"no more than the {free / 2**30:.1f} GiB of memory that are free", mend)  # fmt: skip


def _free_here() -> float | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(_MEMINFO), flags=re.MULTILINE)
    return None if found is None else 1024.0 * int(found[1])


def _free_in_container() -> float | None:
    """What a limit of Linux's control groups (version 2) leaves; page cache that can go counts as free."""
    most, used = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    if not (most.isdigit() and used.isdigit()):
        return None
    cache = re.search(r"^inactive_file (\d+)", _text(_CGROUP / "memory.stat"), flags=re.MULTILINE)
    return float(max(0, int(most) - int(used) + (0 if cache is None else int(cache[1]))))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
