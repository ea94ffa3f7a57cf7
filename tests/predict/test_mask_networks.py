# SPDX-License-Identifier: Apache-2.0
"""Masks of single photos by the real classes of transformers, tiny and random; what becomes of them."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from posed_photos import write_cameras

from panoptic_gs import Category, InputError

pytest.importorskip("transformers")

import small_transformers
import transformers

from panoptic_gs.associate import read_masks
from panoptic_gs.cli.main import main
from panoptic_gs.merge import merge_predictions
from panoptic_gs.panoptic_images import read_panoptic_images
from panoptic_gs.predict.masks import MaskOptions, load_mask_predictor
from panoptic_gs.predict.masks.label_sets import labels_of
from panoptic_gs.predict.masks.query_models import input_of
from panoptic_gs.predict.photos import Photo
from panoptic_gs.raw_predictions import RawPredictions
from panoptic_gs.scene import Scene

FAMILIES = ("eomt", "mask2former", "oneformer")
SIZES = {"lying": (160, 120), "upright": (90, 130), "wide": (200, 60)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: small_transformers.write(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 255, (height // 10, width // 10, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_query_logits_are_the_models_own_and_lie_on_the_photo(checkpoints, photos, family):
    said: list[str] = []
    network = load_mask_predictor(str(checkpoints[family]), MaskOptions(say=said.append))
    assert "Apache-2.0" in said[0]
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoints[family])
    for name, (width, height) in SIZES.items():
        raw = network.predict(Photo.open(photos / f"{name}.png"))
        values = processor(Image.open(photos / f"{name}.png"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            answer = network.model(pixel_values=values, **network._task)
        expected = answer.class_queries_logits[0].softmax(-1)
        assert raw.class_activation == "softmax"
        torch.testing.assert_close(raw.class_logits.softmax(-1), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(raw.mask_logits[0].float(), answer.masks_queries_logits[0], rtol=1e-2, atol=1e-2)
        assert raw.images[0].width == width
        # The upper left corner of the input is that of the photo, whatever is padded elsewhere.
        corner = raw.to_original[0] @ torch.tensor([0.0, 0, 1])
        assert corner[:2].abs().max() < 0.3
        ids = merge_predictions(raw, "standard-v2").label_map(0)[0] if len(raw.class_logits) else None
        assert ids is None or ids.shape == (height, width)


@pytest.mark.parametrize(
    ("processor", "expected", "scale"),
    [
        (lambda: transformers.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True), (64, 64),
         (240 / 64, 120 / 32)),
        (lambda: transformers.Mask2FormerImageProcessor(size={"height": 96, "width": 64}), (64, 96),
         (240 / 64, 120 / 96)),
        (lambda: transformers.Mask2FormerImageProcessor(size={"shortest_edge": 70, "longest_edge": 140}), (160, 96),
         (240 / 160, 120 / 96)),
    ],
)  # fmt: skip
def test_where_a_processor_puts_the_photo_is_found_out(processor, expected, scale):
    size, to_original = input_of(processor(), 240, 120)
    assert size == expected
    assert tuple(np.diag(to_original)[:2]) == pytest.approx(scale, rel=0.02)
    assert np.abs(to_original[:2, 2]).max() < 0.3


def coco_labels() -> dict[int, str]:
    from panoptic_gs.predict.masks.label_sets import STUFF

    return dict(enumerate(["person", "chair", "dining table", *STUFF["COCO"].split()]))


def test_things_and_stuff_follow_the_label_set():
    labels = labels_of(coco_labels(), None, "a checkpoint")
    assert labels.label_set == "COCO"
    kinds = {category.name: category.isthing for category in labels.categories}
    assert kinds["person"]
    assert kinds["dining table"]
    assert not kinds["wall"]  # wall-other-merged
    assert not kinds["curtain"]
    assert len({category.id for category in labels.categories}) == len(labels.categories)


def test_labels_of_one_name_are_one_class_and_wanted_ones_may_be_combined():
    labels = labels_of({0: "wall", 1: "chair", 2: "wall", 3: "sofa, couch"}, None, "x")
    assert [category.name for category in labels.categories] == ["wall", "chair", "sofa"]
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(-1)
    torch.testing.assert_close(labels.class_logits(logits).softmax(-1),
                               torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3], p[:, 4]], -1))  # fmt: skip
    wanted = (Category(7, "seat=couch|chair", True), Category(9, "wall", False))
    labels = labels_of({0: "wall", 1: "chair", 2: "wall", 3: "sofa, couch"}, wanted, "x")
    assert labels.categories == (Category(7, "seat", True), Category(9, "wall", False))
    torch.testing.assert_close(labels.class_logits(logits).softmax(-1),
                               torch.stack([p[:, 3] + p[:, 1], p[:, 0] + p[:, 2], p[:, 4]], -1))  # fmt: skip
    with pytest.raises(InputError, match="'chiar', which x does not know") as error:
        labels_of({0: "chair"}, (Category(1, "chiar", True),), "x")
    assert "chair" in error.value.mend
    with pytest.raises(InputError, match="for 'a' and 'b'"):
        labels_of({0: "chair"}, (Category(1, "a=chair", True), Category(2, "b=chair", True)), "x")


def test_photos_become_a_scene_with_masks_that_association_reads(checkpoints, photos, tmp_path, capsys):
    scene = known_scene(photos, tmp_path / "known")
    out = tmp_path / "out"
    main(["predict", "--cameras", str(scene), "--masks", str(checkpoints["eomt"]), "--out", str(out)])
    printed = capsys.readouterr().out
    assert "3 of 3 photos" in printed
    assert "panoptic-gs associate" in printed
    raw = RawPredictions.load(out / "image_predictions" / "upright")
    assert raw.images[0].name == "upright.png"
    written = read_panoptic_images(out / "masks_per_image")
    assert {stem: ids.shape[::-1] for stem, ids in written.maps.items()} == SIZES
    assert written.declared is False
    masks = read_masks(out / "masks_per_image", SIZES)
    assert sum(len(masks[stem]) for stem in masks) == sum(len(image.segments) for image in written.images)
    # A second run of the later steps alone.
    main(["merge", str(out / "image_predictions"), "--out", str(tmp_path / "again"), "--method", "standard"])
    assert len(read_panoptic_images(tmp_path / "again").images) == 3


def known_scene(photos, root):
    (root / "images").mkdir(parents=True)
    for name in SIZES:
        (root / "images" / f"{name}.png").write_bytes((photos / f"{name}.png").read_bytes())
    write_cameras(root, {f"images/{name}.png": size for name, size in SIZES.items()})
    return root


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--masks", "nothing"], "one of eomt"),
        (["--masks", "BERT"], "of the kind 'bert'"),
        (["--masks", "HEADLESS"], "no weights for"),
        (["--masks", "SPLITTING"], "semantic segmentation"),
        (["--masks", "EMPTY"], "cannot be used"),
        (["--masks", "nobody/has-this"], "hf download nobody/has-this"),
        (["--masks", "EOMT", "--classes", "unicorn:thing"], "'unicorn'"),
        (["--geometry", "guess"], "one of known, colmap"),
        (["--geometry", "da3"], "pip install depth-anything-3"),
        (["--geometry", "mapanything"], "map-anything"),
        (["--geometry", "known"], "Give --cameras"),
    ],
)
def test_what_cannot_be_used_is_named(checkpoints, photos, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    special = {"BERT": "bert", "HEADLESS": "headless", "SPLITTING": "splitting", "EMPTY": "empty", "EOMT": "eomt"}
    folder = tmp_path / "checkpoint"
    kind = special.get(arguments[1])
    if kind == "bert":
        transformers.BertConfig().save_pretrained(folder)
    elif kind == "headless":
        small_transformers.write("eomt", folder)
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        save_file({k: v for k, v in weights.items() if "class_predictor" not in k}, folder / "model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
    elif kind == "splitting":
        small_transformers.write("eomt", folder)
        transformers.EomtImageProcessor(do_split_image=True).save_pretrained(folder)
    elif kind == "empty":
        folder.mkdir()
    if kind is not None:
        arguments = [arguments[0], str(checkpoints["eomt"] if kind == "eomt" else folder), *arguments[2:]]
    if "--geometry" not in arguments:
        arguments = [*arguments, "--cameras", str(known_scene(photos, tmp_path / "known"))]
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(photos), "--out", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_photos_of_one_name_in_the_folders_of_a_rig_are_told_apart(checkpoints, photos, tmp_path):
    first, second = list(SIZES)[:2]
    rig = tmp_path / "rig"
    for side, name in (("left", first), ("right", second)):
        (rig / "images" / side).mkdir(parents=True)
        shutil.copy(photos / f"{name}.png", rig / "images" / side / "0001.png")
    write_cameras(rig, {"images/left/0001.png": SIZES[first], "images/right/0001.png": SIZES[second]})
    out = tmp_path / "out"
    main(
        [
            "predict",
            "--cameras",
            str(rig),
            "--geometry",
            "known",
            "--masks",
            str(checkpoints["eomt"]),
            "--out",
            str(out),
        ]
    )
    scene = Scene.load(out)
    sizes = {frame.stem: (frame.sensor.width, frame.sensor.height) for frame in scene.frames}
    assert sizes == {"left/0001": SIZES[first], "right/0001": SIZES[second]}
    masks = read_masks(out / "masks_per_image", sizes)
    assert masks.without == ()
    assert sorted(masks.readers) == ["left/0001", "right/0001"]


def test_photos_are_masked_the_way_round_that_their_cameras_are(checkpoints, photos, tmp_path):
    root, name = tmp_path / "lying", next(iter(SIZES))
    (root / "images").mkdir(parents=True)
    pixels = np.asarray(Image.open(photos / f"{name}.png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        stored = Image.fromarray(np.rot90(pixels, 1))  # EXIF's 6 turns it back
        stored.save(root / "images" / f"{number}.jpg", exif=exif, quality=95)
    write_cameras(root, {f"images/{number}.jpg": SIZES[name] for number in range(2)})
    out = tmp_path / "out"
    main(
        [
            "predict",
            "--cameras",
            str(root),
            "--geometry",
            "known",
            "--masks",
            str(checkpoints["eomt"]),
            "--out",
            str(out),
        ]
    )
    for number in range(2):
        frame = Scene.load(out).frame(str(number))
        assert frame.read_image().shape[:2] == (SIZES[name][1], SIZES[name][0])
        assert Image.open(out / "masks_per_image" / f"{number}.png").size == SIZES[name]
