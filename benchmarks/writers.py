# SPDX-License-Identifier: Apache-2.0
"""Every command that writes, on inputs so small that it takes a moment: what is killed, and what runs out of disk."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree

from benchmarks.fuzz.readers import READERS
from panoptic_gs.cli.main import main
from panoptic_gs.files import write_json, write_png
from panoptic_gs.scene import Scene
from panoptic_gs.splats import Splats

Arguments = Callable[[Path, Path], Sequence[str]]
_SYNTH = ("--views", "5", "--width", "48", "--height", "36", "-q")

WRITERS: dict[str, Arguments] = {
    "synth": lambda root, out: ["synth", str(out), *_SYNTH, "--raw", "--overwrite"],
    "prepare": lambda root, out: [
        "prepare", "replica", str(root / "replica" / "room_9" / "Sequence_1"), "--out", str(out), "--overwrite", "-q"
    ],
    "merge": lambda root, out: ["merge", str(root / "scene"), "--out", str(out), "--overwrite", "-q"],
    "uplift": lambda root, out: [
        "uplift", str(root / "splats.ply"), str(root / "scene"), "--out", str(out), "--overwrite", "-q"
    ],
    "associate": lambda root, out: [
        "associate", str(root / "splats.ply"), str(root / "masks"), "--data", str(root / "scene"), "--out", str(out),
        "--labelled", str(out.with_name(out.name + "-labelled")), "--overwrite", "-q",
    ],
    "clean": lambda root, out: [
        "clean", str(root / "scene"), "--splats", str(root / "splats.ply"), "--out", str(out), "--overwrite", "-q"
    ],
    "render": lambda root, out: [
        "render", str(root / "labelled"), str(root / "scene"), "--out", str(out), "--overwrite", "-q"
    ],
    "export": lambda root, out: [
        "export", str(root / "labelled"), "--out", str(out), "--formats", "splats", "objects", "points", "boxes",
        "graph", "--overwrite", "-q",
    ],
    "mesh": lambda root, out: [
        "mesh", str(root / "labelled"), "--data", str(root / "scene"), "--out", str(out), "--voxel", "0.15",
        "--added-places", "0", "--no-smoothing", "--overwrite", "-q",
    ],
    "report": lambda root, out: [
        "report", str(root / "labelled"), "--data", str(root / "scene"), "--out", str(out.with_suffix(".html")),
        "--max-views", "1", "--picture-width", "64", "-q",
    ],
    "share": lambda root, out: [
        "share", str(root / "labelled"), "--data", str(root / "scene"), "--out", str(out.with_suffix(".html")), "-q"
    ],
    "query": lambda root, out: [
        "query", str(root / "labelled"), "wall", "--data", str(root / "scene"), "--out", str(out), "--overwrite", "-q"
    ],
    "evaluate": lambda root, out: [
        "evaluate", str(root / "scene"), str(root / "scene"), "--json", str(out.with_suffix(".json")), "-q"
    ],
}  # fmt: skip
"""The arguments of ``panoptic-gs`` by name, from the folder of inputs and the output. predict and scene are left out:
the one loads networks, the other runs the others."""


def make_inputs(root: Path) -> None:
    """A room of five views, splats at its seed points, labels, masks, and a raw scene of Replica's layout."""
    main(["synth", str(root / "scene"), *_SYNTH, "--raw"])
    scene = Scene.load(root / "scene")
    assert scene.points is not None
    xyz = scene.points[0][::4]
    size = KDTree(xyz).query(xyz, k=4)[0][:, 1:].mean(axis=1).clip(0.005, 0.3)
    Splats(
        torch.from_numpy(np.ascontiguousarray(xyz)).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(len(xyz), 1),
        torch.from_numpy(size).float()[:, None].repeat(1, 3), torch.full((len(xyz),), 0.95),
        torch.zeros(len(xyz), 1, 3),
    ).save_ply(root / "splats.ply")  # fmt: skip
    maps = scene.load_panoptic("panoptic_gt")
    meaning = {category.id: category for category in maps.categories}
    (root / "masks").mkdir()
    table = {}
    for stem in maps.stems:
        write_png(root / "masks" / f"{stem}.png", maps.maps[stem].astype(np.uint8))
        table[stem] = [
            {"id": s.id, "class": meaning[s.category_id].name, "isthing": meaning[s.category_id].isthing}
            for s in maps.segments
        ]
    write_json(root / "masks" / "classes.json", table)
    READERS["replica"].make(root / "replica")
    run(WRITERS["uplift"](root, root / "labelled"))


@contextlib.contextmanager
def prepared(prefix: str) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and one in it with the inputs of every command."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        yield Path(name), inputs


def run(arguments: Sequence[str], prepare: Callable[[], Any] = lambda: None) -> int:
    """Run a command in a fork of this process, with nothing on the screen; its exit code, or −9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(start(arguments, prepare), 0)[1])


def start(arguments: Sequence[str], prepare: Callable[[], Any] = lambda: None, log: Path | None = None) -> int:
    """Start a command in a fork of this process; the number of the fork.

    Args:
        arguments: of ``panoptic-gs``.
        prepare: called in the fork first.
        log: where what it prints goes; nowhere by default.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        screen = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(screen, 1)
        os.dup2(screen, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        if "torch" in sys.modules:  # its threads are not in the fork, and whoever waits for them waits for ever
            sys.modules["torch"].set_num_threads(1)
        prepare()
        code = 0
        main(list(arguments))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def outputs(folder: Path) -> dict[str, str]:
    """The files below a folder, hidden ones too, each with a digest of what it holds."""
    return {
        path.relative_to(folder).as_posix(): blake2b(path.read_bytes(), digest_size=8).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
