# SPDX-License-Identifier: Apache-2.0
"""Folders as phones give them: which photos are used; frames of a video."""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from panoptic_gs import InputError
from panoptic_gs.predict.photos import find_photos
from panoptic_gs.predict.scene_folder import copy_photo
from panoptic_gs.predict.selection import select_photos, sharpness
from panoptic_gs.predict.video import frames_of, sharp_frames


def picture(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A smooth random scene with some fine detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 220, (6, 8, 3)).astype(np.uint8)).resize((width, height))
    fine = rng.normal(0, 12, (height, width, 1))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def test_copies_and_blurred_photos_are_left_out_and_named(tmp_path):
    for index in range(10):
        picture(index).save(tmp_path / f"img_{index:02d}.png")
    picture(3).save(tmp_path / "img_03_copy.jpg", quality=92)
    picture(20).filter(ImageFilter.GaussianBlur(6)).save(tmp_path / "img_05b.png")
    kept, left_out = select_photos(find_photos(tmp_path))
    assert left_out == {
        "img_03_copy.jpg": "a duplicate of img_03.png", "img_05b.png": "blurred beside its neighbours",
    }  # fmt: skip
    assert len(kept) == 10


def test_photos_of_bare_walls_among_their_like_are_kept(tmp_path):
    for index in range(8):
        picture(index).filter(ImageFilter.GaussianBlur(4)).save(tmp_path / f"{index}.png")
    assert len(select_photos(find_photos(tmp_path))[0]) == 8


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.57])
def test_a_photo_of_a_moved_camera_is_left_out_whichever_way_it_went(tmp_path, angle):
    for index in range(8):
        picture(index).save(tmp_path / f"{index}.png")
    steps = np.linspace(-4, 4, 17)
    shifts = [(round(s * np.sin(angle)), round(s * np.cos(angle))) for s in steps]
    smeared = np.mean([np.roll(np.asarray(picture(3)), shift, (0, 1)) for shift in shifts], axis=0)
    Image.fromarray(smeared.astype(np.uint8)).save(tmp_path / "3b.png")
    kept, left_out = select_photos(find_photos(tmp_path))
    assert left_out == {"3b.png": "blurred beside its neighbours"}
    assert len(kept) == 8


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_photos_of_a_phone_are_read(tmp_path):
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture(0).save(tmp_path / "IMG_1.HEIC", format="HEIF", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1).save(tmp_path / "IMG_2.jpg", exif=exif)
    first, second = find_photos(tmp_path)
    assert (first.width, first.height) == (320, 240)
    assert (second.width, second.height) == (240, 320)
    assert np.abs(first.read().astype(int) - np.asarray(picture(0))).mean() < 8
    copies = [copy_photo(photo, tmp_path / "copies") for photo in (first, second)]
    assert copies == ["IMG_1.jpg", "IMG_2.jpg"]  # what was written with losses is no PNG of ten times the size
    for photo, name in zip((first, second), copies, strict=True):
        copy = np.asarray(Image.open(tmp_path / "copies" / name)).astype(int)
        assert np.abs(copy - photo.read()).mean() < 4


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Path(tmp_path / "a.heic").write_bytes(b"ftypheic")
    with pytest.raises(InputError, match="HEIC") as error:
        find_photos(tmp_path)
    assert "panoptic-gs[phone]" in error.value.mend


@pytest.fixture
def clip(tmp_path) -> Path:
    """30 frames; every third is sharp."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 8_000_000
        for index in range(30):
            image = picture(index, 160, 120)
            image = image if index % 3 == 1 else image.filter(ImageFilter.GaussianBlur(3))
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_the_sharpest_frames_of_a_video_are_taken(clip, tmp_path):
    assert sharp_frames(clip, tmp_path / "frames", 10) == 10
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == [f"{i:05d}.jpg" for i in range(1, 11)]
    details = [sharpness(np.asarray(Image.open(file).convert("L"))) for file in files]
    blurred = sharpness(np.asarray(picture(0, 160, 120).filter(ImageFilter.GaussianBlur(3)).convert("L")))
    assert min(details) > 3 * blurred
    assert sharp_frames(clip, tmp_path / "all", 100) == 30


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_the_video_is_to_be_seen(clip, tmp_path, degrees):
    turned = tmp_path / "turned.mp4"
    with av.open(str(clip)) as source, av.open(str(turned), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this version of PyAV writes no rotation")
        stream.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    assert sharp_frames(clip, tmp_path / "lying", 3) == sharp_frames(turned, tmp_path / "seen", 3) == 3
    lying, seen = (np.asarray(Image.open(tmp_path / name / "00002.jpg")) for name in ("lying", "seen"))
    expected = np.rot90(lying, degrees // 90)  # the display matrix turns counterclockwise
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).mean() < 4


def test_frames_of_the_same_video_are_kept_and_of_another_made_anew(clip, tmp_path):
    folder = tmp_path / "frames"
    assert frames_of(clip, folder, 10) == 10
    made = (folder / "00001.jpg").stat().st_mtime_ns
    assert frames_of(clip, folder, 10) == 10
    assert (folder / "00001.jpg").stat().st_mtime_ns == made
    assert frames_of(clip, folder, 5) == 5
    assert len(list(folder.glob("*.jpg"))) == 5
    with pytest.raises(InputError):  # a folder that it did not make
        frames_of(clip, clip.parent, 5)


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(InputError, match=name):
            sharp_frames(tmp_path / name, tmp_path / "frames", 10)
        assert not (tmp_path / "frames").exists()
