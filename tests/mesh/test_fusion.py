# SPDX-License-Identifier: Apache-2.0
"""Depth maps of many views are kept coarser, and say the same of what is free."""

import numpy as np
import pytest
import torch
from furnished import cameras, furnished
from sphere_views import RADIUS, around, sphere_depth

from panoptic_gs import Camera, InputError
from panoptic_gs.mesh import FusionOptions, fuse
from panoptic_gs.mesh.fusion import Fusion, depth_stride, thinned
from panoptic_gs.objects.rendered_views import pixel_rays


@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_kept_pixels_look_along_the_rays_that_they_had(stride):
    camera = Camera.look_at([0.3, -2.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.1, 37, 23)
    depth = torch.arange(37 * 23.0).reshape(23, 37)
    coarse, kept = thinned(camera, depth, stride)
    assert kept.shape == (coarse.height, coarse.width)
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in (23, 37)), indexing="ij")
    at = kept.long()  # depth numbers the pixels, so it tells where each came from
    torch.testing.assert_close(pixel_rays(coarse), pixel_rays(camera)[at // 37, at % 37], atol=1e-5, rtol=1e-5)
    assert (rows.flatten()[at] % stride == rows.flatten()[at[0, 0]] % stride).all()
    assert (columns.flatten()[at] % stride == columns.flatten()[at[0, 0]] % stride).all()


def test_depth_maps_take_what_they_may():
    views = around(10, size=120)
    assert depth_stride(views, 10 * 120 * 120 * 4) == 1
    assert depth_stride(views, 10 * 120 * 120 * 4 - 1) == 2
    full_hd = Camera.look_at([0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], 1.1, 1920, 1080)
    assert depth_stride([full_hd] * 1000, 2**30) == 3


def test_coarse_maps_say_the_same_of_what_is_free():
    fusions = {}
    for stride in (1, 3):
        seen = [thinned(camera, sphere_depth(camera)[0], stride) for camera in around()]
        fusions[stride] = Fusion(None, cameras=[c for c, _ in seen], depths=[d for _, d in seen])  # pyright: ignore
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for radius, seen in ((0.8 * RADIUS, False), (1.15 * RADIUS, True)):
        for fusion in fusions.values():
            free = fusion.free(radius * directions, 0.02)
            assert (free > 0).mean() > 0.99 if seen else (free == 0).all()


def test_a_fusion_keeps_no_more_than_it_may():
    views = list(cameras().values())[:6]
    most = 6 * views[0].width * views[0].height  # a fourth
    options = FusionOptions(voxel=0.05, added_places=1, most_depth_bytes=most)
    fusion = fuse(furnished(), views, np.array([0, 0, 1.0]), options)
    assert sum(depth.nbytes for depth in fusion.depths[:6]) <= most
    assert len(fusion.cameras) == len(fusion.depths) == 6 + fusion.added


def test_surfaces_that_do_not_fit_get_larger_voxels():
    views = list(cameras().values())[:6]
    options = FusionOptions(voxel=0.03, added_places=1, most_bytes=6e6)
    fusion = fuse(furnished(), views, np.array([0, 0, 1.0]), options)
    assert fusion.voxel == pytest.approx(0.06, rel=0.5)
    assert fusion.voxel > 0.03
    assert fusion.volume.num_bytes < 1.1 * 6e6
    assert fusion.views == 6
    with pytest.raises(InputError, match="Choose larger voxels"):
        fuse(furnished(), views, np.array([0, 0, 1.0]), FusionOptions(voxel=0.03, most_bytes=1e3))


def test_of_many_views_those_are_fused_that_show_the_surfaces():
    views = list(cameras().values())
    crowd = [views[0]] * 30 + views  # thirty from one place
    options = FusionOptions(voxel=0.06, added_places=1, most_views=len(views) // 2)
    fusion = fuse(furnished(), crowd, np.array([0, 0, 1.0]), options)
    assert (fusion.views, fusion.of_views) == (len(views) // 2, len(crowd))
    assert fusion.shown > 0.95
    places = {tuple(np.round(camera.center.numpy(), 5)) for camera in fusion.cameras[: fusion.views]}
    assert len(places) >= fusion.views - 1
