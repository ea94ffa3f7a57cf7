# SPDX-License-Identifier: Apache-2.0
"""From a raw dataset's scene to a scene folder: frames in parallel, resumable, in place only when complete."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_gs.datasets.classes import ClassList, class_list
from panoptic_gs.datasets.prepared_frame import RECORDS, PreparedFrame, reduce_classes
from panoptic_gs.datasets.raw_scene import Dropped, RawScene
from panoptic_gs.datasets.seed_points import Points, thin_evenly
from panoptic_gs.datasets.segment_ids import SegmentIds
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json, write_json
from panoptic_gs.panoptic import PanopticScene, Segment
from panoptic_gs.ply import write_points
from panoptic_gs.progress import Progress, silent
from panoptic_gs.replacing import move_folder_into_place, require_replaceable
from panoptic_gs.scene.transforms import PosedPhoto, write_transforms

FORMAT = 3
"""Raised when what is kept of a frame changes, so that older unfinished work is not resumed."""

"""Is told a stage ("frames", "truth"), how many steps of it are done, and of how many."""


@dataclass(frozen=True)
class PrepareOptions:
    """What to make of a raw scene."""

    classes: str = "reduced21"
    """Class list of the truth: a built-in one or ``own``."""
    test_every: int | None = None
    """Every how many frames one is a test view; None as the dataset's protocol says."""
    stride: int = 1
    """Take every stride-th frame."""
    max_frames: int | None = None
    """Take at most this many frames, evenly spread."""
    seed_points: int = 100_000
    """Most seed points."""
    jobs: int = 1
    """Processes."""
    overwrite: bool = False
    """Replace an earlier output."""


@dataclass(frozen=True)
class Preparation:
    """What was made, and what was not."""

    scene: Path
    frames: int
    resumed: int
    """How many of the frames an interrupted run had done."""
    splits: Mapping[str, Sequence[str]]
    classes: ClassList
    segments: tuple[Segment, ...]
    points: int
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


def prepare_scene(
    raw: RawScene,
    out: Path,
    options: PrepareOptions | None = None,
    progress: Progress = silent,
) -> Preparation:
    """Write the scene folder of a raw scene.

    Frames are kept in a hidden folder beside ``out`` until all are done; a run that was interrupted goes on from there
    if nothing but ``jobs`` changed. Test views are chosen before unusable frames are dropped, so that one missing frame
    does not shift the others between the splits.

    Args:
        raw: the reader.
        out: the scene folder to make.
        options: what to make.
        progress: called while it works.

    Raises:
        InputError: the output cannot be written, the options make no sense, or no frame is usable.
    """
    options = options or PrepareOptions()
    _require_sensible(options)
    out = Path(out).absolute()
    require_replaceable(out, overwrite=options.overwrite, known_by="transforms.json")
    target = class_list(options.classes, own=raw.classes)
    raw.classes.to(target)
    chosen, splits = choose_views(raw, options)
    settings = {
        "format": FORMAT, "source": raw.source, "classes": target.name, "frames": chosen, "splits": splits,
        "seed_points": options.seed_points, **raw.settings,
    }  # fmt: skip
    work = out.with_name(f".{out.name}.preparing")
    with _work_folder(work, settings):
        frames, failed, resumed = _prepare_frames(raw, work, chosen, splits, target, options, progress)
        frames, odd = _of_one_size(frames)
        for frame in odd:
            frame.discard(work)
        dropped = (*raw.dropped, *failed, *(Dropped(frame.stem, reason) for frame, reason in odd.items()))
        if not frames:
            shutil.rmtree(work)
            reason = f"; the first, '{dropped[0].stem}': {dropped[0].reason}" if dropped else ""
            raise InputError(
                raw.source,
                f"no usable frame among {len(chosen) + len(raw.dropped)}{reason}",
                "at least one frame with photo and pose",
                "Download the scene again.",
            )
        stems = {frame.stem for frame in frames}
        splits = {name: [stem for stem in members if stem in stems] for name, members in splits.items()}
        points = _seed_points(raw, frames, options.seed_points)
        truth = _write_truth(work, raw, frames, target, progress)
        notes = (*raw.notes, *_count_notes(frames))
        if not splits["test"]:
            notes = (*notes, "no view is held out: nothing can be scored")
        if points is None:
            notes = (*notes, "no seed points: the scene has neither depth nor a mesh")
        else:
            write_points(work / "points3D.ply", points)
        write_json(work / "splits.json", splits)
        write_json(work / "preparation.json", {
            "source": raw.source, "options": {
                "classes": target.name, "test_every": options.test_every, "stride": options.stride,
                "max_frames": options.max_frames, "seed_points": options.seed_points,
            },
            "raw": dict(raw.settings), "dropped": {entry.stem: entry.reason for entry in dropped}, "notes": notes,
            "instances": truth.instances if truth else {},
        })  # fmt: skip
        write_transforms(
            work / "transforms.json",
            [PosedPhoto(f"images/{frame.image}", frame.camera) for frame in frames],
            points="points3D.ply" if points is not None else None,
            meters_per_unit=1.0,  # as RawScene has it
        )
        _move_into_place(work, out)
    return Preparation(
        out, len(frames), resumed, splits, target, truth.segments if truth else (),
        0 if points is None else len(points[0]), dropped, notes,
    )  # fmt: skip


def choose_frames(stems: Sequence[str], stride: int = 1, max_frames: int | None = None) -> list[str]:
    """Every stride-th of the names, then at most ``max_frames`` of them, evenly spread and with the first."""
    chosen = list(stems)[::stride]
    if max_frames is not None and len(chosen) > max_frames:
        chosen = [chosen[index * len(chosen) // max_frames] for index in range(max_frames)]
    return chosen


def choose_views(raw: RawScene, options: PrepareOptions) -> tuple[list[str], dict[str, list[str]]]:
    """The frames to take, and ``train`` and ``test`` among them.

    The split is the dataset's own, unless ``test_every`` is given or it has none. Where there are fewer frames to be,
    an own split keeps its proportions: training and test views are thinned each by themselves.
    """
    if raw.splits is None or options.test_every is not None:
        chosen = choose_frames(raw.stems, options.stride, options.max_frames)
        test = chosen[:: options.test_every or raw.test_every]
        held_out = set(test)
        return chosen, {"train": [stem for stem in chosen if stem not in held_out], "test": test}
    known = set(raw.stems)
    parts = {name: [stem for stem in members if stem in known] for name, members in raw.splits.items()}
    listed = {stem for members in parts.values() for stem in members}
    parts["unlisted"] = [stem for stem in raw.stems if stem not in listed]
    wanted = len(choose_frames(raw.stems, options.stride, options.max_frames))
    passed = taken = 0
    for name in sorted(parts, key=lambda name: len(parts[name])):  # rounded in favour of the smaller parts
        passed += len(parts[name])
        share = -(-wanted * passed // len(known)) - taken
        parts[name] = choose_frames(parts[name], max_frames=share) if share else []
        taken += share
    kept = {stem for members in parts.values() for stem in members}
    return [stem for stem in raw.stems if stem in kept], {name: parts[name] for name in raw.splits}


def _of_one_size(frames: Sequence[PreparedFrame]) -> tuple[list[PreparedFrame], dict[PreparedFrame, str]]:
    """The frames whose photo and labels are of the sizes that most have, and why not the others.

    Cameras and label maps of a scene are for one size; a single other one comes of a broken or foreign file.
    """
    odd: dict[PreparedFrame, str] = {}
    for kind, name in enumerate(("a photo", "labels")):
        sizes = {frame: frame.sizes[kind] for frame in frames if frame.sizes[kind] is not None}
        ((usual, _),) = Counter(sizes.values()).most_common(1) or [(None, 0)]
        for frame, size in sizes.items():
            if size != usual:
                odd.setdefault(frame, f"{name} of {size} pixels, where most frames have {usual}")
    return [frame for frame in frames if frame not in odd], odd


def _require_sensible(options: PrepareOptions) -> None:
    for name in ("stride", "jobs", "max_frames", "seed_points"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}", str(value), "1 or more", "Choose a larger number.")
    if options.test_every is not None and options.test_every < 2:
        raise InputError("--test-every", str(options.test_every), "2 or more", "Choose a larger number.")


@contextmanager
def _work_folder(work: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Make the hidden folder, or go on in one of the same settings; one process at a time."""
    import fcntl

    file = work / RECORDS / "settings.json"
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        lock = work.with_suffix(".lock").open("w")
    except OSError as error:
        raise InputError(
            work.parent, f"cannot be written ({error.strerror or error})", "a writable folder", "Choose another --out."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                work,
                "another run that prepares this scene",
                "one run at a time",
                "Wait for it, or choose another --out.",
            ) from error
        try:
            wanted = json.loads(json.dumps(settings))
            if not file.is_file() or read_json(file) != wanted:
                shutil.rmtree(work, ignore_errors=True)
                write_json(file, wanted)
            yield
        finally:
            work.with_suffix(".lock").unlink(missing_ok=True)


def _move_into_place(work: Path, out: Path) -> None:
    shutil.rmtree(work / RECORDS)
    for part in work.rglob(".*.part"):  # of a run that was killed while it wrote
        part.unlink()
    move_folder_into_place(work, out)


@dataclass(frozen=True)
class _FrameTask:
    """What a worker process needs to know beyond a frame's name."""

    raw: RawScene
    work: Path
    target: ClassList
    candidates: Mapping[str, int]
    """Frame → number of candidates for seed points."""

    def run(self, stem: str) -> str | None:
        """Prepare a frame; the reason where it cannot be used. That it cannot be written is no such reason."""
        try:
            frame = self.raw.read(stem)
            classes = None
            if frame.classes is not None:
                classes = reduce_classes(frame.classes, self.raw.classes, self.target, frame.labels)
        except InputError as error:
            return str(error)
        PreparedFrame.write(self.work, stem, frame, classes, self.candidates.get(stem, 0))
        return None


_worker_task: _FrameTask | None = None


def _start_worker(task: _FrameTask) -> None:
    import torch

    global _worker_task
    _worker_task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that was killed leaves workers that would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(stem: str) -> str | None:
    assert _worker_task is not None
    return _worker_task.run(stem)


def _prepare_frames(
    raw: RawScene,
    work: Path,
    chosen: Sequence[str],
    splits: Mapping[str, Sequence[str]],
    target: ClassList,
    options: PrepareOptions,
    progress: Progress,
) -> tuple[list[PreparedFrame], list[Dropped], int]:
    """The frames that are done, those that failed, and how many an earlier run had done."""
    # Only training views give seed points: a test view's depth is not to be known.
    train = splits["train"]
    share = max(1000, 4 * options.seed_points // max(1, len(train)))
    task = _FrameTask(raw, work, target, dict.fromkeys(train, share))
    todo = [stem for stem in chosen if PreparedFrame.find(work, stem) is None]
    resumed = len(chosen) - len(todo)
    reasons: dict[str, str] = {}
    progress("frames", resumed, len(chosen))
    for done, (stem, reason) in enumerate(_run(task, todo, options.jobs), resumed + 1):
        if reason is not None:
            reasons[stem] = reason
        progress("frames", done, len(chosen))
    frames = [frame for stem in chosen if (frame := PreparedFrame.find(work, stem)) is not None]
    return frames, [Dropped(stem, reasons[stem]) for stem in chosen if stem in reasons], resumed


def _run(task: _FrameTask, stems: Sequence[str], jobs: int) -> Iterator[tuple[str, str | None]]:
    if jobs == 1 or len(stems) < 2:
        for stem in stems:
            yield stem, task.run(stem)
        return
    # A forked process would inherit the state of torch's and HDF5's threads.
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(stems))
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(task,)) as pool:
        futures = {pool.submit(_run_in_worker, stem): stem for stem in stems}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "--jobs", f"a process of {workers} that was killed", "enough memory for all of them",
                "Run the same command again with fewer --jobs; it goes on where it stopped.",
            ) from error  # fmt: skip
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _seed_points(raw: RawScene, frames: Sequence[PreparedFrame], count: int) -> Points | None:
    points = raw.seed_points(count)
    if points is None:
        candidates = [frame.candidates() for frame in frames]
        xyz, rgb = (np.concatenate([candidate[part] for candidate in candidates]) for part in (0, 1))
        points = thin_evenly(xyz, rgb, count, np.random.default_rng(0))
    return points if len(points[0]) else None


def _write_truth(
    work: Path, raw: RawScene, frames: Sequence[PreparedFrame], target: ClassList, progress: Progress
) -> SegmentIds | None:
    labelled = {frame.stem: frame for frame in frames if frame.pairs is not None}
    if not labelled:
        return None
    majority = all(frame.majority for frame in labelled.values())
    numbering = SegmentIds.number((frame.labels()[0] for frame in labelled.values()), target.categories, majority)
    maps = _TruthMaps(labelled, numbering, progress)
    folder = work / "panoptic_gt"
    shutil.rmtree(folder, ignore_errors=True)
    source = f"ground truth of {raw.source}, classes {target.name}"
    PanopticScene(target.categories, numbering.segments, maps, source=source).save(folder)
    return numbering


class _TruthMaps(Mapping[str, np.ndarray]):
    """Label maps made of the frames' records, one at a time."""

    def __init__(self, frames: Mapping[str, PreparedFrame], numbering: SegmentIds, progress: Progress) -> None:
        self._frames, self._numbering, self._progress, self._done = frames, numbering, progress, 0

    def __getitem__(self, stem: str) -> np.ndarray:
        ids = self._numbering.map(*self._frames[stem].labels())
        self._done += 1
        self._progress("truth", self._done, len(self))
        return ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def _count_notes(frames: Sequence[PreparedFrame]) -> list[str]:
    counts = Counter(note for frame in frames for note in frame.notes)
    number = {len(frames): "all frames", 1: "1 frame"}
    return [f"{number.get(count, f'{count} frames')}: {note}" for note, count in counts.items()]
