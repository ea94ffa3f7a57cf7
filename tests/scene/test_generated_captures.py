# SPDX-License-Identifier: Apache-2.0
"""Scene folders as people's captures are, of a room that is known exactly: what the scene reads is what is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.captures.folder import Capture, capture, write_capture, write_maps
from benchmarks.captures.lenses import Lens, pinhole_rays
from benchmarks.captures.room import shoot
from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.scene import Scene

WIDTH, HEIGHT = 120, 80
PINHOLE = Lens("PINHOLE", WIDTH, HEIGHT, 75.0)
LENSES = {
    "barrel": Lens("OPENCV", WIDTH, HEIGHT, 50.0, more=(("k1", -0.35), ("k2", 0.12), ("p1", 0.002))),
    "pincushion": Lens("RADIAL", WIDTH, HEIGHT, 75.0, (3.0, -2.0), (("k1", 0.15), ("k2", -0.01))),
    "rational": Lens(
        "FULL_OPENCV", WIDTH, HEIGHT, 75.0,
        more=(("k1", 0.5), ("k2", -2.6), ("k3", 1.5), ("k4", 0.38), ("k5", -2.4), ("k6", 1.4), ("p2", -0.0003)),
    ),
    "fisheye of 230°": Lens("OPENCV_FISHEYE", 160, 90, 40.0),
    "fisheye": Lens("RADIAL_FISHEYE", WIDTH, HEIGHT, 60.0, (1.0, 2.0), (("k1", 0.05), ("k2", -0.01))),
    "thin prism": Lens("THIN_PRISM_FISHEYE", WIDTH, HEIGHT, 60.0, more=(("k1", 0.02), ("sx1", 0.004), ("p1", 0.002))),
    "fov": Lens("FOV", WIDTH, HEIGHT, 60.0, more=(("omega", 0.9),)),
}  # fmt: skip


def right(scene: Scene, folder: str = "panoptic") -> tuple[float, float, float]:
    """Shares of right labels and of void, and the mean error of colours, on the pixels of the ideal cameras."""
    maps = scene.load_panoptic(folder).maps
    shares, voids, errors = [], [], []
    for frame in scene.frames:
        camera = frame.camera
        rays = pinhole_rays(camera.width, camera.height, camera.K.double().numpy())
        labels, colors = shoot(camera.to_opengl().numpy(), rays)
        found = frame.fit_labels(maps[frame.stem])
        known = found != 0
        shares.append((found == labels)[known].mean())
        voids.append(1 - known.mean())
        errors.append(np.abs(frame.read_image().astype(float) - colors)[known].mean())
    return float(np.mean(shares)), float(np.mean(voids)), float(np.mean(errors))


def edit(root: Path, change: Callable[[dict], object]) -> None:
    file = root / "transforms.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("source", ["transforms", "colmap text", "colmap binary"])
@pytest.mark.parametrize("name", LENSES)
def test_lenses(tmp_path: Path, name: str, source: str) -> None:
    scene = Scene.load(write_capture(tmp_path, capture(LENSES[name], 2), source))  # type: ignore[arg-type]
    share, void, error = right(scene)
    # A label is right up to a pixel along outlines, which are many in so small photos.
    assert share > 0.98
    assert void == 0
    assert error < 9
    assert all(frame.camera.width * frame.camera.height <= 160 * 90 for frame in scene.frames)


def test_half_a_pixel_would_show(tmp_path: Path) -> None:
    """What the bounds of the test above are worth."""
    root = write_capture(tmp_path, capture(LENSES["barrel"], 2))
    share, _, error = right(Scene.load(root))
    edit(root, lambda document: document.update(cx=document["cx"] + 0.5))
    worse = right(Scene.load(root))
    assert worse[0] < share - 0.002
    assert worse[2] > error + 0.3


def test_panoramas_are_refused(tmp_path: Path) -> None:
    write_capture(tmp_path, capture(Lens("EQUIRECTANGULAR", 128, 64, 64.0), 2))
    with pytest.raises(InputError, match="EQUIRECTANGULAR"):
        Scene.load(tmp_path)


def masked(kept: np.ndarray, how: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    grey = kept.astype(np.uint8) * 255
    if how == "one bit":
        Image.fromarray(kept).save(file)
    elif how == "palette":
        image = Image.fromarray(kept.astype(np.uint8)).convert("P")
        image.putdata(kept.astype(np.uint8).ravel().tolist())
        image.putpalette([0, 0, 0, 0, 128, 0] + [0] * 750)
        image.save(file)
    elif how == "alpha":
        Image.fromarray(np.dstack([np.zeros_like(grey)] * 3 + [grey])).save(file)
    elif how == "grey and alpha":
        Image.fromarray(np.dstack([np.zeros_like(grey), grey])).save(file)
    elif how == "ones":
        Image.fromarray(kept.astype(np.uint8)).save(file)
    elif how == "16 bits":
        Image.fromarray(kept.astype(np.uint16) * 65535).save(file)
    elif how == "green":
        Image.fromarray(np.dstack([0 * grey, grey, 0 * grey])).save(file)
    elif how == "JPEG":
        Image.fromarray(grey).save(file.with_suffix(".jpg"), quality=60)
        file.with_suffix(".jpg").rename(file)
    elif how == "half the size":
        Image.fromarray(grey[::2, ::2]).save(file)


@pytest.mark.parametrize(
    "how", ["one bit", "palette", "alpha", "grey and alpha", "ones", "16 bits", "green", "JPEG", "half the size"]
)
def test_pixels_under_a_mask_are_void(tmp_path: Path, how: str) -> None:
    kept = np.ones((HEIGHT, WIDTH), dtype=bool)
    kept[30:, 40:80] = False
    root = write_capture(
        tmp_path, capture(PINHOLE, 2), frame_extra=lambda stem: {"mask_path": f"masks/{stem}.png"}
    )  # fmt: skip
    for stem in ("0000", "0001"):
        masked(kept, how, root / "masks" / f"{stem}.png")
    scene = Scene.load(root)
    maps = scene.load_panoptic().maps
    for frame in scene.frames:
        np.testing.assert_array_equal(maps[frame.stem] != 0, kept)
        np.testing.assert_array_equal(frame.counting(), kept)
    assert not scene.notes


def test_masks_that_keep_nothing_or_everything(tmp_path: Path) -> None:
    root = write_capture(
        tmp_path, capture(PINHOLE, 2), frame_extra=lambda stem: {"mask_path": f"masks/{stem}.png"}
    )  # fmt: skip
    everything = np.ones((HEIGHT, WIDTH), dtype=bool)
    for stem in ("0000", "0001"):
        masked(everything, "ones", root / "masks" / f"{stem}.png")
    scene = Scene.load(root)
    scene.load_panoptic()
    assert scene.notes == ["2 masks keep every pixel of their photo (the first: 0000)"]
    masked(~everything, "ones", root / "masks" / "0001.png")
    with pytest.raises(InputError, match=r"0001\.png.*without a pixel that counts"):
        Scene.load(root).load_panoptic()
    (root / "masks" / "0001.png").unlink()
    with pytest.raises(InputError, match=r"0001\.png.*no such file"):
        Scene.load(root).load_panoptic()
    masked(everything.T, "ones", root / "masks" / "0001.png")
    with pytest.raises(InputError, match=r"0001\.png.*80×120.*EXIF"):
        Scene.load(root).load_panoptic()


@pytest.mark.parametrize("lens", [PINHOLE, LENSES["barrel"]])
def test_what_alpha_cuts_out_does_not_count_and_shows_the_background(tmp_path: Path, lens: Lens) -> None:
    made = capture(lens, 2)
    for stem, photo in made.photos.items():
        wall = made.maps[stem] == 1
        made.photos[stem] = np.dstack([np.where(wall[..., None], 0, photo), np.where(wall, 0, 255)]).astype(np.uint8)
    scene = Scene.load(write_capture(tmp_path, made))
    share, void, error = right(scene)
    assert share > 0.98
    assert 0.2 < void < 0.9
    assert error < 9
    frame = scene.frames[0]
    white, black = frame.read_image((255, 255, 255)), frame.read_image()
    counting = frame.counting()
    assert counting is not None
    cut = ~counting
    inside = np.pad(cut, 1)[2:, 1:-1] & np.pad(cut, 1)[:-2, 1:-1] & np.pad(cut, 1)[1:-1, 2:] & np.pad(cut, 1)[1:-1, :-2]
    assert (white[inside] > 240).mean() > 0.98
    assert (black[inside] < 15).mean() > 0.98


def lying(photo: np.ndarray, file: Path) -> None:
    """A JPEG that asks to be turned a quarter clockwise to be upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(file, quality=98, subsampling=0, exif=exif)


def test_upright_maps_of_photos_that_exif_turns_are_turned(tmp_path: Path) -> None:
    made = capture(PINHOLE, 2)
    root = write_capture(tmp_path, made, ending=".jpg")
    shutil.rmtree(root / "panoptic")
    for stem, photo in made.photos.items():
        lying(photo, root / "images" / f"{stem}.jpg")
        made.maps[stem] = np.rot90(made.maps[stem], -1)  # as a viewer shows it
    write_maps(root / "panoptic", made.maps)
    scene = Scene.load(root)
    share, void, error = right(scene)
    assert share == 1
    assert void == 0
    assert error < 6
    assert [note[:41] for note in scene.notes] == ["2 maps of panoptic/ are upright as EXIF a"]


def test_photos_are_turned_where_their_cameras_are_upright(tmp_path: Path) -> None:
    made = capture(Lens("PINHOLE", HEIGHT, WIDTH, 75.0), 2)
    root = write_capture(tmp_path, made, ending=".jpg")
    for stem, photo in made.photos.items():
        lying(np.rot90(photo, 1), root / "images" / f"{stem}.jpg")
    share, void, error = right(Scene.load(root))
    assert (share, void) == (1, 0)
    assert error < 6


def test_turned_maps_without_exif_are_refused(tmp_path: Path) -> None:
    made = capture(PINHOLE, 2)
    root = write_capture(tmp_path, made, panoptic=False)
    write_maps(root / "panoptic", {stem: np.rot90(ids) for stem, ids in made.maps.items()})
    with pytest.raises(InputError, match=r"80×120 pixels.*no EXIF orientation"):
        Scene.load(root).load_panoptic()


def test_portrait_and_landscape_in_one_scene(tmp_path: Path) -> None:
    made = capture([PINHOLE, Lens("PINHOLE", HEIGHT, WIDTH, 75.0)], 4)
    scene = Scene.load(write_capture(tmp_path, made))
    assert right(scene) == (1, 0, 0)
    assert {(frame.camera.width, frame.camera.height) for frame in scene.frames} == {(120, 80), (80, 120)}


def rig(count: int = 4) -> Capture:
    return capture(PINHOLE, count, name=lambda number: f"{'left' if number % 2 else 'right'}/{number // 2:04d}")


@pytest.mark.parametrize("source", ["transforms", "colmap binary"])
def test_names_that_recur_in_two_folders_take_their_folders_in(tmp_path: Path, source: str) -> None:
    made = rig()
    root = write_capture(tmp_path, made, source, panoptic=False)  # type: ignore[arg-type]
    scene = Scene.load(root)
    assert [frame.stem for frame in scene.frames] == ["left/0000", "left/0001", "right/0000", "right/0001"]
    ids = {int(i) for labels in made.maps.values() for i in np.unique(labels)}
    maps = PanopticScene([Category(1, "thing", True)], [Segment(i, 1) for i in sorted(ids)], made.maps)
    maps.save(root / "panoptic")
    (root / "splits.json").write_text(json.dumps({"train": ["left/0000", "right/0000"], "test": ["left/0001"]}))
    scene = Scene.load(root)
    assert right(scene)[:2] == (1, 0)
    assert [frame.stem for frame in scene.split("train")] == ["left/0000", "right/0000"]


def test_the_split_is_that_of_transforms_json(tmp_path: Path) -> None:
    root = write_capture(tmp_path, capture(PINHOLE, 4))
    names = [f"images/{number:04d}.png" for number in range(4)]
    edit(root, lambda document: document.update(train_filenames=names[:2], val_filenames=names[2:]))
    scene = Scene.load(root)
    assert scene.splits == {"train": ("0000", "0001"), "val": ("0002", "0003"), "test": ("0002", "0003")}
    (root / "splits.json").write_text('{"train": ["0003"], "test": ["0000"]}')
    assert Scene.load(root).splits == {"train": ("0003",), "test": ("0000",)}
    (root / "splits.json").unlink()
    edit(root, lambda document: document.update(train_filenames=["images/0009.png"]))
    with pytest.raises(InputError, match=r"0009\.png' in train_filenames"):
        Scene.load(root)


def test_maps_and_splits_of_photos_without_a_pose_are_left_out_with_a_note(tmp_path: Path) -> None:
    root = write_capture(tmp_path, capture(PINHOLE, 4))
    (root / "splits.json").write_text('{"train": ["0000", "0003"], "test": ["0001"]}')
    edit(root, lambda document: document["frames"].pop())
    scene = Scene.load(root)
    assert sorted(scene.load_panoptic().maps) == ["0000", "0001", "0002"]
    assert scene.splits["train"] == ("0000",)
    assert scene.notes == [
        "1 photos of split 'train' have no pose and are left out: 0003",
        "1 maps of panoptic/ are of photos without a pose and are left out: 0003",
    ]
    (root / "images" / "0003.png").unlink()
    with pytest.raises(InputError, match="'0003' in split 'train'"):
        Scene.load(root)
    (root / "splits.json").unlink()
    with pytest.raises(InputError, match="a map for '0003'"):
        Scene.load(root).load_panoptic()


def test_paths_of_windows_and_of_elsewhere(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "scene", capture(PINHOLE, 2))
    edit(root, lambda d: [frame.update(file_path=frame["file_path"].replace("/", "\\")) for frame in d["frames"]])
    assert right(Scene.load(root)) == (1, 0, 0)
    edit(root, lambda d: [f.update(file_path=f"C:\\Users\\me\\scene\\{f['file_path']}") for f in d["frames"]])
    assert right(Scene.load(root)) == (1, 0, 0)
    (root / "images").rename(tmp_path / "photos")
    with pytest.raises(InputError, match=r"Windows path 'C:\\Users"):
        Scene.load(root)
    edit(root, lambda d: [f.update(file_path=f"../photos/{f['file_path'][-8:]}") for f in d["frames"]])
    scene = Scene.load(root)
    assert len(scene.notes) == 1
    assert "2 photos lie outside the scene's folder" in scene.notes[0]
    (tmp_path / "photos").rename(root / "..photos")  # within, whatever its name looks like
    edit(root, lambda d: [f.update(file_path=f"..photos/{f['file_path'][-8:]}") for f in d["frames"]])
    assert not Scene.load(root).notes


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d.update(w=2**31), "w: 2147483648"),
        (lambda d: d.update(h=float("-inf")), "h: -inf"),
        (lambda d: d.update(h=[[]]), "h: a list"),
        (lambda d: d.update(fl_x="wide"), "fl_x: 'wide'"),
        (lambda d: d.update(fl_x=10**400), "fl_x"),
        (lambda d: d["frames"][1].update(transform_matrix=[1e308, [0], 2]), "transform_matrix"),
        (lambda d: d["frames"][1].update(transform_matrix=[[1, 0, 0, 0]] * 9), "9 rows"),
        (lambda d: d["frames"][1].update(file_path="\0"), "NUL"),
        (lambda d: d["frames"][1].update(file_path="a" * 5000), "a{9}"),
        (lambda d: d["frames"][1].update(mask_path=7), "mask_path"),
        (lambda d: d["frames"].append(None), "file_path or transform_matrix"),
        (lambda d: d.update(train_filenames="all"), "train_filenames"),
        (lambda d: d.update(applied_transform=5), "applied_transform"),
        (lambda d: (d.pop("fl_x"), d.update(camera_angle_x=4)), "camera_angle_x"),
        (lambda d: d.pop("fl_x"), "neither fl_x nor camera_angle_x"),
    ],
)
def test_fields_that_cannot_be_are_named(tmp_path: Path, change: Callable[[dict], object], word: str) -> None:
    root = write_capture(tmp_path, capture(PINHOLE, 2))
    edit(root, change)
    with pytest.raises(InputError, match=word):
        Scene.load(root)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_counts_of_colmap_are_held_against_the_file(tmp_path: Path, file: str) -> None:
    root = write_capture(tmp_path, capture(PINHOLE, 2), "colmap binary")
    path = root / "colmap" / "sparse" / "0" / file
    if not path.is_file():
        path.write_bytes(b"\0" * 8)
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(InputError, match=f"{file}.*truncated"):
        Scene.load(root)


def test_a_photo_of_200_megapixels_is_shrunk_while_it_is_read(tmp_path: Path) -> None:
    root = write_capture(tmp_path, capture(PINHOLE, 2))
    file = root / "images" / "0001.png"
    Image.open(file).convert("1").resize((16320, 10880)).save(file)
    edit(root, lambda d: d["frames"][1].update(w=16320, h=10880, fl_x=75 * 136, fl_y=75 * 136, cx=8160, cy=5440))
    scene = Scene.load(root)
    assert scene.notes == ["0001.png has 16320×10880 pixels and is read at 1/2 of its sides"]
    frame = scene.frames[1]
    assert (frame.camera.width, frame.camera.height, float(frame.camera.K[0, 0])) == (8160, 5440, 75 * 68)
    assert frame.read_image().shape == (5440, 8160, 3)


SMALL = Lens("OPENCV", 12, 8, 7.0, more=(("k1", -0.1),))


@pytest.mark.parametrize("source", ["transforms", "colmap text", "colmap binary"])
def test_random_mutations_are_read_or_refused_and_nothing_else(tmp_path: Path, source: str) -> None:
    root = write_capture(tmp_path, capture(SMALL, 2), source)  # type: ignore[arg-type]
    folder = root if source == "transforms" else root / "colmap" / "sparse" / "0"
    names = ["transforms.json"] if source == "transforms" else sorted(path.name for path in folder.iterdir())
    rng = np.random.default_rng(0)
    tokens = [b"-1", b"1e400", b"NaN", b"null", b"[]", b'"x"', b"9" * 30, b"\xff", b"", b"0", b"{", b"\0", b"1e308"]
    refused = 0
    for _ in range(150):
        file = folder / names[rng.integers(len(names))]
        before = file.read_bytes()
        data = bytearray(before)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(data) + 1))
            if source == "colmap binary" and rng.random() < 0.7:
                data[at : at + 8] = rng.bytes(8)
            else:
                data[at : at + int(rng.integers(0, 12))] = tokens[rng.integers(len(tokens))]
        file.write_bytes(bytes(data[: int(rng.integers(len(data) + 1))] if rng.random() < 0.1 else data))
        try:
            scene = Scene.load(root)
            for frame in scene.frames:
                frame.read_image()
        except InputError:
            refused += 1
        file.write_bytes(before)
    assert refused > 50
