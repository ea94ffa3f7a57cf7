# SPDX-License-Identifier: Apache-2.0
"""ScanNet++: truth rasterised from the room's annotated mesh is the room's, whichever camera took the photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from room_frames import RoomFrame, assert_projects_to_its_pixel, render_frames
from room_mesh import room_mesh
from scannetpp_layout import (
    FISHEYE,
    PINHOLE,
    RADIAL,
    SCENE,
    distorted_photo,
    stem_of,
    write_dslr,
    write_iphone,
    write_model,
    write_scannetpp,
    write_transforms,
)
from scipy import ndimage

from panoptic_gs.cli.main import main
from panoptic_gs.datasets.preparation import Preparation, PrepareOptions, prepare_scene
from panoptic_gs.datasets.scannetpp import ScanNetPPScene
from panoptic_gs.datasets.scannetpp_annotation import AnnotatedMesh, Benchmark, claim_segments
from panoptic_gs.datasets.scannetpp_capture import Capture
from panoptic_gs.errors import InputError
from panoptic_gs.files import read_image, read_json, read_rgb
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import RoomRenderer

JPEG_LOSS = 3.0
OWN = PrepareOptions(classes="own", seed_points=3000)


@pytest.fixture(scope="module")
def frames(renderer: RoomRenderer) -> list[RoomFrame]:
    K = np.array([[100.0, 0, 62.3], [0, 101, 47.1], [0, 0, 1]])
    return render_frames(renderer, views=4, K=K, width=128, height=96)


@pytest.fixture(scope="module")
def laid_out(renderer: RoomRenderer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mesh, annotation and metadata; tests copy it and add photos."""
    root = tmp_path_factory.mktemp("scannetpp")
    write_scannetpp(root, renderer.room)
    return root


@pytest.fixture
def scene(laid_out: Path, tmp_path: Path) -> Path:
    shutil.copytree(laid_out, tmp_path / "raw")
    return tmp_path / "raw" / "data" / SCENE


def assert_gives_back_the_room(
    folder: Path, frames: Sequence[RoomFrame], device: str = "dslr", color_tolerance: float = JPEG_LOSS
) -> Scene:
    """Poses, colours, depth and labels; the mesh's polygons may differ from the room's round shapes at silhouettes."""
    prepared = Scene.load(folder)
    truth = prepared.load_panoptic("panoptic_gt")
    category_of = truth.category_of()
    pairs, wrong = set(), []
    for index, frame in enumerate(frames):
        stem = stem_of(index, device)
        got = prepared.frame(stem)
        torch.testing.assert_close(got.camera.viewmat, frame.camera.viewmat, atol=1e-5, rtol=0)
        torch.testing.assert_close(got.camera.K, frame.camera.K, atol=1e-4, rtol=0)
        assert_projects_to_its_pixel(got.camera, frame)
        inner = ndimage.maximum_filter(frame.segments, 3) == ndimage.minimum_filter(frame.segments, 3)
        difference = np.abs(read_rgb(got.image_path).astype(float) - frame.rgb)
        assert difference[inner].mean() <= color_tolerance
        ids = truth.maps[stem]
        right = category_of[ids] == frame.classes
        wrong.append(~right)
        assert right[inner].all()
        pairs |= set(zip(ids[inner].tolist(), frame.segments[inner].tolist()))
        depth = read_image(folder / "depth" / f"{stem}.png") / 1000
        assert np.quantile(np.abs(depth - frame.depth)[inner], 0.98) < 0.002
    assert len({mine for mine, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)
    # At silhouettes, too, nearly all are right.
    assert np.mean(wrong) < 0.001
    return prepared


def prepare(scene: Path, out: Path, device: str = "dslr") -> Preparation:
    return prepare_scene(ScanNetPPScene.open(scene, device), out, OWN)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("model", ["none", "text", "binary"])
def test_undistorted_photos(scene: Path, frames: list[RoomFrame], tmp_path: Path, model: str) -> None:
    write_dslr(scene, frames, test=(1, 3))
    if model != "none":
        write_model(scene / "dslr" / "colmap", frames, FISHEYE, binary=model == "binary")
    done = prepare(scene, tmp_path / "scene")
    prepared = assert_gives_back_the_room(tmp_path / "scene", frames)
    assert prepared.splits == {"train": (stem_of(0), stem_of(2)), "test": (stem_of(1), stem_of(3))}
    assert (done.dropped, done.notes) == ((), ("dslr, undistorted photos",))
    stored = scene / "dslr" / "resized_undistorted_images" / f"{stem_of(2)}.JPG"
    assert prepared.frame(stem_of(2)).image_path.read_bytes() == stored.read_bytes()


def test_fisheye_photos_are_undistorted(
    scene: Path, renderer: RoomRenderer, frames: list[RoomFrame], tmp_path: Path
) -> None:
    photos = [distorted_photo(renderer, frame.camera, FISHEYE) for frame in frames]
    write_dslr(scene, frames, (1,), photos, FISHEYE)
    done = prepare(scene, tmp_path / "scene")
    assert_gives_back_the_room(tmp_path / "scene", frames, color_tolerance=2 * JPEG_LOSS)
    assert done.notes == ("dslr, photos with fisheye distortion, taken out",)


@pytest.mark.parametrize("transforms", [True, False], ids=["nerfstudio", "colmap"])
def test_iphone(scene: Path, renderer: RoomRenderer, frames: list[RoomFrame], tmp_path: Path, transforms: bool) -> None:
    photos = [distorted_photo(renderer, frame.camera, RADIAL) for frame in frames]
    write_iphone(scene, frames, photos, transforms, binary=transforms)
    prepare(scene, tmp_path / "scene", "iphone")
    # This lens bends inwards: the photo's margin was not seen, and is void.
    prepared = Scene.load(tmp_path / "scene")
    truth = prepared.load_panoptic("panoptic_gt")
    category_of = truth.category_of()
    for index, frame in enumerate(frames):
        got = prepared.frame(stem_of(index, "iphone"))
        torch.testing.assert_close(got.camera.viewmat, frame.camera.viewmat, atol=1e-5, rtol=0)
        classes, rgb = category_of[truth.maps[got.stem]], read_rgb(got.image_path)
        void = classes == 0
        assert 0 < void.mean() < 0.1
        assert (rgb[ndimage.binary_erosion(void, border_value=1)] == 0).all()
        inner = ndimage.maximum_filter(frame.segments, 3) == ndimage.minimum_filter(frame.segments, 3)
        np.testing.assert_array_equal(classes[inner & ~void], frame.classes[inner & ~void])
        assert np.abs(rgb.astype(float) - frame.rgb)[inner & ~void].mean() < 2 * JPEG_LOSS
    assert prepared.splits["test"] == (stem_of(0, "iphone"),)


def test_seed_points_lie_on_the_mesh(
    scene: Path, renderer: RoomRenderer, frames: list[RoomFrame], tmp_path: Path
) -> None:
    write_dslr(scene, frames, ())
    prepare_scene(ScanNetPPScene.open(scene), tmp_path / "scene", OWN)
    points = Scene.load(tmp_path / "scene").points
    assert points is not None
    assert len(points[0]) == 3000
    low, high = (bound - 1e-4 * sign for bound, sign in zip(_bounds(room_mesh(renderer.room)[0].vertices), (1, -1)))
    assert ((points[0] >= low) & (points[0] <= high)).all()
    assert (np.abs(points[0][:, 2]) < 1e-4).mean() > 0.05, "the floor"


def test_reduced_classes(scene: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
    write_dslr(scene, frames, test=(3,))
    main(["prepare", "scannetpp", str(scene), "--out", str(tmp_path / "scene"), "--classes", "reduced21",
          "--jobs", "1", "--seed-points", "2000"])  # fmt: skip
    assert_gives_back_the_room(tmp_path / "scene", frames)
    truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
    assert truth.categories[10].name == "shelves", "the laid-out benchmark calls it bookshelf"


class TestWorld:
    """nerfstudio's transforms are in other axes than the mesh."""

    def test_a_colmap_model_decides(self, scene: Path, frames: list[RoomFrame]) -> None:
        write_dslr(scene, frames, ())
        file = scene / "dslr" / "nerfstudio" / "transforms_undistorted.json"
        write_model(scene / "dslr" / "colmap", frames, PINHOLE)
        document = json.loads(file.read_text())
        for entry, frame in zip(document["frames"], frames):
            entry["transform_matrix"] = frame.camera.to_opengl().tolist()
        file.write_text(json.dumps(document))
        self.assert_poses(scene, frames)
        for entry, frame in zip(document["frames"], frames):
            pose = frame.camera.to_opengl().numpy()[[0, 2, 1, 3]]
            pose[2] *= -1
            entry["transform_matrix"] = pose.tolist()
        file.write_text(json.dumps(document))
        self.assert_poses(scene, frames)
        document["frames"][1]["transform_matrix"][0][3] += 0.1
        file.write_text(json.dumps(document))
        with pytest.raises(InputError, match="those of the COLMAP model"):
            Capture.open(scene, "dslr")

    def test_applied_transform(self, scene: Path, frames: list[RoomFrame]) -> None:
        write_dslr(scene, frames, ())
        file = scene / "dslr" / "nerfstudio" / "transforms_undistorted.json"
        document = json.loads(file.read_text())
        document["applied_transform"] = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
        file.write_text(json.dumps(document))
        self.assert_poses(scene, frames)

    def assert_poses(self, scene: Path, frames: list[RoomFrame]) -> None:
        photos = Capture.open(scene, "dslr").photos
        for index, frame in enumerate(frames):
            torch.testing.assert_close(photos[stem_of(index)].camera.viewmat, frame.camera.viewmat, atol=1e-5, rtol=0)


class TestSplit:
    def test_without_lists_it_is_that_of_the_transforms(self, scene: Path, frames: list[RoomFrame]) -> None:
        write_dslr(scene, frames, test=(2,))
        (scene / "dslr" / "train_test_lists.json").unlink()
        assert Capture.open(scene, "dslr").splits == {
            "train": (stem_of(0), stem_of(1), stem_of(3)), "test": (stem_of(2),)
        }  # fmt: skip

    def test_without_any_every_fifth(self, scene: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
        write_dslr(scene, frames, ())
        (scene / "dslr" / "train_test_lists.json").unlink()
        assert prepare(scene, tmp_path / "scene").splits["test"] == [stem_of(0)]


class TestAnnotation:
    def test_the_smallest_object_holds_a_shared_segment(self, scene: Path) -> None:
        benchmark = Benchmark.open(scene.parents[1] / "metadata" / "semantic_benchmark")
        file = scene / "scans" / "segments_anno.json"
        document = read_json(file)
        floor = next(group for group in document["segGroups"] if group["label"] == "floor")
        before = AnnotatedMesh.open(scene / "scans", benchmark)
        largest = {"id": 900, "objectId": 900, "label": "object", "segments": sorted(
            segment for group in document["segGroups"] for segment in group["segments"])}  # fmt: skip
        document["segGroups"].insert(0, largest)
        document["segGroups"].append({"id": 901, "objectId": 901, "label": "split", "segments": []})
        file.write_text(json.dumps(document))
        after = AnnotatedMesh.open(scene / "scans", benchmark)
        np.testing.assert_array_equal(before.face_objects, after.face_objects)
        assert (after.face_objects == floor["objectId"] + 1).any()
        assert after.unlisted == ("split",)

    def test_objects_without_a_class_do_not_erase_listed_ones(self, scene: Path) -> None:
        """A small object that the benchmark skips lies on the floor: these vertices stay floor."""
        benchmark = Benchmark.open(scene.parents[1] / "metadata" / "semantic_benchmark")
        file = scene / "scans" / "segments_anno.json"
        document = read_json(file)
        before = AnnotatedMesh.open(scene / "scans", benchmark)
        floor = next(group for group in document["segGroups"] if group["label"] == "floor")
        document["segGroups"].append({"objectId": 902, "label": "gizmo", "segments": floor["segments"][:1]})
        file.write_text(json.dumps(document))
        after = AnnotatedMesh.open(scene / "scans", benchmark)
        np.testing.assert_array_equal(before.face_objects, after.face_objects)
        np.testing.assert_array_equal(before.face_classes, after.face_classes)
        assert after.unlisted == (*before.unlisted, "gizmo")

    def test_a_segment_is_claimed_three_times_at_most(self) -> None:
        members = [np.array([0, 1, 2]), np.array([0, 1]), np.array([0, 1, 2]), np.array([0])]
        assert claim_segments(members, np.array([5, 5, 5])).tolist() == [1, 1, 0]  # the fourth, of 5 vertices, is late
        assert claim_segments(members[:2] + members[3:], np.array([5, 5, 5])).tolist() == [2, 1, 0]
        assert claim_segments([], np.array([5])).tolist() == [-1]

    def test_claims_equal_the_benchmarks_rule_vertex_by_vertex(self) -> None:
        """300 random annotations; the rule as the benchmark's preparation states it, written with slots a vertex."""
        for seed in range(300):
            rng = np.random.default_rng(seed)
            segment_of = rng.integers(0, 8, 40)
            segment_of[:8] = np.arange(8)
            groups = [rng.permutation(8)[: rng.integers(0, 8)] for _ in range(rng.integers(0, 9))]
            slots: list[list[tuple[int, int]]] = [[] for _ in segment_of]
            for number, members in enumerate(groups):
                mine = [v for v, segment in enumerate(segment_of) if segment in members and len(slots[v]) < 3]
                for vertex in mine:
                    slots[vertex].append((len(mine), number))
            expected = [min(slot, key=lambda entry: entry[0])[1] if slot else -1 for slot in slots]
            sizes = np.bincount(segment_of, minlength=8)
            assert claim_segments(groups, sizes)[segment_of].tolist() == expected

    def test_a_face_belongs_to_most_of_its_vertices(self, tmp_path: Path, scene: Path) -> None:
        benchmark = Benchmark.open(scene.parents[1] / "metadata" / "semantic_benchmark")
        folder = tmp_path / "scans"
        folder.mkdir()
        (folder / "mesh_aligned_0.05.ply").write_text(
            "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
            "element face 3\nproperty list uchar int vertex_indices\nend_header\n"
            "0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2\n3 2 1 3\n3 3 0 2\n"
        )
        (folder / "segments.json").write_text('{"segIndices": [5, 8, 8, 5]}')
        groups = [{"objectId": 0, "label": "couch", "segments": [5]}, {"objectId": 4, "label": "bed", "segments": [8]}]
        (folder / "segments_anno.json").write_text(json.dumps({"segGroups": groups}))
        annotation = AnnotatedMesh.open(folder, benchmark)
        assert annotation.face_objects.tolist() == [5, 5, 1]
        assert annotation.face_classes.tolist() == [benchmark.classes.ids[n] for n in ("bed", "bed", "sofa")]

    def test_labels_outside_the_benchmark_are_void_and_named(
        self, scene: Path, frames: list[RoomFrame], tmp_path: Path
    ) -> None:
        file = scene / "scans" / "segments_anno.json"
        file.write_text(file.read_text().replace('"label": "floor"', '"label": "gizmo"'))
        write_dslr(scene, frames, ())
        done = prepare(scene, tmp_path / "scene")
        assert "('gizmo')" in done.notes[1]
        truth = Scene.load(tmp_path / "scene").load_panoptic("panoptic_gt")
        for index, frame in enumerate(frames):
            inner = ndimage.minimum_filter(frame.classes, 3) == ndimage.maximum_filter(frame.classes, 3)
            assert (truth.maps[stem_of(index)][inner & (frame.classes == 2)] == 0).all()


class TestBadInput:
    def test_bad_missing_and_unusable_frames(
        self, scene: Path, frames: list[RoomFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_dslr(scene, frames, test=(1,))
        file = scene / "dslr" / "nerfstudio" / "transforms_undistorted.json"
        document = json.loads(file.read_text())
        document["frames"][0]["is_bad"] = True
        document["frames"].append(document["frames"][1] | {"file_path": "DSC09999.JPG"})
        document["frames"].append({"file_path": "DSC09998.JPG", "transform_matrix": np.full((4, 4), np.inf).tolist()})
        file.write_text(json.dumps(document))
        photos = scene / "dslr" / "resized_undistorted_images"
        (photos / f"{stem_of(2)}.JPG").write_bytes((photos / f"{stem_of(2)}.JPG").read_bytes()[:500])
        lists = scene / "dslr" / "train_test_lists.json"
        document = json.loads(lists.read_text())
        document["test"].append("DSC07777.JPG")
        lists.write_text(json.dumps(document))
        with pytest.raises(SystemExit) as stopped:
            main(["prepare", "scannetpp", str(scene), "--out", str(tmp_path / "scene"), "--jobs", "1"])
        assert stopped.value.code == 1
        dropped = read_json(tmp_path / "scene" / "preparation.json")["dropped"]
        assert "marks it as bad" in dropped[stem_of(0)]
        assert "cannot be decoded" in dropped[stem_of(2)]
        assert "is missing" in dropped["DSC09999"]
        assert "infinite" in dropped["DSC09998"]
        assert "train_test_lists.json lists it" in dropped["DSC07777"]
        assert "Dropped 5 frames" in capsys.readouterr().out
        prepared = Scene.load(tmp_path / "scene")
        assert prepared.splits == {"train": (stem_of(3),), "test": (stem_of(1),)}

    def test_photos_of_another_size(self, scene: Path, frames: list[RoomFrame], tmp_path: Path) -> None:
        write_dslr(scene, frames, (), photos=[frame.rgb[::2, ::2] for frame in frames])
        with pytest.raises(InputError, match="64×48 pixels"):
            prepare(scene, tmp_path / "scene")
        assert not (tmp_path / "scene").exists()

    @pytest.mark.parametrize(
        ("file", "text", "found"),
        [
            ("segments.json", '{"segIndices": [1, 2, 3]}', "segments of 3 vertices"),
            ("segments.json", '{"segments": []}', "segIndices"),
            ("segments.json", '{"segIndices": [1, ', "no valid JSON"),
            ("segments_anno.json", '{"segGroups": [{"objectId": 1, "label": "bed", "segments": [3]}]}', "'bed'"),
            ("segments_anno.json", '{"segGroups": [{"label": "bed", "segments": [7]}]}', "objectId"),
            ("segments_anno.json", '{"segGroups": [{"objectId": -1, "label": "bed", "segments": [7]}]}', "negative"),
            ("mesh_aligned_0.05.ply", "ply\nformat ascii 1.0\nelement vertex 1\n", "cannot be read as a triangle mesh"),
        ],
    )
    def test_an_annotation_that_does_not_fit(self, scene: Path, frames: list[RoomFrame], file: str, text: str,
                                             found: str) -> None:  # fmt: skip
        write_dslr(scene, frames, ())
        (scene / "scans" / file).write_text(text)
        with pytest.raises(InputError, match=found):
            ScanNetPPScene.open(scene)

    def test_half_downloaded(self, scene: Path, frames: list[RoomFrame], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(InputError, match="no cameras with photos"):
            ScanNetPPScene.open(scene)
        write_dslr(scene, frames, ())
        with pytest.raises(InputError, match="no cameras with photos"):
            ScanNetPPScene.open(scene, "iphone")
        (scene / "scans" / "segments_anno.json").unlink()
        with pytest.raises(SystemExit) as stopped:
            main(["prepare", "scannetpp", str(scene), "--out", str(scene.parent / "out")])
        assert stopped.value.code == 2
        assert "segments_anno.json" in capsys.readouterr().err
        metadata = scene.parents[1] / "metadata"
        metadata.rename(scene.parents[1] / "elsewhere")
        with pytest.raises(InputError, match="no metadata/semantic_benchmark"):
            ScanNetPPScene.open(scene)

    def test_malformed_cameras(self, scene: Path, frames: list[RoomFrame]) -> None:
        write_dslr(scene, frames, ())
        file = scene / "dslr" / "nerfstudio" / "transforms_undistorted.json"
        document = json.loads(file.read_text())
        del document["fl_x"]
        file.write_text(json.dumps(document))
        with pytest.raises(InputError, match="fl_x"):
            Capture.open(scene, "dslr")
        write_transforms(file, frames, (), PINHOLE, "dslr", ".JPG")
        (scene / "dslr" / "train_test_lists.json").write_text('{"train": []}')
        with pytest.raises(InputError, match="test"):
            Capture.open(scene, "dslr")

    def test_class_lists(self, scene: Path) -> None:
        folder = scene.parents[1] / "metadata" / "semantic_benchmark"
        with (folder / "top100_instance.txt").open("a") as file:
            file.write("\nunicorn\n")
        with pytest.raises(InputError, match="things that top100"):
            Benchmark.open(folder)
        (folder / "top100_instance.txt").unlink()
        with pytest.raises(InputError, match="top100_instance"):
            Benchmark.open(folder)


def _bounds(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return vertices.min(0), vertices.max(0)
