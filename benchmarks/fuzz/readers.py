# SPDX-License-Identifier: Apache-2.0
"""Every reader by name: how its valid folder is made, and how it is read to the last byte."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from panoptic_gs.associate import read_masks
from panoptic_gs.camera import Camera
from panoptic_gs.cli.evaluate import Evaluate
from panoptic_gs.datasets.classes import REDUCED21
from panoptic_gs.datasets.hypersim import HypersimScene
from panoptic_gs.datasets.mesh import read_mesh
from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene
from panoptic_gs.datasets.raw_scene import RawScene
from panoptic_gs.datasets.replica import ReplicaScene
from panoptic_gs.datasets.scannet import ScanNetScene
from panoptic_gs.datasets.scannetpp import ScanNetPPScene
from panoptic_gs.errors import InputError
from panoptic_gs.export import load_camera_path
from panoptic_gs.files import image_size, read_grey, read_rgb, write_json
from panoptic_gs.label_maps import encode_ids
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.merge import merge_predictions
from panoptic_gs.metrics.point_sources import depth_truth, predicted_cloud, true_cloud
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.panoptic import PanopticScene
from panoptic_gs.ply import read_points, write_points, write_vertices
from panoptic_gs.predict.class_names import read_classes
from panoptic_gs.raw_predictions import RawImage, RawPredictions
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.scene import Scene, write_scene
from panoptic_gs.scene.confidence import ConfidenceMaps
from panoptic_gs.splats import Splats, read_splats
from panoptic_gs.uplift import GaussianLabels, save_labelled_scene
from panoptic_gs.uplift.checkpoint import labels_to_state
from panoptic_gs.uplift.placement import place

_TESTS = Path(__file__).parents[2] / "tests"
_LABELLING = Labelling(
    (Category(1, "wall", False, (1, 2, 3)), Category(2, "chair", True)),
    (Segment(1, 1), Segment(2, 2, 0.5, (7, 1), "Ann's"), Segment(3, 2)),
    "a test",
)
_SIZES = {"a": (8, 6), "b": (8, 6)}
_COUNT = 24


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Args:
        make: writes a valid folder.
        read: reads all of it; an ``InputError`` is what damage has to end in.
        damaged: patterns of the files that are damaged.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    damaged: tuple[str, ...] = ("**/*",)

    def files(self, root: Path) -> list[Path]:
        """The files to damage, in a valid folder."""
        return sorted({path for pattern in self.damaged for path in root.glob(pattern) if path.is_file()})


# Scenes


def _camera() -> Camera:
    return Camera(torch.eye(4), torch.tensor([[8.0, 0, 4], [0, 8, 3], [0, 0, 1]]), 8, 6)


def _photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def _ids() -> np.ndarray:
    return np.repeat([0, 1, 2, 3], 12).reshape(6, 8)


def _make_scene(root: Path) -> None:
    points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32), np.zeros((9, 3), np.uint8)
    write_scene(root, dict.fromkeys(_SIZES, _camera()), dict.fromkeys(_SIZES, _photo()), points,
                {"train": ["a"], "test": ["b"]})  # fmt: skip
    document = json.loads((root / "transforms.json").read_text())
    (root / "masks").mkdir()
    for entry in document["frames"]:
        Image.fromarray(np.full((6, 8), 255, np.uint8)).save(root / "masks" / f"{Path(entry['file_path']).stem}.png")
        entry["mask_path"] = f"masks/{Path(entry['file_path']).stem}.png"
    document |= {"k1": 0.01, "k2": 0.0, "p1": 0.0, "p2": 0.001}
    write_json(root / "transforms.json", document)


def _read_scene(root: Path) -> None:
    scene = Scene.load(root)
    for name in ("train", "test"):
        scene.split(name)
    for frame in scene.frames:
        frame.read_image()
        frame.counting()


def _make_colmap(root: Path, binary: bool) -> None:
    write_colmap = _layouts("colmap_layout").write_colmap
    from panoptic_gs.scene.lens import Distortion

    (root / "images").mkdir(parents=True)
    for stem in _SIZES:
        Image.fromarray(_photo()).save(root / "images" / f"{stem}.png")
    cameras = {f"{stem}.png": _camera() for stem in _SIZES}
    write_json(root / "splits.json", {"train": ["a"], "test": ["b"]})
    lens = Distortion(model="opencv", k1=0.01)
    (root / "colmap" / "sparse").mkdir(parents=True)
    write_colmap(root / "colmap" / "sparse" / "0", cameras, lens, np.random.default_rng(0).normal(size=(9, 3)), binary)


def _make_panoptic(root: Path) -> None:
    PanopticScene(_LABELLING.categories, _LABELLING.segments, dict.fromkeys(_SIZES, _ids())).save(root)


def _read_panoptic(root: Path) -> None:
    scene = PanopticScene.load(root)
    category_of = scene.category_of()
    for ids in scene.maps.values():
        category_of[ids]


def _make_confidence(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "confidence").mkdir()
    for stem in _SIZES:
        Image.fromarray(_ids().astype(np.uint16) * 9000).save(root / "confidence" / f"{stem}.png")


def _read_confidence(root: Path) -> None:
    maps = ConfidenceMaps(root / "confidence", list(_SIZES))
    for stem in _SIZES:
        maps.read(stem)


def _make_depth_truth(root: Path) -> None:
    _make_scene(root)
    _make_panoptic(root / "panoptic_gt")
    (root / "depth").mkdir()
    for stem in _SIZES:
        Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(root / "depth" / f"{stem}.png")


def _make_evaluated(root: Path) -> None:
    for name in ("gt", "pred"):
        _make_panoptic(root / name)
    write_json(root / "splits.json", {"train": ["a"], "test": ["b"]})


def _read_evaluated(root: Path) -> None:
    Evaluate(root / "pred", root / "gt", splits=("train", "test"), splits_file=root / "splits.json", quiet=True).run()


# Splats


def _splats(sh: int = 4) -> Splats:
    g = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.rand(*shape, generator=g)
    return Splats(
        random(_COUNT, 3), random(_COUNT, 4) + 0.1, random(_COUNT, 3) + 0.1, 0.9 * random(_COUNT) + 0.05,
        random(_COUNT, sh, 3),
    )  # fmt: skip


def _labels() -> GaussianLabels:
    label = torch.tensor([1, 2, 3] * (_COUNT // 3), dtype=torch.int32)
    return GaussianLabels(torch.arange(_COUNT + 1), label, torch.ones(_COUNT), torch.ones(_COUNT), torch.zeros(_COUNT))


def _make_labelled(root: Path) -> None:
    save_labelled_scene(root, _splats(), _labels(), _LABELLING)


def _read_labelled(root: Path) -> None:
    ObjectTable(open_scene(root).scene)


def _make_splats(root: Path) -> None:
    root.mkdir(parents=True)
    _splats().save_ply(root / "splats.ply")


def _read_ply(root: Path) -> None:
    read_splats(root / "splats.ply")


def _make_compressed(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "splats.ply").write_bytes((_TESTS / "splats" / "data" / "supersplat.compressed.ply").read_bytes())


def _make_other(*names: str) -> Callable[[Path], None]:
    """Files of other programs that lie with the tests, each read as Gaussians."""

    def make(root: Path) -> None:
        root.mkdir(parents=True)
        for name in names:
            (root / name).write_bytes((_TESTS / "splats" / "data" / name).read_bytes())

    return make


def _make_sog_folder(root: Path) -> None:
    with zipfile.ZipFile(_TESTS / "splats" / "data" / "splats.sog") as bundle:
        bundle.extractall(root)


def _make_gltf(root: Path) -> None:
    root.mkdir(parents=True)
    content = (_TESTS / "splats" / "data" / "splats.glb").read_bytes()
    size = int.from_bytes(content[12:16], "little")
    document = json.loads(content[20 : 20 + size])
    document["buffers"][0]["uri"] = "splats.bin"
    (root / "splats.bin").write_bytes(content[28 + size :])
    write_json(root / "splats.gltf", document)


def _make_antimatter(root: Path) -> None:
    root.mkdir(parents=True)
    rows = np.zeros(_COUNT, np.dtype([("floats", "<f4", 6), ("bytes", "u1", 8)]))
    rows["floats"] = np.random.default_rng(0).uniform(0.1, 2, (_COUNT, 6))
    rows["bytes"] = 200
    (root / "splats.splat").write_bytes(rows.tobytes())


def _read_all_splats(root: Path) -> None:
    """The folder as SOG, or each file of Gaussians; all are tried, and the first refusal is told."""
    if (root / "means_l.webp").exists():
        read_splats(root)
        return
    first: InputError | None = None
    for path in sorted(root.iterdir()):
        if path.suffix != ".bin":
            try:
                read_splats(path)
            except InputError as error:
                first = first or error
    if first is not None:
        raise first


def _make_checkpoint(root: Path) -> None:
    root.mkdir(parents=True)
    splats = _splats(16)
    tensors = {
        "means": splats.means, "quats": splats.quats, "scales": splats.scales.log(),
        "opacities": splats.opacities.logit()[:, None], "features_dc": splats.sh[:, 0],
        "features_rest": splats.sh[:, 1:],
    }  # fmt: skip
    state: dict[str, Any] = {f"_model.gauss_params.{name}": value for name, value in tensors.items()}
    state["_model._extra_state"] = labels_to_state(_labels(), _LABELLING)
    torch.save({"step": 1, "pipeline": state}, root / "step-000000001.ckpt")


def _read_checkpoint(root: Path) -> None:
    _ = open_scene(root / "step-000000001.ckpt")


def _make_points(root: Path) -> None:
    root.mkdir(parents=True)
    xyz = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    write_points(root / "points.ply", (xyz, np.zeros((9, 3), np.uint8)))


def _make_cloud(root: Path) -> None:
    root.mkdir(parents=True)
    xyz = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    ids = np.array([1, 2, 3] * 3, np.int32)
    fields = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], "segment_id": ids, "category_id": np.minimum(ids, 2)}
    write_vertices(root / "points.ply", fields)
    write_json(root / "segments.json", _LABELLING.to_json())


def _make_placed(root: Path) -> None:
    _make_scene(root / "scene")
    run = root / "run"
    run.mkdir()
    _splats().save_ply(run / "splats.ply")
    write_json(run / "dataparser_transforms.json", {"transform": np.eye(4)[:3].tolist(), "scale": 1.0})


def _read_placed(root: Path) -> None:
    ply = root / "run" / "splats.ply"
    place(read_splats(ply).splats, Scene.load(root / "scene"), ply, refuse=False)


# Predictions


def _make_raw(root: Path) -> None:
    g = torch.Generator().manual_seed(0)
    RawPredictions(
        torch.randn(2, 5, 6, 8, generator=g).half(), torch.randn(5, 2, generator=g),
        tuple(RawImage(f"{stem}.jpg", 16, 12) for stem in _SIZES), _LABELLING.categories, "a network", (8, 6),
        points=torch.randn(2, 6, 8, 3, generator=g), confidence=torch.rand(2, 6, 8, generator=g),
        viewmats=torch.eye(4).expand(2, 4, 4), Ks=torch.eye(3).expand(2, 3, 3),
        to_original=torch.eye(3).expand(2, 3, 3),
    ).save(root)  # fmt: skip


def _read_raw(root: Path) -> None:
    for _ in RawPredictions.load(root).views():
        pass


def _read_merged(root: Path) -> None:
    merge_predictions(RawPredictions.load(root), "qubo")


def _make_raw_cloud(root: Path) -> None:
    _make_raw(root / "predictions")
    _make_panoptic(root / "panoptic")


def _make_campath(root: Path) -> None:
    root.mkdir(parents=True)
    entry = {"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50.0, "aspect": 1.3}
    write_json(root / "path.json", {"render_width": 64, "render_height": 48, "camera_type": "perspective", "fps": 24,
                                    "camera_path": [entry, entry]})  # fmt: skip


def _make_classes(root: Path) -> None:
    root.mkdir(parents=True)
    write_json(root / "classes.json", [{"name": "chair", "isthing": 1}, {"id": 2, "name": "wall", "isthing": 0}])
    (root / "classes.txt").write_text("chair:thing\nwall:stuff # or both\n")


def _read_classes(root: Path) -> None:
    for ending in ("json", "txt"):
        read_classes(str(root / f"classes.{ending}"))


def _make_log(root: Path) -> None:
    log = TrainingLog({"commands": ["ns-train"], "held_out": ["b"], "environment": {"cpu": "x"}}, 10)
    log.rows.extend({"step": 10.0 * i, "loss": 1.0 / (1 + i)} for i in range(4))
    root.mkdir(parents=True)
    log.save(root)


def _read_log(root: Path) -> None:
    log = TrainingLog.load(root)
    for name in log.names if log is not None else ():
        log.curve(name) if log is not None else None


# Masks of each image


def _make_masks(kind: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        root.mkdir(parents=True)
        masks = np.stack([_ids() == number for number in (1, 2, 3)])
        info = [{"id": i, "category_id": min(i, 2), "score": 0.5} for i in (1, 2, 3)]
        categories = [{"id": 1, "name": "wall", "isthing": 0}, {"id": 2, "name": "chair", "isthing": 1}]
        runs = [12, 12, 24]
        rle = [{"segmentation": {"size": [6, 8], "counts": runs}, "area": 12, "bbox": [0, 0, 8, 6],
                "predicted_iou": 0.5, "stability_score": 0.9}] * 2  # fmt: skip
        for stem in _SIZES:
            if kind == "folders":
                (root / stem).mkdir()
                for number, mask in enumerate(masks):
                    Image.fromarray(mask.astype(np.uint8) * 255).save(root / stem / f"{number}.png")
                (root / stem / "metadata.csv").write_text("id,area,predicted_iou\n0,1,0.5\n1,1,0.75\n2,1,0.25\n")
            elif kind == "sam":
                of_sa1b = {"image": {"width": 8, "height": 6}, "annotations": rle}
                write_json(root / f"{stem}.json", rle if stem == "a" else of_sa1b)
            elif kind == "stacks":
                classes = np.array(["a", "b", "a"])
                np.savez(root / f"{stem}.npz", masks=masks, scores=np.array([0.1, 0.2, 0.3]), classes=classes)
            elif kind == "ids":
                Image.fromarray(_ids().astype(np.uint8)).save(root / f"{stem}.png")
            elif kind == "coco":
                Image.fromarray(encode_ids(_ids())).save(root / f"{stem}.png")
        if kind == "ids":
            table = [{"id": i, "class": "cup" if i < 3 else "wall", "isthing": i < 3, "score": 0.5} for i in (1, 2, 3)]
            write_json(root / "segments.json", dict.fromkeys(_SIZES, table))
        if kind == "coco":
            images = [{"id": i, "file_name": f"{stem}.jpg", "width": 8, "height": 6} for i, stem in enumerate(_SIZES)]
            annotations = [
                {"image_id": i, "file_name": f"{stem}.png", "segments_info": info} for i, stem in enumerate(_SIZES)
            ]
            write_json(root / "panoptic.json", {"images": images, "annotations": annotations, "categories": categories})
        if kind == "instances":
            images = [{"id": i, "file_name": f"{stem}.jpg"} for i, stem in enumerate(_SIZES)]
            annotations = [{"id": k, "image_id": k % 2, "category_id": 1 + k % 2, "iscrowd": 0, "score": 0.5,
                            "segmentation": {"size": [6, 8], "counts": runs}} for k in range(4)]  # fmt: skip
            write_json(
                root / "instances.json", {"images": images, "annotations": annotations, "categories": categories}
            )

    return make


def _read_all_masks(root: Path) -> None:
    for _, masks in read_masks(root, _SIZES).items():
        for number in range(len(masks)):
            masks.mask(number)


def _read_instances(root: Path) -> None:
    for _, masks in read_masks(root / "instances.json", _SIZES).items():
        masks.areas()


# Images


def _make_images(root: Path) -> None:
    root.mkdir(parents=True)
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg", "c.tif", "d.webp", "e.bmp", "f.ppm", "g.gif"):
        Image.fromarray(photo).save(root / name)
    Image.fromarray(photo[..., 0]).save(root / "grey.png")
    Image.fromarray(photo[..., 0].astype(np.uint16) * 200).save(root / "deep.png")
    Image.fromarray(photo).convert("P").save(root / "palette.png")


def _read_images(root: Path) -> None:
    first: InputError | None = None
    for path in sorted(root.iterdir()):
        for read in (image_size, read_rgb, lambda p: read_rgb(p, (16, 12)), read_grey):
            try:
                read(path)
            except InputError as error:
                if str(path) not in str(error):
                    raise
                if read is not read_grey:
                    first = first or error
    if first is not None:
        raise first


# Datasets


@cache
def _layouts(name: str) -> Any:
    """A writer of a dataset's layout: they lie with the tests."""
    for folder in (_TESTS, _TESTS / "datasets"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return __import__(name)


@cache
def _room_frames(stems: tuple[str, ...] | None = None) -> list[Any]:
    from panoptic_gs.synthetic import RoomRenderer, make_room

    K = np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
    frames = _layouts("room_frames").render_frames(RoomRenderer(make_room(1)), 2, K, stems, 32, 24)
    person, bag = REDUCED21.ids["person"], REDUCED21.ids["bag"]
    return [replace(frame, classes=np.where(frame.classes == person, bag, frame.classes)) for frame in frames]


def _make_scannet(exported: bool) -> Callable[[Path], object]:
    return lambda root: _layouts("scannet_layout").write_scannet(root, _room_frames(), exported=exported)


def _make_scannetpp(root: Path) -> None:
    from panoptic_gs.synthetic import make_room

    layout = _layouts("scannetpp_layout")
    layout.write_scannetpp(root, make_room(1))
    scene = root / "data" / layout.SCENE
    layout.write_dslr(scene, _room_frames(), [1])
    layout.write_iphone(scene, _room_frames(), [frame.rgb for frame in _room_frames()], transforms=False, binary=True)


def _read_scannetpp(root: Path) -> None:
    scene = next((root / "data").iterdir())
    for device in ("dslr", "iphone"):
        _read_raw_scene(ScanNetPPScene.open(scene, device))


def _make_hypersim(root: Path) -> None:
    layout = _layouts("hypersim_layout")
    K = np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
    layout.write_hypersim(root, _room_frames(("0_0000", "0_0001")), layout.opengl_projection(K, 32, 24))


def _read_raw_scene(scene: RawScene) -> None:
    first: InputError | None = None
    for stem in scene.stems:
        try:
            scene.read(stem)
        except InputError as error:  # preparation leaves this frame out and says so
            first = first or error
    scene.seed_points(100)
    if first is not None:
        raise first


def _opened(open_scene: Callable[[Path], RawScene], pattern: str) -> Callable[[Path], None]:
    def read(root: Path) -> None:
        for folder in root.glob(pattern):
            _read_raw_scene(open_scene(folder))

    return read


def _make_mesh(root: Path) -> None:
    root.mkdir(parents=True)
    lines = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    lines += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    (root / "mesh.ply").write_text(lines + "0 0 0\n1 0 0\n0 1 0\n1 1 1\n3 0 1 2\n3 1 2 3\n")


def _first(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: read(root / name)


READERS: dict[str, Reader] = {
    "scene": Reader(_make_scene, _read_scene),
    "colmap-text": Reader(lambda root: _make_colmap(root, False), _read_scene, ("colmap/sparse/0/*", "images/*")),
    "colmap-binary": Reader(lambda root: _make_colmap(root, True), _read_scene, ("colmap/sparse/0/*", "images/*")),
    "panoptic": Reader(_make_panoptic, _read_panoptic),
    "confidence": Reader(_make_confidence, _read_confidence),
    "evaluate": Reader(_make_evaluated, _read_evaluated, ("splits.json", "gt/panoptic.json", "pred/panoptic.json")),
    "depth-truth": Reader(_make_depth_truth, lambda root: depth_truth(Scene.load(root), 0.02),
                          ("depth/*", "panoptic_gt/*", "*.json", "*.ply")),
    "labelled": Reader(_make_labelled, _read_labelled),
    "labelled-points": Reader(_make_labelled, lambda root: predicted_cloud(root, None, 0.1)),
    "splats": Reader(_make_splats, _read_ply),
    "compressed-splats": Reader(_make_compressed, _read_ply),
    "spz": Reader(_make_other("splats.v3.spz", "splats.v4.spz"), _read_all_splats),
    "sog": Reader(_make_other("splats.sog"), _read_all_splats),
    "sog-folder": Reader(_make_sog_folder, _read_all_splats),
    "antimatter-splat": Reader(_make_antimatter, _read_all_splats),
    "glb": Reader(_make_other("splats.glb"), _read_all_splats),
    "gltf": Reader(_make_gltf, _read_all_splats),
    "usd": Reader(_make_other("splats.usda", "splats.usdc"), _read_all_splats),
    "checkpoint": Reader(_make_checkpoint, _read_checkpoint),
    "placement": Reader(_make_placed, _read_placed, ("run/*.json", "scene/transforms.json")),
    "points": Reader(_make_points, _first("points.ply", read_points)),
    "true-points": Reader(_make_cloud, lambda root: true_cloud(root / "points.ply", 0.02, None, ())),
    "mesh": Reader(_make_mesh, _first("mesh.ply", read_mesh)),
    "raw": Reader(_make_raw, _read_raw),
    "merge": Reader(_make_raw, _read_merged),
    "raw-points": Reader(_make_raw_cloud, lambda root: predicted_cloud(root / "predictions", None, 0.1)),
    "camera-path": Reader(_make_campath, _first("path.json", load_camera_path)),
    "classes": Reader(_make_classes, _read_classes),
    "training-log": Reader(_make_log, _read_log),
    "masks-folders": Reader(_make_masks("folders"), _read_all_masks),
    "masks-sam": Reader(_make_masks("sam"), _read_all_masks),
    "masks-stacks": Reader(_make_masks("stacks"), _read_all_masks),
    "masks-ids": Reader(_make_masks("ids"), _read_all_masks),
    "masks-coco": Reader(_make_masks("coco"), _read_all_masks),
    "masks-instances": Reader(_make_masks("instances"), _read_instances),
    "images": Reader(_make_images, _read_images),
    "scannet": Reader(_make_scannet(False), _opened(ScanNetScene.open, "scans/*")),
    "scannet-exported": Reader(_make_scannet(True), _opened(ScanNetScene.open, "scans/*")),
    "scannetpp": Reader(_make_scannetpp, _read_scannetpp),
    "replica": Reader(lambda root: _layouts("replica_layout").write_replica(root, _room_frames()),
                      _opened(ReplicaScene.open, "*/Sequence_1")),
    "hypersim": Reader(_make_hypersim, _opened(HypersimScene.open, "ai_*")),
    "panoptic-lifting": Reader(
        lambda root: _layouts("panoptic_lifting_layout").write_panoptic_lifting(root / "scene", _room_frames()),
        _opened(PanopticLiftingScene.open, "scene"), ("scene/*/*", "scene/*.json")),
}  # fmt: skip
"""By name, as the command takes them."""


def chosen(names: Iterable[str]) -> dict[str, Reader]:
    """The readers of these names; all where there are none.

    Raises:
        InputError: there is no such reader.
    """
    names = list(names) or list(READERS)
    unknown = [name for name in names if name not in READERS]
    if unknown:
        raise InputError("readers", f"'{unknown[0]}'", ", ".join(READERS), "Choose from these.")
    return {name: READERS[name] for name in names}
