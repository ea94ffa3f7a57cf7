# SPDX-License-Identifier: Apache-2.0
"""``-q`` prints paths alone, ``--json`` one object: every command, in the same way."""

import dataclasses
import json
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tyro

from panoptic_gs import Category, PanopticScene, Segment
from panoptic_gs.cli.main import main
from panoptic_gs.cli.output import Output, complete_json
from panoptic_gs.cli.prepare import Dataset, Prepare
from panoptic_gs.cli.registry import COMMANDS


@pytest.fixture
def maps(tmp_path) -> Path:
    ids = {"0": np.array([[1, 1], [2, 0]], np.int32)}
    PanopticScene([Category(1, "wall", False), Category(2, "chair", True)], [Segment(1, 1), Segment(2, 2)], ids).save(
        tmp_path / "maps"
    )
    return tmp_path / "maps"


def test_every_command_has_both():
    commands = [command.load() for command in COMMANDS.values()]
    commands += [typing.get_args(member)[0] for member in typing.get_args(Dataset)]
    assert len(commands) > 10
    for command in commands:
        assert command is Prepare or issubclass(command, Output)
        names = [field.name for field in dataclasses.fields(command)]
        assert command is Prepare or {"quiet", "json"} <= set(names)


def test_json_without_a_file_is_for_standard_output():
    assert complete_json(["a", "--json"]) == ["a", "--json", "-"]
    assert complete_json(["--json", "-q"]) == ["--json", "-", "-q"]
    assert complete_json(["--json", "-", "b"]) == ["--json", "-", "b"]
    assert complete_json(["--json", "x.json"]) == ["--json", "x.json"]
    assert complete_json(["--json=x.json"]) == ["--json=x.json"]


def test_one_object_on_standard_output_and_all_else_on_standard_error(maps, capsys):
    main(["evaluate", str(maps), str(maps), "--json"])
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    said = json.loads(line)
    assert said["command"] == "evaluate"
    assert said["splits"]["all"]["scores"]["strict"]["pq"] == 1.0
    assert "All views (1)" in printed.err
    main(["evaluate", str(maps), str(maps), "--json", "-q"])
    printed = capsys.readouterr()
    assert json.loads(printed.out) == said
    assert printed.err == ""


def test_quiet_prints_paths_alone(maps, tmp_path, capsys):
    main(["evaluate", str(maps), str(maps), "-q"])
    assert capsys.readouterr() == ("", "")
    main(["evaluate", str(maps), str(maps), "-q", "--json", str(tmp_path / "scores.json")])
    assert capsys.readouterr().out == f"{tmp_path / 'scores.json'}\n"
    assert json.loads((tmp_path / "scores.json").read_text())["command"] == "evaluate"


def test_bad_input_is_said_to_those_who_asked_for_quiet_too(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "none"), str(tmp_path), "-q", "--json"])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "none" in printed.err


def test_nan_is_null(capsys):
    @dataclass(frozen=True)
    class TryThis(Output):
        def run(self) -> None:
            self.finish(["a b"], score=float("nan"), nested={"x": [float("inf"), 1.0]})

    tyro.cli(TryThis, args=["--json", "-"]).run()
    assert json.loads(capsys.readouterr().out) == {
        "command": "try-this", "written": ["a b"], "score": None, "nested": {"x": [None, 1.0]},
    }  # fmt: skip
