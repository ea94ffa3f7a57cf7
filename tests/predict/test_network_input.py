# SPDX-License-Identifier: Apache-2.0
"""Photos on their way into a network: found, upright, cropped, and every pixel's way back; keyframes; classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from panoptic_gs import Category, InputError
from panoptic_gs.predict.class_names import read_classes
from panoptic_gs.predict.crop import closest_size, crop, crop_to_original, input_size, share_seen
from panoptic_gs.predict.keyframes import (
    Keyframes,
    even_keyframes,
    farthest_keyframes,
    thumbnail_similarity,
)
from panoptic_gs.predict.network import PANST3R_SIZES
from panoptic_gs.predict.photos import Photo, find_photos


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        ((640, 480), (512, 384)),
        ((4032, 3024), (512, 384)),
        ((3000, 2000), (512, 336)),
        ((1920, 1080), (512, 288)),
        ((2000, 1000), (512, 256)),
        ((3000, 900), (512, 160)),
        ((500, 500), (512, 384)),
        ((1080, 1920), (288, 512)),
    ],
)
def test_the_input_has_the_closest_shape(photo, expected):
    assert closest_size(*photo, PANST3R_SIZES) == expected


def test_one_size_serves_all_photos():
    photos = [Photo(Path("a.png"), 640, 480), Photo(Path("b.png"), 640, 480), Photo(Path("c.png"), 480, 640)]
    assert input_size(photos, PANST3R_SIZES) == (512, 384)
    assert share_seen(photos[0], (512, 384)) == pytest.approx(1)
    assert share_seen(photos[2], (512, 384)) == pytest.approx(480 * 360 / (480 * 640))


@pytest.mark.parametrize("shape", [(190, 250), (250, 190), (100, 255), (201, 255)])
def test_each_pixel_of_the_crop_is_where_its_transform_says(shape):
    height, width = shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    image = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)  # a pixel's colour is its place
    size = tuple(side // 4 for side in closest_size(width, height, PANST3R_SIZES))
    cropped = crop(image, size).astype(float) + 0.5
    to_original = crop_to_original(width, height, size)
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    expected = np.stack([x, y, np.ones_like(x)], axis=-1) @ to_original.T
    inner = (slice(3, -3), slice(3, -3))  # the filter meets the border outside
    assert np.abs(cropped[..., :2] - expected[..., :2])[inner].max() < 0.51
    assert np.abs((cropped[..., :2] - expected[..., :2])[inner].mean(axis=(0, 1))).max() < 0.05
    assert to_original[0, 0] == to_original[1, 1]
    corner = to_original @ [size[0], size[1], 1]
    assert min(width - corner[0], height - corner[1]) == pytest.approx(0, abs=1e-9)
    assert np.allclose(to_original @ [size[0] / 2, size[1] / 2, 1], [width / 2, height / 2, 1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
def test_photos_are_turned_as_exif_asks(tmp_path, orientation, ending):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(pixels).save(path, exif=exif)
    photo = Photo.open(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (photo.height, photo.width) == expected.shape[:2]
    assert np.array_equal(photo.read(), expected)


def test_photos_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("img_10.png", "img_9.png", "img_100.PNG", ".hidden.png", "notes.txt"):
        Image.new("RGBA" if "9" in name else "L", (8, 6)).save(tmp_path / name, format="PNG")
    assert [photo.path.name for photo in find_photos(tmp_path)] == ["img_9.png", "img_10.png", "img_100.PNG"]
    assert find_photos(tmp_path)[0].read().shape == (6, 8, 3)


def test_even_keyframes_span_the_views():
    assert even_keyframes(9, 3) == (0, 4, 8)
    assert even_keyframes(5, 5) == (0, 1, 2, 3, 4)
    for views in range(2, 40):
        for count in range(2, views + 1):
            chosen = even_keyframes(views, count)
            assert len(set(chosen)) == count
            assert (chosen[0], chosen[-1]) == (0, views - 1)


def test_farthest_keyframes_take_one_of_each_cluster():
    rng = np.random.default_rng(0)
    directions = np.eye(4).repeat(5, axis=0) + rng.normal(0, 0.05, (20, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    chosen = farthest_keyframes(directions @ directions.T, 4)
    assert sorted(index // 5 for index in chosen) == [0, 1, 2, 3]


def test_similar_looking_views_are_not_both_keyframes():
    rng = np.random.default_rng(1)
    scenes = rng.integers(0, 255, (3, 6, 8, 3)).repeat(8, 1).repeat(8, 2)
    images = np.clip(scenes.repeat(4, axis=0) + rng.integers(-9, 9, (12, 48, 64, 3)), 0, 255).astype(np.uint8)
    similarity = thumbnail_similarity(images)
    assert np.allclose(np.diag(similarity), 1)
    assert sorted(index // 4 for index in Keyframes(3, "similarity").select(images)) == [0, 1, 2]
    assert Keyframes(50).select(images) == tuple(range(12))
    assert Keyframes(3).select(images) == (0, 6, 11)


@pytest.mark.parametrize("count", [1, 4])
def test_keyframes_are_at_least_two_and_at_most_all(count):
    with pytest.raises(InputError, match="2 to 3"):
        even_keyframes(3, count)
    with pytest.raises(InputError, match="2 to 3"):
        farthest_keyframes(np.eye(3), count)
    with pytest.raises(InputError, match="NaN"):
        farthest_keyframes(np.full((3, 3), np.nan), 2)


def test_classes_come_from_lists_files_and_scenes(tmp_path):
    expected = (Category(1, "wall", False), Category(2, "arm chair", True))
    assert read_classes(" wall:stuff, arm chair : thing,") == expected
    (tmp_path / "classes.txt").write_text("# a room\nwall:stuff\n\narm chair:thing  # sit\n")
    assert read_classes(str(tmp_path / "classes.txt")) == expected
    entries = [{"name": "wall", "isthing": 0}, {"name": "arm chair", "isthing": 1}]
    (tmp_path / "classes.json").write_text(json.dumps(entries))
    assert read_classes(str(tmp_path / "classes.json")) == expected
    (tmp_path / "panoptic_gt").mkdir()
    numbered = [entries[0] | {"id": 4, "color": [1, 2, 3]}, entries[1] | {"id": 9}]
    (tmp_path / "panoptic_gt" / "panoptic.json").write_text(json.dumps({"categories": numbered}))
    of_scene = (Category(4, "wall", False, (1, 2, 3)), Category(9, "arm chair", True))
    assert read_classes(str(tmp_path)) == of_scene
    assert read_classes(str(tmp_path / "panoptic_gt")) == of_scene
    assert [c.name for c in read_classes("reduced21")][:3] == ["wall", "floor", "cabinet"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no classes"),
        ("{}", "malformed"),
        ('[{"isthing": 1}]', "malformed"),
        ('["wall"]', "malformed"),
        ('[{"name": "a", "isthing": 1}, {"name": "a", "isthing": 0}]', "'a' 2 times"),
        ('[{"name": "a", "isthing": 1, "id": 3}, {"name": "b", "isthing": 0, "id": 3}]', "'3' 2 times"),
        ('[{"name": "a", "isthing": 1, "id": 0}]', "ids from 1"),
        ("[", "no valid JSON"),
    ],
)
def test_bad_class_files_are_named(tmp_path, content, message):
    path = tmp_path / "classes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_classes(str(path))
    assert error.value.source == str(path)
