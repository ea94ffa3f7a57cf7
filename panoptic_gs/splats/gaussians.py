# SPDX-License-Identifier: Apache-2.0
"""3D Gaussians, moved, selected, and written as the usual PLY."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.ply import structured, write_vertex_blocks
from panoptic_gs.splats import harmonics
from panoptic_gs.splats.harmonics import SH_C0

RasterizeMode = Literal["classic", "antialiased"]
"""How Gaussians were trained, and are to be drawn: antialiased ones fade where the low-pass filter widens them."""

_BLOCK, _WRITTEN = 1 << 20, 1 << 18  # Gaussians that are looked at, and written, together
MIP_COMMENT = "SplatRenderMode: mip"
"""What Brush writes into the header of a PLY of antialiased Gaussians."""


@dataclass(frozen=True, eq=False)
class Splats:
    """A scene of 3D Gaussians with colours in spherical harmonics (Kerbl et al. 2023).

    Args:
        means: ``[N, 3]`` centres in the world.
        quats: ``[N, 4]`` rotations (w, x, y, z); normalised here.
        scales: ``[N, 3]`` standard deviations along the axes, linear, in world units.
        opacities: ``[N]`` in 0 … 1.
        sh: ``[N, K, 3]`` coefficients, K = (degree + 1)², degree 0 … 3, gsplat's order.

    Raises:
        InputError: wrong shapes, counts that differ, NaN or infinite values, values out of range.
    """

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    sh: Tensor  # [N, K, 3]

    def __post_init__(self) -> None:
        count = len(self.means)
        shapes = {"means": (count, 3), "quats": (count, 4), "scales": (count, 3), "opacities": (count,)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(
                    f"Splats.{name}",
                    f"shape {list(getattr(self, name).shape)}",
                    f"shape {list(shape)}",
                    "All tensors describe the same Gaussians.",
                )
        if self.sh.ndim != 3 or len(self.sh) != count or self.sh.shape[2] != 3 or self.sh.shape[1] not in (1, 4, 9, 16):
            raise InputError(
                "Splats.sh",
                f"shape {list(self.sh.shape)}",
                f"[{count}, K, 3] with K = 1, 4, 9 or 16",
                "Use spherical harmonics of degree 0 to 3.",
            )
        for name in (*shapes, "sh"):
            bad = sum(
                int((~torch.isfinite(block).reshape(len(block), -1).all(dim=1)).sum())
                for block in getattr(self, name).split(_BLOCK)
                if len(block)
            )
            if bad:
                raise InputError(
                    f"Splats.{name}",
                    f"NaN or infinite values in {bad} of {count} Gaussians",
                    "finite numbers",
                    "Remove these Gaussians; a training that diverged leaves them.",
                )
        if count and (self.scales.min() < 0 or self.opacities.min() < 0 or self.opacities.max() > 1):
            raise InputError(
                "Splats",
                "negative scales or opacities outside 0 … 1",
                "linear scales and opacities",
                "Apply exp to logarithmic scales and the sigmoid to logit opacities first.",
            )
        norms = self.quats.norm(dim=-1, keepdim=True)
        if count and norms.min() == 0:
            raise InputError("Splats.quats", "quaternions of length zero", "rotations", "Use (1, 0, 0, 0) for none.")
        object.__setattr__(self, "quats", self.quats / norms)

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 … 3."""
        return math.isqrt(self.sh.shape[1]) - 1

    def base_colors(self) -> np.ndarray:
        """Each Gaussian's colour ``[N, 3]`` uint8 without its dependence on the view."""
        rgb = self.sh[:, 0].cpu().numpy() * SH_C0 + 0.5
        return (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    def to(self, device: torch.device | str) -> Splats:
        """The same Gaussians on another device."""
        return self._each(lambda values: values.to(device))

    def subset(self, index: Tensor) -> Splats:
        """The Gaussians that a mask or an index tensor ``[M]`` selects."""
        return self._each(lambda values: values[index])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Splats:
        """Bit for bit the same values: normalising a rotation again may change its last digits."""
        changed = copy(self)
        for field in fields(self):
            object.__setattr__(changed, field.name, change(getattr(self, field.name)))
        return changed

    def transformed(self, similarity: Tensor) -> Splats:
        """The same Gaussians in another frame; the colours turn with them.

        Args:
            similarity: ``[4, 4]``, from this frame to the other: a rotation times one scale, and a translation.

        Raises:
            InputError: it shears, mirrors, or scales the axes differently.
        """
        matrix = similarity.detach().cpu().double()
        scale, rotation = similarity_parts(matrix)
        turn = Rotation.from_matrix(rotation.numpy())
        own = Rotation.from_quat(self.quats.detach().cpu().double()[:, [1, 2, 3, 0]].numpy()) if len(self) else None
        quats = self.quats if own is None else torch.from_numpy((turn * own).as_quat())[:, [3, 0, 1, 2]].to(self.quats)
        means = self.means.double().cpu() @ matrix[:3, :3].T + matrix[:3, 3]
        return Splats(
            means.to(self.means), quats, self.scales * scale, self.opacities, harmonics.rotated(self.sh, rotation)
        )

    @classmethod
    def load_ply(cls, path: Path | str, rows: Tensor | None = None, *, strict: bool = False) -> Splats:
        """Read a PLY of Gaussians in any of the flavours of :func:`panoptic_gs.splats.read_splats`.

        What is said of the file, as Gaussians that were left out, becomes a Python warning.

        Args:
            path: the file.
            rows: numbers ``[M]`` of the Gaussians to take; the others are not brought into memory. All by default.
            strict: refuse a file with Gaussians that cannot be used.

        Raises:
            InputError: no such file, no PLY, truncated, properties missing, Gaussians that cannot be used.
        """
        from panoptic_gs.splats.reading import read_splats  # which makes Splats

        read = read_splats(path, rows, strict=strict)
        for note in read.notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
        return read.splats

    def save_ply(
        self,
        path: Path | str,
        extra: Mapping[str, np.ndarray] | None = None,
        rasterize_mode: RasterizeMode | None = None,
    ) -> None:
        """Write the usual 3DGS PLY, which any viewer opens.

        Args:
            path: the file, replaced in one move.
            extra: more properties, name → ``[N]`` integers or floats, after the usual ones.
            rasterize_mode: how the Gaussians were trained; ``antialiased`` is written into the header, as Brush does.
        """
        given = {name: np.asarray(values) for name, values in (extra or {}).items()}

        def block(start: int, end: int) -> np.ndarray:
            own = self._each(lambda values: values[start:end])._ply_columns()
            return structured(own | {name: values[start:end] for name, values in given.items()})

        blocks = (block(start, start + _WRITTEN) for start in range(0, len(self), _WRITTEN))
        comments = (MIP_COMMENT,) if rasterize_mode == "antialiased" else ()
        write_vertex_blocks(Path(path), block(0, 0).dtype, len(self), blocks, comments)

    def _ply_columns(self) -> dict[str, np.ndarray]:
        """The properties of the usual PLY, ``[N]`` float32 each."""
        count = len(self)
        opacities = self.opacities.double().clamp(1e-7, 1 - 1e-7)
        sh = self.sh.detach().cpu().float().numpy()
        fields: dict[str, np.ndarray] = {}
        for axis, name in enumerate("xyz"):
            fields[name] = self.means[:, axis].detach().cpu().numpy()
        for name in ("nx", "ny", "nz"):
            fields[name] = np.zeros(count, dtype=np.float32)
        for channel in range(3):
            fields[f"f_dc_{channel}"] = sh[:, 0, channel]
        for index, values in enumerate(sh[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (sh.shape[1] - 1)).T):
            fields[f"f_rest_{index}"] = values
        fields["opacity"] = torch.logit(opacities).detach().cpu().numpy()
        for axis in range(3):
            fields[f"scale_{axis}"] = self.scales[:, axis].detach().clamp_min(1e-20).log().cpu().numpy()
        for axis in range(4):
            fields[f"rot_{axis}"] = self.quats[:, axis].detach().cpu().numpy()
        return {name: np.asarray(values, dtype=np.float32) for name, values in fields.items()}


def similarity_parts(matrix: Tensor) -> tuple[float, Tensor]:
    """Scale and rotation ``[3, 3]`` of a similarity ``[4, 4]``.

    Raises:
        InputError: it is none.
    """
    linear = matrix[:3, :3].double()
    determinant = float(torch.linalg.det(linear)) if torch.isfinite(matrix).all() else math.nan
    scale = determinant ** (1 / 3) if determinant > 0 else math.nan
    rotation = linear / scale
    if not (rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-3:
        raise InputError(
            "similarity",
            f"{[[round(v, 4) for v in row] for row in matrix.tolist()]}",
            "a rotation times one positive scale, and a translation",
            "Correct the matrix.",
        )
    return scale, rotation
