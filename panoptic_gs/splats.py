# SPDX-License-Identifier: Apache-2.0
"""3D Gaussians and the PLY files they are exchanged in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.ply import read_vertices
from panoptic_gs.replacing import replacing

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 · dc."""


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
            bad = ~torch.isfinite(getattr(self, name)).reshape(count, -1).all(dim=1) if count else torch.zeros(0)
            if bad.any():
                raise InputError(
                    f"Splats.{name}",
                    f"NaN or infinite values in {int(bad.sum())} of {count} Gaussians",
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

    @classmethod
    def load_ply(cls, path: Path | str, rows: Tensor | None = None) -> Splats:
        """Read a 3DGS PLY as the Inria code, gsplat and nerfstudio write it (SH degree 0 … 3, normals or none).

        Args:
            path: the file.
            rows: numbers ``[M]`` of the Gaussians to take; the others are not brought into memory. All by default.

        Raises:
            InputError: no such file, no PLY, truncated, properties missing, values that are not finite.
        """
        vertices = read_vertices(path, "a 3DGS PLY", None if rows is None else rows.numpy())
        names = set(vertices.dtype.names or ())
        rest = sorted((name for name in names if name.startswith("f_rest_")), key=lambda name: int(name[7:]))
        needed = [
            "x",
            "y",
            "z",
            "opacity",
            *(f"scale_{i}" for i in range(3)),
            *(f"rot_{i}" for i in range(4)),
            *(f"f_dc_{i}" for i in range(3)),
        ]
        missing = [name for name in needed if name not in names]
        if missing or len(rest) not in (0, 9, 24, 45):
            found = f"no property {', '.join(missing)}" if missing else f"{len(rest)} f_rest properties"
            raise InputError(
                path,
                found,
                "a 3DGS PLY with x y z, f_dc, f_rest (0, 9, 24 or 45), opacity, scale and rot",
                "Export Gaussians (ns-export gaussian-splat), not a point cloud or a mesh.",
            )

        def columns(*wanted: str) -> Tensor:
            return torch.from_numpy(np.stack([vertices[name].astype(np.float32) for name in wanted], axis=-1))

        sh = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None, :]
        if rest:
            sh = torch.cat([sh, columns(*rest).reshape(len(sh), 3, -1).transpose(1, 2)], dim=1)
        try:
            return cls(
                columns("x", "y", "z"),
                columns("rot_0", "rot_1", "rot_2", "rot_3"),
                columns("scale_0", "scale_1", "scale_2").exp(),
                columns("opacity")[:, 0].sigmoid(),
                sh.contiguous(),
            )
        except InputError as error:
            raise InputError(path, error.found, error.expected, error.mend) from error

    def save_ply(self, path: Path | str, extra: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the usual 3DGS PLY, which any viewer opens.

        Args:
            path: the file, replaced in one move.
            extra: more properties, name → ``[N]`` integers or floats, after the usual ones.
        """
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
        fields = {name: np.asarray(values, dtype=np.float32) for name, values in fields.items()}
        for name, values in (extra or {}).items():
            fields[name] = np.asarray(values)
        vertices = np.empty(count, dtype=[(name, values.dtype) for name, values in fields.items()])
        for name, values in fields.items():
            vertices[name] = values
        with replacing(Path(path)) as temporary:
            PlyData([PlyElement.describe(vertices, "vertex")]).write(str(temporary))


def count_vertices(path: Path | str) -> int:
    """How many vertices a PLY has, without reading them.

    Raises:
        InputError: no such file, no PLY.
    """
    try:
        with open(path, "rb") as file:
            for line in iter(file.readline, b""):
                words = line.split()
                if words[:2] == [b"element", b"vertex"]:
                    return int(words[2])
                if words[:1] == [b"end_header"] or len(line) > 1000:
                    break
    except (OSError, ValueError, IndexError) as error:
        raise InputError(path, f"unreadable ({error})", "a 3DGS PLY", "Check the path and the file.") from error
    raise InputError(path, "no PLY header with vertices", "a 3DGS PLY", "Copy or export the file again.")
