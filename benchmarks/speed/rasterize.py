# SPDX-License-Identifier: Apache-2.0
"""The rasterizer: forward, backward, more channels, and a whole training iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.timing import Times, interleaved
from benchmarks.speed.workloads import Workload
from panoptic_gs import kernels
from panoptic_gs.losses import structural_similarity
from panoptic_gs.optimizers import Adam
from panoptic_gs.rasterize import rasterization

FORWARD_FLOPS, FORWARD_CHANNEL_FLOPS = 23, 2
"""Of an evaluated (Gaussian, pixel) pair: exponent 8, exponential 12, transmittance and weight 3; 2 a channel."""
BACKWARD_FLOPS, BACKWARD_CHANNEL_FLOPS = 38, 4
"""The same again, 1 / (1 − α), dL/dα and the moments; 4 a channel."""


def rasterizer_rows(workload: Workload, repeat: int, device: str, peak: float | None) -> list[dict[str, Any]]:
    """RGB and RGB + 3 further channels, forward and backward."""
    inputs = [
        tensor.to(device).requires_grad_()
        for tensor in (workload.means, workload.quats, workload.scales, workload.opacities, workload.colors)
    ]
    extra = workload.colors.flip(1).contiguous().to(device).requires_grad_()
    means, quats, scales, opacities, colors = inputs
    viewmats, Ks, size = _camera(workload, device)

    def render(extra: Tensor | None) -> tuple[Tensor, ...]:
        image, _, meta = rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, *size, packed=False, extra_signals=extra
        )
        return (image,) if extra is None else (image, meta["render_extra_signals"])

    rows = []
    graphs: dict[int, tuple[tuple[Tensor, ...], list[Tensor]]] = {}
    for channels, more in ((3, None), (6, extra)):
        images, rng = render(more), torch.Generator().manual_seed(0)
        graphs[channels] = images, [torch.randn(image.shape, generator=rng).to(device) for image in images]

    def backward(channels: int) -> None:
        for tensor in (*inputs, extra):
            tensor.grad = None
        torch.autograd.backward(*graphs[channels], retain_graph=True)

    times = interleaved(
        {
            "forward, 3 channels": lambda: render(None),
            "backward, 3 channels": lambda: backward(3),
            "forward, 6 channels": lambda: render(extra),
            "backward, 6 channels": lambda: backward(6),
        },
        repeat,
        device,
    )
    evaluated = blended = None
    if device == "cpu":
        view = kernels.project(means, quats, scales, opacities, viewmats[0], Ks[0], *size).view
        evaluated, blended = kernels.count_pairs(view)
    both = {}
    for c in (3, 6):
        forward, back = times[f"forward, {c} channels"], times[f"backward, {c} channels"]
        both[c] = Times(forward.median + back.median, forward.least + back.least)
    for name, taken in times.items():
        row: dict[str, Any] = {
            "workload": workload.name, "name": name, "median_ms": taken.median, "least_ms": taken.least,
        }  # fmt: skip
        if evaluated is not None and blended is not None:
            channels = 6 if "6" in name else 3
            flops = (
                FORWARD_FLOPS + channels * FORWARD_CHANNEL_FLOPS
                if name.startswith("forward")
                else BACKWARD_FLOPS + channels * BACKWARD_CHANNEL_FLOPS
            )
            row["blended_pairs_per_s"] = 1e3 * blended / taken.median
            row["evaluated_pairs_per_s"] = 1e3 * evaluated / taken.median
            if peak:
                row["share_of_peak"] = flops * evaluated / (taken.median * 1e-3) / (peak * 1e9)
        rows.append(row)
    rows.append({
        "workload": workload.name, "name": "forward + backward, 6 channels", "median_ms": both[6].median,
        "least_ms": both[6].least, "ratio": both[6].median / both[3].median, "ratio_to": "the same, 3 channels",
    })  # fmt: skip
    return rows


def training_rows(workload: Workload, repeat: int, device: str) -> list[dict[str, Any]]:
    """The row of :func:`training_iteration`."""
    call = training_iteration(workload, device)
    taken = interleaved({"training iteration": call}, repeat, device)["training iteration"]
    return [{
        "workload": workload.name, "name": "training iteration (SH 3, L1 + SSIM, Adam)", "median_ms": taken.median,
        "least_ms": taken.least,
    }]  # fmt: skip


def training_iteration(workload: Workload, device: str) -> Callable[[], None]:
    """One iteration: projection, spherical harmonics of degree 3, rasterization, L1 + SSIM, backward, Adam."""
    count = len(workload)
    rng = torch.Generator().manual_seed(0)
    harmonics = torch.zeros(count, 16, 3)
    harmonics[:, 0] = (workload.colors - 0.5) / 0.28209479
    params = {
        "means": workload.means, "quats": workload.quats, "scales": workload.scales.log(),
        "opacities": torch.logit(workload.opacities.clamp(0.01, 0.99)), "colors": harmonics,
    }  # fmt: skip
    params = {name: torch.nn.Parameter(values.to(device)) for name, values in params.items()}
    optimizer = Adam(params.values(), lr=1e-5, fused=True)
    target = torch.rand(workload.height, workload.width, 3, generator=rng).to(device)
    viewmats, Ks, size = _camera(workload, device)

    def iterate() -> None:
        image, _, meta = rasterization(
            params["means"], params["quats"], params["scales"].exp(), torch.sigmoid(params["opacities"]),
            params["colors"], viewmats, Ks, *size, sh_degree=3, packed=False,
        )  # fmt: skip
        meta["means2d"].retain_grad()
        similarity = kernels.ssim if device == "cpu" else structural_similarity
        loss = 0.8 * (image[0] - target).abs().mean() + 0.2 * (1 - similarity(image[0], target))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def iterate_on_host() -> None:
        with kernels.one_torch_thread():  # as the plugin trains
            iterate()

    return iterate_on_host if device == "cpu" else iterate


def _camera(workload: Workload, device: str) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """View matrix and intrinsics ``[1, ...]``, width and height."""
    return workload.viewmat[None].to(device), workload.K[None].to(device), (workload.width, workload.height)
