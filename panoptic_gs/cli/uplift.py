# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs uplift``: label the Gaussians of any 3DGS PLY from the panoptic maps of a scene folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.progress import track
from tyro.conf import Positional

from panoptic_gs import memory
from panoptic_gs.cli.output import next_command
from panoptic_gs.cli.placed_splats import PlacedSplats
from panoptic_gs.errors import InputError
from panoptic_gs.processes import Processes, joined_processes
from panoptic_gs.replacing import require_replaceable

if TYPE_CHECKING:
    from panoptic_gs.camera import Camera
    from panoptic_gs.scene import Frame
    from panoptic_gs.scene.confidence import ConfidenceMaps


_EACH = 220
"""Bytes that labelling takes for a Gaussian, beside the Gaussian itself (docs/scaling.md)."""


@dataclass(frozen=True)
class Uplift(PlacedSplats):
    """Label trained 3D Gaussians (PLY, SPZ, SOG, .splat, glTF, USD) from a scene folder's panoptic maps.

    Each Gaussian gets the average of the labels of the pixels it is blended into, weighted by how much it contributes
    to them (LUDVIG, Eq. 7). The PLY has to be in the scene folder's world frame, or nerfstudio's
    dataparser_transforms.json has to lie beside it or be given with --frame; a few renders are held against the photos.
    """

    splats: Positional[Path]
    """3D Gaussians: PLY as trainers and SuperSplat write it, SPZ, SOG, .splat, glTF, USD."""
    scene: Positional[Path]
    """Scene folder with camera poses and panoptic maps."""
    out: Path
    """New folder for splats.ply (with segment_id, category_id, confidence), labels.safetensors and segments.json."""
    panoptic: str = "panoptic"
    """Subfolder of the scene with the panoptic maps."""
    split: str = "train"
    """Images to take labels from: a split of splits.json, or 'all'. Without splits.json: all."""
    labels: Literal["weighed", "sharpened", "refined", "average", "literal"] = "weighed"
    """How votes become labels. weighed: each view is one witness, whose say grows slower
    than its pixels. average: all pixels count the same, void ones take no part. sharpened: as average, with the shares
    of each Gaussian's labels squared. refined: each map is held against all others first. literal: as average, but
    void is a label of its own, as in the paper."""
    unite: bool = True
    """With weighed: things of one class that touch, and that enough views show as one, get one label."""
    weight_by_confidence: bool = False
    """Let each pixel vote with the confidence of its label, from the maps in PANOPTIC/confidence."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the PLY says, else classic."""
    strict: bool = False
    """Refuse a PLY with Gaussians that cannot be drawn (zeros, NaN) in place of leaving them out."""
    overwrite: bool = False
    """Replace the output folder if it has content."""

    def run(self) -> None:
        with joined_processes() as processes:
            self._run(processes)

    def _run(self, processes: Processes) -> None:
        from panoptic_gs.objects.opening import telling_name
        from panoptic_gs.refine import Doubt, label_gaussians
        from panoptic_gs.refine.uniting import sentences
        from panoptic_gs.scene import Scene
        from panoptic_gs.splats import read_splats
        from panoptic_gs.uplift import save_labelled_scene
        from panoptic_gs.uplift.maps import Repeated

        console = self.console()
        require_replaceable(self.out, overwrite=self.overwrite, known_by="segments.json")
        scene = Scene.load(self.scene)
        labelling = scene.load_panoptic(self.panoptic)
        read = read_splats(self.splats, strict=self.strict)
        memory.require(self.splats, f"votes and labels of {len(read.splats):,} Gaussians", _EACH * len(read.splats))
        mode = self.rasterize_mode or read.rasterize_mode or "classic"
        splats, said = self.place(
            read.splats, scene, self.splats, console, mode=mode, has_colors=read.has_colors, notes=read.notes
        )
        del read
        frames = [f for f in scene.split(self.split if scene.splits else "all") if f.stem in labelling.maps]
        if not frames:
            raise InputError(
                self.scene / self.panoptic,
                f"no map for any image of split '{self.split}'",
                "at least one labelled image",
                "Choose another --split or another --panoptic folder.",
            )
        frames = processes.share(frames)

        def views() -> Iterator[tuple[Camera, np.ndarray]]:
            for frame in track(frames, description="Uplifting", console=console):
                yield frame.camera, frame.fit_labels(labelling.maps[frame.stem])

        def factors() -> Iterator[np.ndarray]:
            return (_weights(frame, confidences) for frame in frames)

        confidences = scene.load_confidence(self.panoptic) if self.weight_by_confidence else None
        weights = None
        if confidences is not None or any(frame.mask_path or frame.has_alpha for frame in frames):
            weights = Repeated(factors)
        parts: list[Doubt] = []
        labels = label_gaussians(
            self.labels, splats, Repeated(views), weights, labelling.labelling, processes, self.unite, parts.extend,
            rasterize_mode=mode,
        )  # fmt: skip
        if not processes.leads:
            return
        segment_ids, confidence = labels.best()
        if not (segment_ids > 0).any():
            raise InputError(
                self.splats,
                "no Gaussian that the scene's cameras see under a label",
                "splats in the scene folder's world frame",
                "Export the splats in the frame of transforms.json, or give the scene they were trained on.",
            )
        meaning = labelling.labelling.with_scene(telling_name(scene.root))
        save_labelled_scene(self.out, splats, labels, meaning, overwrite=self.overwrite, rasterize_mode=mode)
        labelled = segment_ids > 0
        console.print(
            f"{int(labelled.sum()):,} of {len(splats):,} Gaussians carry one of {len(labelling.segments)} segments "
            f"(mean confidence {float(confidence[labelled].mean()):.3f})."
        )
        for sentence in sentences(parts, labelling.labelling):
            console.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
        written = [self.out / name for name in ("splats.ply", "labels.safetensors", "segments.json")]
        console.print(f"Written: {written[0]}, labels.safetensors, segments.json", markup=False)
        next_command(console, "view", self.out, "--data", self.scene)
        self.finish(written, gaussians=len(splats), labelled=int(labelled.sum()), segments=len(labelling.segments),
                    united=[list(pair.segments) for pair in parts], **said)  # fmt: skip


def _weights(frame: Frame, confidences: ConfidenceMaps | None) -> np.ndarray:
    """What each pixel's vote counts, ``[H, W]`` float32: its confidence, nothing under the photo's mask."""
    weights = np.ones((frame.camera.height, frame.camera.width), np.float32)
    if confidences is not None:
        weights = frame.fit_labels(confidences.read(frame.stem))
    counting = frame.counting()
    return weights if counting is None else weights * counting
