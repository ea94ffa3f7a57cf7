# SPDX-License-Identifier: Apache-2.0
"""One way of blending: the same keywords everywhere, and the same weights in colours, votes and labels."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "uplift"))
from brute_force import blobs, random_camera, random_splats

from panoptic_gs import (
    Camera,
    InputError,
    LabelVotes,
    Splats,
    rasterization,
    render_panoptic,
    uplift_features,
    uplift_labels,
)
from panoptic_gs.backends import Blending, BlendingKeywords, as_on, backend_of
from panoptic_gs.uplift import ViewWeights

CPU = torch.device("cpu")


def test_keywords_fields_and_arguments_are_the_same():
    fields = {field.name: field.default for field in dataclasses.fields(Blending)}
    assert set(get_type_hints(BlendingKeywords)) == set(fields)
    parameters = inspect.signature(rasterization).parameters
    assert {name: parameters[name].default for name in fields} == fields


@pytest.mark.parametrize("call", [
    lambda splats, camera, labels, **blending: uplift_labels(splats, [(camera, labels)], **blending),
    lambda splats, camera, labels, **blending: uplift_features(splats, [(camera, labels[..., None])], **blending),
    lambda splats, camera, labels, **blending: render_panoptic(
        splats, uplift_labels(splats, [(camera, labels)]), camera, **blending
    ),
    lambda splats, camera, labels, **blending: LabelVotes(len(splats), **blending),
    lambda splats, camera, labels, **blending: ViewWeights.of(splats, camera, **blending),
])  # fmt: skip
def test_public_functions_take_them_and_nothing_else(call):
    given = random_splats(1, 20), random_camera(1, 30, 20), blobs(1, 30, 20, np.arange(3))
    call(
        *given, near_plane=0.1, far_plane=50.0, radius_clip=0.5, eps2d=0.2, rasterize_mode="antialiased", alpha_max=0.9
    )
    with pytest.raises(InputError, match="rasterize_mode"):
        call(*given, rasterize_mode="sharp")
    with pytest.raises(TypeError, match="eps3d"):
        call(*given, eps3d=0.2)


@pytest.mark.parametrize("clamp", [1.0, 0.0, 1 / 300, float("nan")])
def test_a_clamp_that_clamps_nothing_or_everything_is_refused(clamp):
    with pytest.raises(InputError, match="alpha_max"):
        Blending(alpha_max=clamp)


@pytest.mark.parametrize("clamp", [0.5, 0.98, 0.999])
def test_the_clamp_of_alpha_is_that_of_colours_votes_and_labels_alike(clamp):
    """A wall of one opaque Gaussian: behind the clamp shows what is behind it."""
    splats = Splats(
        torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]]), torch.tensor([[1.0, 0, 0, 0]] * 2), torch.full((2, 3), 50.0),
        torch.ones(2), torch.zeros(2, 1, 3),
    )  # fmt: skip
    camera = Camera(torch.eye(4), torch.tensor([[30.0, 0, 12], [0, 30, 8], [0, 0, 1]]), 24, 16)
    _, alpha, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, torch.ones(2, 1), camera.viewmat[None],
        camera.K[None], 24, 16, alpha_max=clamp,
    )  # fmt: skip
    centre, behind = clamp, (1 - clamp) * clamp
    if (1 - clamp) ** 2 <= 1e-4:  # the pixel ends without the second
        behind = 0.0
    assert float(alpha[0, 8, 12]) == pytest.approx(centre + behind, abs=1e-5)
    labels = np.zeros((16, 24), dtype=np.int64)
    labels[8, 12] = 3
    votes = LabelVotes(2, alpha_max=clamp)
    votes.add(splats, camera, labels)
    found = votes.finish()
    shown = dict(zip(found.rows().tolist(), (found.weight * (found.total - found.void)[found.rows()]).tolist()))
    assert shown.get(0, 0.0) == pytest.approx(centre, abs=2e-3)
    assert shown.get(1, 0.0) == pytest.approx(behind, abs=2e-3)
    rendered = render_panoptic(splats, found, camera, alpha_max=clamp)
    assert float(rendered.accumulation[8, 12]) == pytest.approx(centre + behind, abs=1e-5)
    weights = ViewWeights.of(splats, camera, torch.tensor([8 * 24 + 12]), alpha_max=clamp)
    assert float(weights.accumulation[0]) == pytest.approx(centre + behind, abs=1e-5)


def test_votes_that_were_clamped_differently_are_not_merged():
    given = random_splats(1, 20), random_camera(1, 30, 20), blobs(1, 30, 20, np.arange(3))
    default, strict, empty = LabelVotes(20), LabelVotes(20, alpha_max=0.99), LabelVotes(20)
    default.add(*given)
    strict.add(*given)
    with pytest.raises(InputError, match=r"alpha_max=0\.99.*alpha_max=0\.999"):
        default.merge(strict)
    assert empty.merge(strict).blending.alpha_max == 0.99
    assert default.blending == as_on(CPU, Blending()) == Blending(alpha_max=backend_of(CPU).alpha_max)
    assert backend_of(CPU).alpha_max == 0.999
