# SPDX-License-Identifier: Apache-2.0
"""gsplat's densification, which does the same with every version of it."""

from __future__ import annotations

import functools
from typing import Any

from panoptic_gs.backends import gsplat
from panoptic_gs.errors import InputError


def default_strategy(**options: Any) -> Any:
    """gsplat's ``DefaultStrategy``, resetting opacities when it is documented to: every ``reset_every`` steps.

    1.5.3 never does (its condition reads ``step % self.reset_every == 0 & step > 0``, where ``&`` binds first), and 1.4
    does after the first step too, before anything was learnt. Here they are reset at every multiple of ``reset_every``
    but 0, as on gsplat's main branch. Resetting twice is resetting once: opacities are clamped, moments set to 0.

    Args:
        options: of gsplat's ``DefaultStrategy``.

    Raises:
        InputError: no gsplat that can be used, see :func:`panoptic_gs.backends.gsplat.load`.
    """
    return _strategy_class(gsplat.load())(**options)


@functools.cache
def _strategy_class(door: gsplat.Gsplat) -> Any:
    base, reset = door.part("strategy").DefaultStrategy, door.part("strategy.ops").reset_opa
    if not hasattr(base, "_update_state"):
        raise InputError("gsplat", f"gsplat {door.version}, whose DefaultStrategy has no _update_state",
                         "a DefaultStrategy as in gsplat 1.4 to 1.6", gsplat.INSTALL)  # fmt: skip

    class Densification(base):
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
