# SPDX-License-Identifier: Apache-2.0
"""Raw predictions: what is written comes back; what is broken is named."""

import json
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
