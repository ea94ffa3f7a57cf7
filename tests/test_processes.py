# SPDX-License-Identifier: Apache-2.0
"""Commands under torchrun: the bits of one process, a process that dies, and what torchrun's environment says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from panoptic_gs import Splats
from panoptic_gs.cli.main import main
from panoptic_gs.errors import InputError
from panoptic_gs.files import write_png
from panoptic_gs.processes import Processes, started_processes
from panoptic_gs.scene import Scene

COMMANDS = """
import os, sys, torch
from pathlib import Path
from panoptic_gs.cli.main import main

room, out = Path(sys.argv[1]), Path(sys.argv[2])
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
for labels in ("weighed", "literal"):
    main(["uplift", str(room / "splats.ply"), str(room / "scene"), "--out", str(out / labels), "--labels", labels])
main(["evaluate", str(room / "scene" / "panoptic"), str(room / "scene" / "panoptic_gt"), "--splits", "train",
      "--protocols", "strict", "panopticrecon:0.1", "--json", str(out / "scores.json")])
main(["associate", str(room / "splats.ply"), str(room / "masks"), "--data", str(room / "scene"),
      "--out", str(out / "associated" / "panoptic"), "--json", str(out / "associated.json")])
main(["merge", str(room / "scene" / "predictions"), "--out", str(out / "merged")])
"""

DYING = """
import os, signal, sys
from panoptic_gs.uplift import LabelVotes
from panoptic_gs.cli.main import main

if os.environ["RANK"] == "1":
    LabelVotes.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(["uplift", sys.argv[1] + "/splats.ply", sys.argv[1] + "/scene", "--out", sys.argv[2]])
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A room with raw predictions, splats at its seed points, and true things with ids of their own in each photo."""
    root = tmp_path_factory.mktemp("room")
    main(["synth", str(root / "scene"), "--views", "12", "--width", "80", "--height", "60", "--seed", "3", "--raw"])
    scene = Scene.load(root / "scene")
    assert scene.points is not None
    positions = scene.points[0]
    spacing = KDTree(positions).query(positions, k=4)[0][:, 1:].mean(axis=1).clip(0.005, 0.2)
    Splats(
        torch.from_numpy(positions),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(len(positions), 1),
        torch.from_numpy(spacing).float()[:, None].repeat(1, 3) * 0.5,
        torch.full((len(positions),), 0.99),
        torch.zeros(len(positions), 1, 3),
    ).save_ply(root / "splats.ply")
    truth = scene.load_panoptic("panoptic_gt")
    rng = np.random.default_rng(0)
    for stem in truth.stems:
        new = np.zeros(max(truth.segment_ids) + 1, np.uint8)
        new[1:] = rng.permutation(255)[: len(new) - 1] + 1
        write_png(root / "masks" / f"{stem}.png", new[truth.maps[stem]])
    return root


def run_torchrun(folder: Path, script: str, count: int, *arguments: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "script.py"
    file.write_text(script)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), str(file), *arguments]
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_processes_write_what_one_writes(room, tmp_path, monkeypatch, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(sys, "argv", ["script", str(room), str(one)])
    exec(compile(COMMANDS, "commands", "exec"), {})
    said = capsys.readouterr().out
    done = run_torchrun(tmp_path, COMMANDS, 2, room, two)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ritten:") == said.count("ritten:") >= 5, "one process prints"
    ours, theirs = contents(one), contents(two)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 40
    for name, content in ours.items():
        if name.endswith(".json"):  # paths of outputs are in some
            assert json.loads(content.replace(str(one).encode(), b"")) == json.loads(
                theirs[name].replace(str(two).encode(), b"")
            ), name
        else:
            assert content == theirs[name], name


def test_a_process_that_dies_ends_the_job_with_its_name_and_leaves_nothing(room, tmp_path):
    start = time.monotonic()
    done = run_torchrun(tmp_path, DYING, 2, room, tmp_path / "out")
    assert time.monotonic() - start < 120
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert "rank      : 1" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_reason_reaches_torchrun(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(SystemExit):
        main(["uplift", str(tmp_path / "none.ply"), str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert "no such folder" in json.loads((tmp_path / "error.json").read_text())["message"]["message"]


@pytest.mark.parametrize(("rank", "count"), [("1", "1"), ("x", "2"), ("-1", "2"), ("0", ""), (None, "2"), ("²", "3")])
def test_an_environment_that_cannot_be_is_refused(rank, count, monkeypatch):
    for name, value in (("RANK", rank), ("WORLD_SIZE", count)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="RANK"):
        started_processes()


def test_a_command_that_processes_cannot_share_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended:
        main(["render", "--help"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "'render' on 2 processes" in said
    assert "uplift" in said


def test_shares_are_all_items_once():
    items = list(range(11))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
