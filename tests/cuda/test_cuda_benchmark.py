# SPDX-License-Identifier: Apache-2.0
"""The device's benchmark, tried out on the host: what it counts, and its report."""

from __future__ import annotations

import pytest
import torch
from cuda_scenes import host_lists as sorted_lists
from cuda_scenes import random_camera, random_splats
from rich.console import Console

from benchmarks.speed import device, workloads
from benchmarks.speed.device import Limits, Work, device_rows, host_lists, measure, one_hot_gradient
from benchmarks.speed.table import speed_table
from benchmarks.speed.timing import Times
from panoptic_gs import rasterization
from panoptic_gs.uplift import uplift_labels

SPLATS, CAMERA = random_splats(1, 30), random_camera(1, 24, 12)


def small_workload() -> workloads.Workload:
    splats, camera = SPLATS, CAMERA
    return workloads.Workload("small", splats.means, splats.quats, splats.scales, splats.opacities,
                              torch.rand(30, 3), camera.viewmat, camera.K, 24, 12, 1)  # fmt: skip


def test_ratios_goals_and_shares():
    taken = {
        device.FORWARD: Times(2.0, 1.0), "uplift labels, 200 labels": Times(2.5, 1.0),
        "uplift labels, 2000 labels": Times(3.0, 1.0), "one-hot gradient, 200 labels": Times(60.0, 50.0),
        "label votes kernel, 200 labels": Times(0.5, 0.4),
    }  # fmt: skip
    work = {"label votes kernel, 200 labels": Work(atomics=10**6, bytes=10**8)}
    rows = {row["name"]: row for row in device_rows("w", taken, work, Limits(1e12, 1e10))}
    assert "ratio" not in rows[device.FORWARD]
    assert rows["uplift labels, 200 labels"]["ratio"] == 1.25
    assert rows["uplift labels, 200 labels"]["goal_met"]
    assert not rows["uplift labels, 2000 labels"]["goal_met"]
    gradient = rows["one-hot gradient, 200 labels"]
    assert (gradient["ratio"], gradient["ratio_to"]) == (24.0, "uplift labels, 200 labels")
    assert gradient["goal"] == "at least 20"
    assert gradient["goal_met"]
    kernel = rows["label votes kernel, 200 labels"]
    assert kernel["share_of_atomics"] == pytest.approx(0.2)
    assert kernel["share_of_copy"] == pytest.approx(0.2)


def test_without_gsplat_there_are_no_ratios():
    taken = {"label votes kernel, 200 labels": Times(0.5, 0.4)}
    (row,) = device_rows("w", taken, {}, Limits(1.0, 1.0))
    assert set(row) == {"workload", "name", "median_ms", "least_ms"}


def test_the_table_shows_the_columns_that_are_filled():
    rows = [
        {"workload": "w", "name": "a", "median_ms": 0.1234, "least_ms": 25.04, "share_of_copy": 0.5},
        {"workload": "w", "name": "b", "median_ms": 3.0, "least_ms": 2.0, "ratio": 1.5, "ratio_to": "a",
         "goal": "at most 1.3", "goal_met": False},
    ]  # fmt: skip
    console = Console(width=150)
    with console.capture() as capture:
        console.print(speed_table(rows, {"gpu": "Some GPU"}))
    text = capture.get()
    for part in ("Some GPU", "0.123", "25.0", "50 %", "1.50 × a", "at most 1.3: missed", "of copying"):
        assert part in text
    assert "blended/s" not in text
    assert "of atomics" not in text


@pytest.mark.parametrize("with_gsplat", [True, False])
def test_every_row_is_measured(emulated, monkeypatch, with_gsplat):
    monkeypatch.setattr(device, "LABELS", (3, 9))
    monkeypatch.setattr(device, "ONE_HOT", 3)
    monkeypatch.setattr(device, "FEATURES", 4)
    workload = small_workload()
    lists = host_lists(workload, "cpu")
    monkeypatch.setattr(device, "tile_lists", lambda *_: lists)
    rows = measure(workload, "cpu", 1, rasterization if with_gsplat else None)
    names = {row["name"] for row in rows}
    kernel = {"label votes kernel, 3 labels", "label votes kernel, 9 labels", "feature votes kernel, 4 features",
              "panoptic kernel, 3 labels", "panoptic kernel, 9 labels"}  # fmt: skip
    whole = {device.FORWARD, "projection and tile lists", "uplift labels, 3 labels", "uplift labels, 9 labels",
             "render panoptic, 3 labels", "render panoptic, 9 labels", "uplift 4 features",
             "one-hot gradient, 3 labels"}  # fmt: skip
    assert names == (kernel | whole if with_gsplat else kernel)
    assert all(row["median_ms"] > 0 for row in rows)
    assert all(row["atomics"] >= 30 for row in rows if "votes kernel" in row["name"])


def test_the_gradient_of_one_hot_channels_is_the_votes():
    labels = torch.from_numpy(device.voronoi(5, 24, 12))
    one_hot = torch.nn.functional.one_hot(labels.long() - 1, 5).float()
    gradient = one_hot_gradient(rasterization, SPLATS, CAMERA, one_hot)
    votes = uplift_labels(SPLATS, [(CAMERA, labels)])
    torch.testing.assert_close(gradient, votes.to_dense(6)[:, 1:] * votes.total[:, None], rtol=1e-4, atol=1e-5)


def test_tile_lists_of_the_host_are_those_of_the_definition():
    for ours, wanted in zip(host_lists(small_workload(), "cpu").tensors, sorted_lists(SPLATS, CAMERA).tensors):
        assert torch.equal(ours, wanted)


def test_a_ply_is_seen_from_among_its_gaussians(tmp_path):
    splats = random_splats(3, 500)
    splats.save_ply(tmp_path / "scene.ply")
    workload = workloads.load(tmp_path / "scene.ply")
    assert workload.name == "scene"
    assert len(workload) == 500
    assert int(host_lists(workload, "cpu").offsets[-1, -1]) > 500
    assert workloads.load(tmp_path / "missing.ply").name == "random"
