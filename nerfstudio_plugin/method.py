# SPDX-License-Identifier: Apache-2.0
"""The defaults of the methods."""

from __future__ import annotations

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_plugin.compat import FusedAdamOptimizerConfig, default_device
from nerfstudio_plugin.datamanager import PanopticDatamanagerConfig
from nerfstudio_plugin.dataparser import MaskedSceneDataParserConfig, PanopticSceneDataParserConfig
from nerfstudio_plugin.learned_model import LearnedModelConfig
from nerfstudio_plugin.learned_pipeline import LearnedPipelineConfig, QueryOptions
from nerfstudio_plugin.model import PanopticSplatfactoModelConfig
from nerfstudio_plugin.pipeline import PanopticPipelineConfig
from nerfstudio_plugin.trainer import PanopticTrainerConfig
from panoptic_gs.associate import PANOPTIC_RECON, PANOPTIC_SPLATTING, LearnedOptions

GPU_ITERATIONS = 30000
CPU_ITERATIONS = 2000


def method_config(device: str) -> PanopticTrainerConfig:
    """The method's defaults on ``cuda`` or ``cpu``.

    The CPU's are for a training of minutes: fewer steps, each of which moves and splits Gaussians more readily.
    """
    on_gpu = device == "cuda"
    if on_gpu:
        model, means_lr = PanopticSplatfactoModelConfig(), 1.6e-4
    else:
        # Measured on photos and rooms (docs/refining.md): fewer Gaussians, labels that hold up better in new views. The
        # errors of masks pull on few Gaussians harder than on many, hence the lesser panoptic loss.
        model = PanopticSplatfactoModelConfig(
            num_downscales=1,
            panoptic_loss_weight=0.3,
            opacity_regularization=0.01,
            scale_regularization=0.01,
            most_gaussians=100_000,
        )
        means_lr = 4e-4

    def adam(lr: float, lr_final: float | None = None) -> dict[str, object]:
        scheduler = None if lr_final is None else ExponentialDecaySchedulerConfig(lr_final=lr_final, max_steps=30000)
        return {"optimizer": FusedAdamOptimizerConfig(lr=lr, eps=1e-15), "scheduler": scheduler}

    return PanopticTrainerConfig(
        method_name="panst3r-ludvig",
        steps_per_save=1000,
        steps_per_eval_batch=0,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=5000,
        max_num_iterations=GPU_ITERATIONS if on_gpu else CPU_ITERATIONS,
        mixed_precision=False,
        machine=MachineConfig(device_type="cuda" if on_gpu else "cpu"),
        pipeline=PanopticPipelineConfig(
            datamanager=PanopticDatamanagerConfig(dataparser=PanopticSceneDataParserConfig()),
            model=model,
        ),
        optimizers={
            "means": adam(means_lr, means_lr / 100),
            "features_dc": adam(0.0025),
            "features_rest": adam(0.0025 / 20),
            "panoptic_colors": adam(0.005),
            "opacities": adam(0.05),
            "scales": adam(0.005),
            "quats": adam(0.001),
            "camera_opt": {
                "optimizer": AdamOptimizerConfig(lr=1e-4, eps=1e-15),
                "scheduler": ExponentialDecaySchedulerConfig(
                    lr_final=5e-7, max_steps=30000, warmup_steps=1000, lr_pre_warmup=0
                ),
            },
            "bilateral_grid": {
                "optimizer": AdamOptimizerConfig(lr=2e-3, eps=1e-15),
                "scheduler": ExponentialDecaySchedulerConfig(
                    lr_final=1e-4, max_steps=30000, warmup_steps=1000, lr_pre_warmup=0
                ),
            },
        },
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, quit_on_train_completion=True),
        vis="viewer",
    )


panst3r_ludvig = MethodSpecification(
    config=method_config(default_device()),
    description="3D Gaussians from photos and multi-view panoptic predictions: colour and panoptic maps of new views.",
)


def learned_method_config(name: str, options: LearnedOptions, device: str) -> PanopticTrainerConfig:
    """The defaults of a method that learns objects from masks: those of ``panst3r-ludvig`` but for the objects.

    Args:
        name: of the method.
        options: its components.
        device: ``cuda`` or ``cpu``.
    """
    config = method_config(device)
    base = config.pipeline.model
    assert isinstance(base, PanopticSplatfactoModelConfig)
    config.method_name = name
    config.pipeline = LearnedPipelineConfig(
        datamanager=PanopticDatamanagerConfig(dataparser=MaskedSceneDataParserConfig()),
        model=LearnedModelConfig(
            num_downscales=base.num_downscales,
            opacity_regularization=base.opacity_regularization,
            scale_regularization=base.scale_regularization,
        ),
        queries=QueryOptions.of(options),
    )
    del config.optimizers["panoptic_colors"]
    return config


panoptic_splatting = MethodSpecification(
    config=learned_method_config("panoptic-splatting", PANOPTIC_SPLATTING, default_device()),
    description="Objects learned from masks that are numbered photo by photo: queries that share each pixel, label "
    "blending and warping (PanopticSplatting).",
)
panopticrecon = MethodSpecification(
    config=learned_method_config("panopticrecon", PANOPTIC_RECON, default_device()),
    description="Objects learned from masks that are numbered photo by photo: queries with masks of their own, dynamic "
    "tokens and a panoptic head (PanopticRecon++, on Gaussians).",
)
