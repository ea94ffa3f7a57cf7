# SPDX-License-Identifier: Apache-2.0
"""Raw predictions: what is written comes back; what is broken is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from panoptic_gs import Category, InputError
from panoptic_gs.predict import RawImage, RawPredictions

N, Q, C = 3, 5, 2


def predictions() -> RawPredictions:
    g = torch.Generator().manual_seed(0)
    return RawPredictions(
        torch.randn(N, Q, 6, 8, generator=g).half(),
        torch.randn(Q, C, generator=g),
        tuple(RawImage(f"{i}.jpg", 640, 480) for i in range(N)),
        (Category(3, "wall", False, (1, 2, 3)), Category(7, "chair", True)),
        "a network",
        (16, 12),
        points=torch.randn(N, 12, 16, 3, generator=g),
        confidence=torch.rand(N, 12, 16, generator=g),
        viewmats=torch.eye(4).expand(N, 4, 4),
        Ks=torch.eye(3).expand(N, 3, 3),
        to_original=torch.eye(3).expand(N, 3, 3),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    predictions().save(tmp_path / "raw")
    return tmp_path / "raw"


def rewrite(folder: Path, **tensors: torch.Tensor | None) -> None:
    stored = load_file(folder / "predictions.safetensors") | tensors
    save_file({k: v for k, v in stored.items() if v is not None}, folder / "predictions.safetensors")


def test_what_is_saved_is_loaded(folder):
    loaded, original = RawPredictions.load(folder), predictions()
    assert loaded.mask_logits.shape == (N, Q, 6, 8)
    for (image, masks), expected in zip(loaded.views(), original.mask_logits):
        assert masks.dtype == torch.float16
        assert torch.equal(masks, expected)
        assert (image.width, image.height) == (640, 480)
    for name in ("class_logits", "points", "confidence", "viewmats", "Ks", "to_original"):
        assert torch.equal(getattr(loaded, name), getattr(original, name))
    assert loaded.classes == original.classes
    assert loaded.images == original.images
    assert (loaded.network, loaded.network_size) == ("a network", (16, 12))
    loaded.save(folder.parent / "copy")
    assert (folder.parent / "copy/predictions.safetensors").read_bytes() == (
        folder / "predictions.safetensors"
    ).read_bytes()


def test_optional_tensors_may_be_missing_and_class_ids_default_to_their_order(folder):
    rewrite(folder, points=None, confidence=None, viewmats=None, Ks=None, to_original=None)
    document = json.loads((folder / "predictions.json").read_text())
    for entry in document["classes"]:
        del entry["id"]
    (folder / "predictions.json").write_text(json.dumps(document))
    loaded = RawPredictions.load(folder / "predictions.json")
    assert loaded.points is None
    assert [category.id for category in loaded.classes] == [1, 2]


def nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    tensor[(1,) * tensor.ndim] = torch.nan
    return tensor


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"mask_logits": nan(torch.zeros(N, Q, 6, 8).half())}, "1.jpg.*NaN"),
        ({"mask_logits": torch.zeros(N, 0, 6, 8).half()}, "mask_logits"),
        ({"mask_logits": torch.zeros(N, Q, 6).half()}, "mask_logits"),
        ({"mask_logits": torch.zeros(N - 1, Q, 6, 8).half()}, "images"),
        ({"mask_logits": None}, "mask_logits"),
        ({"class_logits": None}, "class_logits"),
        ({"class_logits": torch.zeros(Q, C + 1)}, "class_logits"),
        ({"class_logits": nan(torch.zeros(Q, C))}, "class_logits.*NaN"),
        ({"viewmats": torch.zeros(N, 3, 4)}, "viewmats"),
        ({"Ks": nan(torch.zeros(N, 3, 3))}, "Ks"),
        ({"points": torch.zeros(N, 6, 8, 3)}, "points"),
    ],
)
def test_broken_tensors_are_named(folder, tensors, message):
    rewrite(folder, **tensors)
    with pytest.raises(InputError, match=message):
        RawPredictions.load(folder)


@pytest.mark.parametrize("field", ["network", "network_size", "images", "classes"])
def test_missing_fields_are_named(folder, field):
    document = json.loads((folder / "predictions.json").read_text())
    del document[field]
    (folder / "predictions.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=field):
        RawPredictions.load(folder)


def test_names_must_be_unique(folder):
    for field in ("classes", "images"):
        document = json.loads((folder / "predictions.json").read_text())
        document[field][1]["name"] = document[field][0]["name"]
        (folder / "predictions.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match="twice"):
            RawPredictions.load(folder)
        predictions().save(folder)


def test_truncated_and_missing_files_are_named(folder):
    file = folder / "predictions.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"predictions\.safetensors"):
        RawPredictions.load(folder)
    file.write_bytes(b"\x03")
    with pytest.raises(InputError, match=r"predictions\.safetensors"):
        RawPredictions.load(folder)
    file.unlink()
    with pytest.raises(InputError, match="no such file"):
        RawPredictions.load(folder)
    predictions().save(folder)
    (folder / "predictions.json").write_text("{")
    with pytest.raises(InputError, match=r"predictions\.json"):
        RawPredictions.load(folder)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    file = tmp_path / "out.pt"
    torch.save({}, file)
    with pytest.raises(InputError, match="save_file"):
        RawPredictions.load(file)


def test_bad_masks_are_not_written(tmp_path):
    broken = replace(predictions(), mask_logits=nan(torch.zeros(N, Q, 6, 8).half()))
    with pytest.raises(InputError, match="NaN"):
        broken.save(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def mixed() -> RawPredictions:
    """Views of two shapes, as of landscape and portrait photos, and classes with one for none."""
    g = torch.Generator().manual_seed(1)
    sizes = ((16, 12), (12, 16), (16, 12))
    return replace(
        predictions(),
        mask_logits=[torch.randn(Q, h // 2, w // 2, generator=g).half() for w, h in sizes],
        class_logits=torch.randn(Q, C + 1, generator=g),
        input_size=sizes,
        points=[torch.randn(h, w, 3, generator=g) for w, h in sizes],
        confidence=[torch.rand(h, w, generator=g) for w, h in sizes],
        class_activation="softmax",
        recommended_merge="standard-v2",
    )


def test_views_of_two_shapes_come_back(tmp_path):
    original = mixed()
    original.save(tmp_path / "raw")
    loaded = RawPredictions.load(tmp_path / "raw")
    assert loaded.network_sizes == original.network_sizes
    assert loaded.network_size == (16, 12)
    assert (loaded.class_activation, loaded.recommended_merge) == ("softmax", "standard-v2")
    for name in ("mask_logits", "points", "confidence"):
        for found, expected in zip(getattr(loaded, name), getattr(original, name), strict=True):
            assert torch.equal(found, expected)
    loaded.save(tmp_path / "copy")
    for name in ("predictions.safetensors", "predictions.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "raw" / name).read_bytes()
    some = loaded.subset([2, 1])
    assert [image.name for image in some.images] == ["2.jpg", "1.jpg"]
    assert some.network_sizes == ((16, 12), (12, 16))
    assert torch.equal(some.mask_logits[1], original.mask_logits[1])
    assert some.points is not None
    assert torch.equal(some.points[1], original.points[1])
    assert torch.equal(predictions().subset([2]).mask_logits[0], predictions().mask_logits[2])


def test_the_best_class_of_a_softmax_may_be_none():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -5.0]])
    index, probability = replace(mixed(), class_logits=logits).best_classes()
    expected = logits.double().softmax(1)
    assert index.tolist() == [0, 1, 1, 0, 0]
    torch.testing.assert_close(probability, torch.stack([expected[0, 0], 0 * expected[0, 0], expected[2, 1],
                                                         0 * expected[0, 0], expected[4, 0]]))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": ((16, 12), (12, 16))}, "network_size"),
        ({"input_size": (16, 12)}, "points of '1.jpg'"),
        ({"class_activation": "sigmoid"}, "class_logits"),
        ({"class_activation": "tanh"}, "class_activation"),
        ({"images": (RawImage("0.jpg", 0, 3), RawImage("1.jpg", 4, 3), RawImage("2.jpg", 4, 3))}, "0.jpg.*0×3"),
        ({"to_original": torch.zeros(N, 3, 3)}, "to_original.*inverse"),
        ({"points": [torch.zeros(12, 16, 3)]}, "1 maps"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        replace(mixed(), **change)


def test_a_missing_tensor_of_a_view_is_named(tmp_path):
    mixed().save(tmp_path)
    for name in ("mask_logits.1", "points.2"):
        rewrite(tmp_path, **{name: None})
        with pytest.raises(InputError, match=f"no tensor '{name}'"):
            RawPredictions.load(tmp_path)
        mixed().save(tmp_path)


def test_masks_that_are_no_logits_are_named(folder):
    rewrite(folder, mask_logits=torch.zeros(N, Q, 6, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="'mask_logits' of U8"):
        RawPredictions.load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network_size", [8, float("inf")]), ("network_size", [0, 6]), ("network_size", 8), ("network_size", [8, 6, 3]),
        ("images", []), ("images", {}), ("images", [{"name": "a.png", "width": -8, "height": 6}]),
        ("images", [{"name": "a.png", "width": 8, "height": 0.5}]), ("images", [{"name": "a.png", "width": 8}]),
        ("images", [{"name": "a.png", "width": 1 << 63, "height": 6}]),
        ("images", [{"name": "a.png", "width": 1 << 17, "height": 1 << 17}] * N),
        ("images", [{"name": "\ud800", "width": 8, "height": 6}]),
        ("images", [{"name": "a.png", "width": 8, "height": 6, "network_size": [1, -1]}]),
        ("classes", [{"id": float("inf"), "name": "wall", "isthing": 0}]), ("classes", [{"name": 3, "isthing": 0}]),
        ("classes", [{"id": 1, "name": "a", "isthing": 2}]), ("classes", [{"id": 1 << 40, "name": "", "isthing": 0}]),
        ("classes", [{"id": 1, "name": "wall", "isthing": 0, "color": [2, 3]}]), ("classes", None),
        ("class_activation", "tanh"), ("recommended_merge", 5), ("network", None),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_fit_are_named(folder, field, value):
    file = folder / "predictions.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(InputError, match=r"predictions\."):
        RawPredictions.load(folder)


HOSTILE = sorted(Path(__file__).parents[1].glob("../shared/data/hostile/[rm][ae][wr]*-*"))


@pytest.mark.skipif(not HOSTILE, reason="mutated files are not at hand")
@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name)
def test_mutated_files_are_refused(tmp_path, path):
    if path.name.startswith("mesh"):
        return
    g = torch.Generator().manual_seed(0)
    masks, classes = torch.randn(2, 3, 3, 4, generator=g).half(), torch.randn(3, 2, generator=g)
    images = (RawImage("a.png", 8, 6), RawImage("b.png", 8, 6))
    twin = RawPredictions(masks, classes, images, predictions().classes, "net", (8, 6))
    twin.save(tmp_path)
    shutil.copyfile(path, tmp_path / f"predictions{path.suffix}")
    with pytest.raises(InputError, match=r"predictions\."):
        RawPredictions.load(tmp_path)
