# SPDX-License-Identifier: Apache-2.0
"""Replica as rendered for Semantic-NeRF (Zhi et al., In-Place Scene Labelling, ICCV 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from panoptic_gs.datasets.classes import ClassList
from panoptic_gs.datasets.pose_files import posed_camera
from panoptic_gs.datasets.raw_scene import Dropped, RawFrame
from panoptic_gs.datasets.replica_classes import REPLICA_TO_REDUCED21, replica_classes
from panoptic_gs.datasets.seed_points import Points
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_grey, read_json, read_rgb
from panoptic_gs.records import Name, Range, parse_record

MAX_FRAMES = 100_000
"""Frames of a sequence; Replica's have 900."""
UNDEFINED = "undefined"
_PHOTO = re.compile(r"rgb_(\d{1,9})\.png", re.ASCII)


@dataclass(frozen=True, eq=False)
class ReplicaScene:
    """One sequence of one scene: ``rgb/rgb_i.png``, ``depth/depth_i.png`` in millimetres, ``semantic_class/``,
    ``semantic_instance/``, ``traj_w_c.txt``; and the scene's ``info_semantic.json``.

    The trajectory is camera-to-world in OpenCV axes, 16 numbers a frame. The cameras have a horizontal field of view of
    90°. The renderer puts pixel centres on whole numbers, so that its cx = (W−1)/2 is W/2 where they are at one half.
    """

    root: Path
    semantic_info: Path
    classes: ClassList
    trajectory: Mapping[str, np.ndarray | None] = field(repr=False)
    """Stem → ``[4, 4]`` camera to world; None where the trajectory has no matrix."""
    undefined: int = 0
    """The class of objects that have none; their pixels are stored as 0, like those of no object."""
    undefined_objects: tuple[int, ...] = ()
    """Their ids."""
    first_instance: int = 1
    """0 where the scene has an object of id 0; ids are then shifted by one, since 0 means none."""
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] | None = None
    test_every: int = 4

    @property
    def source(self) -> str:
        """Dataset, scene and sequence."""
        return f"Replica {self.root.resolve().parent.name}/{self.root.resolve().name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Where it is read from."""
        info = str(self.semantic_info.resolve())
        return {"layout": "replica", "raw": str(self.root.resolve()), "semantic_info": info}

    @property
    def stems(self) -> Sequence[str]:
        """The frames' numbers, in order."""
        return list(self.trajectory)

    @classmethod
    def open(cls, root: Path, semantic_info: Path | None = None) -> ReplicaScene:
        """List the frames.

        Args:
            root: the sequence's folder.
            semantic_info: ``info_semantic.json``; by default it is looked for where the downloads have it.

        Raises:
            InputError: no photos, labels, trajectory or ``info_semantic.json``; an unknown class.
        """
        poses = _read_poses(root / "traj_w_c.txt")
        for name in ("rgb", "depth", "semantic_class", "semantic_instance"):
            if not any((root / name).glob(f"{name}_*.png")):
                raise InputError(
                    root / name, f"no {name}_*.png", "rgb/, depth/, semantic_class/ and semantic_instance/",
                    "Download the rest of the sequence; semantic_instance is an archive of its own.",
                )  # fmt: skip
        photos = [int(m[1]) for p in (root / "rgb").iterdir() if (m := _PHOTO.fullmatch(p.name))]
        count = max(len(poses), max(photos, default=0) + 1)
        if count > MAX_FRAMES:
            raise InputError(root, f"frame {count - 1}", f"at most {MAX_FRAMES:,} frames", "Remove what is no frame.")
        digits = max(4, len(str(count)))
        trajectory = {f"{i:0{digits}d}": poses[i] if i < len(poses) else None for i in range(count)}
        file = find_semantic_info(root) if semantic_info is None else Path(semantic_info)
        info = _SemanticInfo.read(file)
        unknown = {number for number, name in info.names.items() if number > 0 and name not in REPLICA_TO_REDUCED21}
        used = _ids_of_pixels(root / "semantic_class", unknown) if unknown else set()
        classes = replica_classes(info.names | {info.undefined: UNDEFINED}, str(file), used)
        first = 0 if any(entry.id == 0 for entry in info.objects) else 1
        nameless = tuple(entry.id for entry in info.objects if entry.class_name == UNDEFINED)
        return cls(root, file, classes, trajectory, info.undefined, nameless, first)

    def read(self, stem: str) -> RawFrame:
        """Read one frame.

        Raises:
            InputError: a file is missing or malformed.
        """
        number = int(stem)
        photo = self.root / "rgb" / f"rgb_{number}.png"
        rgb = read_rgb(photo)
        height, width = rgb.shape[:2]
        K = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
        pose, where = self.trajectory[stem], f"{self.root / 'traj_w_c.txt'}, line {number + 1}"
        if pose is None:
            raise InputError(where, "no pose", "16 numbers", "Download the trajectory again.")
        depth = read_grey(self.root / "depth" / f"depth_{number}.png").astype(np.float32) / 1000
        labels = self.root / "semantic_class" / f"semantic_class_{number}.png"
        classes = read_grey(labels).astype(np.int64)
        file = self.root / "semantic_instance" / f"semantic_instance_{number}.png"
        instances = read_grey(file).astype(np.int64)
        if instances.shape != classes.shape:
            raise InputError(
                file, f"shape {list(instances.shape)}", f"{list(classes.shape)} as the classes", "Download it again."
            )
        classes[(classes == 0) & np.isin(instances, self.undefined_objects)] = self.undefined
        return RawFrame(
            posed_camera(pose, K, width, height, where), rgb, depth, classes, instances + (1 - self.first_instance),
            encoded=photo.read_bytes(), labels=str(labels),
        )  # fmt: skip

    def seed_points(self, count: int) -> Points | None:
        """None: they come from the depth."""
        return None


def find_semantic_info(root: Path) -> Path:
    """``info_semantic.json`` of a sequence: in its folder, the scene's, or ``semantic_info/SCENE`` beside the scene.

    Raises:
        InputError: it is in none of them.
    """
    scene = root.resolve().parent
    for folder in (root, scene, scene / "habitat", scene.parent / "semantic_info" / scene.name):
        if (folder / "info_semantic.json").is_file():
            return folder / "info_semantic.json"
    raise InputError(
        root, f"no info_semantic.json in it, in {scene.name}/ or in semantic_info/{scene.name}/",
        "the names of the classes", "Download semantic_info of the dataset, or give the file with --semantic-info.",
    )  # fmt: skip


def _read_poses(file: Path) -> list[np.ndarray | None]:
    """A pose a line; None where it is not 16 numbers."""
    expected, mend = "16 numbers a line", "Give the folder of a sequence, as in room_0/Sequence_1."
    try:
        lines = file.read_text().rstrip().splitlines()
    except FileNotFoundError as error:
        raise InputError(file, "no such file", expected, mend) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"an unreadable file ({error})", expected, mend) from error
    poses: list[np.ndarray | None] = []
    for line in lines:
        try:
            poses.append(np.array([float(value) for value in line.split()]).reshape(4, 4))
        except ValueError:
            poses.append(None)
    if all(pose is None for pose in poses):
        raise InputError(file, f"no pose in {len(poses)} lines", expected, mend)
    return poses


@dataclass(frozen=True)
class _Class:
    id: Annotated[int, Range(-(2**31), 65535)]
    name: Name


@dataclass(frozen=True)
class _Object:
    id: Annotated[int, Range(-(2**31), 2**31 - 1)]
    class_name: Name | None = None


@dataclass(frozen=True)
class _SemanticInfo:
    classes: tuple[_Class, ...]
    objects: tuple[_Object, ...] = ()

    @classmethod
    def read(cls, file: Path) -> _SemanticInfo:
        document = read_json(file)
        try:
            return parse_record(document, cls, file, mend="Download it again.")
        except InputError as error:
            found = f"a missing or malformed field ({error.found})"
            raise InputError(file, found, error.expected, error.mend) from error

    @property
    def names(self) -> dict[int, str]:
        return {entry.id: entry.name for entry in self.classes}

    @property
    def undefined(self) -> int:
        """The id of the class "undefined", one of its own where the file gives it none above 0."""
        own = [number for number, name in self.names.items() if number > 0 and name == UNDEFINED]
        return own[0] if own else max(0, *self.names, 0) + 1


def _ids_of_pixels(folder: Path, wanted: set[int]) -> set[int]:
    """Which of some class ids any pixel of the label images has; images that cannot be read have none."""
    found: set[int] = set()
    for path in sorted(folder.glob("semantic_class_*.png")):
        try:
            found |= wanted & set(np.unique(read_grey(path)).tolist())
        except InputError:  # its frame will be dropped
            continue
        if found == wanted:
            break
    return found
