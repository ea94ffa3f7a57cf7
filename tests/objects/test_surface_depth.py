# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from panoptic_gs import Camera, Splats, kernels
from panoptic_gs.backends import Blending
from panoptic_gs.backends.host import view_of
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.rendered_views import SurfaceRenderer, facing, pixel_rays, surface_quantile
from panoptic_gs.uplift import GaussianLabels, LabelledScene


def scene_of(splats: Splats) -> LabelledScene:
    count = len(splats)
    labels = GaussianLabels(torch.arange(count + 1), torch.ones(count, dtype=torch.int32), torch.ones(count),
                            torch.ones(count), torch.zeros(count))  # fmt: skip
    return LabelledScene(splats, labels, Labelling((Category(1, "floor", False),), (Segment(1, 1),)))


def cloud(count: int = 300, seed: int = 0) -> Splats:
    g = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=g) * torch.tensor([2.0, 2.0, 1.5]) - torch.tensor([1.0, 1.0, -2.0])
    return Splats(means, torch.randn(count, 4, generator=g), 0.03 + 0.1 * torch.rand(count, 3, generator=g),
                  0.1 + 0.8 * torch.rand(count, generator=g), torch.zeros(count, 1, 3))  # fmt: skip


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_crossings_are_where_sums_of_blending_weights_say(share):
    splats = cloud()
    camera = Camera(torch.eye(4), torch.tensor([[60.0, 0, 35], [0, 60, 25], [0, 0, 1]]), 70, 50)
    view = view_of(splats, camera, Blending())
    indptr, gaussians, column, weight = kernels.blending_weights(view, None, 70 * 50)
    expected = np.full(70 * 50, -1)
    close = np.zeros(70 * 50, dtype=bool)
    for pixel in range(70 * 50):
        row = slice(int(indptr[pixel]), int(indptr[pixel + 1]))
        sums = weight[row].double().cumsum(0)
        reached = (sums >= share).nonzero()
        close[pixel] = bool(((sums - share).abs() < 1e-5).any())
        if len(reached):
            expected[pixel] = gaussians[column[row][reached[0, 0]].long()]
    found = kernels.find_crossings(view, share).flatten().numpy()
    assert (expected >= 0).any()
    assert (expected < 0).any()
    assert (found == expected)[~close].all()


def tilted_floor() -> tuple[Splats, Camera, torch.Tensor]:
    """Large flat Gaussians on the plane z = 0, a camera that looks at it at a slant, and the plane's depth."""
    grid = torch.stack(torch.meshgrid(torch.arange(-3, 3, 0.25), torch.arange(-3, 3, 0.25), indexing="ij"), -1)
    means = torch.cat([grid.reshape(-1, 2), torch.zeros(grid.shape[0] ** 2, 1)], dim=1)
    count = len(means)
    quats, scales = (torch.tensor([v]).repeat(count, 1) for v in ([1.0, 0, 0, 0], [0.2, 0.2, 1e-4]))
    splats = Splats(means, quats, scales, torch.full((count,), 0.9), torch.zeros(count, 1, 3))
    camera = Camera.look_at([0, -1.5, 1.0], [0, 0.3, 0], [0, 0, 1], 0.9, 96, 72)
    rays = pixel_rays(camera) @ camera.viewmat[:3, :3]
    return splats, camera, -camera.center[2] / rays[..., 2]


def test_large_flat_gaussians_at_a_slant_are_a_plane():
    splats, camera, truth = tilted_floor()
    median = SurfaceRenderer(scene_of(splats), quantile=0.5).render(camera)
    expected = SurfaceRenderer(scene_of(splats), depth="expected").render(camera)
    shown = (median.depth > 0) & (expected.depth > 0)
    assert shown[20:].all()
    off, others = (((view.depth - truth) / truth).abs()[shown] for view in (median, expected))
    assert off.max() < 0.002
    assert off.mean() < 0.1 * others.mean()  # the centres of large Gaussians are far from what a pixel shows


@pytest.mark.parametrize(("opacity", "share"), [(0.95, 0.75), (0.6, 0.75), (0.42, 0.675), (0.24, 0.6), (0.05, 0.6)])
def test_thin_gaussians_have_their_surface_at_an_earlier_share(opacity, share):
    splats, _, _ = tilted_floor()
    thin = Splats(splats.means, splats.quats, splats.scales, torch.full_like(splats.opacities, opacity), splats.sh)
    assert surface_quantile(thin) == pytest.approx(share, abs=1e-3)
    assert SurfaceRenderer(scene_of(thin)).quantile == surface_quantile(thin)


def test_haze_before_a_surface_does_not_move_it():
    splats, camera, truth = tilted_floor()
    haze = cloud(200, seed=3)
    haze = Splats(haze.means * torch.tensor([1.0, 1, 0.2]) + torch.tensor([0, 0, -0.2]), haze.quats, haze.scales,
                  torch.full((200,), 0.06), haze.sh)  # fmt: skip
    both = Splats(
        *(torch.cat([getattr(splats, n), getattr(haze, n)]) for n in ("means", "quats", "scales", "opacities", "sh"))
    )
    median = SurfaceRenderer(scene_of(both)).render(camera).depth
    expected = SurfaceRenderer(scene_of(both), depth="expected").render(camera).depth
    assert ((median - truth).abs() < 0.01)[20:].float().mean() > 0.98
    assert ((expected - truth).abs() < 0.01)[20:].float().mean() < 0.5


def test_slanted_surfaces_and_outlines_count_less():
    camera = Camera(torch.eye(4), torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]), 80, 60)
    x = pixel_rays(camera)[..., 0]
    wall = torch.full((60, 80), 2.0)
    assert facing(camera, wall)[30, 40] == pytest.approx(1.0, abs=1e-3)
    slanted = 2.0 / (1 + x)  # the plane z + x = 2, at 45 degrees to the axis
    assert facing(camera, slanted)[30, 40] == pytest.approx(np.sqrt(0.5), abs=1e-2)
    step = torch.where(torch.arange(80) < 40, 1.0, 2.0).expand(60, 80).contiguous()
    cosine = facing(camera, step)[30]
    assert (cosine[39:41] == 0).all()
    assert (cosine[10:37] > 0.9).all()
