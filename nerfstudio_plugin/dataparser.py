# SPDX-License-Identifier: Apache-2.0
"""The dataparser ``panoptic-scene``: posed photos, seed points, splits and the panoptic maps beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.data.utils.dataparsers_utils import (
    get_train_eval_split_all,
    get_train_eval_split_filename,
    get_train_eval_split_fraction,
    get_train_eval_split_interval,
)
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape

from nerfstudio_plugin.association import masks_of_images
from nerfstudio_plugin.depth import DepthSource, PhotoDepth, depth_of_photos
from nerfstudio_plugin.depth_seeds import seeds_from_depth
from panoptic_gs.associate import ImageMasks
from panoptic_gs.errors import InputError
from panoptic_gs.merge import Merge, merge_predictions
from panoptic_gs.merge.registry import MethodOrNone
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.scene import Frame, Points, Scene
from panoptic_gs.scene.rectification import MAX_FOV

LARGEST_SIDE = 1600
"""Photos with a longer side are halved until they fit, unless ``downscale_factor`` says otherwise (as nerfstudio)."""


PER_IMAGE = "masks_per_image"
"""Subfolder with masks that are numbered image by image, as 'panoptic-gs predict --masks' writes them."""


@dataclass
class PanopticSceneDataParserConfig(DataParserConfig):
    """A scene folder: ``transforms.json`` or ``colmap/sparse/0``, ``images/``, ``panoptic/``, ``panoptic_gt/``."""

    _target: type = field(default_factory=lambda: PanopticSceneDataParser)
    """target class to instantiate"""
    data: Path = Path()
    """The scene folder."""
    panoptic_folder: str = "panoptic"
    """Subfolder with the predicted panoptic maps, or masks, that training learns from and that are uplifted; where it
    is missing, the masks of masks_per_image/ are associated. Empty: colours alone are trained."""
    merge: MethodOrNone = "none"
    """Merge the scene's raw predictions anew, by QUBO or by MaskFormer's rules, in place of panoptic_folder."""
    predictions_folder: str = "predictions"
    """Subfolder with the raw predictions that are merged."""
    panoptic_gt_folder: str = "panoptic_gt"
    """Subfolder with true panoptic maps; used for scores only, may be missing."""
    weight_by_confidence: Literal["none", "uplift", "loss", "both"] = "none"
    """What the confidence maps beside the predictions weigh: each pixel's vote in uplifting, its pull in the panoptic
    colour loss, both, or nothing."""
    depth: DepthSource = "auto"
    """Depth that pulls on the geometry. photos: of a depth camera or a dataset, depth_file_path in transforms.json or
    depth/<photo>.png, in millimetres. predictions: the point maps of predictions_folder. auto: depth that
    transforms.json names, else predictions; not what merely lies in depth/, as it may be the truth."""
    depth_seed_points: int = 50_000
    """Points that training starts from, at most, where the scene has depth and fewer seed points of its own: what is
    missing comes from the depth of the training photos. 0: the scene's own alone."""
    downscale_factor: float | None = None
    """How much to shrink the photos. If not set, they are halved until no side exceeds 1600 pixels."""
    scale_factor: float = 1.0
    """How much to scale the camera origins by."""
    scene_scale: float = 1.0
    """How much to scale the region of interest by."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "none"
    """How to turn the scene; by default it keeps its world frame, so that exported splats fit the scene's poses."""
    center_method: Literal["poses", "focus", "none"] = "none"
    """How to move the scene's origin; by default it stays."""
    auto_scale_poses: bool = False
    """Whether to scale the poses to fit into ±1; by default they keep their scale."""
    max_fov: float = MAX_FOV
    """Most degrees that a photo of a wide lens keeps from side to side, and from top to bottom, once it is straight."""
    eval_mode: Literal["fraction", "filename", "interval", "all"] = "interval"
    """How to split into training and evaluation views where the scene names no splits: a fraction for training,
    file names containing train/eval, every n-th view for evaluation, or all views for both."""
    train_split_fraction: float = 0.9
    """The share of views to train on, for eval_mode fraction."""
    eval_interval: int = 8
    """Every how many views one is for evaluation, for eval_mode interval."""


@dataclass
class MaskedSceneDataParserConfig(PanopticSceneDataParserConfig):
    """A scene folder of which masks are needed: no name of a folder means those of ``masks_per_image/``."""


def predictions_of(config: PanopticSceneDataParserConfig) -> str:
    """The subfolder with the panoptic maps or masks that training learns from; empty for colours alone."""
    root, name = scene_root(config.data), config.panoptic_folder
    wanted = bool(name) or isinstance(config, MaskedSceneDataParserConfig)
    here = wanted and (root / PER_IMAGE).is_dir()
    return PER_IMAGE if here and not (name and (root / name).exists()) else name


ReadConfidence = Callable[[str], np.ndarray]


class _Read(NamedTuple):
    scene: Scene
    panoptic: PanopticScene | None
    image_masks: ImageMasks | None
    truth: PanopticScene | None
    confidence: ReadConfidence | None


class PanopticSceneDataParser(DataParser):
    """Reads a scene folder with :class:`panoptic_gs.scene.Scene` and gives it to nerfstudio.

    The cameras that come out are ideal pinholes: the dataset takes the lens out of photos and label maps alike, so
    training, evaluation and ``ns-render`` see the same pixels.

    ``metadata`` holds ``frames`` (the photos in order), ``panoptic`` and ``panoptic_gt`` (a
    :class:`~panoptic_gs.PanopticScene` or None), ``image_masks`` (masks that have yet to be
    associated, or None), ``extent`` (how far the cameras reach, the
    unit of lengths in densification), ``points3D_xyz`` and ``points3D_rgb``.

    ``depth`` reads the depth of a training photo, where the scene has any; None elsewhere.

    ``confidence`` reads the confidence map of a photo by its name, where ``weight_by_confidence`` asks for them, and
    ``weigh_loss`` says whether they weigh the panoptic colour loss.

    Raises:
        InputError: whatever is missing or wrong in the folder.
    """

    config: PanopticSceneDataParserConfig

    def __init__(self, config: PanopticSceneDataParserConfig) -> None:
        super().__init__(config)
        self._read: _Read | None = None

    def _scene(self) -> _Read:
        if self._read is None:
            config = self.config
            scene = Scene.load(scene_root(config.data), config.max_fov)
            scene.require_masks()
            weigh = config.weight_by_confidence != "none"
            panoptic: PanopticScene | None = None
            confidence: ReadConfidence | None = None
            image_masks: ImageMasks | None = None
            if config.merge != "none":
                merge = _merged(scene, config.predictions_folder, config.merge)
                panoptic = scene.of_photos(merge.scene(), config.predictions_folder)
                if weigh:
                    confidence = lambda stem: merge.label_map(stem)[1].numpy()
            elif (folder := predictions_of(config)) and (scene.root / folder).exists():
                image_masks = masks_of_images(scene, folder)
                if image_masks is None:
                    panoptic = scene.load_panoptic(folder)
                elif weigh:
                    raise InputError(
                        "--pipeline.datamanager.dataparser.weight-by-confidence",
                        f"{config.weight_by_confidence}, with masks that are numbered image by image",
                        "none",
                        "Masks have no confidence maps beside them; leave the option out.",
                    )
                if weigh:
                    confidence = scene.load_confidence(folder).read
            has_truth = (scene.root / config.panoptic_gt_folder).exists()
            truth = scene.load_panoptic(config.panoptic_gt_folder) if has_truth else None
            for note in scene.notes:
                CONSOLE.print(f"[yellow]Note: {escape(note)}.", soft_wrap=True)
            self._read = _Read(scene, panoptic, image_masks, truth, confidence)
        return self._read

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        scene, panoptic, image_masks, truth, confidence = self._scene()
        poses = torch.stack([frame.camera.to_opengl() for frame in scene.frames]).float()
        poses, transform = auto_orient_and_center_poses(
            poses, method=self.config.orientation_method, center_method=self.config.center_method
        )
        scale = self.config.scale_factor
        if self.config.auto_scale_poses:
            scale /= max(float(poses[:, :3, 3].abs().max()), 1e-9)
        poses[:, :3, 3] *= scale

        chosen = self._split(scene, "train" if split == "train" else "test")
        frames = [scene.frames[index] for index in chosen]
        if split == "train" and panoptic is not None:
            self._say_missing_maps(frames, panoptic)
        # Views that are held out need none, and the truth of their geometry stays unseen.
        depth = depth_of_photos(scene, self.config.depth, self.config.predictions_folder) if split == "train" else None
        metadata: dict[str, Any] = {
            "frames": frames,
            "depth": depth,
            "panoptic": panoptic,
            "image_masks": image_masks,
            "panoptic_gt": truth,
            "confidence": confidence,
            "weigh_loss": self.config.weight_by_confidence in ("loss", "both"),
            "extent": _extent(poses[:, :3, 3]),
        }
        points = self._seeds(scene, frames, depth) if split == "train" else scene.points
        if points is not None:
            xyz, rgb = (torch.from_numpy(np.ascontiguousarray(values)) for values in points)
            metadata["points3D_xyz"] = (xyz @ transform[:3, :3].T + transform[:3, 3]) * scale
            metadata["points3D_rgb"] = rgb
        extent = self.config.scene_scale
        return DataparserOutputs(
            image_filenames=[frame.image_path for frame in frames],
            cameras=_pinholes(frames, poses[chosen][:, :3, :4], self.config.downscale_factor),
            scene_box=SceneBox(aabb=torch.tensor([[-extent] * 3, [extent] * 3], dtype=torch.float32)),
            dataparser_scale=scale,
            dataparser_transform=transform @ torch.from_numpy(scene.applied).to(transform),
            metadata=metadata,
        )

    def _split(self, scene: Scene, split: Literal["train", "test"]) -> list[int]:
        """The positions of a split's frames, in the scene's order."""
        if scene.splits:
            members = set(scene.splits.get(split, ()))
            chosen = [index for index, frame in enumerate(scene.frames) if frame.stem in members]
            file = next((f for f in (scene.root / "splits.json",) if f.is_file()), scene.root / "transforms.json")
        else:
            names = [frame.image_path for frame in scene.frames]
            file = scene.root
            if self.config.eval_mode == "fraction":
                train, test = get_train_eval_split_fraction(names, self.config.train_split_fraction)
            elif self.config.eval_mode == "filename":
                train, test = get_train_eval_split_filename(names)
            elif self.config.eval_mode == "interval":
                train, test = get_train_eval_split_interval(names, self.config.eval_interval)
            else:
                train, test = get_train_eval_split_all(names)
            chosen = [int(index) for index in (train if split == "train" else test)]
        if not chosen:
            kind = "training" if split == "train" else "evaluation"
            raise InputError(
                file,
                f"no {kind} views among {len(scene.frames)} images",
                "at least one",
                'List them in splits.json, as in {"train": ["0001"], "test": ["0002"]}, or set '
                "--pipeline.datamanager.dataparser.eval-mode.",
            )
        return chosen

    def _seeds(self, scene: Scene, frames: list[Frame], depth: PhotoDepth | None) -> Points | None:
        """The scene's seed points, and points from depth where these are few."""
        own, wanted = scene.points, self.config.depth_seed_points
        missing = wanted - (0 if own is None else len(own[0]))
        if depth is None or missing <= 0:
            return own
        (xyz, rgb), scales = seeds_from_depth(frames, depth.read, own, missing, depth.unit)
        by = "no sparse points to scale it by" if not len(scales) else (
            f"scaled by the sparse points, {scales.min():.3g} to {scales.max():.3g}")  # fmt: skip
        CONSOLE.print(f"{len(xyz)} seed points come from depth, {by}.", soft_wrap=True)
        return (xyz, rgb) if own is None else (np.concatenate([own[0], xyz]), np.concatenate([own[1], rgb]))

    def _say_missing_maps(self, frames: list[Frame], panoptic: PanopticScene) -> None:
        missing = [frame.stem for frame in frames if frame.stem not in panoptic.maps]
        if missing:
            CONSOLE.print(
                f"[yellow]{len(missing)} of {len(frames)} training views have no map in "
                f"{self.config.panoptic_folder}/ (the first: {missing[0]}); they train colour only."
            )


def _merged(scene: Scene, folder: str, method: str) -> Merge:
    predictions = RawPredictions.load(scene.root / folder)
    predictions.require_images([frame.stem for frame in scene.frames])
    CONSOLE.print(f"Merging the query masks of {folder}/ by {method} ...")
    return merge_predictions(predictions, method)


def require_predictions(config: PanopticSceneDataParserConfig) -> None:
    """Check that there is something to learn labels from.

    Raises:
        InputError: there is neither a folder of panoptic maps nor one of raw predictions, whichever is asked for.
    """
    name = predictions_of(config) if config.merge == "none" else config.predictions_folder
    needed = isinstance(config, MaskedSceneDataParserConfig)
    root = scene_root(config.data)
    folder = root / name
    if config.merge == "none" and not needed and not name:
        CONSOLE.print("Colours alone are trained, as --pipeline.datamanager.dataparser.panoptic-folder is empty.")
        if (root / PER_IMAGE).is_dir():
            CONSOLE.print(f"Then: panoptic-gs associate RUN {root / PER_IMAGE} --data {root} --out {root / 'panoptic'}",
                          soft_wrap=True)  # fmt: skip
        return
    if not name or not folder.exists():
        maps = (
            "a folder of masks, or of predicted COCO panoptic maps"
            if needed
            else "a folder of predicted COCO panoptic maps"
        )
        raise InputError(
            folder,
            "no such folder" if name else "no folder of masks",
            maps if config.merge == "none" else "a folder of raw predictions",
            "Put the predictions there ('panoptic-gs predict' and 'panoptic-gs merge' do), or name their folder with "
            "--pipeline.datamanager.dataparser.panoptic-folder or predictions-folder.",
        )


def no_seed_points() -> InputError:
    """The error of a scene without seed points."""
    return InputError(
        "seed points",
        "none",
        "a sparse point cloud of the scene",
        'Name a PLY in transforms.json ("ply_file_path": "points3D.ply"), keep COLMAP\'s points3D, '
        "or pass --pipeline.model.random-init True.",
    )


def scene_root(data: Path) -> Path:
    """The scene folder that ``--data`` names, which may also be its transforms.json."""
    data = Path(data)
    return data.parent if data.name == "transforms.json" else data


def _pinholes(frames: list[Frame], camera_to_worlds: torch.Tensor, downscale: float | None) -> Cameras:
    """Ideal cameras of the rectified and downscaled photos."""
    cameras = []
    for frame in frames:
        camera = frame.camera
        divisor = downscale or automatic_downscale(camera.width, camera.height)
        cameras.append(camera.resized(max(1, int(camera.width / divisor)), max(1, int(camera.height / divisor))))
    K = torch.stack([camera.K for camera in cameras])
    return Cameras(
        fx=K[:, 0, 0],
        fy=K[:, 1, 1],
        cx=K[:, 0, 2],
        cy=K[:, 1, 2],
        width=torch.tensor([camera.width for camera in cameras]),
        height=torch.tensor([camera.height for camera in cameras]),
        camera_to_worlds=camera_to_worlds,
        camera_type=CameraType.PERSPECTIVE,
        metadata={},  # where nerfstudio notes the number of a camera
    )


def _extent(centers: torch.Tensor) -> float:
    """The largest coordinate of the camera centres ``[N, 3]`` around their mean; 1 for a single camera."""
    extent = float((centers - centers.mean(dim=0)).abs().max())
    return extent if extent > 1e-6 else 1.0


def automatic_downscale(width: int, height: int) -> int:
    """The smallest power of two that brings both sides to at most :data:`LARGEST_SIDE`."""
    divisor = 1
    while max(width, height) / divisor > LARGEST_SIDE:
        divisor *= 2
    return divisor


panoptic_scene = DataParserSpecification(
    config=PanopticSceneDataParserConfig(),
    description="Photos, poses and panoptic label maps of one scene.",
)
