# SPDX-License-Identifier: Apache-2.0
"""Every reader under some hundreds of damaged files; ``python -m benchmarks.fuzz`` tries any number of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.fuzz.readers import READERS, Reader
from benchmarks.fuzz.trial import Trials
from panoptic_gs.errors import InputError

_INPUTS, _SECONDS = 150, 0.7  # of each reader, whichever is reached first


@pytest.mark.parametrize("name", sorted(set(READERS) - {"scannetpp", "hypersim", "evaluate", "usd"}))
def test_damaged_files_are_read_or_refused_by_name(name: str, tmp_path: Path) -> None:
    trials, faults = Trials(READERS[name], tmp_path / "valid", seconds=3.0), []
    start = time.process_time()
    for seed in range(_INPUTS):
        outcome = trials.run(seed)
        if outcome.fault:
            faults.append(f"seed {seed}: {outcome.fault} {outcome.text}")
        if time.process_time() - start > _SECONDS:
            break
    assert not faults, "\n".join(faults)


def test_faults_are_told_from_refusals(tmp_path: Path) -> None:
    """Readers that do what none should, under the same trial."""

    def make(root: Path) -> None:
        root.mkdir()
        (root / "a.txt").write_text("good")

    def reader(react) -> Reader:
        return Reader(make, lambda root: None if (root / "a.txt").read_bytes() == b"good" else react(root))

    def refuse(root: Path) -> None:
        raise InputError(root / "a.txt", "this", "that", "Do it.")

    def refuse_without_name(root: Path) -> None:
        raise InputError("something", "this", "that", "Do it.")

    def swallow(root: Path) -> None:
        try:
            while True:
                pass
        except Exception:
            refuse(root)

    held = []
    expected = {
        "refuses": (refuse, "refused", ""),
        "nameless": (refuse_without_name, "refused", "without the file's name"),
        "raises": (lambda root: 1 // 0, "raised", "ZeroDivisionError"),
        "exits": (lambda root: exit(3), "raised", "SystemExit"),
        "slow": (swallow, "slow", "more than 0.2 s"),
        "large": (lambda root: held.append(b"x" * (600 << 20)), "read", "MiB of memory"),
    }
    for name, (react, kind, fault) in expected.items():
        trials = Trials(reader(react), tmp_path / name, seconds=0.2 if name == "slow" else 30.0)
        outcome = trials.run_content(trials.files[0], b"bad")
        held.clear()
        assert outcome.kind == kind, name
        assert outcome.fault.startswith(fault) or fault in outcome.fault, name
        assert bool(outcome.fault) == bool(fault), name
        assert (tmp_path / name / "a.txt").read_text() == "good"


def test_the_same_seed_is_the_same_damage(tmp_path: Path) -> None:
    one, other = (Trials(READERS["panoptic"], tmp_path / name) for name in "ab")
    for seed in range(200):
        assert one.damaged(seed)[1] == other.damaged(seed)[1]
