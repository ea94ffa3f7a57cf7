# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from panoptic_gs import InputError
from panoptic_gs.files import write_png
from panoptic_gs.scene import Scene
from panoptic_gs.scene.depth import depth_to_millimetres
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize
from panoptic_gs.synthetic.scenes import fill_scene_folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depth") / "room"
    folder.mkdir()
    scene = synthesize(seed=2, views=5, width=48, height=36, seed_points=100)
    fill_scene_folder(folder, scene, simulate_predictions(scene.truth, PredictionNoise.preset("low")), depth=True)
    for stem, view in scene.views.items():
        np.save(folder / f"{stem}.npy", view.depth)
    return folder


def named_by_transforms(scene: Path, name: str) -> None:
    transforms = json.loads((scene / "transforms.json").read_text())
    transforms["frames"][0]["depth_file_path"] = name
    (scene / "transforms.json").write_text(json.dumps(transforms))


def test_depth_of_every_photo_comes_back_to_half_a_millimetre(room: Path) -> None:
    scene = Scene.load(room)
    depths = scene.load_depth()
    assert len(depths) == 5
    for frame in scene.frames:
        read = depths.read(frame)
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, np.load(room / f"{frame.stem}.npy"), atol=0.0005001)


def test_a_file_that_transforms_json_names_is_read_as_nerfstudio_reads_it(room: Path, tmp_path: Path) -> None:
    data_utils = pytest.importorskip("nerfstudio.data.utils.data_utils")
    shutil.copytree(room, tmp_path / "scene")
    coarse = np.random.default_rng(0).integers(0, 9000, (18, 24)).astype(np.uint16)
    for name, write in (("lidar/a.png", lambda file: write_png(file, coarse)),
                        ("lidar/a.npy", lambda file: np.save(file, coarse.astype(np.float32)))):  # fmt: skip
        file = tmp_path / "scene" / name
        file.parent.mkdir(exist_ok=True)
        write(file)
        named_by_transforms(tmp_path / "scene", name)
        scene = Scene.load(tmp_path / "scene")
        frame = scene.frames[0]
        theirs = data_utils.get_depth_image_from_path(file, 36, 48, 1e-3)[..., 0].numpy()
        np.testing.assert_allclose(scene.load_depth().read(frame), theirs, rtol=1e-6)
        assert scene.frames[1].depth_path is None


@pytest.mark.filterwarnings("ignore:Reading `.npy`")
def test_what_is_no_depth_is_refused_by_name(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room, tmp_path / "scene")
    scene = Scene.load(tmp_path / "scene")
    frame = scene.frames[0]
    file = tmp_path / "scene" / "depth" / f"{frame.stem}.png"
    for pixels, found in ((np.zeros((36, 48, 3), np.uint8), "uint8"), (np.zeros((36, 48), np.uint8), "uint8"),
                          (np.zeros((36, 36), np.uint16), "36×36")):  # fmt: skip
        write_png(file, pixels)
        with pytest.raises(InputError, match=found):
            scene.load_depth().read(frame)
    file.unlink()
    assert frame.stem not in scene.load_depth()
    for values in (np.full((36, 48), np.nan), np.full((36, 48), -1.0)):
        np.save(file.with_suffix(".npy"), values)
        with pytest.raises(InputError, match="negative"):
            scene.load_depth().read(frame)
    np.save(file.with_suffix(".npy"), np.ones((36, 48), np.float32))
    whole = file.with_suffix(".npy").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(0, 128 if trial % 2 else len(whole), 1 + trial % 4)
        damaged[at] = rng.integers(0, 256, len(at))
        kept = rng.integers(0, len(whole)) if trial % 5 == 0 else len(whole)
        file.with_suffix(".npy").write_bytes(damaged.tobytes()[:kept])
        try:
            scene.load_depth().read(frame)
        except InputError as error:
            refused += file.with_suffix(".npy").name in str(error)
    assert refused > 60
    np.savez(file.with_suffix(".npz"), a=np.ones((36, 48)))
    file.with_suffix(".npz").rename(file.with_suffix(".npy"))
    with pytest.raises(InputError, match=r"\.npy"):
        scene.load_depth().read(frame)
    named_by_transforms(tmp_path / "scene", "gone.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        Scene.load(tmp_path / "scene").load_depth().read(Scene.load(tmp_path / "scene").frames[0])


def test_what_cannot_be_known_is_no_depth() -> None:
    depth = np.array([[np.nan, np.inf, -1.0, 0.0], [0.0004, 1.2345, 65.5349, 65.6]])
    assert depth_to_millimetres(depth).tolist() == [[0, 0, 0, 0], [0, 1234, 65535, 0]]
