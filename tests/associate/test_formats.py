# SPDX-License-Identifier: Apache-2.0
"""Per-image masks in each layout, held against pycocotools and files that other tools wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from panoptic_gs import InputError
from panoptic_gs.associate import read_masks
from panoptic_gs.associate.formats.rle import decode_rle
from panoptic_gs.panoptic import encode_ids

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data"
PHOTOS = {"0001": (8, 6), "0002": (8, 6)}


def stack(rng, count=3, shape=(6, 8)):
    return rng.uniform(size=(count, *shape)) < 0.4


def encoded(mask: np.ndarray) -> dict:
    """COCO's RLE of a mask, ready for JSON, by COCO's own encoder."""
    rle = pytest.importorskip("pycocotools.mask").encode(np.asfortranarray(mask.astype(np.uint8)))
    return rle | {"counts": rle["counts"].decode()}


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


def same_masks(masks, expected) -> bool:
    found = {masks.mask(m).tobytes() for m in range(len(masks))}
    return found == {mask.tobytes() for mask in expected if mask.any()}


# Run-length encoding


def test_rle_is_decoded_as_pycocotools_does():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(3)
    for height, width in [(1, 1), (6, 8), (480, 640), (31, 7), (1500, 900)]:
        for share in (0.0, 0.01, 0.5, 0.99, 1.0):
            mask = rng.uniform(size=(height, width)) < share
            if share == 0.5:
                mask[:, : width // 2] = True
            text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            runs = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.T.ravel(), 2])))
            plain = {"size": [height, width], "counts": [0, *runs.tolist()] if mask.T.ravel()[0] else runs.tolist()}
            for entry in (text, {"size": text["size"], "counts": text["counts"].decode()}, plain):
                assert (decode_rle(entry, "m") == mask).all()


@pytest.mark.parametrize(
    "entry",
    [
        {"size": [6, 8], "counts": [40, 9]},
        {"size": [6, 8], "counts": [60, -12]},
        {"size": [8], "counts": [48]},
        {"size": [6, 8], "counts": "no such thing"},
        {"size": [6, 8], "counts": "PPPPPPPPPPPPPPPPPPPPPPPP"},
        {"counts": [48]},
    ],
)
def test_rle_that_disagrees_with_its_size_or_is_none_is_refused(entry):
    with pytest.raises(InputError, match=r"m\b"):
        decode_rle(entry, "m")


def test_rle_of_exchanged_height_and_width_names_both():
    coco = pytest.importorskip("pycocotools.mask")
    entry = coco.encode(np.asfortranarray(np.eye(6, 8, dtype=np.uint8)))
    assert decode_rle({**entry, "size": [8, 6]}, "m").shape == (8, 6)  # the runs fit: the shape is checked by the photo
    with pytest.raises(InputError, match="7×8"):
        decode_rle({**entry, "size": [7, 8]}, "m")


# Layouts


def test_binary_masks_in_a_folder_for_each_photo(tmp_path):
    masks = {stem: stack(np.random.default_rng(int(stem))) for stem in PHOTOS}
    for stem, of in masks.items():
        for number, mask in enumerate(of):
            save(tmp_path / stem / f"{number}.png", mask.astype(np.uint8) * 255)
    (tmp_path / "0001" / "metadata.csv").write_text("id,area,predicted_iou\n0,1,0.5\n1,1,0.75\n2,1,0.25\n")
    read = read_masks(tmp_path, PHOTOS)
    assert all(same_masks(read[stem], of) for stem, of in masks.items())
    first = read["0001"]
    assert dict(zip(first.ids.tolist(), first.scores.tolist(), strict=True)) == {0: 0.5, 1: 0.75, 2: 0.25}
    assert [category.name for category in read.categories] == ["object"]


@pytest.mark.parametrize("form", ["list", "sa-1b"])
def test_automatic_masks_of_sam(tmp_path, form):
    coco = pytest.importorskip("pycocotools.mask")
    masks = stack(np.random.default_rng(2))
    entries = [
        {
            "segmentation": (rle := coco.encode(np.asfortranarray(mask.astype(np.uint8))))
            | {"counts": rle["counts"].decode()},
            "area": int(mask.sum()), "bbox": [0, 0, 8, 6], "predicted_iou": 0.5 + 0.1 * k, "stability_score": 0.9,
        }
        for k, mask in enumerate(masks)
    ]  # fmt: skip
    document = entries if form == "list" else {"image": {"width": 8, "height": 6}, "annotations": entries}
    (tmp_path / "0002.json").write_text(json.dumps(document))
    read = read_masks(tmp_path, PHOTOS)
    assert same_masks(read["0002"], masks)
    assert sorted(read["0002"].scores.tolist()) == pytest.approx([0.5, 0.6, 0.7])
    assert read.without == ("0001",)


def test_coco_instances_in_one_file(tmp_path):
    masks = stack(np.random.default_rng(4), 2)
    annotations = [
        {
            "id": k, "image_id": 9, "category_id": 3 + k, "iscrowd": 0, "score": 0.5,
            "segmentation": encoded(m),
        }
        for k, m in enumerate(masks)
    ]  # fmt: skip
    document = {
        "images": [{"id": 9, "file_name": "0001.jpg"}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cup"}, {"id": 4, "name": "chair"}],
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(document))
    read = read_masks(file, PHOTOS)
    assert same_masks(read["0001"], masks)
    assert sorted(read["0001"].category_ids.tolist()) == [3, 4]
    annotations[0]["segmentation"] = [[0, 0, 4, 0, 4, 4]]
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="polygon"):
        read_masks(file, PHOTOS)["0001"]
    document["categories"].pop()
    annotations.pop(0)
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="category id 4"):
        read_masks(file, PHOTOS)["0001"]


def test_boolean_stacks_with_scores_and_classes(tmp_path):
    masks = stack(np.random.default_rng(6))
    np.savez(
        tmp_path / "0001.npz", masks=masks, scores=np.array([0.1, 0.2, 0.3]), classes=np.array(["cup", "a", "cup"])
    )
    np.savez(tmp_path / "0002.npz", masks[:2])
    read = read_masks(tmp_path, PHOTOS)
    assert same_masks(read["0001"], masks)
    assert same_masks(read["0002"], masks[:2])
    names = {category.id: category.name for category in read.categories}
    assert sorted(names[c] for c in read["0001"].category_ids.tolist()) == ["a", "cup", "cup"]


@pytest.mark.parametrize("kind", ["grey", "sixteen bits", "palette", "colour", "alpha"])
def test_id_maps(tmp_path, kind):
    ids = np.random.default_rng(1).integers(0, 4, (6, 8)).astype(np.uint8)
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 0], [1, 2, 3]], np.uint8)
    if kind == "palette":
        image = Image.fromarray(ids, "P")
        image.putpalette([0, 0, 0, 255, 0, 0, 255, 0, 0, 7, 7, 7])  # two entries of one colour are two ids
        image.save(tmp_path / "0001.png")
    else:
        alpha = np.dstack([colors[np.maximum(ids, 1)], np.where(ids > 0, 255, 0).astype(np.uint8)])
        pixels = {"grey": ids, "sixteen bits": ids.astype(np.uint16) * 1000, "colour": colors[ids], "alpha": alpha}[
            kind
        ]
        save(tmp_path / "0001.png", pixels)
    assert same_masks(read_masks(tmp_path, PHOTOS)["0001"], [ids == k for k in (1, 2, 3)])


def test_a_palette_image_whose_pixels_are_damaged_is_refused_by_name(tmp_path):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 4, (6, 8)).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 255, 0, 0, 7, 7, 7])
    image.save(tmp_path / "0001.png")
    data = (tmp_path / "0001.png").read_bytes()
    place = data.index(b"IDAT") + 8
    (tmp_path / "0001.png").write_bytes(data[:place] + bytes(len(data) - 12 - place) + data[-12:])
    with pytest.raises(InputError, match=r"0001\.png"):
        read_masks(tmp_path, PHOTOS)["0001"]


def test_id_maps_with_a_class_table(tmp_path):
    ids = np.repeat(np.arange(4, dtype=np.uint8), 12).reshape(6, 8)
    for stem in PHOTOS:
        save(tmp_path / f"{stem}.png", ids)
    table = {stem: [{"id": k, "class": "cup" if k < 3 else "wall", "isthing": k < 3, "score": 0.5} for k in (1, 2, 3)]
             for stem in PHOTOS}  # fmt: skip
    (tmp_path / "segments.json").write_text(json.dumps(table))
    read = read_masks(tmp_path, PHOTOS)
    names = {category.id: (category.name, category.isthing) for category in read.categories}
    assert [names[c] for c in read["0001"].category_ids.tolist()] == [("cup", True), ("cup", True), ("wall", False)]
    assert read["0001"].scores.tolist() == [0.5] * 3
    table["0002"].pop()
    (tmp_path / "segments.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"no entry for id 3 of photo '0002'"):
        read_masks(tmp_path, PHOTOS)["0002"]
    (tmp_path / "segments.json").write_text(json.dumps({"1": "cup", "2": "cup", "3": "wall"}))
    assert len(read_masks(tmp_path, PHOTOS).categories) == 2
    (tmp_path / "segments.json").write_text("[1]")
    with pytest.raises(InputError, match="no class table"):
        read_masks(tmp_path, PHOTOS)


def coco_folder(root: Path, ids: dict[str, np.ndarray], segments: list[dict]) -> None:
    for stem, of in ids.items():
        save(root / f"{stem}.png", encode_ids(of))
    document = {
        "images": [],
        "annotations": [{"image_id": 1, "file_name": f"{s}.png", "segments_info": segments} for s in ids],
        "categories": [{"id": 5, "name": "cup", "isthing": 1}],
    }
    (root / "panoptic.json").write_text(json.dumps(document))


def test_coco_panoptic_maps_with_ids_of_each_image(tmp_path):
    ids = np.repeat([0, 300, 70000], 16).reshape(6, 8)
    coco_folder(tmp_path, {"0001": ids}, [{"id": 300, "category_id": 5, "score": 0.5}, {"id": 70000, "category_id": 5}])
    read = read_masks(tmp_path, PHOTOS)
    assert read["0001"].ids.tolist() == [300, 70000]
    assert read["0001"].category_ids.tolist() == [5, 5]
    coco_folder(tmp_path, {"0001": ids}, [{"id": 300, "category_id": 5}])
    with pytest.raises(InputError, match="70000"):
        read_masks(tmp_path, PHOTOS)["0001"]
    coco_folder(tmp_path, {"0001": ids}, [{"id": 300, "category_id": 6}])
    with pytest.raises(InputError, match="category id 6"):
        read_masks(tmp_path, PHOTOS)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample data")
def test_panoptic_truth_of_coco_itself():
    folder = SAMPLES / "dataset_samples" / "coco_panoptic"
    document = json.loads((folder / "panoptic_examples.json").read_text())
    if "categories" not in document:
        pytest.skip("no categories in the sample")
    photos = {"000000142238": (640, 427), "000000439180": (640, 360)}
    read = read_masks(folder / "panoptic_examples.json", photos)
    for annotation in document["annotations"]:
        masks = read[Path(annotation["file_name"]).stem]
        area = {info["id"]: info["area"] for info in annotation["segments_info"] if not info["iscrowd"]}
        assert dict(zip(masks.ids.tolist(), masks.areas().tolist(), strict=True)) == area


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample data")
def test_masks_of_a_real_detector():
    scene = SAMPLES / "livingroom" / "scene"
    photos = {path.stem: (994, 550) for path in (scene / "images").iterdir()}
    read = read_masks(scene / "masks_per_image", photos)
    listed = json.loads((scene / "masks_per_image" / "segments.json").read_text())
    for stem, masks in read.items():
        areas = {entry["id"]: entry["area"] for entry in listed[stem]}  # before the photos were halved
        found = dict(zip(masks.ids.tolist(), masks.areas().tolist(), strict=True))
        assert found.keys() == areas.keys()
        assert all(4 * found[i] < 1.05 * areas[i] + 50 for i in areas)  # some were hidden by others
    assert "chair" in {category.name for category in read.categories}


# What is refused


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    with pytest.raises(InputError, match="no such file"):
        read_masks(tmp_path / "none", PHOTOS)
    with pytest.raises(InputError, match="none of these"):
        read_masks(tmp_path, PHOTOS)
    save(tmp_path / "a" / "0003.png", ids)
    with pytest.raises(InputError, match=r"'0003\.png' of no photo"):
        read_masks(tmp_path / "a", PHOTOS)
    save(tmp_path / "b" / "0001.png", ids.T.copy())
    with pytest.raises(InputError, match="turned by 90°"):
        read_masks(tmp_path / "b", PHOTOS)
    save(tmp_path / "c" / "0001.jpg", ids)
    with pytest.raises(InputError, match="JPEG changes ids"):
        read_masks(tmp_path / "c", PHOTOS)
    save(tmp_path / "d" / "0001.png", ids)
    (tmp_path / "d" / "0001.json").write_text("[]")
    with pytest.raises(InputError, match="JSON files"):
        read_masks(tmp_path / "d", PHOTOS)
    save(tmp_path / "e" / "0001.png", ids)
    save(tmp_path / "e" / "0001.tif", ids)
    with pytest.raises(InputError, match="for one photo"):
        read_masks(tmp_path / "e", PHOTOS)
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    save(tmp_path / "f" / "0001.png", picture)
    with pytest.raises(InputError, match="different colours"):
        read_masks(tmp_path / "f", PHOTOS)["0001"]
    save(tmp_path / "g" / "0001" / "0.png", ids)
    with pytest.raises(InputError, match="3 values"):
        read_masks(tmp_path / "g", PHOTOS)["0001"]
    (tmp_path / "h").mkdir()
    np.savez(tmp_path / "h" / "0001.npz", masks=np.zeros((2, 6, 8), bool), scores=np.zeros(3))
    with pytest.raises(InputError, match=r"scores \[3\] for 2 masks"):
        read_masks(tmp_path / "h", PHOTOS)
    (tmp_path / "h" / "0001.npz").write_bytes(b"PK\3\4 cut")
    with pytest.raises(InputError, match="cannot be read"):
        read_masks(tmp_path / "h", PHOTOS)


def test_names_with_the_photos_ending_are_known(tmp_path):
    save(tmp_path / "0001.jpg.png", np.eye(6, 8, dtype=np.uint8))
    assert list(read_masks(tmp_path, PHOTOS)) == ["0001"]


# Photos of several cameras, in folders of their own

RIG = {f"{camera}/{number}": (8, 6) for camera in ("cam0", "rig/cam1") for number in ("0001", "0002")}


def write_layout(layout, path, mask):
    if layout == "id maps":
        save(path.with_suffix(".png"), mask.astype(np.uint8))
    elif layout == "SAM's automatic masks":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps([{"segmentation": encoded(mask), "predicted_iou": 0.9}]))
    elif layout == "stacks of masks":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path.with_suffix(".npz"), masks=mask[None])
    else:
        save(path / "0.png", mask.astype(np.uint8) * 255)


LAYOUTS = ["id maps", "SAM's automatic masks", "stacks of masks", "binary masks"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_a_rig_are_told_apart_by_the_folders_of_its_cameras(tmp_path, layout):
    rng = np.random.default_rng(5)
    masks = {stem: stack(rng, 1)[0] for stem in RIG}
    for stem, mask in masks.items():
        write_layout(layout, tmp_path / stem, mask)
    read = read_masks(tmp_path, RIG)
    assert read.kind == layout
    assert sorted(read) == sorted(RIG)
    assert all(same_masks(read[stem], [mask]) for stem, mask in masks.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_in_folders_of_cameras_belong_to_photos_whose_names_do_not_recur(tmp_path, layout):
    rng = np.random.default_rng(6)
    masks = {"a1": stack(rng, 1)[0], "b1": stack(rng, 1)[0]}
    write_layout(layout, tmp_path / "cam0" / "a1", masks["a1"])
    write_layout(layout, tmp_path / "cam1" / "b1", masks["b1"])
    read = read_masks(tmp_path, dict.fromkeys(masks, (8, 6)))
    assert all(same_masks(read[stem], [mask]) for stem, mask in masks.items())


def test_a_folder_of_masks_of_no_photo_is_not_taken_for_a_camera(tmp_path):
    photos = {str(k): (8, 6) for k in range(3)}
    for folder in ("0", "7"):  # SAM's script numbers masks as others number photos
        for mask in range(3):
            save(tmp_path / folder / f"{mask}.png", 255 * np.eye(6, 8, k=mask, dtype=np.uint8))
    with pytest.raises(InputError, match="'7' of no photo"):
        read_masks(tmp_path, photos)


def test_what_lies_beside_the_maps_of_a_rig_is_no_mask(tmp_path):
    for stem in RIG:
        write_layout("id maps", tmp_path / stem, np.eye(6, 8) > 0)
    save(tmp_path / "drawn" / "0001.png", np.zeros((6, 8), np.uint8))
    (tmp_path / "cam0" / "._0001.png").write_bytes(b"what another system leaves")
    assert sorted(read_masks(tmp_path, RIG)) == sorted(RIG)
    (tmp_path / "cam0" / "classes.json").write_text('{"1": "chair"}')
    with pytest.raises(InputError, match="a class table of one camera"):
        read_masks(tmp_path, RIG)
