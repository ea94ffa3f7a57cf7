# SPDX-License-Identifier: Apache-2.0
"""Where a run's panoptic maps come from: a network's raw masks, finished maps, or simulated ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.merge import merge_predictions
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.raw_predictions import DESCRIPTION, RawPredictions
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import LEVELS, PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.queries import QueryNoise, simulate_queries

Kind = Literal["raw", "maps", "simulated", "simulated-queries"]


@dataclass(frozen=True)
class PredictionSource:
    """Predictions of one scene.

    ``simulated`` and ``simulated-queries`` are degraded truth: label maps, or raw query masks that have yet to be
    merged.
    """

    kind: Kind
    folder: Path | None = None
    """Of raw predictions or of COCO panoptic maps."""
    level: str = "default"
    """How wrong simulated predictions are, one of :data:`panoptic_gs.synthetic.noise.LEVELS`."""

    @classmethod
    def parse(cls, spec: str, scene: Path) -> PredictionSource:
        """What a command line's ``--predictions`` means for a scene folder.

        Args:
            spec: ``scene`` (the scene folder's own), ``simulated[:LEVEL]``, ``simulated-queries[:LEVEL]``, or a folder
                with one subfolder a scene, named as it. Raw predictions are looked for first, in the subfolder and
                its predictions/ (as 'panoptic-gs predict' writes them); then COCO panoptic maps, in the subfolder
                and its panoptic/.
            scene: the scene folder.

        Raises:
            InputError: nothing of this is there.
        """
        kind, _, level = spec.partition(":")
        if kind in ("simulated", "simulated-queries"):
            if (level or "default") not in LEVELS:
                raise InputError("--predictions", f"'{spec}'", f"a level of {', '.join(LEVELS)}", "Choose one of them.")
            return cls(cast("Kind", kind), level=level or "default")
        root = scene if spec == "scene" else Path(spec) / scene.name
        for folder in (root, root / "predictions"):
            if (folder / DESCRIPTION).is_file():
                return cls("raw", folder)
        for folder in (root, root / "panoptic"):
            if (folder / "panoptic.json").is_file():
                return cls("maps", folder)
        raise InputError(
            root,
            "neither raw predictions nor panoptic maps",
            f"{DESCRIPTION} (in it or predictions/) or panoptic.json (in it or panoptic/)",
            "Run 'panoptic-gs predict', check --predictions, or try the harness with --predictions simulated.",
        )

    @property
    def is_raw(self) -> bool:
        """Whether it has to be merged."""
        return self.kind in ("raw", "simulated-queries")

    def stamp(self) -> dict[str, Any]:
        """What identifies the predictions: a run is repeated when it changes."""
        stamp: dict[str, Any] = {"kind": self.kind}
        if self.folder is None:
            return stamp | {"level": self.level}
        file = self.folder / (DESCRIPTION if self.kind == "raw" else "panoptic.json")
        return stamp | {"folder": str(self.folder), "modified": file.stat().st_mtime_ns}

    def write(self, folder: Path, scene: Scene, stems: list[str], merge: str, seed: int) -> None:
        """Write the panoptic maps of some views as a COCO panoptic folder; raw masks are merged over these views alone.

        Raises:
            InputError: no prediction of any of these views, or whatever is wrong with the files.
        """
        if self.kind == "maps":
            assert self.folder is not None
            maps = PanopticScene.load(self.folder)
            chosen = {stem: maps.maps[stem] for stem in stems if stem in maps.maps}
            if not chosen:
                raise InputError(self.folder, "no map of a training view", "maps named as the images", "Check --root.")
            PanopticScene(maps.categories, maps.segments, chosen, maps.source).save(folder, overwrite=True)
        elif self.kind == "simulated":
            noise = PredictionNoise.preset(self.level)
            simulate_predictions(_truth_of(scene, stems), noise, seed).save(folder, overwrite=True)
        else:
            if self.kind == "raw":
                assert self.folder is not None
                raw = views_of(RawPredictions.load(self.folder), stems)
            else:
                cameras = {frame.stem: frame.camera for frame in scene.frames}
                raw = simulate_queries(_truth_of(scene, stems), cameras, QueryNoise.preset(self.level), seed)
            merge_predictions(raw, merge).save(folder, overwrite=True)


def views_of(raw: RawPredictions, stems: list[str]) -> RawPredictions:
    """The predictions of some images only.

    Raises:
        InputError: none of them was predicted.
    """
    chosen = [index for index, image in enumerate(raw.images) if image.stem in set(stems)]
    if not chosen:
        raise InputError(raw.source, "no prediction of a training view", "images of the scene", "Check --predictions.")
    return raw.subset(chosen)


def _truth_of(scene: Scene, stems: list[str]) -> PanopticScene:
    truth = scene.load_panoptic("panoptic_gt")
    maps = {stem: np.asarray(truth.maps[stem]) for stem in stems if stem in truth.maps}
    if not maps:
        raise InputError(scene.root / "panoptic_gt", "no map of a training view", "true maps to degrade",
                         "Give real predictions, or a scene with truth.")  # fmt: skip
    return PanopticScene(truth.categories, truth.segments, maps, truth.source)
