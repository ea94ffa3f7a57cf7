# SPDX-License-Identifier: Apache-2.0
"""Splatfacto with a panoptic colour per Gaussian while it trains, and uplifted labels once it did."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.model_components.lib_bilagrid import BilateralGrid
from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig
from nerfstudio.utils.colors import get_color
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter
from torchmetrics.image import PeakSignalNoiseRatio

from nerfstudio_plugin.click_to_identify import ClickToIdentify
from nerfstudio_plugin.compat import input_errors_exit, lpips_if_present
from nerfstudio_plugin.data_parallel import same_random_numbers, sum_gathered
from nerfstudio_plugin.datamanager import camera_of
from nerfstudio_plugin.dataparser import no_seed_points
from nerfstudio_plugin.gaussians import initial_parameters
from nerfstudio_plugin.ssim import SSIM
from nerfstudio_plugin.trained_labels import TrainedLabels, UpliftedLabels, no_labels
from panoptic_gs import kernels
from panoptic_gs.backends.densification import default_strategy
from panoptic_gs.backends.mcmc import MarkovChainStrategy
from panoptic_gs.camera import Camera
from panoptic_gs.labelling import Labelling
from panoptic_gs.losses import depth_loss, panoptic_color_loss
from panoptic_gs.palette import PanopticPalette
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.rasterize import rasterization
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels

_VISER_BACKGROUND = (0.1490, 0.1647, 0.2157)


@dataclass
class PanopticSplatfactoModelConfig(SplatfactoModelConfig):
    """Splatfacto's options, the panoptic colour loss and uplifting. Step counts refer to ``schedule_iterations``."""

    _target: type = field(default_factory=lambda: PanopticSplatfactoModel)
    """target class to instantiate"""
    panoptic_loss_weight: float = 1.0
    """Weight of the panoptic colour loss; 0 trains on colour alone (the labels are uplifted all the same)."""
    uplift_every: int = 1000
    """Labels are uplifted every this many steps, and before each checkpoint."""
    labels: Literal["weighed", "sharpened", "refined", "average", "literal"] = "weighed"
    """How the maps' votes become labels. weighed: each view is one witness, whose say grows slower
    than its pixels. average: all pixels count the same, void ones take no part. sharpened: as average, with the shares
    of each Gaussian's labels squared. refined: each map is held against all others first. literal: as average, but
    void is a label of its own, as in the paper."""
    unite_parts: bool = True
    """With labels weighed: things of one class that touch, and that enough views show as one, get one label."""
    densification: Literal["gradients", "markov-chain"] = "gradients"
    """How Gaussians come and go. gradients: split and copied where the image asks for it, as in 3DGS. markov-chain:
    transparent ones move to where others are, and the number grows to most_gaussians (3DGS-MCMC)."""
    most_gaussians: int = 1_000_000
    """Gaussians at the end of a markov-chain."""
    opacity_regularization: float = 0.0
    """Weight of the mean opacity in the loss."""
    scale_regularization: float = 0.0
    """Weight of the mean scale, in units of the cameras' extent, in the loss."""
    depth_loss_weight: float = 0.1
    """Weight of the depth loss, where the scene has depth maps (see the dataparser's depth)."""
    verbose_densification: bool = False
    """Print each densification step."""


class PanopticSplatfactoModel(SplatfactoModel):
    """Gaussians with colour, a view-independent panoptic colour (PanSt3R, Eq. 5), and uplifted labels (Eq. 7).

    Outputs: ``rgb``, ``depth``, ``accumulation``, ``background``; in evaluation also ``panoptic`` (palette colours),
    ``segment_id``, ``category_id`` (float32 ``[H, W, 1]``, exact integers, 0 = void) and ``panoptic_confidence``. In
    training ``panoptic`` holds the rendered panoptic colours that the loss compares.

    Labels are part of the state dict. Between two uplifts the strategy's running state carries, for each Gaussian, the
    row of the Gaussian that it was split or copied from, so labels stay right while Gaussians come and go.

    Raises:
        InputError: no seed points and not ``random_init``.
    """

    config: PanopticSplatfactoModelConfig
    processes: Processes = ALONE
    seed: int = 0
    """Of the random numbers by which processes that train together split Gaussians alike."""

    def populate_modules(self) -> None:
        """Make the parameters, the metrics and the densification strategy, on any device and without downloads."""
        config = self.config
        metadata = self.kwargs.get("metadata") or {}
        if config.random_init:
            points, colors = (torch.rand((config.num_random, 3)) - 0.5) * config.random_scale, None
        elif self.seed_points is not None and len(self.seed_points[0]):
            points, colors = self.seed_points
        else:
            raise no_seed_points()
        parameters = initial_parameters(
            points, colors if colors is not None and len(colors) else None, config.sh_degree
        )
        if config.panoptic_loss_weight > 0:
            parameters["panoptic_colors"] = torch.full((len(points), 3), 0.5)
        self.gauss_params = torch.nn.ParameterDict({name: Parameter(value) for name, value in parameters.items()})
        self.camera_optimizer = config.camera_optimizer.setup(num_cameras=self.num_train_data, device="cpu")
        if config.use_bilateral_grid:
            width, height, guidance = config.grid_shape
            self.bil_grids = BilateralGrid(num=self.num_train_data, grid_X=width, grid_Y=height, grid_W=guidance)

        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = SSIM()
        self.lpips = LPIPS()
        self.step = 0
        self.crop_box: OrientedBox | None = None
        random_background = config.background_color == "random"
        self.background_color = (
            torch.tensor(_VISER_BACKGROUND) if random_background else get_color(config.background_color)
        )

        self.panoptic: PanopticScene | None = None
        self.palette: PanopticPalette | None = None
        if metadata.get("panoptic") is not None:
            self.take_meaning(metadata["panoptic"])
        self.with_depth = metadata.get("depth") is not None and config.depth_loss_weight > 0
        self.weigh_loss = bool(metadata.get("weigh_loss"))
        self.trained_labels = TrainedLabels(config.labels, config.rasterize_mode, config.unite_parts)
        self.on_evaluated: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None] | None = None
        """Called with the outputs and the batch of each evaluated view."""
        self.click_to_identify = ClickToIdentify(self._labelled, config.rasterize_mode)

        self.strategy = self._strategy(len(points))
        self.strategy_state = self.strategy.initialize_state(scene_scale=float(metadata.get("extent", 1.0)))

    def _strategy(self, count: int) -> Any:
        config = self.config
        if config.densification == "markov-chain":
            times = max(1, (config.stop_split_at - config.warmup_length) // config.refine_every - 1)
            needed = (config.most_gaussians / max(count, 1)) ** (1 / times) - 1  # short trainings grow faster
            return MarkovChainStrategy(
                most=config.most_gaussians,
                refine_start=config.warmup_length,
                refine_stop=config.stop_split_at,
                refine_every=config.refine_every,
                least_opacity=0.005,
                growth=max(MarkovChainStrategy.growth, needed),
            )
        return default_strategy(
            lambda state: sum_gathered(state, self.processes),
            prune_opa=config.cull_alpha_thresh,
            grow_grad2d=config.densify_grad_thresh,
            grow_scale3d=config.densify_size_thresh,
            grow_scale2d=config.split_screen_size,
            prune_scale3d=config.cull_scale_thresh,
            prune_scale2d=config.cull_screen_size,
            refine_scale2d_stop_iter=config.stop_screen_size_at,
            refine_start_iter=config.warmup_length,
            refine_stop_iter=config.stop_split_at,
            reset_every=config.reset_alpha_every * config.refine_every,
            refine_every=config.refine_every,
            pause_refine_after_reset=min(self.num_train_data, config.reset_alpha_every * config.refine_every // 2)
            + config.refine_every,
            absgrad=config.use_absgrad,
            revised_opacity=False,
            verbose=config.verbose_densification,
        )

    # Parameters and checkpoints

    def get_gaussian_param_groups(self) -> dict[str, list[Parameter]]:
        """One group for each kind of parameter, as the strategy needs it."""
        return {name: [parameter] for name, parameter in self.gauss_params.items()}

    def update_to_step(self, step: int) -> None:
        """Take over the step of a checkpoint."""
        self.step = step

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """Load a checkpoint with any number of Gaussians.

        The parameters are resized in place, so the optimizers go on with them.
        """
        count = dict["gauss_params.means"].shape[0]
        for parameter in self.gauss_params.values():
            parameter.data = parameter.data.new_zeros((count, *parameter.shape[1:]))
            parameter.grad = None
        self.strategy_state = self.strategy.initialize_state(scene_scale=self.strategy_state["scene_scale"])
        self.trained_labels.forget()
        return super(SplatfactoModel, self).load_state_dict(dict, **kwargs)

    def get_extra_state(self) -> dict[str, Any]:
        """The labels of the Gaussians and what they mean; plain containers and tensors only."""
        return self.trained_labels.state(self.strategy_state)

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take labels from a checkpoint."""
        self.trained_labels.load_state(state, self.strategy_state, self.device)

    # Labels

    def splats(self) -> Splats:
        """The Gaussians as they are now, without gradients."""
        with torch.no_grad():
            sh = torch.cat([self.shs_0[:, None], self.shs_rest], dim=1)
            return Splats(
                self.means.detach(),
                self.quats.detach(),
                self.scales.exp(),
                self.opacities.sigmoid().squeeze(-1),
                sh.detach(),
            )

    def uplift(
        self,
        views: Iterable[tuple[Camera, Tensor]],
        weights: Iterable[Tensor] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Give the Gaussians the labels of the pixels that show them (LUDVIG, Eq. 7).

        Args:
            views: camera and predicted segment ids ``[H, W]`` of each training view.
            weights: a factor ``[H, W]`` for the votes of each view's pixels; all count the same by default.
            processes: that have the other views; each gets the labels of all.
        """
        assert self.panoptic is not None
        meaning = self.panoptic.labelling
        self.trained_labels.uplift(self.splats(), views, weights, meaning, self.strategy_state, processes)

    def take_meaning(self, panoptic: PanopticScene) -> None:
        """Learn from maps with these segments from now on."""
        self.panoptic = panoptic
        self.palette = PanopticPalette(panoptic.segment_ids)

    def current_labels(self) -> UpliftedLabels | None:
        """Labels of the Gaussians as they are now; None before the first uplift."""
        return self.trained_labels.current(self.strategy_state)

    # Rendering

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Render one camera."""
        if not isinstance(camera, Cameras):
            return {}
        if self.training:
            return self._training_outputs(camera)
        # nerfstudio's commands draw in the main thread; its viewer shows the error of another thread itself.
        commands = threading.current_thread() is threading.main_thread()
        alone = kernels.one_torch_thread() if self.device.type == "cpu" else nullcontext()
        with input_errors_exit() if commands else nullcontext(), alone:
            return self._evaluation_outputs(camera)

    def _training_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        shrink = self._get_downscale_factor()
        K = camera.get_intrinsics_matrices()[0].to(self.device)  # nerfstudio makes them on the CPU
        if shrink > 1:
            K = K / torch.tensor([[shrink], [shrink], [1.0]], device=K.device)
        width, height = int(camera.width.item()) // shrink, int(camera.height.item()) // shrink
        viewmat = viewmats_of(self.camera_optimizer.apply_to_camera(camera))[0]
        degree = min(self.step // max(1, self.config.sh_degree_interval), self.config.sh_degree)
        with_depth = self.config.output_depth_during_training or self.with_depth
        render, alpha, info = self._rasterize(viewmat, K, width, height, degree, "RGB+ED" if with_depth else "RGB")
        self._before_backward(info)
        self.info, self.last_size = info, (height, width)

        background = self._get_background_color()
        rgb = (render[..., :3] + (1 - alpha) * background).clamp(0, 1)
        if self.config.use_bilateral_grid and camera.metadata is not None and "cam_idx" in camera.metadata:
            rgb = self._apply_bilateral_grid(rgb[None], camera.metadata["cam_idx"], height, width)[0]
        outputs = {"rgb": rgb, "accumulation": alpha, "background": background}
        if "panoptic_colors" in self.gauss_params:
            outputs["panoptic"] = info["render_extra_signals"][0]
        if with_depth:
            outputs["depth"] = render[..., -1:]
        return outputs

    def _before_backward(self, info: dict[str, Any]) -> None:
        self.strategy.step_pre_backward(self.gauss_params, self.optimizers, self.strategy_state, self.step, info)

    def _evaluation_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        view = camera_of(camera).to(self.device)
        width, height = view.width, view.height
        background = self.background_color.to(self.device).expand(height, width, 3)
        inside = None
        if self.crop_box is not None:
            inside = self.crop_box.within(self.means).reshape(-1)
            if not inside.any():
                return self.get_empty_outputs(width, height, self.background_color.to(self.device))
        # Coefficients of a degree that has not been trained yet are zero, so all of them may be used.
        render, alpha, _ = self._rasterize(view.viewmat, view.K, width, height, self.config.sh_degree, "RGB+ED", inside)
        depth = torch.where(alpha > 0, render[..., -1:], render[..., -1:].max())
        return {
            "rgb": (render[..., :3] + (1 - alpha) * background).clamp(0, 1),
            "depth": depth,
            "accumulation": alpha,
            "background": background,
            **self.trained_labels.outputs(self.splats(), view, inside, self.strategy_state),
        }

    def _rasterize(
        self,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        degree: int,
        mode: Literal["RGB", "RGB+ED"],
        inside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """One pass over colour, panoptic colour (in training) and depth: ``[H, W, D]``, ``[H, W, 1]``, meta."""
        chosen = {name: value if inside is None else value[inside] for name, value in self.gauss_params.items()}
        if self.config.sh_degree > 0:
            # Only the coefficients in use: the others are a large part of all parameters, and get no gradient.
            rest = chosen["features_rest"][:, : (degree + 1) ** 2 - 1]
            colors, sh_degree = torch.cat([chosen["features_dc"][:, None], rest], dim=1), degree
        else:
            colors, sh_degree = chosen["features_dc"].sigmoid(), None
        render, alpha, info = rasterization(
            means=chosen["means"],
            quats=chosen["quats"],
            scales=chosen["scales"].exp(),
            opacities=chosen["opacities"].sigmoid().squeeze(-1),
            colors=colors,
            viewmats=viewmat[None],
            Ks=K[None],
            width=width,
            height=height,
            sh_degree=sh_degree,
            packed=False,
            render_mode=mode,
            absgrad=self.training and self.config.use_absgrad,
            rasterize_mode=self.config.rasterize_mode,
            extra_signals=chosen.get("panoptic_colors") if self.training else None,
        )
        return render[0], alpha[0], info

    def _labelled(self) -> tuple[Splats, GaussianLabels, Labelling] | None:
        """The Gaussians and labels on the device where labels are rendered."""
        uplifted = self.current_labels()
        if uplifted is None:
            return None
        return self.splats().to(uplifted.labels.device), uplifted.labels, uplifted.meaning

    @staticmethod
    def get_empty_outputs(width: int, height: int, background: Tensor) -> dict[str, Tensor]:  # pyright: ignore
        """All outputs of a view without Gaussians."""
        outputs = SplatfactoModel.get_empty_outputs(width, height, background)
        outputs["background"] = background.expand(height, width, 3)
        return {**outputs, **no_labels(height, width, background.device)}  # pyright: ignore[reportReturnType]

    # Losses and metrics

    def step_post_backward(self, step: int) -> None:
        """After each step: let Gaussians come and go, in all processes alike."""
        if self.processes.count == 1:
            super().step_post_backward(step)
            return
        with same_random_numbers(self.seed, step, self.device):
            super().step_post_backward(step)

    def step_cb(self, optimizers: Optimizers, step: int) -> None:
        """Before each step: remember it, and the optimizers that the strategy edits."""
        self.step = step
        self.optimizers = optimizers.optimizers

    def get_metrics_dict(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """PSNR of the view and the number of Gaussians."""
        truth = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
        with torch.no_grad():
            squares = (outputs["rgb"] - truth) ** 2
            mask = batch.get("mask")
            if mask is not None:
                squares = squares[self._downscale_if_required(mask)[..., 0].to(squares.device) > 0]
            error = squares.mean()
        metrics: dict[str, Any] = {"psnr": -10 * torch.log10(error), "gaussian_count": self.num_points}
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics

    def get_loss_dict(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], metrics_dict: Any = None
    ) -> dict[str, Tensor]:
        """Splatfacto's losses and the panoptic colour loss (PanSt3R, Eq. 5)."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training and self.config.opacity_regularization > 0:
            losses["opacity_regularization"] = self.config.opacity_regularization * self.opacities.sigmoid().mean()
        if self.training and self.config.scale_regularization > 0:
            extent = self.strategy_state["scene_scale"]
            losses["scale_regularization"] = self.config.scale_regularization * self.scales.exp().mean() / extent
        height, width = outputs["rgb"].shape[:2]
        shrink = self._get_downscale_factor()

        def shrunken(pixels: Tensor) -> Tensor:
            return pixels[shrink // 2 :: shrink, shrink // 2 :: shrink][:height, :width].to(self.device)

        if self.training and self.with_depth and "depth" in batch:
            sure = shrunken(batch["depth_confidence"]) if "depth_confidence" in batch else None
            rendered, covered = outputs["depth"][..., 0], outputs["accumulation"][..., 0]
            loss = depth_loss(rendered, covered, shrunken(batch["depth"]), sure)
            losses["depth_loss"] = self.config.depth_loss_weight * loss
        if self.training and "panoptic" in outputs and "panoptic" in batch:
            assert self.palette is not None
            weights = shrunken(batch["panoptic_confidence"]) if self.weigh_loss else None
            loss = panoptic_color_loss(outputs["panoptic"], shrunken(batch["panoptic"]), self.palette, weights)
            losses["panoptic_loss"] = self.config.panoptic_loss_weight * loss
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Splatfacto's metrics (LPIPS where its weights are present), colour and panoptic beside their truth.

        Pixels that a mask hides are left out of PSNR; for SSIM and LPIPS, which look at neighbourhoods, they are equal.
        """
        compared, hidden = outputs, 0.0
        if "mask" in batch:
            mask = self._downscale_if_required(batch["mask"]).to(self.device) > 0
            photo = self.composite_with_background(self.get_gt_img(batch["image"]), outputs["background"])
            compared = {**outputs, "rgb": torch.where(mask, outputs["rgb"], photo)}
            hidden = 1 - float(mask.float().mean())
        metrics, images = super().get_image_metrics_and_images(compared, batch)
        metrics["psnr"] += 10 * math.log10(max(1 - hidden, 1e-6))  # its mean error is one over all pixels
        if math.isnan(metrics["lpips"]):
            metrics = {name: value for name, value in metrics.items() if "lpips" not in name}
        if "panoptic_gt" in batch:
            truth = batch["panoptic_gt"]
            colors = PanopticPalette(truth.unique().tolist()).colorize(truth).to(outputs["panoptic"].device)
            images["panoptic"] = torch.cat([colors, outputs["panoptic"]], dim=1)
        else:
            images["panoptic"] = outputs["panoptic"]
        if self.on_evaluated is not None:
            self.on_evaluated(outputs, batch)
        return metrics, images


class LPIPS:
    """LPIPS where its weights are on this machine, else NaN; not a module, so that checkpoints do not hold it."""

    def __init__(self) -> None:
        self._module: torch.nn.Module | None = None
        self._looked = False

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        if not self._looked:
            self._module, self._looked = lpips_if_present(), True
            if self._module is None:
                CONSOLE.print("[yellow]LPIPS is left out: its AlexNet weights are not on this machine.")
        return torch.tensor(math.nan) if self._module is None else self._module.to(first.device)(first, second)


def viewmats_of(camera_to_worlds: Tensor) -> Tensor:
    """World-to-camera matrices ``[C, 4, 4]`` in OpenCV axes from nerfstudio's poses ``[C, 3, 4]``, differentiable."""
    flip = torch.tensor([1.0, -1.0, -1.0], device=camera_to_worlds.device)
    rotation = (camera_to_worlds[:, :3, :3] * flip).transpose(1, 2)
    upper = torch.cat([rotation, -rotation @ camera_to_worlds[:, :3, 3:]], dim=2)
    last = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]], device=upper.device).expand(len(upper), 1, 4)
    return torch.cat([upper, last], dim=1)
