# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the panel's controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def by_visitor(callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """A callback that hears what a visitor did, not what the program itself set."""

    def heard(event: Any) -> None:
        if event.client_id is not None:
            callback(event)

    return heard


def button_row(gui: Any, label: str, names: tuple[str, ...]) -> Any:
    """Buttons side by side; the handle's ``value`` is the name of the one that was pressed last."""
    row = gui.add_button_group(label, names)
    row._impl.is_button = True  # else viser 0.2 hears a button only once in a row
    return row
