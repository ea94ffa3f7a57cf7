# SPDX-License-Identifier: Apache-2.0
"""Some commands killed, and on full disks; ``benchmarks.kill`` and ``benchmarks.disk_full`` try every one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.disk_full import fill
from benchmarks.kill import POINTS, Kill, _state, kill_command
from benchmarks.writers import make_inputs, outputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_inputs(root)
    return root


@pytest.mark.parametrize("command", ["merge", "uplift"])
def test_killed_commands_leave_the_old_or_the_new_output(inputs: Path, tmp_path: Path, command: str) -> None:
    killed = kill_command(command, inputs, tmp_path / "work", Kill(random=5, named=len(POINTS)))
    assert killed.kills == 5 + len(POINTS)
    assert not killed.faults
    assert killed.states["old"] >= 2, "killed before the move"
    assert killed.states["new"] >= 1, "killed after it"


def test_what_is_neither_is_seen(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text(name)
    expected = outputs(tmp_path)
    assert _state(tmp_path, expected, ["out"], True) == "new"
    (tmp_path / "out" / "old-output").write_text("")
    assert _state(tmp_path, expected, ["out"], True) == "old"
    (tmp_path / "out" / "a").write_text("x")
    assert "not whole" in _state(tmp_path, expected, ["out"], True)
    (tmp_path / "out" / "a").unlink()
    assert "not whole" in _state(tmp_path, expected, ["out"], False)


@pytest.mark.parametrize("command", ["uplift", "evaluate"])
def test_a_full_disk_is_said_and_the_old_output_stays(inputs: Path, tmp_path: Path, command: str) -> None:
    filled = fill(command, inputs, tmp_path / "work", 2)
    assert not filled.faults
    assert filled.refused + filled.wrote == 4
    assert filled.refused >= 1
