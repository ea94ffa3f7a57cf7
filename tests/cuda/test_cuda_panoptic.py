# SPDX-License-Identifier: Apache-2.0
"""The panoptic rendering's device kernel, held to the host's; see conftest.py for where it runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_scenes import blend, label_scene

from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.uplift import GaussianLabels, render_panoptic


def random_labels(count: int, num: int, most: int) -> GaussianLabels:
    """Rows of up to ``most`` of ``num`` labels."""
    generator = np.random.default_rng(0)
    rows = [np.sort(generator.choice(num, size=generator.integers(0, most + 1), replace=False)) for _ in range(count)]
    weight = np.concatenate([generator.random(len(row)) for row in rows])
    return GaussianLabels(
        torch.tensor(np.cumsum([0, *map(len, rows)])), torch.tensor(np.concatenate(rows).astype(np.int32)) * 10**7 + 5,
        torch.tensor(weight).float(), torch.ones(count), torch.zeros(count),
    )  # fmt: skip


# Rows longer than what shared memory holds of them; more labels in a tile than planes.
@pytest.mark.parametrize(("count", "num", "most"), [(60, 3, 2), (120, 70, 4), (60, 2, 1), (80, 40, 30)])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_rendered_labels_agree_with_the_host(machine, lists_of, count, num, most, mode):
    splats, cameras, _ = label_scene(5, count, 2)
    labels = random_labels(count, num, most)
    known, rank = labels.ranks
    camera = cameras[mode == "antialiased"]
    winners, confidence, accumulation = (values.cpu() for values in cuda_kernels.render_panoptic(
        lists_of(splats, camera, mode == "antialiased"), labels.indptr.to(machine.device), rank.to(machine.device),
        labels.weight.to(machine.device), len(known),
    ))  # fmt: skip
    ids = torch.cat([torch.zeros(1, dtype=torch.int64), known.long()])[winners.long() + 1]
    host = render_panoptic(splats, labels, camera, rasterize_mode=mode)
    sure = torch.from_numpy(~blend(splats, camera, antialiased=mode == "antialiased").uncertain)
    assert (ids == host.ids)[sure].float().mean() > 0.998  # near ties may fall to either side
    torch.testing.assert_close(confidence[sure], host.confidence[sure], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(accumulation[sure], host.accumulation[sure], rtol=1e-3, atol=1e-4)


def test_more_labels_than_a_window_holds(machine, lists_of):
    count = 70
    splats, cameras, _ = label_scene(6, count, 2)
    names = torch.arange(count).int()
    labels = GaussianLabels(torch.arange(count + 1), names, torch.ones(count), torch.ones(count), torch.zeros(count))
    spread = names * 1000  # ranks far apart, over three windows of 32768
    winners, _, _ = cuda_kernels.render_panoptic(
        lists_of(splats, cameras[0]), labels.indptr.to(machine.device), spread.to(machine.device),
        labels.weight.to(machine.device), 70000,
    )  # fmt: skip
    host = render_panoptic(splats, labels, cameras[0])
    ids = torch.where(winners < 0, 0, winners // 1000).cpu()
    sure = torch.from_numpy(~blend(splats, cameras[0]).uncertain)
    assert (ids == host.ids)[sure].float().mean() > 0.998


def test_gaussians_without_labels_cover_and_vote_for_none(machine, lists_of):
    splats, cameras, _ = label_scene(5, 60, 2)
    nothing = GaussianLabels(torch.zeros(61, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), torch.zeros(0),
                             torch.zeros(60), torch.zeros(60))  # fmt: skip
    winners, confidence, accumulation = cuda_kernels.render_panoptic(
        lists_of(splats, cameras[0]), nothing.indptr.to(machine.device), nothing.label.to(machine.device),
        nothing.weight.to(machine.device), 0,
    )  # fmt: skip
    assert (winners == -1).all()
    assert (confidence == 0).all()
    torch.testing.assert_close(accumulation.cpu(), render_panoptic(splats, nothing, cameras[0]).accumulation,
                               rtol=1e-2, atol=1e-2)  # fmt: skip
