# SPDX-License-Identifier: Apache-2.0
"""Adam whose step is one pass over memory on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from panoptic_gs.kernels import optimize


class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` with its arguments, state and arithmetic; on the CPU all tensors take their step at once.

    torch starts its threads for each tensor and waits for the last of them, which takes long where another process
    keeps a core busy. Other devices, types and options (``amsgrad``, ``weight_decay``, ``maximize``) are torch's.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients of the parameters that have one."""
        if not self._on_host():
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            values: list[Tensor] = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state_of(value) for value in values]
            for state in states:
                state["step"] += 1
            if values:
                optimize.adam_step(
                    values,
                    [value.grad for value in values if value.grad is not None],
                    [state["exp_avg"] for state in states],
                    [state["exp_avg_sq"] for state in states],
                    [float(state["step"]) for state in states],
                    [float(group["lr"])] * len(values),
                    betas=group["betas"],
                    eps=group["eps"],
                )
        return loss

    def _on_host(self) -> bool:
        plain = not any(
            group[option]
            for group in self.param_groups
            for option in ("amsgrad", "weight_decay", "maximize", "differentiable", "capturable")
        )
        return plain and all(
            optimize.can_step(parameter) and (parameter.grad is None or not parameter.grad.is_sparse)
            for group in self.param_groups
            for parameter in group["params"]
        )

    def _state_of(self, value: Tensor) -> dict[str, Any]:
        state = self.state[value]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(value, memory_format=torch.contiguous_format)
            state["exp_avg_sq"] = torch.zeros_like(value, memory_format=torch.contiguous_format)
        return state
