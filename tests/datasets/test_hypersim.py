# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypersim_layout import opengl_projection, write_hypersim, write_parameters
from PIL import Image
from room_frames import HEIGHT, WIDTH, RoomFrame, assert_gives_back_the_room, render_frames, with_void
from scipy.spatial.transform import Rotation

from panoptic_gs.cli.main import main
from panoptic_gs.datasets.classes import NYU40
from panoptic_gs.datasets.hypersim import HypersimScene, tone_map
from panoptic_gs.datasets.hypersim_lens import HypersimLens
from panoptic_gs.datasets.preparation import PrepareOptions, prepare_scene
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_json
from panoptic_gs.scene import Scene

K = np.array([[52.0, 0, WIDTH / 2 + 3.7], [0, 49.0, HEIGHT / 2 - 2.2], [0, 0, 1]])
STEMS = ("0_0000", "0_0001", "0_0002", "1_0000")


@pytest.fixture(scope="module")
def frames(renderer) -> list[RoomFrame]:
    return [with_void(frame) for frame in render_frames(renderer, K=K, stems=STEMS)]


@pytest.fixture(scope="module")
def downloaded(frames, tmp_path_factory) -> Path:
    return write_hypersim(tmp_path_factory.mktemp("hypersim"), frames, opengl_projection(K, WIDTH, HEIGHT))


@pytest.fixture
def scene(downloaded: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(downloaded.parent, tmp_path / "raw")
    return tmp_path / "raw" / downloaded.name


def geometry(scene: Path, name: str) -> Path:
    return scene / "images" / "scene_cam_00_geometry_hdf5" / name


def test_the_command_gives_back_the_room(downloaded: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    main(["prepare", "hypersim", str(downloaded), "--out", str(tmp_path / "scene"), "--jobs", "1"])
    scene = assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=0.1)
    for frame in frames:
        np.testing.assert_allclose(scene.frame(frame.stem).camera.K, K, atol=1e-4)
    assert scene.splits == {"train": STEMS[1:], "test": STEMS[:1]}


def test_ids_beyond_255_stay_apart(downloaded: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    prepare_scene(HypersimScene.open(downloaded), tmp_path / "scene")
    instances = set(read_json(tmp_path / "scene" / "preparation.json")["instances"].values())
    assert instances == {300 * int(i) for frame in frames for i in np.unique(frame.instances) if i}


def test_the_dataset_s_own_classes(downloaded: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    prepare_scene(HypersimScene.open(downloaded), tmp_path / "scene", PrepareOptions(classes="own"))
    truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
    assert truth.categories == NYU40.categories
    names = {category.id: category.name for category in truth.categories}
    assert "otherprop" in {names[segment.category_id] for segment in truth.segments}
    with pytest.raises(InputError, match=r"'nyu4'.*Did you mean nyu40"):
        prepare_scene(HypersimScene.open(downloaded), tmp_path / "x", PrepareOptions(classes="nyu4"))


def test_some_of_the_cameras(downloaded: Path) -> None:
    assert HypersimScene.open(downloaded, ["cam_01"]).stems == ("1_0000",)
    with pytest.raises(InputError, match=r"'cam_02'.*one of cam_00, cam_01"):
        HypersimScene.open(downloaded, ["cam_02"])


def test_a_tilted_lens_is_refused_or_given_as_a_turned_pinhole(renderer, tmp_path: Path) -> None:
    square = np.array([[50.0, 0, WIDTH / 2], [0, 50.0, HEIGHT / 2 + 11], [0, 0, 1]])
    to_lens = Rotation.from_euler("x", 13, degrees=True).as_matrix()
    frames = render_frames(renderer, K=square, stems=STEMS)
    flip = np.diag([1.0, -1.0, -1.0])
    m_proj = opengl_projection(square, WIDTH, HEIGHT)
    m_proj[:, :3] = m_proj[:, :3] @ flip @ to_lens @ flip
    scene = write_hypersim(tmp_path, frames, 1.7 * m_proj, lens_to_camera=to_lens.T)
    with pytest.raises(InputError, match=r"tilted by 13\.0°.*--allow-tilt-shift.*0\.00 px"):
        HypersimScene.open(scene)
    done = prepare_scene(HypersimScene.open(scene, allow_tilt_shift=True), tmp_path / "scene")
    assert "0.00 px" in done.notes[0]
    assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=0.1)


def test_a_real_tilted_lens() -> None:
    # Scene ai_026_006, the most tilted one: M_proj and, to check with, M_cam_from_uv.
    m_proj = np.zeros((4, 4))
    m_proj[0, 0], m_proj[1, 1] = 1.2653061923442774, 2.2525681229041195
    m_proj[3, 1:3] = -0.6463128363953561, -0.7305248960923497
    lens = HypersimLens.from_opengl(m_proj, 1024, 768)
    pinhole = lens.pinhole()
    assert pinhole.error < 1e-6
    assert pinhole.K[0, 0] == pytest.approx(pinhole.K[1, 1], rel=1e-6)
    camera_from_uv = np.array(
        [[0.7903225369878771, 0, 0], [0, 0.4439377392550294, 0], [0, -0.39276232880718764, -1.3688787409561254]]
    )
    for column, row in ((0, 0), (700, 12), (1023, 767)):
        u, v = 2 * (column + 0.5) / 1024 - 1, 1 - 2 * (row + 0.5) / 768
        ray = camera_from_uv @ [u, v, 1] * [1, -1, -1]
        np.testing.assert_allclose(lens.rays[:, row, column], ray / np.linalg.norm(ray), atol=1e-7)


def test_a_lens_tilted_both_ways_has_an_error_and_a_small_one_is_none() -> None:
    m_proj = opengl_projection(K, WIDTH, HEIGHT)
    m_proj[3, :2] = 0.02, -0.3
    skewed = HypersimLens.from_opengl(m_proj, WIDTH, HEIGHT).pinhole()
    assert 0.01 < skewed.error < 1
    m_proj[3, :2] = 3e-8, -3e-8  # as in ai_026_002
    straight = HypersimLens.from_opengl(m_proj, WIDTH, HEIGHT).pinhole()
    assert not straight.is_turned
    np.testing.assert_allclose(straight.K, K, atol=1e-9)


def test_no_pinhole_near_the_fitted_one_is_better(renderer) -> None:
    m_proj = opengl_projection(K, WIDTH, HEIGHT)
    m_proj[3, :2] = 0.1, -0.3
    lens = HypersimLens.from_opengl(m_proj, WIDTH, HEIGHT)
    best = lens.pinhole()
    pixels = np.stack([*np.meshgrid(np.linspace(0, WIDTH, 17), np.linspace(0, HEIGHT, 13)), np.ones((13, 17))])
    pixels = pixels.reshape(3, -1)
    points = np.linalg.solve(lens.projection, pixels)

    def mean_square(intrinsics: np.ndarray, rotation: np.ndarray) -> float:
        seen = intrinsics @ rotation @ points
        return float((((seen[:2] / seen[2]) - pixels[:2]) ** 2).mean())

    least = mean_square(best.K, best.rotation)
    rng = np.random.default_rng(0)
    for _ in range(50):
        turned = Rotation.from_rotvec(rng.normal(0, 1e-3, 3)).as_matrix() @ best.rotation
        changed = best.K + np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]]) * rng.normal(0, 0.05, (3, 3))
        assert mean_square(changed, turned) > least


def test_unusable_frames_are_dropped_and_the_others_prepared(
    scene: Path, frames: list[RoomFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geometry(scene, "frame.0001.semantic.hdf5").unlink()
    damaged = geometry(scene, "frame.0002.depth_meters.hdf5")
    damaged.write_bytes(damaged.read_bytes()[:900])
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", "hypersim", str(scene), "--out", str(tmp_path / "scene"), "--jobs", "1"])
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    assert "0_0001: " in printed
    assert "semantic.hdf5: found no such file" in printed
    assert "0_0002: " in printed
    assert "a corrupt file" in printed
    assert_gives_back_the_room(tmp_path / "scene", [frames[0], frames[3]], color_tolerance=0.1)


def test_poses_that_are_not_numbers(scene: Path, tmp_path: Path) -> None:
    with h5py.File(scene / "_detail" / "cam_00" / "camera_keyframe_positions.hdf5", "r+") as file:
        file["dataset"][1, 2] = np.inf
    done = prepare_scene(HypersimScene.open(scene), tmp_path / "scene")
    assert [(entry.stem, "infinite pose" in entry.reason) for entry in done.dropped] == [("0_0001", True)]


def test_frames_without_a_pose_or_any_file(scene: Path, tmp_path: Path) -> None:
    for path in (scene / "images").glob("scene_cam_00_*/frame.0002.*"):
        shutil.copy(path, path.with_name(path.name.replace("0002", "0003")))
        path.unlink()
    done = prepare_scene(HypersimScene.open(scene), tmp_path / "scene")
    assert [entry.stem for entry in done.dropped] == ["0_0002", "0_0003"]
    assert "no file of this frame" in done.dropped[0].reason
    assert "none for frame 3" in done.dropped[1].reason


def test_a_label_outside_the_list(scene: Path, tmp_path: Path) -> None:
    with h5py.File(geometry(scene, "frame.0000.semantic.hdf5"), "r+") as file:
        file["dataset"][5, 30:33] = 41
    done = prepare_scene(HypersimScene.open(scene), tmp_path / "scene")
    assert [entry.stem for entry in done.dropped] == ["0_0000"]
    assert "class id 41 at 3 pixels" in done.dropped[0].reason


def test_the_preview_stands_in_for_a_missing_photo(scene: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    (scene / "images" / "scene_cam_00_final_hdf5" / "frame.0001.color.hdf5").unlink()
    preview = scene / "images" / "scene_cam_00_final_preview" / "frame.0001.tonemap.jpg"
    preview.parent.mkdir()
    Image.fromarray(frames[1].rgb).save(preview, quality=95, subsampling=0)
    done = prepare_scene(HypersimScene.open(scene), tmp_path / "scene")
    assert done.notes == ("1 frame: the photo is the JPEG preview: color.hdf5 is missing",)
    assert (tmp_path / "scene" / "images" / "0_0001.jpg").read_bytes() == preview.read_bytes()
    assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scene: shutil.rmtree(scene / "_detail"), "no _detail/cam_XX"),
        (lambda scene: (scene / "_detail" / "metadata_scene.csv").write_text("a,b\n"), "no meters_per_asset_unit"),
        (lambda scene: (scene.parent / "metadata_camera_parameters.csv").unlink(), "no metadata_camera_parameters.csv"),
        (lambda scene: write_parameters(scene.parent / "metadata_camera_parameters.csv", "ai_098_001", np.eye(4), 1, 1),
         "no row for scene 'ai_099_001'"),
        (lambda scene: write_parameters(scene.parent / "metadata_camera_parameters.csv", scene.name, np.eye(4), 64, 48),
         "perspective projection"),
        (lambda scene: (scene / "_detail" / "cam_00" / "camera_keyframe_orientations.hdf5").write_text("oops"),
         "a corrupt file"),
        (lambda scene: shutil.rmtree(scene / "images"), "no usable frame among 4"),
    ],
)  # fmt: skip
def test_a_scene_that_lacks_what_all_frames_need(scene: Path, tmp_path: Path, damage, message: str) -> None:
    damage(scene)
    with pytest.raises(InputError, match=message):
        prepare_scene(HypersimScene.open(scene), tmp_path / "out" / "scene")
    assert not list((tmp_path / "out").glob("*"))


def test_the_parameters_may_lie_anywhere(scene: Path, tmp_path: Path) -> None:
    moved = shutil.move(scene.parent / "metadata_camera_parameters.csv", tmp_path / "parameters.csv")
    assert len(HypersimScene.open(scene, parameters=Path(moved)).stems) == 4


def test_the_tone_map_is_gamma_and_clips() -> None:
    color = np.array([[[0.0, 1.0, 50.0], [0.5**2.2, -3.0, np.nan]]], dtype=np.float32)
    np.testing.assert_array_equal(tone_map(color), [[[0, 255, 255], [128, 0, 0]]])
