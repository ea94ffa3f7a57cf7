# SPDX-License-Identifier: Apache-2.0
"""gsplat's own densification runs on what the host rasterizer gives, unchanged."""

from __future__ import annotations

import pytest
import torch
from random_scenes import as_float32, make_scene

from panoptic_gs.rasterize import rasterization

strategies = pytest.importorskip("gsplat.strategy")


def start(absgrad: bool):
    scene = as_float32(make_scene(count=200, cameras=1, width=64, height=48))
    params = torch.nn.ParameterDict(
        {
            "means": scene["means"],
            "quats": scene["quats"],
            "scales": scene["scales"].log(),
            "opacities": torch.logit(scene["opacities"]),
            "colors": scene["colors"],
        }
    )
    optimizers = {name: torch.optim.Adam([param], lr=1e-3) for name, param in params.items()}
    strategy = strategies.DefaultStrategy(
        refine_start_iter=1, refine_every=4, reset_every=1000, absgrad=absgrad, grow_grad2d=1e-5, grow_scale3d=0.1,
        refine_scale2d_stop_iter=100,
    )  # fmt: skip
    strategy.check_sanity(params, optimizers)
    return scene, params, optimizers, strategy, strategy.initialize_state(scene_scale=1.0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("absgrad", [False, True])
def test_default_strategy_densifies_on_the_cpu(packed: bool, absgrad: bool) -> None:
    torch.manual_seed(0)
    scene, params, optimizers, strategy, state = start(absgrad)
    target = torch.rand(1, 48, 64, 3)
    counts = []
    for step in range(1, 10):
        image, _, info = rasterization(
            params["means"], params["quats"], params["scales"].exp(), torch.sigmoid(params["opacities"]),
            params["colors"], scene["viewmats"], scene["Ks"], 64, 48, packed=packed, absgrad=absgrad,
        )  # fmt: skip
        strategy.step_pre_backward(params, optimizers, state, step, info)
        (image - target).abs().mean().backward()
        strategy.step_post_backward(params, optimizers, state, step, info, packed=packed)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        counts.append(len(params["means"]))
    assert counts[0] == 200
    assert counts[-1] > 200
    assert all(torch.isfinite(param).all() for param in params.values())


def test_image_plane_gradient_moves_the_projected_means() -> None:
    """`means2d.grad` is the derivative of the loss by a shift of each Gaussian on the image plane."""
    scene = as_float32(make_scene(count=30, cameras=1), ("means",))
    image, _, meta = rasterization(**scene, packed=False)
    meta["means2d"].retain_grad()
    weights = torch.randn(image.shape)
    (image * weights).sum().backward()
    shift = 1e-2 / 30.0  # of the camera's x axis, at depth 1: a hundredth of a pixel
    shifted = {**scene, "means": scene["means"].detach().clone()}
    depth = shifted["means"][:, 2] + 3.0
    index = int(meta["means2d"].grad[0, :, 0].abs().argmax())
    numbers = []
    for sign in (-1, 1):
        moved = shifted["means"].clone()
        moved[index, 0] += sign * shift * depth[index]
        image, _, _ = rasterization(**{**shifted, "means": moved}, packed=False)
        numbers.append((image * weights).sum())
    by_difference = (numbers[1] - numbers[0]) / 2e-2
    assert by_difference == pytest.approx(float(meta["means2d"].grad[0, index, 0]), rel=0.05)
