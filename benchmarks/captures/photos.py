# SPDX-License-Identifier: Apache-2.0
"""Situations of photos and cameras: lenses, masks, orientations, names, splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.captures import judge
from benchmarks.captures.folder import (
    PINHOLE,
    Capture,
    Source,
    capture,
    splat_columns,
    write_capture,
    write_maps,
    write_splats,
)
from benchmarks.captures.judge import Verdict
from benchmarks.captures.lenses import MODELS, Lens
from benchmarks.captures.room import PERSON, wall_splats
from benchmarks.captures.situation import Situation, worst

_SOURCES: tuple[Source, ...] = ("transforms", "colmap text", "colmap binary")
_SPLATS = wall_splats()


def lens(model: str, focal: float = 150.0, center: tuple[float, float] = (0.0, 0.0), **more: float) -> Lens:
    """A lens of 240×160 pixels."""
    return Lens(model, 240, 160, focal, center, tuple(more.items()))


_MODELLED = {
    "SIMPLE_PINHOLE": lens("SIMPLE_PINHOLE"),
    "PINHOLE": lens("PINHOLE", center=(7.3, -4.2)),
    "SIMPLE_RADIAL": lens("SIMPLE_RADIAL", k1=-0.1),
    "RADIAL": lens("RADIAL", k1=-0.12, k2=0.03),
    "OPENCV": lens("OPENCV", k1=-0.12, k2=0.03, p1=0.002, p2=-0.003),
    "OPENCV_FISHEYE": lens("OPENCV_FISHEYE", 110.0, k1=0.02, k2=-0.01, k3=0.002, k4=-0.001),
    "FULL_OPENCV": lens("FULL_OPENCV", k1=0.1, k2=-0.05, p1=0.001, k3=0.01, k4=0.2, k5=-0.03, k6=0.01),
    "FOV": lens("FOV", omega=0.9),
    "SIMPLE_RADIAL_FISHEYE": lens("SIMPLE_RADIAL_FISHEYE", 120.0, k1=-0.03),
    "RADIAL_FISHEYE": lens("RADIAL_FISHEYE", 120.0, k1=-0.03, k2=0.005),
    "THIN_PRISM_FISHEYE": lens("THIN_PRISM_FISHEYE", 120.0, k1=-0.03, p1=0.001, k3=0.001, sx1=0.002, sy1=-0.001),
}
_OTHER_LENSES: dict[str, tuple[Lens, dict[str, Any], str, bool]] = {
    # name → lens, fields of transforms.json that differ, what a refusal names, whether to refuse
    "k3 of OPENCV": (lens("OPENCV", k1=-0.12, k2=0.03, k3=-0.01), {}, "k3", False),
    "strong barrel": (lens("OPENCV", k1=-0.35, k2=0.12), {}, "lens|fold", False),
    "pincushion": (lens("OPENCV", k1=0.15), {}, "lens", False),
    "thin prism of OPENCV": (lens("OPENCV", k1=-0.1, s1=0.004, s3=0.003), {}, "s1|s3|thin", False),
    "k5, k6 of the rational model": (lens("FULL_OPENCV", k1=0.1, k4=0.2, k5=-0.03, k6=0.01), {}, "k5|k6", False),
    "fisheye of 150 degrees": (lens("OPENCV_FISHEYE", 92.0), {}, "field of view|degrees", False),
    "fisheye of 230 degrees": (lens("OPENCV_FISHEYE", 60.0), {}, "field of view|degrees", False),
    "equirectangular": (Lens("EQUIRECTANGULAR", 240, 120, 0.0), {}, "EQUIRECTANGULAR", True),
    "a model that nobody knows": (PINHOLE, {"camera_model": "METALENS"}, "METALENS", True),
    "orthographic": (PINHOLE, {"camera_model": "ORTHOGRAPHIC"}, "ORTHOGRAPHIC", True),
    "a lens that folds in the photo": (PINHOLE, {"camera_model": "OPENCV", "k1": -1.5}, "lens|fold|k1", True),
    "k4 of Metashape's polynomial": (lens("OPENCV", k1=-0.12, k2=0.03, k3=-0.01, k4=0.02), {}, "k4", False),
    "a focal length of zero": (PINHOLE, {"fl_x": 0, "fl_y": 0}, "focal|fl_x", True),
    "a focal length that is no number": (PINHOLE, {"fl_x": "150"}, "fl_x", True),
    "a size that is not the photo's": (PINHOLE, {"w": 480, "h": 320}, "240.?×.?160|480.?×.?320", True),
}  # fmt: skip


def situations() -> Iterator[Situation]:
    """All of them."""
    for model, kind in _MODELLED.items():
        for source in _SOURCES:
            names = f"{model}|lens|{MODELS[model][0]}"
            yield Situation("lens", f"{model}, {source}", _seen(kind, source), names)
    for name, (kind, extra, names, refuse) in _OTHER_LENSES.items():
        yield Situation("lens", name, _seen(kind, "transforms", extra), names, refuse)
    yield Situation("lens", "camera_angle_x alone", _edited(_angle_alone))
    yield Situation(
        "lens", "a lens of each photo's own", _seen([_MODELLED["RADIAL"], PINHOLE, _MODELLED["OPENCV_FISHEYE"]])
    )
    yield Situation("lens", "two cameras of COLMAP", _seen([_MODELLED["RADIAL"], PINHOLE], "colmap binary"))
    for kind in ("grey", "boolean", "palette", "alpha", "rgb"):
        yield Situation("mask", f"a person under a {kind} mask", _masked(kind))
    yield Situation("mask", "masks that keep nothing", _masked("nothing"), "mask", True)
    yield Situation("mask", "a mask of another size", _masked("small"), "mask", False)
    yield Situation("mask", "a mask that is not there", _masked("missing"), "mask", True)
    yield Situation("mask", "a person cut out by alpha", _cut_out)
    yield Situation("orientation", "portrait and landscape", _seen([PINHOLE, Lens("PINHOLE", 160, 240, 150.0)]))
    yield Situation("orientation", "cameras that lie on their side", _seen(PINHOLE, roll=np.pi / 2))
    yield Situation("orientation", "EXIF-turned photos with upright maps", _exif, "EXIF", False)
    yield Situation("orientation", "maps of half the size", _resized_maps(2, 2))
    yield Situation("orientation", "maps of another shape", _resized_maps(2, 1), "shape|size|pixels|EXIF", True)
    yield Situation("names", "photos that COLMAP dropped have maps", _unregistered)
    yield Situation("names", "Windows paths", _edited(_windows))
    yield Situation("names", "folders in images/", _seen(PINHOLE, name=lambda k: f"left/{k:04d}"))
    yield Situation("names", "equal names in two folders", _rig, "0000", False)
    yield Situation("names", "a photo without a map", _seen(PINHOLE, without_map="0003"))
    yield Situation("names", "a photo that is not there", _edited(_missing_photo), "none.png", True)
    yield Situation("names", "train_filenames, val_filenames, test_filenames", _splits)
    for name, matrix in (("NaN", float("nan")), ("a shear", 1.5)):
        yield Situation("pose", f"a pose with {name}", _edited(_pose(matrix)), "0002", True)
    yield Situation("pose", "a frame without a pose", _edited(_no_pose), "0002", True)


def _both(root: Path) -> Verdict:
    return worst(judge.library(root), judge.plugin(root, eval_mode="all"))


def _seen(
    lenses: Lens | list[Lens],
    source: Source = "transforms",
    extra: dict[str, Any] | None = None,
    roll: float = 0.0,
    name: Callable[[int], str] | None = None,
    without_map: str | None = None,
) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        made = capture(lenses, roll=roll, name=name)
        if without_map is not None:
            del made.maps[without_map]
        return _both(write_capture(folder / "scene", made, source, extra=extra))

    return run


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Verdict]:
    """The undisturbed room with a change to ``transforms.json``."""

    def run(folder: Path) -> Verdict:
        file = write_capture(folder / "scene", capture()) / "transforms.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
        return _both(folder / "scene")

    return run


def _angle_alone(document: dict[str, Any]) -> None:
    document["camera_angle_x"] = 2 * np.arctan(0.5 * document["w"] / document["fl_x"])
    for name in ("fl_x", "fl_y", "cx", "cy", "camera_model"):
        del document[name]


def _windows(document: dict[str, Any]) -> None:
    for frame in document["frames"]:
        frame["file_path"] = frame["file_path"].replace("/", "\\")


def _missing_photo(document: dict[str, Any]) -> None:
    document["frames"][2]["file_path"] = "images/none.png"


def _no_pose(document: dict[str, Any]) -> None:
    del document["frames"][2]["transform_matrix"]


def _pose(value: float) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["frames"][2]["transform_matrix"][0][0] = value

    return change


def _with_person(made: Capture) -> dict[str, np.ndarray]:
    """Paint a person into each photo and map; returns where they do not stand, bool by name."""
    keeps = {}
    for stem, labels in made.maps.items():
        height, width = labels.shape
        row, column = np.mgrid[:height, :width]
        there = ((column - 0.5 * width) / (0.11 * width)) ** 2 + ((row - 0.7 * height) / (0.28 * height)) ** 2 < 1
        made.photos[stem] = np.where(there[..., None], np.array([20, 200, 200], np.uint8), made.photos[stem])
        made.maps[stem] = np.where(there, PERSON, labels).astype(np.int32)
        keeps[stem] = ~there
    return keeps


def _labels(root: Path, folder: Path) -> Verdict:
    file = write_splats(folder / "room.ply", splat_columns(_SPLATS))
    return judge.uplifted(file, root, folder / "out", _SPLATS.labels)


def _store(kind: str, file: Path, keep: np.ndarray) -> None:
    """Write a mask as people store it."""
    grey = (keep * 255).astype(np.uint8)
    if kind == "boolean":
        Image.fromarray(grey).convert("1").save(file)
    elif kind == "palette":
        image = Image.fromarray(keep.astype(np.uint8), mode="P")
        image.putpalette([0, 0, 0, 0, 128, 0] + 254 * [0, 0, 0])
        image.save(file)
    elif kind == "alpha":
        Image.fromarray(np.dstack([np.full((*keep.shape, 3), 255, np.uint8), grey])).save(file)
    elif kind == "rgb":
        Image.fromarray(np.dstack([np.zeros_like(grey), grey, np.zeros_like(grey)])).save(file)
    elif kind == "small":
        Image.fromarray(grey.reshape(keep.shape[0] // 2, 2, keep.shape[1] // 2, 2).min(axis=(1, 3))).save(file)
    else:
        Image.fromarray(np.zeros_like(grey) if kind == "nothing" else grey).save(file)


def _masked(kind: str) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        made = capture()
        keeps = _with_person(made)
        root = write_capture(folder / "scene", made, frame_extra=lambda stem: {"mask_path": f"masks/{stem}.png"})
        (root / "masks").mkdir()
        for stem, keep in keeps.items():
            if kind != "missing":
                _store(kind, root / "masks" / f"{stem}.png", keep)
        return worst(_labels(root, folder), judge.plugin(root, eval_mode="all"))

    return run


def _cut_out(folder: Path) -> Verdict:
    made = capture()
    for stem, keep in _with_person(made).items():
        made.photos[stem] = np.dstack([made.photos[stem], (keep * 255).astype(np.uint8)])
    return _labels(write_capture(folder / "scene", made), folder)


def _exif(folder: Path) -> Verdict:
    """Photos stored lying, cameras in the sensor's axes, maps as a network saw the upright photo."""
    made = capture()
    upright = {stem: np.rot90(labels, -1).copy() for stem, labels in made.maps.items()}
    root = write_capture(folder / "scene", replace(made, maps={}), ending=".jpg", panoptic=False)
    for file in (root / "images").iterdir():
        image = Image.open(file)
        tags = image.getexif()
        tags[0x0112] = 6
        image.save(file, exif=tags, quality=98, subsampling=0)
    write_maps(root / "panoptic", upright)
    return _both(root)


def _resized_maps(rows: int, columns: int) -> Callable[[Path], Verdict]:
    """Maps thinned by these factors."""

    def run(folder: Path) -> Verdict:
        made = capture(Lens("PINHOLE", 960, 640, 600.0), count=4)
        made.maps = {stem: labels[rows // 2 :: rows, columns // 2 :: columns] for stem, labels in made.maps.items()}
        return _both(write_capture(folder / "scene", made))

    return run


def _unregistered(folder: Path) -> Verdict:
    made = capture()
    root = write_capture(folder / "scene", made, "colmap text")
    file = root / "colmap" / "sparse" / "0" / "images.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:5] + lines[9:]) + "\n")
    return _labels(root, folder)


def _rig(folder: Path) -> Verdict:
    return _both(
        write_capture(folder / "scene", capture(name=lambda k: f"{'left' if k % 2 else 'right'}/{k // 2:04d}"))
    )


def _splits(folder: Path) -> Verdict:
    made = capture()
    names = [f"images/{stem}.png" for stem in made.photos]
    lists = {"train_filenames": names[:8], "val_filenames": names[8:10], "test_filenames": names[10:]}
    root = write_capture(folder / "scene", made, extra=lists)

    def look() -> Verdict:
        from nerfstudio_plugin.dataparser import PanopticSceneDataParserConfig

        parser = PanopticSceneDataParserConfig(data=root).setup()
        found = [path.name for path in parser.get_dataparser_outputs("train").image_filenames]
        held = {path.name for path in parser.get_dataparser_outputs("test").image_filenames}
        listed = [Path(name).name for name in names]
        right = found == listed[:8] and held <= set(listed[8:]) and set(listed[10:]) <= held
        return Verdict("right" if right else "wrong", None, "" if right else f"trained on {', '.join(found)}")

    return judge.judged(look)
