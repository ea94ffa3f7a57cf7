# SPDX-License-Identifier: Apache-2.0
"""Situations of panoptic maps: ids, categories, files that contradict each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.captures import judge
from benchmarks.captures.folder import capture, splat_columns, write_capture, write_splats
from benchmarks.captures.judge import Verdict
from benchmarks.captures.room import WALL, wall_splats
from benchmarks.captures.situation import Situation

_SPLATS = wall_splats()


def situations() -> Iterator[Situation]:
    """All of them."""
    refused: tuple[tuple[str, Callable[[dict[str, Any]], None], str], ...] = (
        ("an id twice in an image, two categories", _twice, "0000|id 1|segment 1"),
        ("an id with two categories in two images", _changing, "id|segment"),
        ("a category that is not listed", _unlisted_category, "categor"),
        ("categories from 0", _from_zero, "categor.*0|0.*categor"),
        ("two categories of one id", _same_category, "categor"),
        ("a pixel id that is not listed", _unlisted_segment, "0000.png"),
        ("an id of 2^24", lambda d: d["annotations"][0]["segments_info"][0].update(id=1 << 24), "id|segment"),
        ("an id that is no number", lambda d: d["annotations"][0]["segments_info"][0].update(id="wall"), "id"),
        ("a map that is not there", lambda d: d["annotations"][0].update(file_name="none.png"), "none.png"),
        ("no annotations", lambda d: d.pop("annotations"), "annotations"),
        ("null for categories", lambda d: d.update(categories=None), "categories"),
        ("infinity for an id", lambda d: d["categories"][0].update(id=float("inf")), "categor|id"),
    )
    for name, change, names in refused:
        yield Situation("map", name, _edited(change), f"panoptic.json|{names}", True)
    yield Situation(
        "map", "a file that was cut off", _replaced("panoptic.json", lambda data: data[:500]), "panoptic.json", True
    )
    yield Situation(
        "map", "JSON nested deep", _replaced("panoptic.json", lambda data: b"[" * 100_000), "panoptic.json", True
    )
    yield Situation("map", "a PNG that was cut off", _replaced("0003.png", lambda data: data[:300]), "0003.png", True)
    yield Situation("map", "a map of one grey channel", _grey, "0003.png|colour|RGB|channel", False)
    yield Situation("map", "a map with alpha", _alpha, "0003.png|alpha|channel", False)
    yield Situation("map", "areas, boxes and crowd flags left out", _edited(_bare))
    for name, change in (
        ("an image id twice", lambda d: d["images"][1].update(id=1)),
        ("an annotation of no image", lambda d: d["annotations"][0].update(image_id=999)),
    ):
        yield Situation("map", f"{name}, though file names are right", _edited(change), "image")
    yield Situation("map", "an order of its own", _edited(_reordered))


def _judged(folder: Path, root: Path) -> Verdict:
    file = write_splats(folder / "room.ply", splat_columns(_SPLATS))
    return judge.uplifted(file, root, folder / "out", _SPLATS.labels)


def _edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        root = write_capture(folder / "scene", capture())
        file = root / "panoptic" / "panoptic.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
        return _judged(folder, root)

    return run


def _replaced(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], Verdict]:
    def run(folder: Path) -> Verdict:
        root = write_capture(folder / "scene", capture())
        file = root / "panoptic" / name
        file.write_bytes(change(file.read_bytes()))
        return _judged(folder, root)

    return run


def _twice(document: dict[str, Any]) -> None:
    segments = document["annotations"][0]["segments_info"]
    wall = next(segment for segment in segments if segment["id"] == WALL)
    segments.append({**wall, "category_id": 2})


def _changing(document: dict[str, Any]) -> None:
    for segment in document["annotations"][0]["segments_info"]:
        if segment["id"] == WALL:
            segment["category_id"] = 3


def _unlisted_category(document: dict[str, Any]) -> None:
    document["annotations"][0]["segments_info"][0]["category_id"] = 77


def _from_zero(document: dict[str, Any]) -> None:
    for category in document["categories"]:
        category["id"] -= 1
    for annotation in document["annotations"]:
        for segment in annotation["segments_info"]:
            segment["category_id"] -= 1


def _same_category(document: dict[str, Any]) -> None:
    document["categories"][1]["id"] = document["categories"][0]["id"]


def _unlisted_segment(document: dict[str, Any]) -> None:
    document["annotations"][0]["segments_info"].pop()


def _bare(document: dict[str, Any]) -> None:
    for annotation in document["annotations"]:
        annotation["segments_info"] = [
            {name: segment[name] for name in ("id", "category_id")} for segment in annotation["segments_info"]
        ]


def _reordered(document: dict[str, Any]) -> None:
    document["annotations"].reverse()
    document["categories"].reverse()


def _grey(folder: Path) -> Verdict:
    made = capture()
    root = write_capture(folder / "scene", made)
    Image.fromarray(made.maps["0003"].astype(np.uint8)).save(root / "panoptic" / "0003.png")
    return _judged(folder, root)


def _alpha(folder: Path) -> Verdict:
    root = write_capture(folder / "scene", capture())
    file = root / "panoptic" / "0003.png"
    Image.open(file).convert("RGBA").save(file)
    return _judged(folder, root)
