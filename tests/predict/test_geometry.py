# SPDX-License-Identifier: Apache-2.0
"""Cameras found by structure from motion and by geometry networks, against those that the photos were taken with."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from panoptic_gs import InputError
from panoptic_gs.cli.main import main
from panoptic_gs.predict.geometry import GeometryOptions, load_geometry
from panoptic_gs.predict.geometry.colmap import photo_pairs
from panoptic_gs.predict.photos import find_photos
from panoptic_gs.predict.registration import Similarity
from panoptic_gs.progress import silent
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import RoomRenderer, make_room, synthesize, write_synthetic_scene
from panoptic_gs.synthetic.raycast import camera_rays

MAP_ANYTHING_SIZES = {(518, 518), (518, 392), (518, 336), (518, 294), (518, 252), (518, 168)}  # of its own load_images
OFFICE = Path(__file__).parents[2] / "../shared/data/tum_fr3_office"


def compare(found, scene: Scene) -> tuple[Similarity, np.ndarray, np.ndarray]:
    """The similarity between the worlds; degrees and distances (of the extent of the cameras) of each camera."""
    pairs = [(camera, scene.frame(stem).camera) for stem, camera in found.cameras.items()]
    mine, theirs = (np.stack([pair[i].viewmat.double().numpy() for pair in pairs]) for i in (0, 1))
    u, _, vt = np.linalg.svd(np.einsum("nji,njk->ik", theirs[:, :3, :3], mine[:, :3, :3]))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    centers = [-np.einsum("nji,nj->ni", v[:, :3, :3], v[:, :3, 3]) for v in (mine, theirs)]
    a, b = (c - c.mean(0) for c in centers)
    scale = ((a @ rotation.T) * b).sum() / (a**2).sum()
    fitted = Similarity(scale, rotation, centers[1].mean(0) - scale * rotation @ centers[0].mean(0))
    turns = np.einsum("nij,jk,nlk->nil", theirs[:, :3, :3], rotation, mine[:, :3, :3])
    degrees = np.degrees(np.arccos(((np.trace(turns, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    return fitted, degrees, np.linalg.norm(fitted(centers[0]) - centers[1], axis=1) / np.ptp(b, axis=0).max()


@pytest.mark.skipif(not OFFICE.is_dir(), reason="the office's photos are not at hand")
@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_colmap_places_the_offices_photos_and_says_which_do_not_belong(tmp_path):
    for number, path in enumerate(sorted((OFFICE / "images").iterdir())[:9]):
        shutil.copy(path, tmp_path / f"Foto é 2024 ({number}).png")  # as file managers name copies
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    stages: set[str] = set()
    found = load_geometry("colmap", GeometryOptions()).find(
        find_photos(tmp_path), lambda stage, done, total: stages.add(stage)
    )
    assert stages == {"Finding features", "Matching photos", "Placing photos"}
    assert found.left_out == {"noise": "no overlap"}
    stems = sorted(path.stem for path in (OFFICE / "images").iterdir())
    cameras = {stems[int(stem.split("(")[1][:-1])]: camera for stem, camera in found.cameras.items()}
    _, degrees, off = compare(SimpleNamespace(cameras=cameras), Scene.load(OFFICE))
    assert np.median(degrees) < 0.6
    assert np.median(off) < 0.01
    assert found.points is not None
    assert len(found.points[0]) > 300
    up = np.mean([-camera.viewmat[1, :3].numpy() for camera in found.cameras.values()], axis=0)
    assert up[2] / np.linalg.norm(up) > 0.999


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_no_space_for_features_is_said_before_colmap_meets_it(room, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1 << 20))
    with pytest.raises(InputError, match="no space left for COLMAP") as refused:
        load_geometry("colmap", GeometryOptions()).find(find_photos(room), silent)
    assert "TMPDIR" in refused.value.mend


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_photos_without_overlap_are_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path), "--geometry", "colmap", "--out", str(tmp_path / "out")])
    assert "overlap" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_many_photos_are_compared_with_neighbours_and_with_their_like(tmp_path):
    rng = np.random.default_rng(0)
    places = rng.integers(0, 255, (10, 6, 8, 3)).astype(np.uint8)
    for index in range(100):
        Image.fromarray(places[index % 10].repeat(4, 0).repeat(4, 1)).save(tmp_path / f"{index}.png")
    photos = find_photos(tmp_path)
    assert len(list(photo_pairs(photos[:50]))) == 50 * 49 // 2
    pairs = set(photo_pairs(photos))
    assert all(a < b for a, b in pairs)
    assert len(pairs) < 100 * 40
    assert {(a, a + 1) for a in range(99)} <= pairs
    assert {(a, a + 10) for a in range(90)} <= pairs


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    from panoptic_gs.synthetic import light

    root = tmp_path_factory.mktemp("truth") / "room"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(light, "SHELL_TEXEL", 0.5)
        patch.setattr(light, "OBJECT_TEXEL", 0.5)
        scene = synthesize(1, 6, width=80, height=60, seed_points=100)
    write_synthetic_scene(root, scene, scene.truth)
    return root


class ExactNetwork:
    """Answers as MapAnything and Depth Anything 3 do, from the room; a photo is known by its place in the list."""

    def __init__(self, root: Path) -> None:
        self.scene, self.renderer = Scene.load(root), RoomRenderer(make_room(1))

    def to(self, device):
        return self

    def eval(self):
        return self

    def view(self, index: int, width: int, height: int):
        """Depth along z, K of the crop, viewmat, and world points in the first camera's frame at 0.5 of its scale."""
        from panoptic_gs.camera import Camera
        from panoptic_gs.predict.crop import crop_to_original

        true = self.scene.frames[index].camera
        K = np.linalg.inv(crop_to_original(true.width, true.height, (width, height))) @ true.K.double().numpy()
        camera = Camera(true.viewmat, torch.from_numpy(K), width, height)
        origin, rays = camera_rays(camera)
        distance, _ = self.renderer._cast_image(camera, origin, rays)
        world = (origin[:, :, None] + rays * distance).transpose(1, 2, 0)
        first = self.scene.frames[0].camera.viewmat.double().numpy()
        viewmat = true.viewmat.double().numpy() @ np.linalg.inv(first)
        viewmat[:3, 3] *= 0.5
        points = 0.5 * (world @ first[:3, :3].T + first[:3, 3])
        depth = (points @ viewmat[:3, :3].T + viewmat[:3, 3])[..., 2]
        return depth, K, viewmat, points

    def infer(
        self, views, memory_efficient_inference=False, use_amp=True, amp_dtype="bf16", apply_mask=True, mask_edges=True,
        edge_normal_threshold=5.0, edge_depth_threshold=0.03, apply_confidence_mask=False, confidence_percentile=10,
        ignore_calibration_inputs=False, ignore_depth_inputs=False, ignore_pose_inputs=False,
        ignore_depth_scale_inputs=False, ignore_pose_scale_inputs=False,
    ):  # fmt: skip
        """As MapAnything's README and the docstring of ``infer`` say: signature, keys, shapes, and what is masked."""
        assert not use_amp  # autocast of CUDA
        answers = []
        for index, view in enumerate(views):
            assert view.keys() <= {"img", "data_norm_type", "true_shape", "idx", "instance"}
            assert view["data_norm_type"] == ["dinov2"]
            assert -3 < view["img"].min() < 0 < view["img"].max() < 3
            batch, channels, height, width = view["img"].shape
            assert (batch, channels) == (1, 3)
            assert (max(width, height), min(width, height)) in MAP_ANYTHING_SIZES
            depth, K, viewmat, points = self.view(index, width, height)
            mask = np.ones((height, width, 1), bool)
            mask[:, : width // 8] = False
            pose, cam = np.linalg.inv(viewmat), points @ viewmat[:3, :3].T + viewmat[:3, 3]
            along = np.linalg.norm(cam, axis=-1, keepdims=True)
            qx, qy, qz, qw = Rotation.from_matrix(pose[:3, :3]).as_quat()
            answer = {
                "pts3d": points * mask, "pts3d_cam": cam * mask, "depth_z": depth[..., None] * mask,
                "depth_along_ray": along * mask, "ray_directions": cam / along, "intrinsics": K, "camera_poses": pose,
                "cam_trans": pose[:3, 3], "cam_quats": np.array([qx, qy, qz, qw]), "conf": np.ones((height, width)),
                "mask": mask, "non_ambiguous_mask": mask[..., 0],
                "non_ambiguous_mask_logits": np.where(mask[..., 0], 5.0, -5.0),
                "metric_scaling_factor": np.array(1.0), "img_no_norm": np.zeros((height, width, 3)),
            }  # fmt: skip
            tensors = {key: torch.from_numpy(np.asarray(value))[None] for key, value in answer.items()}
            answers.append({key: t if t.dtype == torch.bool else t.float() for key, t in tensors.items()})
        return answers

    def inference(self, images):
        assert all(image.dtype == np.uint8 for image in images)
        height, width = images[0].shape[:2]
        views = [self.view(index, width // 2, height // 2) for index in range(len(images))]  # at half the size
        return SimpleNamespace(
            depth=np.stack([view[0] for view in views]), conf=np.stack([np.ones_like(view[0]) for view in views]),
            extrinsics=np.stack([view[2][:3] for view in views]), intrinsics=np.stack([view[1] for view in views]),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["mapanything", "da3"])
def test_geometry_networks_are_called_as_documented_and_their_cameras_reach_the_photos(room, name, monkeypatch):
    asked: list[str] = []

    class Model:
        @classmethod
        def from_pretrained(cls, checkpoint):
            asked.append(checkpoint)
            return ExactNetwork(room)

    for module, attribute in (("mapanything", None), ("mapanything.models", "MapAnything"),
                              ("depth_anything_3", None), ("depth_anything_3.api", "DepthAnything3")):  # fmt: skip
        stand_in = ModuleType(module)
        stand_in.__spec__ = importlib.util.spec_from_loader(module, None)
        if attribute:
            setattr(stand_in, attribute, Model)
        monkeypatch.setitem(sys.modules, module, stand_in)
    said: list[str] = []
    found = load_geometry(name, GeometryOptions(say=said.append, seed_points=2000)).find(
        find_photos(room / "images"), silent
    )
    assert "Apache-2.0" in said[0]
    assert "Downloading" in said[1]
    assert asked[0] in said[1]
    scene = Scene.load(room)
    fitted, degrees, off = compare(found, scene)
    assert fitted.scale == pytest.approx(2, rel=1e-3)
    assert degrees.max() < 0.05
    assert off.max() < 1e-3
    for stem, camera in found.cameras.items():
        assert torch.allclose(camera.K, scene.frame(stem).camera.K, rtol=1e-4, atol=0.05)
    assert found.metric is (name == "mapanything")
    assert found.points is not None
    assert 500 < len(found.points[0]) <= 2000
    world = fitted(found.points[0].astype(np.float64))
    if name == "mapanything":  # what the network masks out lies at 0, where the first camera is
        first = np.linalg.inv(scene.frames[0].camera.viewmat.double().numpy())[:3, 3]
        assert np.linalg.norm(world - first, axis=1).min() > 0.05
    low, high = np.percentile(world, [1, 99], axis=0)
    assert (high - low < 12).all()


def test_known_cameras_need_most_photos(room, tmp_path):
    (tmp_path / "photos").mkdir()
    for index, path in enumerate(sorted((room / "images").iterdir())):
        shutil.copy(path, tmp_path / "photos" / (path.name if index < 4 else f"other{index}.png"))
    finder = load_geometry("known", GeometryOptions(room))
    found = finder.find(find_photos(tmp_path / "photos"), silent)
    assert len(found.cameras) == 4
    assert set(found.left_out.values()) == {"no camera of this name"}
    for path in sorted((tmp_path / "photos").iterdir())[:3]:
        path.unlink()
    with pytest.raises(InputError, match="cameras for 1 of 3 photos"):
        finder.find(find_photos(tmp_path / "photos"), silent)
