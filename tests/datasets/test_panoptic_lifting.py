# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from panoptic_lifting_layout import JPEG_LOSS, write_panoptic_lifting
from PIL import Image
from room_frames import HEIGHT, WIDTH, RoomFrame, assert_gives_back_the_room, render_frames, with_void

from panoptic_gs import PanopticScene, Segment
from panoptic_gs.cli.main import main
from panoptic_gs.datasets.classes import REDUCED21
from panoptic_gs.datasets.panoptic_lifting import PanopticLiftingScene
from panoptic_gs.datasets.preparation import prepare_scene
from panoptic_gs.errors import InputError
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.scene import Scene

K = np.array([[55.0, 0, WIDTH / 2 - 1.3], [0, 56.0, HEIGHT / 2 + 0.7], [0, 0, 1]])
STEMS = ("0", "20", "100", "1000")


@pytest.fixture(scope="module")
def frames(renderer) -> list[RoomFrame]:
    return [with_void(frame) for frame in render_frames(renderer, K=K, stems=STEMS)]


@pytest.fixture(scope="module")
def shared(frames, tmp_path_factory) -> Path:
    return write_panoptic_lifting(tmp_path_factory.mktemp("panlift") / "scene0050_02", frames, test=["20"])


@pytest.fixture
def scene(shared: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(shared, tmp_path / shared.name)


def test_the_command_gives_back_the_room(shared: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    main(["prepare", "panoptic-lifting", str(shared), "--out", str(tmp_path / "scene"), "--jobs", "1"])
    scene = assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=JPEG_LOSS)
    assert scene.splits == {"train": ("0", "100", "1000"), "test": ("20",)}
    np.testing.assert_allclose(scene.frame("20").camera.K, K, atol=1e-5)
    assert (tmp_path / "scene" / "images" / "20.jpg").read_bytes() == (shared / "color" / "20.jpg").read_bytes()


def test_pixel_centres_of_the_layout_are_whole_numbers(shared: Path, tmp_path: Path) -> None:
    """A ray through the centre of pixel (0, 0) of the layout is one through (0.5, 0.5) of a scene folder."""
    stored = np.loadtxt(shared / "intrinsic" / "intrinsic_color.txt")[:3, :3]
    camera = PanopticLiftingScene.open(shared).read("20").camera
    np.testing.assert_allclose(camera.K[:2, 2], stored[:2, 2] + 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.diag(camera.K), np.diag(stored), rtol=1e-6)
    here = np.linalg.solve(camera.K.double().numpy(), [3.5, 7.5, 1])
    np.testing.assert_allclose(here, np.linalg.solve(stored, [3, 7, 1]), atol=1e-6)


def test_the_layouts_own_truth_scores_1(scene: Path, tmp_path: Path) -> None:
    """An instance that two thing classes share stays two segments, as the benchmark counts (class, instance) pairs."""
    bed, chair, sofa, wall = (REDUCED21.ids[name] for name in ("bed", "chair", "sofa", "wall"))
    own: dict[str, np.ndarray] = {}
    for stem in STEMS:
        semantics = np.full((HEIGHT, WIDTH), wall, np.uint8)
        instance = np.zeros((HEIGHT, WIDTH), np.uint16)
        semantics[4:20, 4:20], semantics[4:9, 20:30] = chair, sofa
        instance[4:20, 4:30] = 7  # a chair of which a fifth is called sofa
        semantics[25:, 5:20], instance[25:, 5:20] = bed, 7  # and a bed of the same number
        semantics[25:, 25:40], instance[25:, 25:40] = chair, 300
        Image.fromarray(semantics).save(scene / "rs_semantics" / f"{stem}.png")
        Image.fromarray(instance).save(scene / "rs_instance" / f"{stem}.png")
        own[stem] = np.where(instance > 0, semantics.astype(np.int32) * 1000 + instance, semantics)
    prepare_scene(PanopticLiftingScene.open(scene), tmp_path / "scene")
    truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
    segments = [
        Segment(number, number // 1000 or number) for number in np.unique(np.stack(list(own.values()))).tolist()
    ]
    layout = PanopticScene(REDUCED21.categories, segments, own)
    for scores in evaluate_scenes(truth, layout).values():
        assert (scores.panoptic.pq, scores.miou, scores.mcov) == (1.0, 1.0, 1.0)
    assert len(truth.segments) == 5  # wall, bed 7, chair 7, chair 300, sofa 7


def test_the_pickle_is_never_loaded(shared: Path, tmp_path: Path) -> None:
    prepare_scene(PanopticLiftingScene.open(shared), tmp_path / "scene")
    assert not (shared / "unpickled").exists()
    pickle.loads((shared / "segmentation_data.pkl").read_bytes())  # it would have been seen
    (shared / "unpickled").rmdir()


@pytest.mark.parametrize(("dataset", "test"), [("hypersim", ("0",)), ("replica", ("0", "200"))])
def test_datasets_processed_so_have_their_own_split(
    renderer, tmp_path: Path, dataset: str, test: tuple[str, ...]
) -> None:
    frames = render_frames(renderer, views=5, K=K, stems=[*STEMS[:3], "150", "200"])
    raw = write_panoptic_lifting(tmp_path / "raw", frames)
    main(
        ["prepare", dataset, str(raw), "--out", str(tmp_path / "scene"), "--layout", "panoptic-lifting", "--jobs", "1"]
    )
    assert Scene.load(tmp_path / "scene").splits["test"] == test


def test_unusable_frames_are_dropped(scene: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    (scene / "color" / "20.jpg").unlink()
    (scene / "pose" / "100.txt").write_text("-inf -inf -inf -inf\n" * 4)
    semantics = np.array(Image.open(scene / "rs_semantics" / "1000.png"))
    semantics[8, 8] = 22
    Image.fromarray(semantics).save(scene / "rs_semantics" / "1000.png")
    done = prepare_scene(PanopticLiftingScene.open(scene), tmp_path / "scene")
    reasons = {entry.stem: entry.reason for entry in done.dropped}
    assert list(reasons) == ["20", "100", "1000"]
    assert "color/20.jpg: found no such file" in reasons["20"]
    assert "NaN or infinite" in reasons["100"]
    assert "rs_semantics/1000.png: found class id 22 at 1 pixels" in reasons["1000"]
    assert_gives_back_the_room(tmp_path / "scene", frames[:1], color_tolerance=JPEG_LOSS)
    assert Scene.load(tmp_path / "scene").splits == {"train": ("0",), "test": ()}


def test_a_missing_photo_does_not_shift_the_split(scene: Path) -> None:
    (scene / "splits.json").unlink(missing_ok=True)
    before = PanopticLiftingScene.open(scene).stems
    (scene / "color" / f"{before[0]}.jpg").unlink()
    assert PanopticLiftingScene.open(scene).stems == before


def test_intrinsics_of_another_size(scene: Path, tmp_path: Path) -> None:
    file = scene / "intrinsic" / "intrinsic_color.txt"
    K = np.loadtxt(file)
    K[:2] *= 2.1
    np.savetxt(file, K)
    with pytest.raises(InputError, match=r"a principal point at .* scale the intrinsics"):
        prepare_scene(PanopticLiftingScene.open(scene), tmp_path / "scene")


def test_labels_of_another_size(scene: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(scene / "rs_instance" / "0.png")
    done = prepare_scene(PanopticLiftingScene.open(scene), tmp_path / "scene")
    assert [(entry.stem, "equal shapes" in entry.reason) for entry in done.dropped] == [("0", True)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: shutil.rmtree(s / "color"), "no photos"),
        (lambda s: (s / "splits.json").write_text('{"train": ["0"]}'), "no lists 'train' and 'test'"),
        (lambda s: (s / "intrinsic" / "intrinsic_color.txt").unlink(), "no usable frame among 4.*intrinsic_color"),
    ],
)
def test_a_scene_that_lacks_what_all_frames_need(scene: Path, tmp_path: Path, damage, message: str) -> None:
    damage(scene)
    with pytest.raises(InputError, match=message):
        prepare_scene(PanopticLiftingScene.open(scene), tmp_path / "scene")
