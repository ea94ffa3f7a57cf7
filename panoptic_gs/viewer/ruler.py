# SPDX-License-Identifier: Apache-2.0
"""Measuring between two clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser

from panoptic_gs.viewer.drawing import LineNode

_COLOR = (120, 230, 160)


class Ruler:
    """Points that were clicked, the line between them, and its length.

    Args:
        server: the viewer.
        meters_per_unit: size of the scene's unit.
    """

    def __init__(self, server: viser.ViserServer, meters_per_unit: float = 1.0) -> None:
        self._unit = meters_per_unit
        self._scene: Any = server.scene
        self._line = LineNode(server, "/ruler", _COLOR)
        self._marks: list[Any] = []
        self.on = False
        """Whether clicks measure."""
        self.points: list[np.ndarray] = []

    @property
    def length(self) -> float | None:
        """Between both points, in metres; None before there are two."""
        if len(self.points) < 2:
            return None
        return self._unit * float(np.linalg.norm(self.points[1] - self.points[0]))

    def switch(self, on: bool) -> None:
        """Begin to measure, or stop and forget."""
        self.on = on
        self._take([])

    def add(self, point: np.ndarray) -> None:
        """Take a point that was clicked; a third one begins anew."""
        self._take([point] if len(self.points) == 2 else [*self.points, point])

    def document(self) -> dict[str, Any]:
        """What the list says of it."""
        return {"on": self.on, "points": len(self.points), "length": self.length}

    def _take(self, points: list[np.ndarray]) -> None:
        self.points = points
        for mark in self._marks:
            mark.remove()
        ends = [tuple(map(float, point)) for point in points]
        self._marks = [self._scene.add_label(f"/ruler/{i}", "+", position=end) for i, end in enumerate(ends)]
        self._line.draw(np.stack(points)[None] if len(points) == 2 else None)
        if self.length is not None:
            middle = tuple(map(float, (points[0] + points[1]) / 2))
            self._marks.append(self._scene.add_label("/ruler/length", f"{self.length:.3f} m", position=middle))
