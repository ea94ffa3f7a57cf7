# SPDX-License-Identifier: Apache-2.0
"""Regression of points: its formula, at any scale, from true depth and cameras."""

import pytest
import torch
from network_parts import box_views

from panoptic_gs.network.losses.points import TruePoints, point_losses, scales, true_points
from panoptic_gs.network.points import PointMaps, rotation_from_six


def truth_and_guess(seed: int = 0) -> tuple[TruePoints, PointMaps]:
    torch.manual_seed(seed)
    shape = (2, 3, 4, 5)
    draw = lambda *s: torch.randn(*s, dtype=torch.float64)
    poses = torch.cat([rotation_from_six(draw(2, 3, 6)), draw(2, 3, 3, 1)], -1)
    truth = TruePoints(draw(*shape, 3), draw(*shape, 3), torch.rand(shape) > 0.3, poses)
    guess_poses = torch.cat([rotation_from_six(draw(2, 3, 6)), draw(2, 3, 3, 1)], -1)
    return truth, PointMaps(draw(*shape, 3), draw(*shape, 3), 1 + draw(*shape).exp(), guess_poses)


def test_losses_are_their_formula_and_know_no_scale():
    truth, guess = truth_and_guess()
    losses = point_losses(guess, truth)
    total, count = 0.0, 0
    for b in range(2):
        valid = truth.valid[b]
        scale, own = truth.world[b][valid].norm(dim=-1).mean(), guess.world[b][valid].norm(dim=-1).mean()
        off = (guess.world[b][valid] / own - truth.world[b][valid] / scale).norm(dim=-1)
        confidence = guess.confidence[b][valid]
        total += (confidence * off - 0.2 * confidence.log()).sum().item()
        count += int(valid.sum())
    assert losses["world"].item() == pytest.approx(total / count, rel=1e-6)
    poses = torch.cat([guess.poses[..., :3], 3 * guess.poses[..., 3:]], -1)
    larger = point_losses(PointMaps(3 * guess.world, 3 * guess.local, guess.confidence, poses), truth)
    for name, value in losses.items():
        assert larger[name].item() == pytest.approx(value.item(), rel=1e-6)


def test_the_truth_costs_nothing():
    truth, guess = truth_and_guess()
    same = PointMaps(2 * truth.world, 2 * truth.local, torch.ones_like(guess.confidence),
                     torch.cat([truth.poses[..., :3], 2 * truth.poses[..., 3:]], -1))  # fmt: skip
    assert all(value.item() == pytest.approx(0, abs=2e-4) for value in point_losses(same, truth).values())


def test_gradients():
    truth, guess = truth_and_guess(1)

    def loss(world: torch.Tensor, local: torch.Tensor, logits: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(point_losses(PointMaps(world, local, 1 + logits.exp(), poses), truth).values())).sum()

    inputs = [x.clone().requires_grad_(True)
              for x in (guess.world, guess.local, (guess.confidence - 1).log(), guess.poses)]  # fmt: skip
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradcheck(rotation_from_six, torch.randn(3, 6, dtype=torch.float64, requires_grad=True))


def test_rotations_are_rotations():
    rotation = rotation_from_six(torch.randn(50, 6, dtype=torch.float64))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))


def test_true_points_lie_on_the_box():
    views = box_views(3)
    depth, viewmats, Ks = (torch.from_numpy(x)[None].double() for x in (views.depth, views.viewmats, views.Ks))
    true = true_points(depth, viewmats, Ks, 1, 48, 64)
    to_world = torch.linalg.inv(viewmats[0, 0])
    world = true.world[0] @ to_world[:3, :3].T + to_world[:3, 3]
    outside = (world.abs() / torch.tensor([2.0, 1.5, 1.25])).amax(-1)
    torch.testing.assert_close(outside, torch.ones_like(outside), atol=1e-5, rtol=0)
    assert true.valid.all()
    mirrored = views.mirrored()
    depth, viewmats, Ks = (torch.from_numpy(x.copy())[None].double()
                           for x in (mirrored.depth, mirrored.viewmats, mirrored.Ks))  # fmt: skip
    again = true_points(depth, viewmats, Ks, 1, 48, 64)
    torch.testing.assert_close(again.world.flip(3), true.world * torch.tensor([-1.0, 1, 1]))


def test_maps_that_reach_beyond_the_image_are_no_truth():
    views = box_views(2, 64, 40)
    tensors = [torch.from_numpy(x)[None].double() for x in (views.depth, views.viewmats, views.Ks)]
    true = true_points(*tensors, 4, 12, 16)
    assert true.valid[:, :, :10].all()
    assert not true.valid[:, :, 10:].any()
    assert scales(true.world, true.valid).isfinite().all()
