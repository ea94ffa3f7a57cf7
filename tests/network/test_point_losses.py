# SPDX-License-Identifier: Apache-2.0
"""Regression of points: its formula, at any scale, from true depth and cameras."""

import numpy as np
import pytest
import torch
from network_parts import box_views

from panoptic_gs.network.losses.matches import match_loss, project
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


def test_places_are_found_where_other_views_see_them():
    views = box_views(4, seed=5)
    depth, viewmats, Ks = (torch.from_numpy(x) for x in (views.depth, views.viewmats, views.Ks))
    row, column = torch.meshgrid(torch.arange(0, 48, 3), torch.arange(0, 64, 3), indexing="ij")
    row, column = row.flatten(), column.flatten()
    z = depth[:, row, column].double()
    focal = Ks[0, 0, 0]
    local = torch.stack([(column + 0.5 - 32) / focal * z, (row + 0.5 - 24) / focal * z, z], -1)
    pixel, seen = project(local, z > 0, depth, viewmats, Ks)
    assert seen.any()
    for i in range(4):
        assert not seen[i, :, i].any()
        to_world = torch.linalg.inv(viewmats[i])
        for j in range(4):
            # The box is convex: what lies in the picture of another view is seen by it.
            moved = (local[i] @ to_world[:3, :3].T + to_world[:3, 3]) @ viewmats[j, :3, :3].T + viewmats[j, :3, 3]
            u, v = (focal * moved[:, axis] / moved[:, 2] + half for axis, half in ((0, 32), (1, 24)))
            inside = (moved[:, 2] > 0.2) & (u > 1) & (u < 63) & (v > 1) & (v < 47)
            if i != j:
                assert seen[i, inside, j].double().mean() > 0.9 if inside.any() else True
                torch.testing.assert_close(pixel[i, inside, j, 0], u[inside])


def test_descriptors_that_name_places_cost_little():
    views = box_views(4, seed=5)
    tensors = [torch.from_numpy(x) for x in (views.depth, views.viewmats, views.Ks)]
    focal = views.Ks[0, 0, 0]
    u, v = np.meshgrid(np.arange(2, 64, 4), np.arange(2, 48, 4))
    rays = np.stack([(u - 32) / focal, (v - 24) / focal, np.ones_like(u, float)], -1)
    named = []
    for k in range(4):
        to_world = np.linalg.inv(views.viewmats[k])
        world = (rays * views.depth[k, 2::4, 2::4, None]) @ to_world[:3, :3].T + to_world[:3, 3]
        waves = [f(4 * s * world[..., a]) for s in (1, 2) for a in range(3) for f in (np.sin, np.cos)]
        named.append(np.stack(waves))
    good = torch.nn.functional.normalize(torch.from_numpy(np.stack(named)).float(), dim=1)
    random = torch.nn.functional.normalize(torch.randn_like(good), dim=1)
    loss = lambda x: match_loss(x, *tensors, 4, torch.Generator().manual_seed(0))
    assert loss(good).item() < 0.7 * loss(random).item()
    apart = [tensors[0], tensors[1].clone(), tensors[2]]
    apart[1][:, 2, 3] += 1000 * torch.arange(4)  # cameras a kilometre apart
    assert match_loss(good, *apart, 4) is None
