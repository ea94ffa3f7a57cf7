# SPDX-License-Identifier: Apache-2.0
"""SAM 2 and SAM 3 by the real classes of transformers, tiny and random; what association reads of them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from posed_photos import write_cameras

pytest.importorskip("transformers")

import small_transformers
import transformers

from panoptic_gs import Category
from panoptic_gs.associate import read_masks
from panoptic_gs.cli.main import main
from panoptic_gs.panoptic_images import read_panoptic_images
from panoptic_gs.predict.masks import MaskOptions, load_mask_predictor, sam2, sam3
from panoptic_gs.predict.masks.sam3 import class_logits
from panoptic_gs.predict.photos import Photo

SIZES = {"lying": (80, 60), "upright": (45, 65)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("sam")
    return {family: small_transformers.write(family, root / family) for family in ("sam2", "sam3")}


@pytest.fixture
def scene(tmp_path):
    root = tmp_path / "known"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 255, (height // 5, width // 5, 3)).astype(np.uint8).repeat(5, 0).repeat(5, 1)
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
    write_cameras(root, {f"images/{name}.png": size for name, size in SIZES.items()})
    return root


@pytest.fixture
def unsure(monkeypatch):
    """Random weights are sure of nothing."""
    monkeypatch.setattr(sam2, "MIN_IOU", -10.0)
    monkeypatch.setattr(sam2, "MIN_STABILITY", 0.0)
    monkeypatch.setattr(sam2, "POINTS_PER_SIDE", 3)


def test_automatic_masks_are_the_pipelines_own_and_pycocotools_reads_them(checkpoints, scene, unsure):
    coco = pytest.importorskip("pycocotools.mask")
    said = []
    network = load_mask_predictor(str(checkpoints["sam2"]), MaskOptions(say=said.append))
    assert "SAM 2" in said[0]
    assert "Apache-2.0" in said[0]
    file = scene / "images" / "upright.png"
    masks = network.masks(Photo.open(file))
    assert masks
    generate = transformers.pipeline("mask-generation", model=str(checkpoints["sam2"]))
    expected = generate(Image.open(file), points_per_crop=3, pred_iou_thresh=-10.0, stability_score_thresh=0.0)
    assert [mask["predicted_iou"] for mask in masks] == pytest.approx(expected["scores"].tolist(), abs=1e-5)
    for mask, truth in zip(masks, expected["masks"], strict=True):
        height, width = mask["segmentation"]["size"]
        decoded = coco.decode(coco.frPyObjects(mask["segmentation"], height, width))
        np.testing.assert_array_equal(decoded.astype(bool), np.asarray(truth))
        assert mask["area"] == np.asarray(truth).sum()


def test_association_reads_the_masks_of_sam2_and_a_second_run_finds_none_again(
    checkpoints, scene, unsure, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    main(["predict", "--cameras", str(scene), "--masks", str(checkpoints["sam2"]), "--out", str(out)])
    masks = read_masks(out / "masks_per_image", SIZES)
    assert [category.name for category in masks.categories] == ["object"]
    written = {stem: json.loads((out / "masks_per_image" / f"{stem}.json").read_text()) for stem in SIZES}
    assert {stem: len(masks[stem].ids) for stem in SIZES} == {stem: len(found) for stem, found in written.items()}
    assert sum(map(len, written.values())) > 0

    from panoptic_gs.predict.assembled import generate_masks
    from panoptic_gs.predict.photos import find_photos

    class Refusing:
        def masks(self, photo):
            raise AssertionError(photo.stem)

    photos = find_photos(out / "images")
    assert generate_masks(out, photos, Refusing())[0] == sum(map(len, written.values()))


def test_association_reads_the_masks_of_a_rigs_photos(checkpoints, unsure, tmp_path, capsys):
    root, out = tmp_path / "rig", tmp_path / "out"
    rng = np.random.default_rng(1)
    for camera in ("cam0", "cam1"):
        (root / "images" / camera).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)).save(root / "images" / camera / "0001.png")
    write_cameras(root, {f"images/{camera}/0001.png": (80, 60) for camera in ("cam0", "cam1")})
    main(["predict", "--cameras", str(root), "--masks", str(checkpoints["sam2"]), "--out", str(out)])
    masks = read_masks(out / "masks_per_image", {"cam0/0001": (80, 60), "cam1/0001": (80, 60)})
    for camera in ("cam0", "cam1"):
        written = json.loads((out / "masks_per_image" / camera / "0001.json").read_text())
        assert len(masks[f"{camera}/0001"].ids) == len(written) > 0


def test_photos_without_any_mask_are_refused(checkpoints, scene, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sam2, "POINTS_PER_SIDE", 2)
    monkeypatch.setattr(sam2, "MIN_IOU", 10.0)
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--cameras", str(scene), "--masks", str(checkpoints["sam2"]), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "no mask in any photo" in capsys.readouterr().err
    assert (tmp_path / "out" / "transforms.json").is_file()  # what was finished is kept


def test_sam3_answers_each_class_as_the_library_does(checkpoints, scene):
    wanted = (Category(3, "seat=chair|sofa", True), Category(5, "wall", False))
    network = load_mask_predictor(str(checkpoints["sam3"]), MaskOptions(classes=wanted))
    file = scene / "images" / "lying.png"
    raw = network.predict(Photo.open(file))
    assert [(c.id, c.name, c.isthing) for c in raw.classes] == [(3, "seat", True), (5, "wall", False)]
    model = transformers.Sam3Model.from_pretrained(checkpoints["sam3"]).eval()
    processor = transformers.Sam3Processor.from_pretrained(checkpoints["sam3"])
    expected, masks = [], []
    for word in ("chair", "sofa", "wall"):
        with torch.inference_mode():
            answer = model(**processor(images=Image.open(file), text=word, return_tensors="pt").to("cpu"))
        found = processor.post_process_instance_segmentation(answer, threshold=0.01)[0]
        expected.append(found["scores"])
        masks.append(found["masks"])
    p = raw.class_logits.softmax(-1)
    first = len(expected[0]) + len(expected[1])
    torch.testing.assert_close(p[:first, 0], torch.cat(expected[:2]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(p[first:, 1], expected[2], rtol=1e-3, atol=1e-4)
    assert ((raw.mask_logits[0] > 0) == torch.cat(masks).bool()).float().mean() > 0.999
    corners = raw.to_original[0] @ torch.tensor([[0.0, 0, 1], [56, 56, 1]]).T
    np.testing.assert_allclose(corners[:2].T, [[0, 0], [80, 60]], atol=0.5)


def test_class_logits_keep_the_probability():
    p = class_logits(torch.tensor([0.25, 0.9]), 1, 3).softmax(-1)
    np.testing.assert_allclose(p[:, 1], [0.25, 0.9], atol=1e-5)
    np.testing.assert_allclose(p[:, 3], [0.75, 0.1], atol=1e-5)


def test_masks_of_sam3_are_merged_photo_by_photo(checkpoints, scene, tmp_path, monkeypatch):
    out = tmp_path / "out"
    # Random weights are sure of nothing.
    monkeypatch.setattr(sam3, "probabilities", lambda queries, presence: 0.6 + 0.3 * queries.sigmoid())
    main(["predict", "--cameras", str(scene), "--masks", str(checkpoints["sam3"]), "--out", str(out),
          "--classes", "chair:thing,wall:stuff", "--merge", "standard"])  # fmt: skip
    written = read_panoptic_images(out / "masks_per_image")
    assert {stem: ids.shape[::-1] for stem, ids in written.maps.items()} == SIZES


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [("sam2", ["--classes", "chair:thing"], "whose masks have none"), ("sam3", [], "that SAM 3 is asked for")],
)
def test_classes_that_do_not_fit_are_named(checkpoints, scene, tmp_path, capsys, family, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--cameras", str(scene), "--masks", str(checkpoints[family]), *arguments,
              "--out", str(tmp_path / "out")])  # fmt: skip
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
