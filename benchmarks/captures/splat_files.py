# SPDX-License-Identifier: Apache-2.0
"""Situations of Gaussians: PLY flavours, damaged files, other frames, seed points."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from benchmarks.captures import judge
from benchmarks.captures.folder import capture, splat_columns, write_capture, write_points, write_splats
from benchmarks.captures.judge import Verdict
from benchmarks.captures.room import WallSplats, wall_points, wall_splats
from benchmarks.captures.situation import Situation
from benchmarks.captures.supersplat import write_compressed

Columns = dict[str, np.ndarray]
Change = Callable[[Columns], Columns]
_SPLATS = wall_splats()
_COUNT = len(_SPLATS.labels)


def situations() -> Iterator[Situation]:
    """All of them."""
    stored: tuple[tuple[str, dict[str, Any]], ...] = (
        ("float32", {}), ("float64", {"dtype": "f8"}), ("big-endian", {"order": ">"}), ("text", {"text": True}),
        ("comments", {"comments": ("Vertical Axis: z", "by hand")}),
    )  # fmt: skip
    for name, options in stored:
        yield Situation("ply", f"3DGS as {name}", _uplifted(**options))
    for degree in (1, 2, 3, 4):
        yield Situation("ply", f"spherical harmonics of degree {degree}", _uplifted(degree=degree))
    yield Situation("ply", "SuperSplat's compressed layout", _compressed)
    yield Situation("ply", "filter_3D of Mip-Splatting", _uplifted(_unfused))
    yield Situation("ply", "2D Gaussians", _two_scales)
    yield Situation("ply", "plain red, green, blue", _uplifted(_plain_colors))
    yield Situation("ply", "no colours", _uplifted(lambda c: _without(c, "f_dc_")))
    yield Situation("ply", "properties in another order, others among them", _uplifted(_shuffled))
    yield Situation("ply", "quaternions of any length", _uplifted(_long_quats))
    yield Situation("ply", "opaque and transparent as infinite logits", _uplifted(_infinite_logits))
    yield Situation("ply", "1,000 rows of zeros", _with_rows(_zeros, False))
    yield Situation("ply", "rows of zeros with unit quaternions", _with_rows(_zeros, True))
    yield Situation("ply", "a few rows of NaN", _with_rows(_few_nan, False))
    for name, change, named in (
        ("NaN in a third of the rows", _many_nan, "NaN"),
        ("zeros alone", lambda c: {k: np.zeros_like(v) for k, v in c.items()}, "zeros"),
        ("f_rest_x", lambda c: {**c, "f_rest_x": c["x"]}, "f_rest_x"),
        ("f_rest of 7", lambda c: {**c, **{f"f_rest_{i}": c["x"] for i in range(7)}}, "7 f_rest"),
        ("red without green", lambda c: {**_without(c, "f_dc_"), "red": c["x"]}, "red without"),
        ("f_dc_0 alone", lambda c: _without(_without(c, "f_dc_1"), "f_dc_2"), "f_dc"),
        ("no opacity", lambda c: _without(c, "opacity"), "opacity"),
        ("neural anchors of Scaffold-GS", lambda c: {**c, "f_offset_0": c["x"]}, "Scaffold"),
        ("Gaussians that move in time", lambda c: {**c, "motion_0": c["x"], "trbf_center": c["x"]}, "time"),
        ("a point cloud", lambda c: {k: v for k, v in c.items() if k in "xyz"}, "point cloud"),
    ):
        yield Situation("ply", name, _uplifted(change), named, True)
    yield Situation("ply", "a mesh", _mesh, "mesh", True)
    yield Situation("ply", "a truncated file", _damaged(lambda data: data[:-5000]), "truncated|announces", True)
    yield Situation("ply", "a count beyond the file", _damaged(_recounted(b"99999999999")), "announces", True)
    yield Situation("ply", "a count of 2^64", _damaged(_recounted(b"18446744073709551616")), "element vertex", True)
    yield Situation("ply", "no PLY at all", _damaged(lambda data: b"\x89PNG\r\n" + data), "PLY", True)
    yield Situation("ply", "no Gaussians", _damaged(lambda data: _recounted(b"0")(data)), "no Gaussians", True)
    yield Situation("frame", "in nerfstudio's training frame", _moved(None), "dB", True)
    yield Situation("frame", "its dataparser_transforms.json beside it", _moved("beside"))
    yield Situation("frame", "that file in the folder above", _moved("above"))
    yield Situation("frame", "that file by --frame", _moved("option"))
    yield Situation("frame", "after ns-process-data turned the world", _moved("beside", applied=True))
    yield Situation("frame", "no colours, that file beside it", _moved("beside", colors=False))
    yield Situation("frame", "a transform that is none", _moved("broken"), "dataparser_transforms", True)
    for name, color, divisor in (
        ("bytes", "u1", 1.0), ("floats to 1", "f4", 255.0), ("floats to 255", "f4", 1.0), ("doubles to 1", "f8", 255.0),
        ("16-bit integers", "u2", 1 / 257),
    ):  # fmt: skip
        yield Situation("seed", f"seed colours as {name}", _seed(color, divisor))
    yield Situation("seed", "seed colours beyond 255", _seed("f4", 0.1), "colours up to", True)
    for name, kind in (("fisheye", "fisheye"), ("equirectangular", "equirectangular"), ("stereo", "omnidirectional")):
        yield Situation("camera path", f"{name} cameras", _path({"camera_type": kind}), kind, True)
    yield Situation("camera path", "a field of view of 0", _path({"camera_path": [{"fov": 0}]}), "fov", True)
    yield Situation("camera path", "a height that is infinite", _path({"render_height": float("-inf")}), "height", True)


def _uplifted(change: Change = lambda c: c, degree: int = 0, **options: Any) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        file = write_splats(folder / "splats.ply", change(splat_columns(_SPLATS, degree)), **options)
        return _judged(folder, file)

    return run


def _judged(folder: Path, file: Path, labels: np.ndarray = _SPLATS.labels, *arguments: str) -> Verdict:
    return judge.uplifted(file, write_capture(folder / "scene", capture()), folder / "out", labels, arguments)


def _without(columns: Columns, prefix: str) -> Columns:
    return {name: column for name, column in columns.items() if not name.startswith(prefix)}


def _compressed(folder: Path) -> Verdict:
    order = np.lexsort(_SPLATS.means.round(0).T)  # neighbours share a chunk, as SuperSplat sorts them
    columns = {name: column[order] for name, column in splat_columns(_SPLATS).items()}
    return _judged(folder, write_compressed(folder / "splats.compressed.ply", columns), _SPLATS.labels[order])


def _unfused(columns: Columns) -> Columns:
    """What Mip-Splatting writes before its filter is fused, so that fusing gives these Gaussians."""
    width = 0.003
    scales = np.stack([np.exp(columns[f"scale_{i}"]) for i in range(3)], axis=1)
    narrow = np.sqrt(scales**2 - width**2)
    share = (narrow / scales).prod(axis=1)
    opacity = (0.6 / share).clip(0, 0.98)
    return {
        **columns,
        **{f"scale_{i}": np.log(narrow[:, i]) for i in range(3)},
        "opacity": np.log(opacity / (1 - opacity)),
        "filter_3D": np.full(len(scales), width),
    }


def _two_scales(folder: Path) -> Verdict:
    """Surfels lie in the plane of their first two axes, so each wall's are turned into it."""
    scales = _SPLATS.scales
    thin = scales.argmin(axis=1)
    turns = {0: [0, 90, 0], 1: [90, 0, 0], 2: [0, 0, 0]}
    xyzw = np.stack([Rotation.from_euler("xyz", turns[int(axis)], degrees=True).as_quat() for axis in thin])
    flat = np.tile([scales.max(), scales.max(), 1.0], (_COUNT, 1))
    columns = splat_columns(WallSplats(_SPLATS.means, xyzw[:, [3, 0, 1, 2]], flat, *_SPLATS[3:]))
    return _judged(folder, write_splats(folder / "2d.ply", _without(columns, "scale_2")))


def _plain_colors(columns: Columns) -> Columns:
    return {**_without(columns, "f_dc_"), **dict(zip(("red", "green", "blue"), (_SPLATS.rgb / 255).T))}


def _shuffled(columns: Columns) -> Columns:
    names = np.random.default_rng(0).permutation([*columns, "nx", "sigma", "label"])
    return {str(name): columns.get(str(name), np.ones(_COUNT)) for name in names}


def _long_quats(columns: Columns) -> Columns:
    length = np.random.default_rng(0).uniform(0.1, 30, _COUNT)
    return {**columns, **{f"rot_{i}": columns[f"rot_{i}"] * length for i in range(4)}}


def _infinite_logits(columns: Columns) -> Columns:
    return {**columns, "opacity": np.full(_COUNT, np.inf)}


def _zeros(columns: Columns, units: bool) -> tuple[Columns, np.ndarray]:
    grown = {name: np.concatenate([column, np.zeros(1000)]) for name, column in columns.items()}
    grown["rot_0"][_COUNT:] = float(units)
    return grown, np.arange(_COUNT)


def _few_nan(columns: Columns, _: bool) -> tuple[Columns, np.ndarray]:
    bad = np.random.default_rng(0).choice(_COUNT, 40, replace=False)
    columns = {name: column.copy() for name, column in columns.items()}
    for number, row in enumerate(bad):
        list(columns.values())[number % len(columns)][row] = np.nan
    return columns, np.setdiff1d(np.arange(_COUNT), bad)


def _with_rows(
    change: Callable[[Columns, bool], tuple[Columns, np.ndarray]], option: bool
) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        columns, kept = change(splat_columns(_SPLATS), option)
        verdict = _judged(folder, write_splats(folder / "splats.ply", columns), _SPLATS.labels[kept])
        told = "dropped" in verdict.message
        return verdict if told else Verdict("wrong", verdict.figure, f"dropped without a word; {verdict.message}")

    return run


def _many_nan(columns: Columns) -> Columns:
    column = columns["x"].copy()
    column[::3] = np.nan
    return {**columns, "x": column}


def _mesh(folder: Path) -> Verdict:
    vertices = np.zeros(3, dtype=[("x", "f4"), ("y", "f4"), ("z", "f4")])
    faces = np.empty(1, dtype=[("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = [[0, 1, 2]]
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements).write(str(folder / "mesh.ply"))
    return _judged(folder, folder / "mesh.ply")


def _damaged(change: Callable[[bytes], bytes]) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        file = write_splats(folder / "splats.ply", splat_columns(_SPLATS))
        file.write_bytes(change(file.read_bytes()))
        return _judged(folder, file)

    return run


def _recounted(count: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(b"element vertex %d" % _COUNT, b"element vertex " + count)


def _moved(file_at: str | None, applied: bool = False, colors: bool = True) -> Callable[[Path], Verdict]:
    """Splats in a turned, shrunk frame, and where nerfstudio's file says so."""

    def run(folder: Path) -> Verdict:
        rotation = Rotation.from_euler("xyz", [20, -50, 130], degrees=True)
        offset, scale = np.array([0.4, -1.1, 0.3]), 0.31
        means = scale * (rotation.apply(_SPLATS.means) + offset)
        own = Rotation.from_quat(_SPLATS.quats[:, [1, 2, 3, 0]])
        quats = (rotation * own).as_quat()[:, [3, 0, 1, 2]]
        columns = splat_columns(_SPLATS._replace(means=means, quats=quats, scales=scale * _SPLATS.scales))
        home = folder / "run" / "exports"
        home.mkdir(parents=True)
        file = write_splats(home / "splat.ply", columns if colors else _without(columns, "f_dc_"))
        transform = np.eye(4)
        transform[:3, :3], transform[:3, 3] = rotation.as_matrix(), offset
        extra: Mapping[str, Any] = {}
        if applied:
            turn = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
            transform, extra = transform @ turn, {"applied_transform": turn[:3].tolist()}
        text = json.dumps({"transform": transform[:3].tolist(), "scale": scale})
        if file_at == "broken":
            text = json.dumps({"transform": [[1, 2], [3, 4]], "scale": "no"})
        places = {"beside": home, "broken": home, "above": home.parent, "option": folder}
        if file_at is not None:
            (places[file_at] / "dataparser_transforms.json").write_text(text)
        root = write_capture(folder / "scene", capture(), extra=extra)
        options = ("--frame", str(folder / "dataparser_transforms.json")) if file_at == "option" else ()
        return judge.uplifted(file, root, folder / "out", _SPLATS.labels, options)

    return run


def _seed(color: str, divisor: float) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        root = write_capture(folder / "scene", capture(count=2))
        points, rgb, *_ = wall_points(500)
        write_points(root / "points3D.ply", points, rgb.astype(np.float64), color, divisor)

        def look() -> Verdict:
            from panoptic_gs.scene import Scene

            found = Scene.load(root).points
            assert found is not None
            share = float((np.abs(found[1].astype(int) - rgb) <= 1).mean())
            return Verdict("right" if share >= judge.RIGHT else "wrong", share)

        return judge.judged(look)

    return run


def _path(change: Mapping[str, Any]) -> Callable[[Path], Verdict]:
    """A path of nerfstudio's viewer with a change, given to ``panoptic-gs export --path``."""

    def run(folder: Path) -> Verdict:
        pose = np.eye(4).ravel().tolist()
        document: dict[str, Any] = {
            "camera_type": "perspective", "render_width": 24, "render_height": 16, "fps": 1, "seconds": 1,
            "camera_path": [{"camera_to_world": pose, "fov": 60, "aspect": 1.5}],
        }  # fmt: skip
        entries = change.get("camera_path", [{}])
        document |= {**change, "camera_path": [{**document["camera_path"][0], **entry} for entry in entries]}
        (folder / "path.json").write_text(json.dumps(document))

        def look() -> Verdict:
            from panoptic_gs.export import load_camera_path

            load_camera_path(folder / "path.json")
            return Verdict("wrong", None, "drawn as if by a pinhole")

        return judge.judged(look)

    return run
