# SPDX-License-Identifier: Apache-2.0
"""ScanNet++'s annotated mesh: vertices in segments, segments in objects, labels in the benchmark's classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.datasets.classes import REDUCED21, ClassList
from panoptic_gs.datasets.mesh import TriangleMesh, read_mesh
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.panoptic import Category

BENCHMARK = Path("metadata") / "semantic_benchmark"
_MEND = "Download the scene's scans/ again; its files belong together."

# Classes of the benchmark by the reduced class they belong to, in the spirit of NYU40's reduction (blinds and monitors
# are "other" there). All that are not named here and not named alike are "other".
_REDUCED: Mapping[str, tuple[str, ...]] = {
    "wall": ("shower wall",),
    "cabinet": ("storage cabinet", "kitchen cabinet"),
    "chair": ("office chair",),
    "door": ("doorframe",),
    "window": ("window frame", "windowsill"),
    "counter": ("kitchen counter",),
    "shelves": ("shelf", "bookshelf", "rack", "shoe rack"),
    "television": ("tv",),
    "lamp": ("ceiling lamp", "table lamp"),
    "bag": ("suitcase", "backpack", "paper bag"),
}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The classes of the semantic benchmark and which of them an annotator's label belongs to."""

    classes: ClassList
    renamed: Mapping[str, str] = field(repr=False)
    """Label → class, '' = none; a label that is not named here is a class of its own name."""

    @classmethod
    def open(cls, folder: Path) -> Benchmark:
        """Read ``top100.txt``, ``top100_instance.txt`` (the things among them) and ``map_benchmark.csv``.

        Raises:
            InputError: a file is missing, empty or without the columns ``class`` and ``semantic_map_to``.
        """
        names, things = _lines(folder / "top100.txt"), set(_lines(folder / "top100_instance.txt"))
        if len(set(names)) < len(names) or not things <= set(names):
            raise InputError(
                folder, "classes listed twice, or things that top100.txt does not list", "the benchmark's class lists",
                "Download metadata/semantic_benchmark again.",
            )  # fmt: skip
        reduced = {name: name for name in REDUCED21.ids}
        reduced |= {name: target for target, members in _REDUCED.items() for name in members}
        classes = ClassList(
            "scannetpp100",
            tuple(Category(index, name, name in things) for index, name in enumerate(names, 1)),
            {REDUCED21.name: {name: reduced.get(name, "other") for name in names}},
        )
        file = folder / "map_benchmark.csv"
        try:
            with file.open(encoding="utf-8", newline="") as opened:
                rows = csv.DictReader(opened)
                if not {"class", "semantic_map_to"} <= set(rows.fieldnames or ()):
                    raise InputError(
                        file, f"the columns {rows.fieldnames}", "class and semantic_map_to", "Download it again."
                    )
                targets = {row["class"]: (row["semantic_map_to"] or "").strip() for row in rows}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                file, f"an unreadable file ({error})", "the map of labels", "Download it again."
            ) from error
        # An empty cell keeps the label's own name, "None" takes it out of the benchmark.
        return cls(classes, {label: "" if to == "None" else to for label, to in targets.items() if to})

    def class_id(self, label: str) -> int:
        """The id of a label's class, 0 where the benchmark has none."""
        return self.classes.ids.get(self.renamed.get(label, label), 0)


def find_benchmark(root: Path) -> Path:
    """``metadata/semantic_benchmark`` in the scene's folder or up to three above it.

    Raises:
        InputError: there is none.
    """
    root = root.resolve()
    for folder in (root, *root.parents[:3]):
        if (folder / BENCHMARK).is_dir():
            return folder / BENCHMARK
    raise InputError(
        root, f"no {BENCHMARK} in it or above it", "ScanNet++'s class lists",
        "Download metadata/, or name the folder by --metadata.",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class AnnotatedMesh:
    """A mesh with the class and the object of every face: ``[F]`` integers, 0 = none; an object is objectId + 1."""

    mesh: TriangleMesh
    face_classes: np.ndarray
    face_objects: np.ndarray
    unlisted: tuple[str, ...]
    """Labels of objects that have no class in the benchmark."""

    @classmethod
    def open(cls, folder: Path, benchmark: Benchmark) -> AnnotatedMesh:
        """Read ``mesh_aligned_0.05.ply``, ``segments.json`` and ``segments_anno.json``.

        A face belongs to the object of most of its vertices. Where a segment belongs to several objects, the smallest
        of them holds it: the pillow on the bed.

        Raises:
            InputError: a file is missing or malformed, or they do not belong together.
        """
        mesh = read_mesh(folder / "mesh_aligned_0.05.ply")
        vertex_objects, label_of = _vertex_objects(folder, len(mesh.vertices))
        a, b, c = vertex_objects[mesh.faces].T
        face_objects = np.where(b == c, b, a)
        class_of = np.zeros(max(label_of, default=0) + 1, dtype=np.int32)
        for number, label in label_of.items():
            class_of[number] = benchmark.class_id(label)
        unlisted = sorted({label for number, label in label_of.items() if not class_of[number]})
        return cls(mesh, class_of[face_objects], face_objects.astype(np.int32), tuple(unlisted))


def _vertex_objects(folder: Path, vertices: int) -> tuple[np.ndarray, dict[int, str]]:
    """The object ``[V]`` of every vertex, 0 = none, and each object's label."""
    file = folder / "segments.json"
    document: Any = read_json(file)
    try:
        segments = np.asarray(document["segIndices"], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(file, f"a missing or malformed field ({error})", "segIndices", _MEND) from error
    if segments.shape != (vertices,):
        raise InputError(
            file, f"segments of {segments.size} vertices", f"{vertices} as mesh_aligned_0.05.ply has", _MEND
        )
    file = folder / "segments_anno.json"
    document = read_json(file)
    try:
        groups = [
            (int(group["objectId"]) + 1, str(group["label"]), np.asarray(group["segments"], dtype=np.int64))
            for group in document["segGroups"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            file, f"a missing or malformed field ({error})", "segGroups with objectId, label and segments", _MEND
        ) from error
    label_of = {number: label for number, label, _ in groups}
    if len(label_of) < len(groups) or min(label_of, default=1) < 1:
        raise InputError(file, "an objectId that is negative or occurs twice", "one of its own for each object", _MEND)
    known, segment_of, sizes = np.unique(segments, return_inverse=True, return_counts=True)
    object_of = np.zeros(len(known), dtype=np.int64)
    found = []
    for number, label, members in groups:
        place = np.searchsorted(known, members).clip(0, len(known) - 1)
        if (known[place] != members).any():
            raise InputError(
                file,
                f"segments of the object '{label}' that segments.json does not have",
                "segments of this mesh",
                _MEND,
            )
        found.append((int(sizes[place].sum()), number, place))
    for _, number, place in sorted(found, key=lambda entry: entry[:2], reverse=True):
        object_of[place] = number
    return object_of[segment_of], label_of


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            path, f"an unreadable file ({error})", "a list of classes", "Download metadata/semantic_benchmark again."
        ) from error
    if not names:
        raise InputError(path, "no lines", "a list of classes", "Download metadata/semantic_benchmark again.")
    return names
