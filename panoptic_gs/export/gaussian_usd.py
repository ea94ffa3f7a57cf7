# SPDX-License-Identifier: Apache-2.0
"""Labelled Gaussians as USD: a ``ParticleField3DGaussianSplat`` prim for each object, z up, in metres.

Labels are USD's semantics labels (``SemanticsLabelsAPI``), of the instances ``class`` (the category) and ``instance``
(the object's id), where simulators such as Isaac Sim look for them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panoptic_gs.errors import InputError
from panoptic_gs.export.objects import PlacedObject
from panoptic_gs.replacing import replacing
from panoptic_gs.splats.gaussians import RasterizeMode, Splats
from panoptic_gs.splats.usd import TO_SCENE, require_usd
from panoptic_gs.uplift import LabelledScene


def write_gaussian_usd(
    path: Path,
    scene: LabelledScene,
    objects: Sequence[PlacedObject],
    up: np.ndarray,
    meters_per_unit: float = 1.0,
    rasterize_mode: RasterizeMode | None = None,
) -> None:
    """Write all Gaussians of a scene as one binary USD stage.

    Args:
        path: the file, ``.usdc``, or ``.usdz`` for a package of it, replaced in one move.
        scene: the labelled scene.
        objects: the segments that have Gaussians; what has no label becomes the prim ``unlabelled``.
        up: ``[3]`` direction away from the ground, which becomes +z.
        meters_per_unit: size of the scene's unit; the stage is in metres.
        rasterize_mode: how the Gaussians were trained, kept in the layer's custom data.

    Raises:
        InputError: usd-core is not installed.
    """
    require_usd(path)
    # By name, since its stubs say nothing of what these modules hold.
    Gf, Usd, UsdGeom, UsdSemantics, Vt = map(_module, ("Gf", "Usd", "UsdGeom", "UsdSemantics", "Vt"))
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/scene")
    stage.SetDefaultPrim(root.GetPrim())
    turn = upright(up) * np.array([meters_per_unit] * 3 + [1.0])[:, None]
    root.AddTransformOp().Set(Gf.Matrix4d(turn.T.tolist()))
    said: dict[str, Any] = {TO_SCENE: Vt.DoubleArray(np.linalg.inv(turn).ravel().tolist())}
    if rasterize_mode is not None:
        said["rasterize_mode"] = rasterize_mode
    stage.GetRootLayer().customLayerData = {"panoptic_gs": said}
    best = scene.labels.best()[0].numpy()
    for entry in objects:
        row = entry.object
        name = re.sub(r"\W", "_", f"object_{row.id}_{row.name}", flags=re.ASCII)[:80]
        prim = _define(stage, f"/scene/{name}", scene.splats.subset(torch.from_numpy(entry.members)))
        prim.SetDisplayName(entry.label)
        labels = {"class": row.category.name, "instance": str(row.id)}
        for kind, text in labels.items():
            UsdSemantics.LabelsAPI.Apply(prim, kind).CreateLabelsAttr([text])
        prim.SetCustomDataByKey("panoptic_gs", {
            "id": row.id, "name": row.name, "category_id": row.category.id, "category": row.category.name,
            "isthing": row.category.isthing, "confidence": float(row.confidence),
        })  # fmt: skip
    known = np.isin(best, [entry.id for entry in objects])
    if not known.all():
        _define(stage, "/scene/unlabelled", scene.splats.subset(torch.from_numpy(np.flatnonzero(~known))))
    with replacing(path) as temporary:
        inside, packed = (temporary.with_name(temporary.name + end) for end in (".usdc", ".usdz"))  # which say the kind
        try:
            stage.GetRootLayer().Export(str(inside))
            if path.suffix.lower() == ".usdz":
                asset = _module("Sdf").AssetPath(str(inside))
                if not _module("UsdUtils").CreateNewUsdzPackage(asset, str(packed), f"{path.stem}.usdc"):
                    raise InputError(path, "a package that usd-core could not write", "a USDZ package",
                                     "Write usd in place of usdz.")  # fmt: skip
                packed.replace(temporary)
            else:
                inside.replace(temporary)
        finally:
            inside.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)


def upright(up: np.ndarray) -> np.ndarray:
    """The rotation ``[4, 4]`` by the smallest angle that takes ``up`` to +z."""
    a = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    matrix = np.eye(4)
    if a[2] < -1 + 1e-12:
        matrix[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return matrix
    skew = np.zeros((3, 3))
    skew[0, 2], skew[1, 2] = -a[0], -a[1]
    skew -= skew.T
    matrix[:3, :3] += skew + skew @ skew / (1 + a[2])
    return matrix


def _module(name: str) -> Any:
    return importlib.import_module(f"pxr.{name}")


def _define(stage: Any, path: str, splats: Splats) -> Any:
    """A prim of these Gaussians."""
    UsdVol, Vt = _module("UsdVol"), _module("Vt")
    prim = UsdVol.ParticleField3DGaussianSplat.Define(stage, path).GetPrim()
    array = lambda values: np.ascontiguousarray(values.detach().cpu().float().numpy())
    means, scales = array(splats.means), array(splats.scales)
    reach = 3 * scales.max(axis=1, keepdims=True)
    sh = array(splats.sh).reshape(-1, 3)
    arrays = {
        "positions": Vt.Vec3fArray.FromNumpy(means),
        "scales": Vt.Vec3fArray.FromNumpy(scales),
        "orientations": Vt.QuatfArray.FromNumpy(array(splats.quats)[:, [1, 2, 3, 0]].copy()),
        "opacities": Vt.FloatArray.FromNumpy(array(splats.opacities)),
        "radiance:sphericalHarmonicsDegree": splats.sh_degree,
        "radiance:sphericalHarmonicsCoefficients": Vt.Vec3fArray.FromNumpy(sh),
        "extent": Vt.Vec3fArray.FromNumpy(np.stack([(means - reach).min(axis=0), (means + reach).max(axis=0)])),
    }
    for name, values in arrays.items():
        prim.GetAttribute(name).Set(values)
    return prim
