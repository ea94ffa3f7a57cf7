# SPDX-License-Identifier: Apache-2.0
"""What ids mean, from one form of storage to the next; COCO panoptic files image by image."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.label_maps import encode_ids, same_shape
from panoptic_gs.labelling import Labelling
from panoptic_gs.panoptic_images import PerImageIdsError, read_panoptic_images

CATEGORIES = (Category(1, "wall", False, (9, 8, 7)), Category(5, "chair", True))
SEGMENTS = (
    Segment(3, 1),
    Segment(7, 5, 0.75, (4, 2), "the red one"),
    Segment(9, 5, None, (6,), None, True),
)


def write_coco(folder: Path, maps: dict[str, np.ndarray], infos: dict[str, dict[int, int]], **document) -> Path:
    """Panoptic files as a program without this toolkit writes them; ``infos`` are category ids by image and id."""
    folder.mkdir(parents=True)
    annotations = []
    for name, ids in maps.items():
        Image.fromarray(encode_ids(ids)).save(folder / f"{name}.png")
        annotations.append({"file_name": f"{name}.png", "image_id": name, "segments_info": [
            {"id": i, "category_id": c, "iscrowd": 0, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
            for i, c in infos[name].items()
        ]})  # fmt: skip
    categories = [{"id": 1, "name": "wall", "isthing": 0}, {"id": 5, "name": "chair", "isthing": 1}]
    (folder / "panoptic.json").write_text(
        json.dumps({"annotations": annotations, "categories": categories, **document})
    )
    return folder


def grid(*ids: int) -> np.ndarray:
    return np.array([ids, ids], np.int32)


def test_nothing_known_of_a_segment_is_lost_in_json():
    labelling = Labelling(CATEGORIES, SEGMENTS, "by hand")
    assert Labelling.from_json(json.loads(json.dumps(labelling.to_json())), "x.json") == labelling


def test_nothing_known_of_a_segment_is_lost_in_coco_maps(tmp_path):
    PanopticScene(CATEGORIES, SEGMENTS, {"a": grid(3, 7, 9, 0), "b": grid(7, 7, 3, 3)}).save(tmp_path)
    assert PanopticScene.load(tmp_path).labelling == Labelling(CATEGORIES, SEGMENTS)


def test_a_scene_is_its_labelling_with_maps():
    scene = PanopticScene(CATEGORIES, SEGMENTS, {}, "x")
    assert scene.labelling == Labelling(CATEGORIES, SEGMENTS, "x")
    assert scene != PanopticScene(CATEGORIES, SEGMENTS, {}, "x")
    assert isinstance(scene, Labelling)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("segments"), "no 'segments'"),
        (lambda d: d["segments"][0].update(id="3"), r"segments\[0\].id: '3'"),
        (lambda d: d["segments"][0].update(id=9), "id 9 2 times"),
        (lambda d: d["segments"][0].update(id=2**24), "id 16777216"),
        (lambda d: d["segments"][0].update(category_id=2), "category id 2"),
        (lambda d: d["segments"][0].update(score=float("inf")), r"segments\[0\].score: inf"),
        (lambda d: d["segments"][0].update(name="a\0"), "NUL"),
        (lambda d: d["categories"][0].update(color=[1]), r"categories\[0\].color"),
        (lambda d: d["categories"][0].update(color=[1, 2, 256]), r"color\[2\]: 256"),
        (lambda d: d["categories"][0].update(isthing="yes"), "isthing: 'yes'"),
        (lambda d: d.update(info=[]), "info: a list of 0"),
    ],
)
def test_a_labelling_that_contradicts_itself_is_refused_with_its_file(change, says):
    document = Labelling(CATEGORIES, SEGMENTS).to_json()
    change(document)
    with pytest.raises(InputError, match=says) as caught:
        Labelling.from_json(document, "dir/segments.json")
    assert caught.value.source == "dir/segments.json"


def test_ids_that_are_numbered_anew_in_each_image_are_read_image_by_image(tmp_path):
    maps = {"a": grid(1, 1, 2), "b": grid(1, 2, 2)}
    folder = write_coco(tmp_path / "maps", maps, {"a": {1: 1, 2: 5}, "b": {1: 5, 2: 1}})
    images = read_panoptic_images(folder)
    assert images.per_image == "id 1 with category 1 in 'a' and 5 in 'b': ids are per image"
    assert [image.stem for image in images.images] == ["a", "b"]
    assert images.images[1].segments == (Segment(1, 5), Segment(2, 1))
    for image in images.images:
        np.testing.assert_array_equal(image.read(), maps[image.stem])
    with pytest.raises(PerImageIdsError, match="Associate the objects") as caught:
        PanopticScene.load(folder)
    assert caught.value.source == str(folder / "panoptic.json")


def test_ids_that_never_meet_are_per_image_unless_the_file_says_otherwise(tmp_path):
    maps, infos = {"a": grid(1, 1, 2), "b": grid(3, 4, 4)}, {"a": {1: 1, 2: 5}, "b": {3: 1, 4: 5}}
    folder = write_coco(tmp_path / "maps", maps, infos)
    assert "no id that occurs in two images" in str(read_panoptic_images(folder).per_image)
    declared = write_coco(tmp_path / "declared", maps, infos, info={"scene_wide_ids": True})
    assert read_panoptic_images(declared).per_image is None
    assert len(PanopticScene.load(declared).segments) == 4


def test_a_file_may_say_that_its_ids_are_per_image(tmp_path):
    """Two images numbered alike, with the same classes by chance: nothing but the declaration shows it."""
    maps, infos = {"a": grid(1, 1, 2), "b": grid(1, 2, 2)}, {"a": {1: 1, 2: 5}, "b": {1: 1, 2: 5}}
    folder = write_coco(tmp_path / "maps", maps, infos, info={"scene_wide_ids": False})
    with pytest.raises(PerImageIdsError, match="scene_wide_ids"):
        PanopticScene.load(folder)
    assert PanopticScene.load(write_coco(tmp_path / "silent", maps, infos)).stems == ["a", "b"]


def test_coco_keeps_maps_in_a_folder_of_the_file_s_name(tmp_path):
    folder = write_coco(tmp_path / "panoptic_val", {"a": grid(1, 0, 2)}, {"a": {1: 1, 2: 5}})
    (folder / "panoptic.json").rename(tmp_path / "panoptic_val.json")
    images = read_panoptic_images(tmp_path / "panoptic_val.json")
    assert images.images[0].read().tolist() == [[1, 0, 2]] * 2


def test_an_id_with_two_categories_in_one_image_is_refused(tmp_path):
    folder = write_coco(tmp_path / "maps", {"a": grid(1, 1, 2)}, {"a": {1: 1, 2: 5}})
    document = json.loads((folder / "panoptic.json").read_text())
    document["annotations"][0]["segments_info"].append({"id": 1, "category_id": 5})
    (folder / "panoptic.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"panoptic\.json: found id 1 twice in 'a\.png', with categories 1 and 5"):
        read_panoptic_images(folder)


@pytest.mark.parametrize("size", [(12, 8), (8, 12), (6, 4), (12, 5)])
def test_a_map_may_be_of_any_size_with_its_image_s_shape(tmp_path, size):
    width, height = size
    ids = np.ones((height, width), np.int32)
    folder = write_coco(
        tmp_path / "maps", {"a": ids, "b": np.ones((24, 36), np.int32)}, {"a": {1: 1}, "b": {1: 1}},
        images=[{"id": "a", "file_name": "a.jpg", "width": 12, "height": 8}],
    )  # fmt: skip
    if size == (12, 5):
        with pytest.raises(InputError, match=r"a\.png: found 12×5 pixels"):
            PanopticScene.load(folder)
    else:
        assert PanopticScene.load(folder).maps["a"].shape == (height, width)


@given(st.integers(40, 5000), st.integers(40, 5000), st.floats(0.1, 3), st.sampled_from([np.floor, np.round, np.ceil]))
def test_a_size_scaled_and_rounded_anyhow_has_the_same_shape(width, height, factor, rounded):
    scaled = int(rounded(width * factor)), int(rounded(height * factor))
    if (scaled[0] == width) == (scaled[1] == height):
        assert same_shape(scaled, (width, height))
    assert not same_shape((int(width * factor * 1.3) + 2, int(height * factor) or 1), (width, height))


def test_crops_and_turns_are_of_another_shape():
    assert not same_shape((640, 400), (640, 480))
    assert not same_shape((480, 640), (640, 480))
    assert not same_shape((0, 0), (640, 480))
    assert same_shape((512, 384), (640, 480))


def test_coco_s_own_examples_are_per_image_and_have_crowds(shared_data):
    folder = shared_data / "dataset_samples" / "coco_panoptic"
    document = json.loads((folder / "panoptic_examples.json").read_text())
    if "categories" not in document:
        document["categories"] = json.loads((folder / "panoptic_coco_categories.json").read_text())
    crowds = sum(info["iscrowd"] for entry in document["annotations"] for info in entry["segments_info"])
    images = read_panoptic_images(folder / "panoptic_examples.json")
    assert sum(segment.iscrowd for image in images.images for segment in image.segments) == crowds == 3
    assert images.per_image is not None
    for image in images.images:
        areas = {info["id"]: info["area"] for entry in document["annotations"]
                 if entry["file_name"] == image.file.name for info in entry["segments_info"]}  # fmt: skip
        ids = image.read()
        assert {int(i): int((ids == i).sum()) for i in np.unique(ids) if i} == areas


def test_captures_that_went_wrong_are_refused_by_name(shared_data):
    captures = shared_data / "captures"
    for case, says in (("pan_cat0", "id 0"), ("pan_dup_id", "id 1 twice")):
        with pytest.raises(InputError, match=says) as caught:
            PanopticScene.load(captures / case / "panoptic")
        assert caught.value.source.endswith("panoptic.json")
    mixed = PanopticScene.load(captures / "mixed_orientation" / "panoptic")
    assert {mixed.maps[stem].shape for stem in mixed.stems} == {(160, 240), (240, 160)}
