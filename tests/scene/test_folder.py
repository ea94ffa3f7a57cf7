# SPDX-License-Identifier: Apache-2.0
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from panoptic_gs import Camera, InputError
from panoptic_gs.scene import Scene, write_scene


@pytest.fixture
def root(tmp_path):
    cameras = {f"{i:04d}": Camera.look_at((i, -3, 1), (0, 0, 0), (0, 0, 1), 1.0, 8, 6) for i in range(3)}
    rng = np.random.default_rng(0)
    images = {stem: rng.integers(0, 255, (6, 8, 3), dtype=np.uint8) for stem in cameras}
    points = (rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 255, (5, 3), dtype=np.uint8))
    write_scene(tmp_path / "scene", cameras, images, points, {"train": ["0000", "0001"], "test": ["0002"]})
    return tmp_path / "scene", cameras, images, points


def test_a_written_scene_reads_back_the_same(root):
    folder, cameras, images, points = root
    scene = Scene.load(folder)
    assert [frame.stem for frame in scene.frames] == list(cameras)
    for frame in scene.frames:
        torch.testing.assert_close(frame.camera.viewmat, cameras[frame.stem].viewmat)
        torch.testing.assert_close(frame.camera.K, cameras[frame.stem].K)
        np.testing.assert_array_equal(frame.read_image(), images[frame.stem])
    assert scene.points is not None
    np.testing.assert_array_equal(scene.points[0], points[0])
    np.testing.assert_array_equal(scene.points[1], points[1])
    assert [frame.stem for frame in scene.split("test")] == ["0002"]
    assert scene.split("all") == scene.frames


def edit(folder, change):
    document = json.loads((folder / "transforms.json").read_text())
    change(document)
    (folder / "transforms.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d["frames"][1]["transform_matrix"][0].__setitem__(0, float("nan")), "images/0001.png.*NaN"),
        (lambda d: d["frames"][1].pop("transform_matrix"), "transform_matrix"),
        (lambda d: d["frames"][1].update(fl_x=0), "focal"),
        (lambda d: d["frames"][1].update(w=9), "8×6 pixels"),
        (lambda d: d["frames"].append(d["frames"][1]), "two images named '0001'"),
        (lambda d: d["frames"].clear(), "no images"),
        (lambda d: d.pop("frames"), "no list of frames"),
        (lambda d: d.update(ply_file_path="nothing.ply"), "nothing.ply"),
        (
            lambda d: d.update(ply_file_path="images/0001.png"),
            r"0001\.png.*named by ply_file_path of .*transforms\.json",
        ),
        (lambda d: d["frames"][1].update(file_path="images/9.png"), "no such file"),
    ],
)
def test_unusable_transforms_are_refused(root, change, word):
    edit(root[0], change)
    with pytest.raises(InputError, match=word):
        Scene.load(root[0])


def test_missing_parts_are_named(root, tmp_path):
    folder = root[0]
    with pytest.raises(InputError, match="no such folder"):
        Scene.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither transforms\.json nor colmap"):
        Scene.load(tmp_path / "empty")
    (folder / "splits.json").write_text('{"train": ["0007"]}')
    with pytest.raises(InputError, match="'0007' in split 'train'"):
        Scene.load(folder)
    (folder / "splits.json").write_text('{"train": ["0001"]}')
    with pytest.raises(InputError, match="no split 'test'"):
        Scene.load(folder).split("test")
    (folder / "transforms.json").write_text('{"frames": [')
    with pytest.raises(InputError, match="no valid JSON"):
        Scene.load(folder)


def write_colmap(folder, camera: Camera, names, quaternion, binary: bool):
    """A COLMAP model as its format page describes it, OPENCV camera."""
    folder.mkdir(parents=True)
    K = camera.K.double()
    parameters = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], 0.01, -0.02, 0.003, 0.004]
    pose = [*quaternion, *camera.viewmat[:3, 3].tolist()]
    if binary:
        (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 7, 4, camera.width, camera.height, *parameters))
        images = struct.pack("<Q", len(names))
        for index, name in enumerate(names):
            images += struct.pack("<i7di", index + 1, *pose, 7) + name.encode() + b"\0"
            images += struct.pack("<Q", 1) + struct.pack("<ddq", 1.0, 2.0, -1)
        (folder / "images.bin").write_bytes(images)
        point = struct.pack("<Q3d3BdQii", 4, 0.5, 1.5, 2.5, 10, 20, 30, 0.1, 1, 1, 0)
        (folder / "points3D.bin").write_bytes(struct.pack("<Q", 2) + point + point)
    else:
        text = " ".join(str(float(p)) for p in parameters)
        (folder / "cameras.txt").write_text(f"# cameras\n7 OPENCV {camera.width} {camera.height} {text}\n")
        lines = ["# images"]
        for index, name in enumerate(names):
            lines += [f"{index + 1} {' '.join(map(str, pose))} 7 {name}", "1.0 2.0 -1" if index else ""]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        (folder / "points3D.txt").write_text("# points\n4 0.5 1.5 2.5 10 20 30 0.1 1 0\n5 0.5 1.5 2.5 10 20 30 0.1\n")


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_models_are_read(tmp_path, binary):
    camera = Camera.look_at((1, -3, 1), (0, 0.2, 0), (0, 0, 1), 1.0, 8, 6)
    x, y, z, w = Rotation.from_matrix(camera.viewmat[:3, :3].numpy()).as_quat()
    names = ["a.png", "b one.png"]
    write_colmap(tmp_path / "colmap" / "sparse" / "0", camera, names, (w, x, y, z), binary)
    (tmp_path / "images").mkdir()
    for name in names:
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    scene = Scene.load(tmp_path)
    assert [frame.stem for frame in scene.frames] == ["a", "b one"]
    torch.testing.assert_close(scene.frames[1].camera.viewmat, camera.viewmat, atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.frames[1].sensor.K, camera.K)
    lens = scene.frames[0].distortion
    assert (lens.k1, lens.k2, lens.p1, lens.p2) == (0.01, -0.02, 0.003, 0.004)
    assert scene.points is not None
    np.testing.assert_array_equal(scene.points[0], [[0.5, 1.5, 2.5]] * 2)
    np.testing.assert_array_equal(scene.points[1], [[10, 20, 30]] * 2)
    if binary:
        file = tmp_path / "colmap" / "sparse" / "0" / "images.bin"
        file.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(InputError, match=r"images\.bin.*truncated"):
            Scene.load(tmp_path)


def test_real_points_land_on_their_photo(shared_data):
    """Sparse points of the office, projected by our cameras, keep inside the photos they were triangulated from."""
    scene = Scene.load(shared_data / "tum_fr3_office")
    assert scene.points is not None
    points = torch.from_numpy(scene.points[0])
    for frame in scene.frames:
        camera = frame.camera
        local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = (local @ camera.K.T)[:, :2] / local[:, 2:]
        seen = (local[:, 2] > 0) & (pixels > 0).all(1) & (pixels < torch.tensor([640.0, 480.0])).all(1)
        assert seen.float().mean() > 0.3


def test_the_two_forms_of_the_living_room_agree(shared_data):
    straight = Scene.load(shared_data / "livingroom" / "scene")
    distorted = Scene.load(shared_data / "livingroom" / "distorted")
    for a, b in zip(straight.frames, distorted.frames):
        torch.testing.assert_close(a.camera.viewmat, b.camera.viewmat, atol=1e-3, rtol=0)
        assert b.distortion
        assert not a.distortion
