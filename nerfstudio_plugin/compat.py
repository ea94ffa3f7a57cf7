# SPDX-License-Identifier: Apache-2.0
"""What nerfstudio, gsplat and torch of different versions, with and without a GPU, need to work together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig

from panoptic_gs import kernels
from panoptic_gs.errors import InputError, print_input_error
from panoptic_gs.optimizers import Adam
from panoptic_gs.replacing import replacing
from panoptic_gs.splats.gaussians import MIP_COMMENT


@contextmanager
def input_errors_exit() -> Iterator[None]:
    """Turn an :class:`InputError` into a message of a few lines and exit code 2.

    nerfstudio's commands know no bad input: an exception that leaves the method ends in a stack trace. Any other
    exception is left alone.
    """
    try:
        yield
    except InputError as error:
        print_input_error(error)
        raise SystemExit(2) from None


def config_being_evaluated() -> Path | None:
    """The ``config.yml`` that nerfstudio's ``eval_setup`` is reading, further up in this call; None outside of one.

    ns-eval, ns-render, ns-export and ns-viewer load a checkpoint from where the training wrote it. A run that was
    copied would be scored by its original, and the config that was read does not say from which file.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "eval_setup" and "config_path" in frame.f_locals:
            return Path(frame.f_locals["config_path"])
        frame = frame.f_back
    return None


def mark_exports_as_antialiased() -> None:
    """Let ns-export, where this process is one, write into its PLYs that the Gaussians are antialiased."""
    exporter = sys.modules.get("nerfstudio.scripts.exporter")
    if exporter is None or getattr(exporter.ExportGaussianSplat, "marks_antialiased", False):
        return
    write = exporter.ExportGaussianSplat.write_ply

    def write_ply(filename: str, *args: Any) -> None:
        write(filename, *args)
        data = Path(filename).read_bytes()
        with replacing(Path(filename)) as temporary:
            temporary.write_bytes(data.replace(b"element vertex", f"comment {MIP_COMMENT}\nelement vertex".encode(), 1))

    exporter.ExportGaussianSplat.write_ply = staticmethod(write_ply)
    exporter.ExportGaussianSplat.marks_antialiased = True


def plain_python(value: Any) -> Any:
    """The same nested state with numpy numbers as Python ones.

    ``torch.load`` refuses numpy scalars since version 2.6 (``weights_only``), and nerfstudio's schedulers put some into
    every checkpoint.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {plain_python(key): plain_python(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_python(item) for item in value)
    return value


def default_device() -> str:
    """``cuda`` where there is a GPU, otherwise ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class FusedAdamOptimizerConfig(AdamOptimizerConfig):
    """Adam in one pass over memory: our own kernel on the CPU, torch's fused one on a GPU."""

    _target: type = field(default_factory=lambda: Adam)
    """The optimizer class to use."""
    fused: bool = True
    """Use the fused implementation."""


def label_device(device: torch.device) -> torch.device:
    """Where Gaussians on ``device`` are labelled: the CPU where the kernels were built without CUDA."""
    if device.type == "cuda":
        try:
            kernels.require_cuda()
        except InputError:
            return torch.device("cpu")
    return device


def lpips_if_present() -> torch.nn.Module | None:
    """torchmetrics' LPIPS on [0, 1] images, or None where its AlexNet weights have not been downloaded before."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    if not weights.is_file():
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
