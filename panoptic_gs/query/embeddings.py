# SPDX-License-Identifier: Apache-2.0
"""One vector an object, kept in the scene's folder under the name of the model that made it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from panoptic_gs.errors import InputError
from panoptic_gs.query.crops import Sighting
from panoptic_gs.query.encoders import Encoder, unit
from panoptic_gs.records import parse_record
from panoptic_gs.replacing import replacing
from panoptic_gs.uplift import LabelledScene

FOLDER = "embeddings"


@dataclass(frozen=True, eq=False)
class ObjectEmbeddings:
    """Vectors of objects.

    Args:
        model: what made them.
        scene: :func:`scene_key` of the labels that objects were of.
        ids: ``[K]`` segments.
        vectors: ``[K, D]`` of length one.
        sightings: the views that they are of, by segment.
    """

    model: str
    scene: str
    ids: np.ndarray
    vectors: np.ndarray
    sightings: Mapping[int, Sequence[Sighting]]

    def save(self, folder: Path) -> Path:
        """Write it into the scene's folder."""
        path = folder / FOLDER / f"{file_stem(self.model)}.safetensors"
        said = {str(k): [[s.view, list(s.box), s.score] for s in some] for k, some in self.sightings.items()}
        metadata = {"model": self.model, "scene": self.scene, "sightings": json.dumps(said)}
        with replacing(path) as temporary:
            tensors = {"ids": self.ids.astype(np.int64), "vectors": self.vectors.astype(np.float32)}
            save_file(tensors, str(temporary), metadata)
        return path


@dataclass(frozen=True)
class _Kept:
    sightings: dict[str, tuple[tuple[str, tuple[float, float, float, float], float], ...]]


def load_embeddings(folder: Path, model: str, scene: str) -> ObjectEmbeddings | None:
    """Those of a model and of these labels, or None where there are none or others.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FOLDER / f"{file_stem(model)}.safetensors"
    return _read(path, scene) if path.is_file() else None


def kept_models(folder: Path) -> list[str]:
    """The models whose vectors are in a scene's folder, the newest first."""
    files = sorted((folder / FOLDER).glob("*.safetensors"), key=lambda file: -file.stat().st_mtime)
    return [_opened(file)[1].get("model", "") for file in files]


def _read(path: Path, scene: str) -> ObjectEmbeddings | None:
    tensors, said = _opened(path)
    if said.get("scene") != scene:
        return None
    ids, vectors = tensors.get("ids"), tensors.get("vectors")
    try:
        document = {"sightings": json.loads(said.get("sightings", ""))}
    except ValueError as error:
        raise _damaged(path, "sightings that are no JSON") from error
    kept = parse_record(document, _Kept, path)
    if ids is None or vectors is None or vectors.ndim != 2 or ids.shape != vectors.shape[:1] or ids.dtype != np.int64:
        raise _damaged(path, "no ids [K] and vectors [K, D]")
    if not np.isfinite(vectors).all():
        raise _damaged(path, "NaN or infinity")
    sightings = {int(k): [Sighting(*s) for s in some] for k, some in kept.sightings.items()}
    return ObjectEmbeddings(said.get("model", ""), scene, ids, vectors.astype(np.float32), sightings)


def _opened(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(str(path), "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, f"a file that cannot be read ({error})") from error


def _damaged(path: Path, found: str) -> InputError:
    return InputError(path, found, "vectors of objects", "Delete it; the next query makes it again.")


def embed_objects(
    encoder: Encoder, crops: Mapping[int, Sequence[np.ndarray]], sightings: Mapping[int, Sequence[Sighting]], scene: str
) -> ObjectEmbeddings:
    """The mean of the vectors of each object's crops, weighted by how well they show it."""
    ids = [segment for segment, some in crops.items() if len(some)]
    if not ids:
        raise InputError("scene", "no object that a view shows", "objects in views", "Pass the scene's photos.")
    vectors = encoder.pictures([picture for segment in ids for picture in crops[segment]])
    rows, start = [], 0
    for segment in ids:
        count = len(crops[segment])
        weights = np.array([s.score for s in sightings[segment][:count]])
        rows.append(weights @ vectors[start : start + count])
        start += count
    return ObjectEmbeddings(encoder.name, scene, np.array(ids, dtype=np.int64), unit(np.stack(rows)), sightings)


def scene_key(scene: LabelledScene) -> str:
    """What changes when labels or Gaussians do; names may change."""
    digest = hashlib.sha256()
    for tensor in (scene.splats.means, scene.labels.indptr, scene.labels.label, scene.labels.weight):
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()


def file_stem(model: str) -> str:
    """A name for a model's file: readable, and of one model alone."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.")[-60:]
    return f"{words}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
