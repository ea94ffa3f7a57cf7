# SPDX-License-Identifier: Apache-2.0
"""Files that once broke a reader, each in the place of every twin in a valid folder of its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fuzz.readers import READERS
from benchmarks.fuzz.trial import Trials

HOSTILE = Path(__file__).parents[3] / "shared" / "data" / "hostile"
# Where the files of a kind belong. A photo of a COLMAP scene and the seed points of one with true depth are among them.
PLACES = {
    "campath": "camera-path", "ckpt": "checkpoint", "cloud": "true-points", "colmap_bin": "colmap-binary",
    "colmap_txt": "colmap-text", "confidence": "confidence", "depthtruth": "depth-truth", "hypersim": "hypersim",
    "labelled": "labelled", "labelled_eval": "labelled-points", "lifting": "panoptic-lifting", "merge": "merge",
    "mesh": "mesh", "panoptic": "panoptic", "ply": "splats", "points": "points", "raw": "raw", "replica": "replica",
    "scannet": "scannet", "scannet_exp": "scannet-exported", "scene": "scene",
}  # fmt: skip


def test_every_kind_has_a_reader() -> None:
    kinds = {path.name.split("-")[0] for path in HOSTILE.glob("*-*")}
    assert kinds <= {*PLACES, "viewer"}  # the viewer's is a request, sent in the tests of its guard


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not here")
@pytest.mark.parametrize("kind", PLACES)
def test_a_hostile_file_is_refused_by_name_in_its_place(kind: str, tmp_path: Path) -> None:
    reader = replace(READERS[PLACES[kind]], damaged=("**/*",))
    trials = Trials(reader, tmp_path / "valid", seconds=3.0)  # of a busy machine
    files = sorted(HOSTILE.glob(f"{kind}-*"))
    assert files
    for file in files:
        twins = [twin for twin in trials.files if twin.suffix == file.suffix]
        outcomes = [trials.run_content(twin, file.read_bytes()) for twin in twins]
        assert not [outcome for outcome in outcomes if outcome.fault], file.name
        assert any(outcome.kind == "refused" for outcome in outcomes), file.name
