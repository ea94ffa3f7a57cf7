# SPDX-License-Identifier: Apache-2.0
"""gsplat's densification, which does the same with every version of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from panoptic_gs.backends import gsplat
from panoptic_gs.errors import InputError


def default_strategy(before_growing: Callable[[dict[str, Any]], None] | None = None, **options: Any) -> Any:
    """gsplat's ``DefaultStrategy``, resetting opacities when it is documented to: every ``reset_every`` steps.

    1.5.3 never does (its condition reads ``step % self.reset_every == 0 & step > 0``, where ``&`` binds first), and 1.4
    does after the first step too, before anything was learnt. Here they are reset at every multiple of ``reset_every``
    but 0, as on gsplat's main branch. Resetting twice is resetting once: opacities are clamped, moments set to 0.

    Args:
        before_growing: called with the running state when it is about to decide which Gaussians are copied and split;
            processes that train together sum there what each has gathered.
        options: of gsplat's ``DefaultStrategy``.

    Raises:
        InputError: no gsplat that can be used, see :func:`panoptic_gs.backends.gsplat.load`.
    """
    strategy = _strategy_class(gsplat.load())(**options)
    strategy.before_growing = before_growing
    return strategy


@functools.cache
def _strategy_class(door: gsplat.Gsplat) -> Any:
    base, reset = door.part("strategy").DefaultStrategy, door.part("strategy.ops").reset_opa
    missing = [name for name in ("_update_state", "_grow_gs") if not hasattr(base, name)]
    if missing:
        raise InputError("gsplat", f"gsplat {door.version}, whose DefaultStrategy has no {' and no '.join(missing)}",
                         "a DefaultStrategy as in gsplat 1.4 to 1.6", gsplat.INSTALL)  # fmt: skip

    class Densification(base):
        def _grow_gs(self, params: Any, optimizers: Any, state: dict[str, Any], *rest: Any) -> Any:
            if self.before_growing is not None:
                self.before_growing(state)
            return super()._grow_gs(params, optimizers, state, *rest)

        def step_post_backward(
            self, params: Any, optimizers: Any, state: Any, step: int, info: Any, packed: bool = False
        ) -> None:
            if step >= self.refine_stop_iter:
                return
            if step == 0:
                self._update_state(params, state, info, packed=packed)
                return
            super().step_post_backward(params, optimizers, state, step, info, packed=packed)
            if step % self.reset_every == 0:
                reset(params=params, optimizers=optimizers, state=state, value=2.0 * self.prune_opa)

    return Densification
