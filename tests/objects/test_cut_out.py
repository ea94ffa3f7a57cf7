# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_gs import InputError, Splats
from panoptic_gs.cli.main import main
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.cut_out import cut_out
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.ply import count_vertices
from panoptic_gs.uplift import GaussianLabels, LabelledScene, save_labelled_scene

UP = np.array([0.0, 0.0, 1.0])
BLOCK, HALO, FLOATERS = 4000, 60, 50


def block_on_a_floor(isthing: bool = True) -> LabelledScene:
    """A block of 0.6 × 0.6 × 0.8 m with thin patches of the floor around it and floaters two metres off, all labelled
    as the block."""
    rng = np.random.default_rng(0)
    block = rng.uniform([-0.3, -0.3, 0], [0.3, 0.3, 0.8], (BLOCK, 3))
    angle, radius = rng.uniform(0, 2 * np.pi, HALO), rng.uniform(0.55, 0.8, HALO)
    halo = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(HALO)], axis=1)
    floaters = rng.normal([2, 0, 1.5], 0.05, (FLOATERS, 3))
    means = torch.from_numpy(np.concatenate([block, halo, floaters])).float()
    count = len(means)
    opacity = torch.cat([torch.full((BLOCK,), 0.9), torch.full((HALO,), 0.2), torch.full((FLOATERS,), 0.2)])
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), torch.full((count, 3), 0.02), opacity,
                    torch.zeros(count, 1, 3))  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.ones(count, dtype=torch.int32), torch.ones(count),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    return LabelledScene(splats, labels, Labelling((Category(1, "block", isthing=isthing),), (Segment(1, 1),)))


def test_floaters_and_halo_go_and_the_object_stays() -> None:
    kept = cut_out(ObjectTable(block_on_a_floor()), 1, UP)
    assert (kept < BLOCK).sum() > 0.99 * BLOCK
    assert not (kept >= BLOCK).any()


def test_stuff_is_left_as_it_is() -> None:
    assert len(cut_out(ObjectTable(block_on_a_floor(isthing=False)), 1, UP)) == BLOCK + HALO + FLOATERS


def test_export_cleans_files_of_objects_and_leaves_the_scene_whole(tmp_path: Path) -> None:
    scene = block_on_a_floor()
    save_labelled_scene(tmp_path / "labelled", scene.splats, scene.labels, scene.labelling)
    for name, options in (("all", []), ("clean", ["--clean"])):
        formats = ["--formats", "objects", "splats", "spz"]
        main(["export", str(tmp_path / "labelled"), "--out", str(tmp_path / name), *formats, *options])
    counts = {
        name: count_vertices(tmp_path / name / file)
        for name in ("all", "clean") for file in ("objects/0001_block.ply",)
    }  # fmt: skip
    assert counts["all"] == BLOCK + HALO + FLOATERS
    assert 0.99 * BLOCK < counts["clean"] <= BLOCK
    (packed,) = json.loads((tmp_path / "clean/spz/index.json").read_text())["objects"]
    assert packed["gaussians"] == counts["clean"]
    assert count_vertices(tmp_path / "clean/splats/splats.ply") == BLOCK + HALO + FLOATERS


def test_cleaning_without_files_of_objects_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = block_on_a_floor()
    save_labelled_scene(tmp_path / "labelled", scene.splats, scene.labels, scene.labelling)
    with pytest.raises((SystemExit, InputError)):
        main(["export", str(tmp_path / "labelled"), "--out", str(tmp_path / "out"), "--formats", "graph", "--clean"])
    assert "--clean" in capsys.readouterr().err
