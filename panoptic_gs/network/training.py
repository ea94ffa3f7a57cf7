# SPDX-License-Identifier: Apache-2.0
"""The state of a training and its steps; the same, bit for bit, whether or not it was stopped in between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.network.data.draws import Sample, plan_of
from panoptic_gs.network.losses.dense import DenseSupervision
from panoptic_gs.network.losses.objective import objective
from panoptic_gs.network.model import PanopticNetwork
from panoptic_gs.network.recipe import Recipe
from panoptic_gs.network.weights import own_weights
from panoptic_gs.processes import ALONE, Processes
from panoptic_gs.records import record_to_json
from panoptic_gs.replacing import replacing

FORMAT, VERSION = "panoptic-gs training", 1
_FREE = (
    "views", "rooms", "folders", "images", "steps", "cooling", "workers", "save_every", "pictures_every", "log_every",
    "compile", "accumulate",
)  # fmt: skip
"""What may change when a training goes on."""


class Training:
    """A network, what its gradient was, and the average of its weights.

    Args:
        recipe: of the training.
        classes: names of the classes of its data.
        processes: that share each step's scenes.
        device: where it runs.
        start: weights to start from, by their names; what is missing, or of another shape, starts anew.

    Raises:
        InputError: scenes of a step that the processes or the parts cannot share evenly.
    """

    def __init__(
        self,
        recipe: Recipe,
        classes: Sequence[str],
        processes: Processes = ALONE,
        device: str = "cpu",
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        shares = processes.count * recipe.accumulate
        if recipe.scenes % shares:
            raise InputError(
                "scenes", f"{recipe.scenes} a step for {processes.count} processes in {recipe.accumulate} parts",
                f"a multiple of {shares}", "Change scenes, accumulate or the number of processes.",
            )  # fmt: skip
        self.recipe, self.processes, self.step = recipe, processes, 0
        torch.manual_seed(recipe.seed)
        config = recipe.architecture
        if config.text is None and not config.classes:
            config = replace(config, classes=tuple(classes))
        self.network = PanopticNetwork(config).to(device).train()
        if start is not None:
            shapes = {name: tensor.shape for name, tensor in self.network.state_dict().items()}
            fitting = {name: tensor for name, tensor in start.items() if shapes.get(name) == tensor.shape}
            self.network.load_state_dict(fitting, strict=False)
        self.network.queries.checkpointing = recipe.checkpointing
        self.supervision = DenseSupervision(config.masks.mask_width, config.class_width).to(device)
        self.average = {name: tensor.detach().clone() for name, tensor in own_weights(self.network).items()}
        self.named = [
            (name, parameter)
            for prefix, module in (("network", self.network), ("supervision", self.supervision))
            for name, parameter in ((f"{prefix}.{n}", p) for n, p in module.named_parameters())
            if parameter.requires_grad
        ]
        flat = {id(p) for name, p in self.named if p.ndim < 2 or name.endswith((".table", ".content", ".place"))}
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for _, p in self.named if id(p) not in flat], "weight_decay": recipe.decay},
                {"params": [p for _, p in self.named if id(p) in flat], "weight_decay": 0.0},
            ],
            lr=recipe.rate,
            betas=(0.9, 0.98),
        )
        if recipe.compile:
            self.network.geometry = torch.compile(self.network.geometry)  # pyright: ignore[reportAttributeAccessIssue]

    def advance(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One step with this process's scenes; the losses, over all processes."""
        recipe = self.recipe
        plan = plan_of(recipe.seed, self.step, recipe.views, recipe.partial)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        size = len(samples) // recipe.accumulate
        totals: dict[str, float] = {}
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            losses = objective(
                self.network, self.supervision, part, plan, recipe.losses, recipe.pixels, recipe.balanced,
                recipe.seed, recipe.amp,
            )  # fmt: skip
            total = torch.stack(list(losses.values())).sum() if losses else None
            if total is not None and total.requires_grad:
                (total / recipe.accumulate).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / recipe.accumulate
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for _, p in self.named]
        if self.processes.count > 1:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            flat = self.processes.summed(flat) / self.processes.count
            pieces = flat.split([gradient.numel() for gradient in gradients])
            gradients = [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)]
            totals = self._mean(totals)
        for (_, parameter), gradient in zip(self.named, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in self.named], recipe.clip)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self._keep_average()
        self.step += 1
        return totals | {"gradient": float(norm), "rate": recipe.rate_at(self.step - 1)}

    def averaged(self) -> PanopticNetwork:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network = PanopticNetwork(self.network.config).to(next(self.network.parameters()).device)
        network.load_state_dict(self.network.state_dict())
        network.load_state_dict(self.average, strict=False)
        return network.eval()

    def save(self, path: Path) -> None:
        """Write everything that `resume` needs."""
        tensors = {f"network.{name}": tensor for name, tensor in own_weights(self.network).items()}
        tensors |= {f"supervision.{name}": tensor for name, tensor in self.supervision.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.named:
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        header = {
            "format": FORMAT, "version": str(VERSION), "step": str(self.step),
            "recipe": self._fixed(), "classes": json.dumps(self.network.config.classes),
        }  # fmt: skip
        with replacing(path) as temporary:
            save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, str(temporary), header)

    def resume(self, path: Path) -> None:
        """Go on from where another training of the same recipe was saved; the number of steps may differ.

        Raises:
            InputError: unreadable, another version, another recipe or other classes.
        """
        mend = "Train into another folder, or restore the recipe."
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if (header.get("format"), header.get("version")) != (FORMAT, str(VERSION)):
                    raise InputError(path, f"'{header.get('format')}', version {header.get('version')}",
                                     f"'{FORMAT}', version {VERSION}", "Train into another folder.")  # fmt: skip
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(path, f"no readable safetensors ({error})", "a training to go on with", mend) from error
        if header.get("recipe") != self._fixed():
            raise InputError(path, "a training by another recipe", "the same but for the number of steps", mend)
        if header.get("classes") != json.dumps(self.network.config.classes):
            raise InputError(path, f"classes {header.get('classes')}", json.dumps(self.network.config.classes), mend)
        self.step = int(header["step"])
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            prefix, rest = name.split(".", 1)
            groups.setdefault(prefix, {})[rest] = tensor
        self.network.load_state_dict(groups["network"], strict=False)
        self.supervision.load_state_dict(groups["supervision"])
        device = next(self.network.parameters()).device
        self.average = {name: tensor.to(device) for name, tensor in groups["average"].items()}
        parameters = dict(self.named)
        for name, tensor in groups.get("optimizer", {}).items():
            key, rest = name.split(".", 1)
            self.optimizer.state[parameters[rest]][key] = tensor if key == "step" else tensor.to(device)

    def _fixed(self) -> str:
        """What of the recipe may not change, in a few letters."""
        document = {key: value for key, value in record_to_json(self.recipe).items() if key not in _FREE}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    @torch.no_grad()
    def _keep_average(self) -> None:
        # An average over few steps at first: the weights that a training begins with shall not stay in it.
        factor = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        for name, tensor in own_weights(self.network).items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - factor)
            else:
                self.average[name].copy_(tensor)

    def _mean(self, totals: dict[str, float]) -> dict[str, float]:
        names = (
            "classes",
            "dice",
            "cross_entropy",
            "pixels",
            "alike",
            "matches",
            "world",
            "local",
            "rotation",
            "place",
        )
        values = torch.tensor([totals.get(name, 0.0) for name in names], dtype=torch.float64)
        values = self.processes.summed(values) / self.processes.count
        return dict(zip(names, values.tolist(), strict=True))
