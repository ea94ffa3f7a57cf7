# SPDX-License-Identifier: Apache-2.0
"""DINOv2 and SigLIP through transformers, as small ones with random weights that are read from disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from network_parts import box_views, small_network

from panoptic_gs.errors import InputError
from panoptic_gs.network.config import AppearanceConfig
from panoptic_gs.network.inference import predict_views
from panoptic_gs.network.model import Views
from panoptic_gs.network.weights import load_network_file, own_weights, save_network
from panoptic_gs.predict.keyframes import Keyframes

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2
    )
    transformers.Dinov2Model(config).save_pretrained(folder := tmp_path_factory.mktemp("dinov2"))
    return str(folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    config = transformers.SiglipTextConfig(
        vocab_size=40, hidden_size=20, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=12, projection_size=20,
    )  # fmt: skip
    transformers.SiglipTextModel(config).save_pretrained(folder)
    words = {
        word: index
        for index, word in enumerate(
            ["<pad>", "<unk>", "This", "is", "a", "photo", "of", "wall", "floor", "chair", "lamp", "."]
        )
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=12
    )
    fast.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(
        json.loads((folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    ))  # fmt: skip
    return str(folder)


def test_dinov2_gives_tokens_of_the_networks_own_patches(dinov2: str):
    network = small_network(appearance=AppearanceConfig("dinov2", 24, dinov2))
    images = torch.rand(2, 3, 48, 64)
    tokens = network.appearance(images, None).tokens
    assert tokens.shape == (2, 3, 4, 24)
    model = transformers.Dinov2Model.from_pretrained(dinov2).eval()
    resized = torch.nn.functional.interpolate(images, (42, 56), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model(pixel_values=(resized - mean[:, None, None]) / std[:, None, None]).last_hidden_state
    torch.testing.assert_close(tokens, expected[:, 1:].unflatten(1, (3, 4)), atol=1e-4, rtol=1e-3)
    assert not tokens.requires_grad  # frozen


def test_a_frozen_backbone_is_not_saved_again(dinov2: str, tmp_path: Path):
    network = small_network(appearance=AppearanceConfig("dinov2", 24, dinov2))
    assert not any(name.startswith("appearance.model") for name in own_weights(network))
    save_network(tmp_path / "w.safetensors", network, own_weights(network), torch.float32)
    again = load_network_file(tmp_path / "w.safetensors")
    crops = list(box_views(3).images)
    a, b = (predict_views(n, crops, ["wall", "chair"], Keyframes(2)) for n in (network, again))
    np.testing.assert_allclose(a.class_logits, b.class_logits, atol=1e-5)


def test_any_class_has_an_embedding_by_its_name(siglip: str):
    network = small_network(text=siglip, class_width=20, classes=())
    queries = network.ask(network.look(Views.padded(torch.rand(1, 2, 3, 48, 64), 16)))[-1]
    logits = network.class_logits(queries, ["wall", "lamp", "zebra"])
    assert logits.shape == (1, 8, 3)
    torch.testing.assert_close(network.class_logits(queries, ["zebra", "wall"]), logits[..., [2, 0]])
    assert len(network.vocabulary._kept) == 2
    assert not any("siglip" in name or "vocabulary" in name for name in own_weights(network))


def test_what_is_not_there_is_said(tmp_path: Path, dinov2: str):
    with pytest.raises(InputError, match="DINOv2"):
        small_network(appearance=AppearanceConfig("dinov2", 24, str(tmp_path / "missing")))
    with pytest.raises(InputError, match="width 24"):
        small_network(appearance=AppearanceConfig("dinov2", 32, dinov2))
    with pytest.raises(InputError, match="text encoder"):
        small_network(text=str(tmp_path / "missing"))
