# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.label_maps import counted_ids, numbered
from panoptic_gs.panoptic import MAX_SEGMENT_ID, PanopticWriter, decode_ids, encode_ids, resize_nearest
from panoptic_gs.panoptic_images import read_panoptic_images

CATEGORIES = [Category(1, "wall", False, (9, 8, 7)), Category(5, "chair", True)]
SEGMENTS = [Segment(3, 1), Segment(70000, 5, 0.75), Segment(MAX_SEGMENT_ID, 5)]


@pytest.fixture
def labelling() -> PanopticScene:
    first = np.zeros((4, 6), np.int32)
    first[1:3, 2:5] = 70000
    first[3] = 3
    second = np.full((4, 6), 3, np.int32)
    second[0, 0] = MAX_SEGMENT_ID
    return PanopticScene(CATEGORIES, SEGMENTS, {"0001": first, "0002": second}, source="a test")


@given(st.lists(st.integers(0, MAX_SEGMENT_ID), min_size=1, max_size=30))
def test_ids_survive_the_rgb_coding(ids):
    array = np.array([ids], dtype=np.int32)
    assert (decode_ids(encode_ids(array)) == array).all()


@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 9) | st.integers(0, 2**24 - 1)))
def test_ids_are_counted_and_numbered_as_numpy_does_it(ids):
    values, counts = np.unique(ids, return_counts=True)
    for found, expected in zip(counted_ids(ids), (values, counts)):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(numbered(ids.ravel()), np.unique(ids.ravel(), return_inverse=True)):
        np.testing.assert_array_equal(found, expected)


def test_maps_written_one_by_one_in_any_order_are_those_of_a_saved_scene(labelling, tmp_path):
    labelling.save(tmp_path / "saved")
    writer = PanopticWriter(tmp_path / "written", labelling.labelling)
    for stem in reversed(labelling.stems):
        writer.add(stem, labelling.maps[stem])
    writer.finish()
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "written").iterdir())
    for name in names:
        assert (tmp_path / "written" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


def test_a_saved_folder_reads_back_the_same(labelling, tmp_path):
    labelling.save(tmp_path / "panoptic")
    back = PanopticScene.load(tmp_path / "panoptic")
    assert back.categories == labelling.categories
    assert back.segments == labelling.segments
    assert back.source == "a test"
    for stem in labelling.stems:
        np.testing.assert_array_equal(back.maps[stem], labelling.maps[stem])
    np.testing.assert_array_equal(
        back.category_of()[back.maps["0001"]], [[0] * 6, [0, 0, 5, 5, 5, 0], [0, 0, 5, 5, 5, 0], [1] * 6]
    )


def test_whether_an_image_has_a_map_is_told_without_reading_it(labelling, tmp_path):
    labelling.save(tmp_path / "maps")
    read = PanopticScene.load(tmp_path / "maps")
    stem = read.stems[0]
    (tmp_path / "maps" / f"{stem}.png").unlink()
    assert stem in read.maps
    assert "another" not in read.maps
    with pytest.raises(InputError):
        read.maps[stem]


def test_the_json_is_coco_panoptic(labelling, tmp_path):
    labelling.save(tmp_path)
    document = json.loads((tmp_path / "panoptic.json").read_text())
    annotation = document["annotations"][0]
    assert annotation["file_name"] == "0001.png"
    chair = next(info for info in annotation["segments_info"] if info["id"] == 70000)
    assert chair == {"id": 70000, "category_id": 5, "area": 6, "bbox": [2, 1, 3, 2], "iscrowd": 0, "score": 0.75}
    pixel = Image.open(tmp_path / "0001.png").getpixel((2, 1))
    assert pixel == (70000 % 256, 70000 // 256 % 256, 70000 // 65536)
    assert document["images"][0] == {"id": 1, "file_name": "0001.png", "width": 6, "height": 4}


def test_the_files_score_perfectly_against_themselves_in_the_coco_layout(labelling, tmp_path):
    """What COCO's own tools rely on: areas and ids in segments_info are the pixels' own."""
    labelling.save(tmp_path)
    document = json.loads((tmp_path / "panoptic.json").read_text())
    for annotation in document["annotations"]:
        pixels = np.asarray(Image.open(tmp_path / annotation["file_name"])).astype(np.int64)
        ids = pixels @ [1, 256, 65536]
        assert {info["id"]: info["area"] for info in annotation["segments_info"]} == {
            int(i): int((ids == i).sum()) for i in np.unique(ids) if i
        }


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_resizing_never_invents_an_id(scale):
    labels = np.random.default_rng(0).integers(0, 1000, (12, 20))
    resized = resize_nearest(labels, int(20 * scale), int(12 * scale))
    assert resized.shape == (12 * scale, 20 * scale)
    assert np.isin(resized, labels).all()
    assert (resize_nearest(resize_nearest(labels, 60, 36), 20, 12) == labels).all()


def damage(folder, change):
    document = json.loads((folder / "panoptic.json").read_text())
    change(document)
    (folder / "panoptic.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d["annotations"][0]["segments_info"].pop(), "without a segment"),
        (lambda d: d["annotations"][0]["segments_info"][0].update(category_id=99), "category"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "two annotations"),
        (lambda d: d["annotations"][0].update(file_name="../0001.png"), "same folder"),
        (lambda d: d["annotations"][0].update(file_name="0009.png"), "no such file"),
        (lambda d: d.pop("categories"), "missing or malformed"),
        (lambda d: d["categories"].append(d["categories"][0]), "id 1 2 times"),
        (lambda d: d["categories"][0].update(id=0), "0 means void"),
    ],
)
def test_inconsistent_files_are_refused(labelling, tmp_path, change, word):
    labelling.save(tmp_path)
    damage(tmp_path, change)
    with pytest.raises(InputError, match=word):
        PanopticScene.load(tmp_path)


def test_ids_that_mean_another_object_in_each_image_are_refused(labelling, tmp_path):
    maps = {"a": np.full((4, 4), 3, np.int32), "b": np.full((4, 4), 70000, np.int32)}
    PanopticScene(CATEGORIES, SEGMENTS, maps).save(tmp_path)
    PanopticScene.load(tmp_path)  # we declare ours scene-wide, so disjoint views are fine
    damage(tmp_path, lambda d: d.pop("info"))
    with pytest.raises(InputError, match="per image"):
        PanopticScene.load(tmp_path)
    labelling.save(tmp_path / "other")
    damage(tmp_path / "other", lambda d: d["annotations"][1]["segments_info"][0].update(category_id=5))
    with pytest.raises(InputError, match="Associate the objects"):
        PanopticScene.load(tmp_path / "other")


def test_maps_of_two_sizes_truncated_or_of_unknown_images_are_refused(labelling, tmp_path):
    labelling.save(tmp_path)
    with pytest.raises(InputError, match="a map for '0002'"):
        PanopticScene.load(tmp_path, stems=["0001"])
    png = (tmp_path / "0002.png").read_bytes()
    (tmp_path / "0002.png").write_bytes(png[: len(png) - 30])
    with pytest.raises(InputError, match=r"0002\.png"):
        PanopticScene.load(tmp_path)
    Image.new("RGB", (5, 4)).save(tmp_path / "0002.png")
    with pytest.raises(InputError, match="5×4"):
        PanopticScene.load(tmp_path)
    Image.new("L", (6, 4)).save(tmp_path / "0002.png")
    with pytest.raises(InputError, match="RGB PNG"):
        PanopticScene.load(tmp_path)


def test_a_failed_save_leaves_the_old_folder_and_nothing_else(labelling, tmp_path):
    labelling.save(tmp_path / "panoptic")
    broken = PanopticScene(CATEGORIES, SEGMENTS, {"0001": labelling.maps["0001"], "x": np.full((4, 6), 8)})
    with pytest.raises(InputError, match="id 8"):
        broken.save(tmp_path / "panoptic", overwrite=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    with pytest.raises(InputError, match="content without panoptic"):
        labelling.save(tmp_path / "precious", overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        labelling.save(tmp_path / "panoptic")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["panoptic", "precious"]
    assert PanopticScene.load(tmp_path / "panoptic").stems == ["0001", "0002"]


def test_what_images_say_alike_of_a_segment_is_kept_once_and_checked_each_time(labelling, tmp_path):
    labelling.save(tmp_path)
    first, second = read_panoptic_images(tmp_path).images
    assert next(s for s in first.segments if s.id == 3) is next(s for s in second.segments if s.id == 3)
    damage(tmp_path, lambda document: document["annotations"][1]["segments_info"][0].update(category_id=True))
    with pytest.raises(InputError, match=r"annotations\[1\].segments_info\[0\].category_id"):  # 1 and True are equal
        read_panoptic_images(tmp_path)


def test_crowds_survive_saving_and_have_one_flag_an_id(tmp_path):
    categories = [Category(1, "wall", False), Category(2, "person", True)]
    ids = np.array([[1, 1, 7], [1, 8, 8]], np.int32)
    segments = [Segment(1, 1), Segment(7, 2, iscrowd=True), Segment(8, 2)]
    PanopticScene(categories, segments, {"a": ids, "b": ids}).save(tmp_path / "maps")
    assert [s.iscrowd for s in PanopticScene.load(tmp_path / "maps").segments] == [False, True, False]

    file = tmp_path / "maps" / "panoptic.json"
    document = json.loads(file.read_text())
    info = next(info for info in document["annotations"][1]["segments_info"] if info["id"] == 7)
    info["iscrowd"] = 0
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="id 7 with iscrowd 1 in one image and 0 in 'b"):
        PanopticScene.load(tmp_path / "maps")
    info["iscrowd"] = 2
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="iscrowd"):
        PanopticScene.load(tmp_path / "maps")
