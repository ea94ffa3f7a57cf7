# SPDX-License-Identifier: Apache-2.0
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small_rooms import FAR, NEAR, small_room

from panoptic_gs import Camera, InputError
from panoptic_gs.cli.query import Query
from panoptic_gs.scene import write_scene
from panoptic_gs.uplift import save_labelled_scene

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folders(tmp_path):
    scene = small_room()
    save_labelled_scene(tmp_path / "labelled", scene.splats, scene.labels, scene.labelling)
    views = {}
    for k in range(4):
        angle = 0.5 + 2 * np.pi * k / 4
        views[f"{k}"] = Camera.look_at(
            [3.5 * np.cos(angle), 3.5 * np.sin(angle), 2.0], [0, 0, 0.2], [0, 0, 1], 0.9, 120, 90
        )
    rng = np.random.default_rng(0)
    photos = {name: rng.integers(0, 255, (90, 120, 3), dtype=np.uint8) for name in views}
    points = (scene.splats.means[:10].numpy(), np.zeros((10, 3), dtype=np.uint8))
    write_scene(tmp_path / "scene", views, photos, points, {"train": list(views), "test": []}, 1.0)
    return tmp_path


def tiny_model(folder, kind):
    """Random weights of a real configuration, with a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**common, "image_size": 32, "patch_size": 16}
    text = {**common, "vocab_size": 16, "max_position_embeddings": 16}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config={**text, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 2},
                                         vision_config=vision, projection_dim=8)  # fmt: skip
        model, processor = transformers.CLIPModel(config), transformers.CLIPImageProcessor
        processor = processor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    else:
        config = transformers.SiglipConfig(text_config={**text, "pad_token_id": 0, "eos_token_id": 1},
                                           vision_config=vision)  # fmt: skip
        model = transformers.SiglipModel(config)
        processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    words = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", "a", "photo", "of", "the", "in",
                                                         "room", "chair", "floor"])}  # fmt: skip
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_model_ranks_all_objects_and_its_vectors_are_kept(folders, kind, capsys):
    model = tiny_model(folders / kind, kind)
    run = {"data": folders / "scene", "up": "z"}
    Query(folders / "labelled", "a chair", model=str(model), out=folders / "out", **run).run()
    first = json.loads((folders / "out" / "query.json").read_text())
    assert first["by"] == str(model.resolve())
    assert len(first["objects"]) == 4
    scores = [row["score"] for row in first["objects"]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    for row in first["objects"]:
        picture = np.asarray(Image.open(folders / "out" / row["picture"]))
        assert picture.ndim == 3
        assert min(picture.shape[:2]) >= 24
    assert len(list((folders / "labelled" / "embeddings").glob("*.safetensors"))) == 1
    capsys.readouterr()
    # Kept vectors need neither photos nor the option; the scores are the same.
    Query(folders / "labelled", "a chair", json="-", up="z").run()
    again = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in again["objects"]] == scores
    assert again["by"] == first["by"]


def test_vectors_are_of_transformers_own_cosines(folders):
    from panoptic_gs.query import HubEncoder

    model = tiny_model(folders / "clip", "clip")
    encoder = HubEncoder(str(model))
    picture = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    vectors, words = encoder.pictures([picture]), encoder.words(["chair"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    whole = transformers.CLIPModel.from_pretrained(model)
    inputs = transformers.AutoImageProcessor.from_pretrained(model)(
        images=Image.fromarray(picture), return_tensors="pt"
    )
    tokens = transformers.AutoTokenizer.from_pretrained(model)(["a photo of a chair", "a photo of the chair in a room"],
                                                               padding=True, return_tensors="pt")  # fmt: skip
    with torch.no_grad():
        output = whole(pixel_values=inputs["pixel_values"], input_ids=tokens["input_ids"],
                       attention_mask=tokens["attention_mask"])  # fmt: skip
    mean = output.text_embeds.mean(0)
    assert float(vectors[0] @ words[0]) == pytest.approx(float(output.image_embeds[0] @ mean / mean.norm()), abs=1e-5)


def test_other_labels_are_embedded_again(folders):
    model = tiny_model(folders / "clip", "clip")
    Query(folders / "labelled", "chair", model=str(model), data=folders / "scene", up="z", quiet=True).run()
    (file,) = (folders / "labelled" / "embeddings").glob("*.safetensors")
    before = file.read_bytes()
    scene = small_room()
    scene.splats.means[:, 2] += 0.001
    kept = folders / "labelled"
    (folders / "kept").mkdir()
    file.rename(folders / "kept" / file.name)
    save_labelled_scene(kept, scene.splats, scene.labels, scene.labelling, overwrite=True)
    file.parent.mkdir()
    (folders / "kept" / file.name).rename(file)
    with pytest.raises(InputError, match="--data"):  # it has to look at the photos again
        Query(kept, "chair", up="z").run()
    Query(kept, "chair", data=folders / "scene", up="z", quiet=True).run()
    assert file.read_bytes() != before


def test_without_a_model_names_are_searched_and_it_says_how_to_get_one(folders, capsys):
    Query(folders / "labelled", "chair", up="z").run()
    text = capsys.readouterr().out
    assert "chair 7" in text
    assert "chair 9" in text
    assert "google/siglip-base-patch16-224" in text
    Query(folders / "labelled", "giraffe", up="z").run()
    assert "Nothing is called that" in capsys.readouterr().out


def test_pictures_by_name_come_from_the_view_that_shows_most(folders):
    Query(folders / "labelled", "chair", data=folders / "scene", out=folders / "named", rendered=True, up="z").run()
    rows = json.loads((folders / "named" / "query.json").read_text())["objects"]
    assert {row["id"] for row in rows} == {NEAR, FAR}
    for row in rows:
        color = np.asarray(Image.open(folders / "named" / row["picture"]).convert("RGB")).reshape(-1, 3).max(axis=0)
        assert color[0 if row["id"] == NEAR else 1] > 150  # the cubes are red and green
        assert row["box"]["size"] == pytest.approx([0.6, 0.6, 0.6], abs=0.25)


def test_models_that_are_none_are_refused(folders, monkeypatch):
    (folders / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        Query(folders / "labelled", "chair", model=str(folders / "empty"), data=folders / "scene", up="z").run()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install"):
        Query(folders / "labelled", "chair", model="clip", data=folders / "scene", up="z").run()
    assert not (folders / "labelled" / "embeddings").exists()


def test_a_damaged_file_of_vectors_is_named(folders):
    model = tiny_model(folders / "clip", "clip")
    Query(folders / "labelled", "chair", model=str(model), data=folders / "scene", up="z", quiet=True).run()
    (file,) = (folders / "labelled" / "embeddings").glob("*.safetensors")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole.replace(b"sightings", b"sightingz")):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=file.name):
            Query(folders / "labelled", "chair", model=str(model), up="z").run()
