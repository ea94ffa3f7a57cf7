# SPDX-License-Identifier: Apache-2.0
"""ScanNet++'s annotated mesh: vertices in segments, segments in objects, labels in the benchmark's classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from panoptic_gs.datasets.classes import REDUCED21, ClassList
from panoptic_gs.datasets.mesh import TriangleMesh, read_mesh
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.records import Array, Range, read_record

BENCHMARK = Path("metadata") / "semantic_benchmark"
MOST_CLAIMS = 3
"""How many objects may claim a segment; the benchmark keeps as many labels a vertex."""
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

        A face belongs to the object of most of its vertices. Where a segment belongs to several objects of the
        benchmark, the smallest of them holds it: the pillow on the bed (:func:`claim_segments`).

        Raises:
            InputError: a file is missing or malformed, or they do not belong together.
        """
        mesh = read_mesh(folder / "mesh_aligned_0.05.ply")
        groups = _read_groups(folder / "segments_anno.json")
        class_of = {0: 0} | {group.number: benchmark.class_id(group.label) for group in groups}
        listed = [group for group in groups if class_of[group.number]]
        vertex_objects = _vertex_objects(folder, len(mesh.vertices), groups, listed)
        a, b, c = vertex_objects[mesh.faces].T
        face_objects = np.where(b == c, b, a)
        numbers, index = np.unique(face_objects, return_inverse=True)
        face_classes = np.array([class_of[int(number)] for number in numbers], dtype=np.int32)[index]
        unlisted = sorted({group.label for group in groups if not class_of[group.number]})
        return cls(mesh, face_classes, face_objects.astype(np.int32), tuple(unlisted))


@dataclass(frozen=True)
class _Segments:
    segIndices: Annotated[np.ndarray, Array(None, dtype=np.int64)]


@dataclass(frozen=True)
class _Group:
    """An annotated object."""

    objectId: Annotated[int, Range(high=2**31 - 2)]
    label: str
    segments: Annotated[np.ndarray, Array(None, dtype=np.int64)]

    @property
    def number(self) -> int:
        return self.objectId + 1


@dataclass(frozen=True)
class _Annotation:
    segGroups: tuple[_Group, ...]


def _read_groups(file: Path) -> tuple[_Group, ...]:
    groups = read_record(file, _Annotation, mend=_MEND).segGroups
    if len({group.number for group in groups}) < len(groups) or any(group.objectId < 0 for group in groups):
        raise InputError(file, "an objectId that is negative or occurs twice", "one of its own for each object", _MEND)
    return groups


def _vertex_objects(folder: Path, vertices: int, groups: Sequence[_Group], listed: Sequence[_Group]) -> np.ndarray:
    """The listed object ``[V]`` of every vertex, 0 = none."""
    file = folder / "segments.json"
    segments = read_record(file, _Segments, mend=_MEND).segIndices
    if segments.shape != (vertices,):
        raise InputError(
            file, f"segments of {segments.size} vertices", f"{vertices} as mesh_aligned_0.05.ply has", _MEND
        )
    known, segment_of, sizes = np.unique(segments, return_inverse=True, return_counts=True)
    for group in groups:
        if not np.isin(group.segments, known).all():
            raise InputError(
                folder / "segments_anno.json",
                f"segments of the object '{group.label}' that segments.json does not have",
                "segments of this mesh",
                _MEND,
            )
    members = [np.searchsorted(known, np.unique(group.segments)) for group in listed]
    holder = claim_segments(members, sizes)
    return np.array([0, *(group.number for group in listed)], dtype=np.int64)[holder + 1][segment_of]


def claim_segments(members: Sequence[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """Which object holds each segment, by the rules of the benchmark.

    Objects claim their segments in the file's order; a segment is claimed at most :data:`MOST_CLAIMS` times, and later
    objects do not count there. Of its claimants the smallest holds it, the first where two are equal. An object's size
    is the number of vertices of the segments that it could claim.

    Args:
        members: the segments of each object that has a class of the benchmark, without repetition.
        sizes: ``[S]`` vertices of each segment.

    Returns:
        ``[S]`` index of the object, −1 where none claims the segment.

    Source: the preparation of training data of the ScanNet++ toolbox (github.com/scannetpp/scannetpp).
    """
    claims = np.zeros(len(sizes), dtype=np.int64)
    holder = np.full(len(sizes), -1, dtype=np.int64)
    least = np.full(len(sizes), np.iinfo(np.int64).max)
    for number, segments in enumerate(members):
        free = segments[claims[segments] < MOST_CLAIMS]
        size = int(sizes[free].sum())
        smaller = free[size < least[free]]
        holder[smaller], least[smaller] = number, size
        claims[free] += 1
    return holder


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
