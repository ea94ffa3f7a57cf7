# SPDX-License-Identifier: Apache-2.0
"""The training path of a GPU, without one: on a device stand-in, gsplat's operators replaced by torch references.

What runs is the installed gsplat's own ``rasterization`` and strategy, and everything above: a tensor that was not
moved to the device, one that was not moved back, and an argument that gsplat no longer takes end the training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("nerfstudio")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gsplat.rendering
from device_stand_in import CUDA, CudaTensor, cuda_stand_in
from gsplat.cuda import _torch_impl as reference

from nerfstudio_plugin.method import method_config
from panoptic_gs import InputError, kernels
from panoptic_gs.backends import gsplat as door
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize, write_synthetic_scene

WIDTH, HEIGHT = 40, 30


def projection(
    means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10,
    radius_clip=0.0, packed=False, sparse_grad=False, calc_compensations=False, camera_model="pinhole", **bounds,
):  # fmt: skip
    assert covars is None
    assert not packed
    assert set(bounds) <= {"opacities"}
    covars, _ = reference._quat_scale_to_covar_preci(quats, scales, True, False, triu=False)
    return reference._fully_fused_projection(
        means, covars, viewmats, Ks, width, height, eps2d=eps2d, near_plane=near_plane, far_plane=far_plane,
        calc_compensations=calc_compensations,
    )  # fmt: skip


def tiles(means2d, radii, depths, tile_size, tile_width, tile_height, packed=False, **options):
    assert not packed
    return reference._isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height)


def pixels(
    means2d, conics, colors, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids,
    backgrounds=None, masks=None, packed=False, absgrad=False,
):  # fmt: skip
    """Every Gaussian of the lists at every pixel, in the order of the lists' depths."""
    assert backgrounds is None
    assert not packed
    if absgrad and means2d.requires_grad:  # of the sums, not sums of absolute values: the strategy asks for some
        means2d.register_hook(lambda gradient: setattr(means2d, "absgrad", gradient.abs()))
    order = torch.unique(flatten_ids)
    device = means2d.device
    y, x = torch.meshgrid(
        torch.arange(image_height, device=device) + 0.5, torch.arange(image_width, device=device) + 0.5, indexing="ij"
    )
    offset = torch.stack([x, y], -1) - means2d[0, order, None, None]
    a, b, c = conics[0, order].unbind(-1)
    sigma = 0.5 * (a[:, None, None] * offset[..., 0] ** 2 + c[:, None, None] * offset[..., 1] ** 2)
    sigma = sigma + b[:, None, None] * offset[..., 0] * offset[..., 1]
    alpha = (opacities[0, order, None, None] * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, torch.zeros_like(alpha))
    behind = torch.cumprod(1 - alpha, 0)
    weights = alpha * torch.cat([torch.ones_like(behind[:1]), behind[:-1]])
    return torch.einsum("nhw,nd->hwd", weights, colors[0, order])[None], (1 - behind[-1])[None, ..., None]


@pytest.fixture
def references(monkeypatch) -> None:
    """Torch references in the places of gsplat's CUDA operators; labels on the CPU, as without device kernels."""

    def none_here():
        raise InputError("panoptic_gs", "kernels that were built without CUDA", "a build with CUDA", "Build again.")

    monkeypatch.setattr(kernels, "require_cuda", none_here)
    rendering = gsplat.rendering
    monkeypatch.setattr(rendering, "fully_fused_projection", projection)
    monkeypatch.setattr(rendering, "isect_tiles", tiles)
    monkeypatch.setattr(rendering, "isect_offset_encode", reference._isect_offset_encode)
    monkeypatch.setattr(rendering, "rasterize_to_pixels", pixels)
    monkeypatch.setattr(rendering, "spherical_harmonics", lambda degree, dirs, coeffs, masks=None:
                        reference._spherical_harmonics(degree, dirs, coeffs))  # fmt: skip
    module = sys.modules["gsplat"]
    for name in ("fully_fused_projection", "isect_tiles", "isect_offset_encode", "spherical_harmonics"):
        monkeypatch.setattr(module, name, getattr(rendering, name))
    door.load.cache_clear()
    yield
    door.load.cache_clear()


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    scene = synthesize(seed=1, views=5, width=WIDTH, height=HEIGHT, seed_points=60)
    folder = tmp_path_factory.mktemp("rooms") / "room"
    write_synthetic_scene(folder, scene, simulate_predictions(scene.truth, PredictionNoise.preset("default"), 1))
    return folder


def config_of(room: Path, out: Path):
    config = method_config("cuda")
    config.data = config.pipeline.datamanager.data = room
    config.output_dir, config.timestamp, config.vis = out, "run", "tensorboard"
    config.max_num_iterations, config.schedule_iterations = 10, 0
    config.steps_per_eval_image = config.steps_per_eval_all_images = 100
    model = config.pipeline.model
    model.num_downscales, model.warmup_length, model.refine_every, model.reset_alpha_every = 0, 2, 4, 100
    model.densify_grad_thresh, model.sh_degree_interval, model.uplift_every, model.stop_split_at = 1e-7, 3, 5, 9
    return config


def trained(room: Path, out: Path):
    config = config_of(room, out)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


@pytest.mark.filterwarnings("ignore")
def test_a_training_on_cuda_runs_from_photos_to_labels_and_scores(room, tmp_path, references):
    with cuda_stand_in():
        trainer = trained(room, tmp_path)
        model = trainer.pipeline.model
        assert model.device == CUDA
        assert all(isinstance(parameter, CudaTensor) for parameter in model.gauss_params.values())
        assert all(parameter.grad is None or parameter.device == CUDA for parameter in model.parameters())
        assert len(model.means) > 60  # it densified
        labels = model.current_labels()
        assert labels is not None
        assert labels.labels.device.type == "cpu"
        assert len(labels.labels.label) > 0
        scores = trainer.pipeline.get_average_eval_image_metrics()
    assert scores["psnr"] > 5
    checkpoint = torch.load(next((tmp_path).rglob("*.ckpt")), weights_only=True)
    assert checkpoint["step"] == 9


@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_stays_behind_ends_the_training(room, tmp_path, references, monkeypatch):
    """The test above would see a forgotten ``.to(device)``."""
    from nerfstudio_plugin.datamanager import PanopticDatamanager

    unmoved = PanopticDatamanager.next_train

    def left_on_the_host(self, step):
        camera, batch = unmoved(self, step)
        return camera.to("cpu"), batch

    monkeypatch.setattr(PanopticDatamanager, "next_train", left_on_the_host)
    with cuda_stand_in(), pytest.raises(RuntimeError, match="two devices, cuda:0 and cpu"):
        trained(room, tmp_path)
