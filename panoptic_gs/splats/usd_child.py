# SPDX-License-Identifier: Apache-2.0
"""Run as a program of its own: the Gaussians of a USD stage as arrays in an ``.npz``.

USD is a large C++ library; a damaged file can end the process that opens it, or keep it busy. ``usd.py`` runs this with
a limit of time and memory. It imports nothing of the project, so that it starts at once.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

_TYPE = "ParticleField3DGaussianSplat"


def main(path: str, out: str) -> None:
    """Write ``part.K.NAME`` arrays, and ``said`` (JSON) of the stage, or of why there is nothing."""
    # By name, since its stubs say nothing of what these modules hold.
    Tf, Usd, UsdGeom = (importlib.import_module(f"pxr.{name}") for name in ("Tf", "Usd", "UsdGeom"))

    said: dict[str, Any] = {"parts": 0}
    arrays: dict[str, np.ndarray] = {}
    try:
        stage = Usd.Stage.Open(path, Usd.Stage.LoadNone)  # payloads are other files
        said["up"] = str(UsdGeom.GetStageUpAxis(stage))
        said["meters"] = float(UsdGeom.GetStageMetersPerUnit(stage))
        own = stage.GetRootLayer().customLayerData.get("panoptic_gs", {})
        axes, mode = own.get("scene_from_usd"), own.get("rasterize_mode")
        said["axes"] = None if axes is None else [float(value) for value in axes]
        said["rasterize_mode"] = mode if isinstance(mode, str) else None
        earliest = Usd.TimeCode.EarliestTime()
        cache = UsdGeom.XformCache(earliest)
        for prim in stage.Traverse(Usd.TraverseInstanceProxies()):
            if prim.GetTypeName() != _TYPE:
                continue
            number = said["parts"]
            for name, kinds in {
                "positions": ("positions", "positionsh"), "orientations": ("orientations", "orientationsh"),
                "scales": ("scales", "scalesh"), "opacities": ("opacities", "opacitiesh"),
                "sh": ("radiance:sphericalHarmonicsCoefficients", "radiance:sphericalHarmonicsCoefficientsh"),
            }.items():  # fmt: skip
                values = next(
                    (v for v in (_value(prim, kind, earliest) for kind in kinds) if v is not None and len(v)), None
                )
                if values is None:
                    continue
                if name == "orientations":  # Gf quaternions come to numpy as xyzw
                    imaginary = [[*quat.GetImaginary()] for quat in values[:1]]
                    first = np.array(values, dtype=np.float32)
                    order = [3, 0, 1, 2] if np.allclose(first[0, :3], imaginary[0], equal_nan=True) else [0, 1, 2, 3]
                    arrays[f"part.{number}.{name}"] = first[:, order]
                else:
                    arrays[f"part.{number}.{name}"] = np.array(values, dtype=np.float32)
            arrays[f"part.{number}.degree"] = np.array(_value(prim, "radiance:sphericalHarmonicsDegree", earliest) or 0)
            arrays[f"part.{number}.matrix"] = np.array(cache.GetLocalToWorldTransform(prim), dtype=np.float64).T
            said["parts"] += 1
    except Tf.ErrorException as error:
        said["error"] = str(error).strip().splitlines()[-1][:300] if str(error).strip() else "no USD"
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        said["error"] = str(error)[:300]
    np.savez(out, said=np.frombuffer(json.dumps(said).encode(), np.uint8), **arrays)


def _value(prim: Any, name: str, time: Any) -> Any:
    attribute = prim.GetAttribute(name)
    return attribute.Get(time) if attribute and attribute.HasValue() else None


if __name__ == "__main__":
    import resource

    _, source, target, seconds, memory = sys.argv
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc").is_dir() else 0
    if now:
        resource.setrlimit(resource.RLIMIT_AS, (now + int(memory), now + int(memory)))
    main(source, target)
