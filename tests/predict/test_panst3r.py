# SPDX-License-Identifier: Apache-2.0
"""The adapter of PanSt3R: what it asks of the user, how it calls, and what it makes of the answer."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from panoptic_gs import Category, InputError
from panoptic_gs.predict import Keyframes, NetworkInput, NetworkOptions, RawImage
from panoptic_gs.predict import panst3r as adapter
from panoptic_gs.predict.network import load_network
from panoptic_gs.predict.panst3r import PanSt3R

N, Q = 3, 200
SHAPES = [(32, 48), (48, 32), (32, 48)]
CLASSES = (Category(1, "wall", False), Category(2, "chair", True))


class Model:
    """Answers as PanSt3R does, and remembers how it was asked."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.masks = [torch.randn(1, Q, h // 2, w // 2) for h, w in SHAPES]
        self.logits = torch.randn(1, Q, len(CLASSES))
        self.heads = [torch.randn(1, h, w, 7) for h, w in SHAPES]
        self.must3r_decoder = "decoder"
        self.retrieval = None
        self.vocabulary: tuple = ()
        self.asked: SimpleNamespace

    def to(self, device: str) -> "Model":
        self.device = device
        return self

    def eval(self) -> "Model":
        return self

    def set_vocab(self, classes, device=None):
        self.vocabulary = (list(classes), device)

    def forward_inference_multi_ar(
        self, imgs, true_shape, classes, num_keyframes, use_retrieval, max_bs=8, outdevice=None, amp=None
    ):
        self.asked = SimpleNamespace(**{key: value for key, value in locals().items() if key != "self"})
        self.drawn = np.random.choice(1000), float(torch.rand(1))
        return self.heads, {"pred_logits": self.logits, "pred_masks": self.masks, "out_queries": None}


@pytest.fixture
def package(monkeypatch, tmp_path) -> ModuleType:
    """An empty package of PanSt3R's name, and what decodes its heads."""
    (tmp_path / "panst3r.py").write_text("")
    (tmp_path / "must3r" / "engine").mkdir(parents=True)
    (tmp_path / "must3r" / "__init__.py").touch()
    (tmp_path / "must3r" / "model.py").write_text(
        "def get_pointmaps_activation(decoder, verbose=True):\n    assert not verbose\n    return decoder, 'linear'\n"
    )
    (tmp_path / "must3r" / "engine" / "__init__.py").touch()
    (tmp_path / "must3r" / "engine" / "inference.py").write_text(
        "def postprocess(x, pointmaps_activation):\n"
        "    assert pointmaps_activation == ('decoder', 'linear')\n"
        "    return {'pts3d': x[..., :3], 'pts3d_local': x[..., 3:6], 'conf': 1 + x[..., 6].exp()}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("panst3r", "must3r", "must3r.model", "must3r.engine", "must3r.engine.inference")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import panst3r

    yield panst3r
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save({"args": "{}", "weights": {}}, path)
    return path


@pytest.fixture
def network(package, weights) -> PanSt3R:
    package.load_model = Model
    loaded = load_network("panst3r", NetworkOptions(weights, trust_checkpoint=True))
    assert isinstance(loaded, PanSt3R)
    return loaded


@pytest.fixture
def views() -> NetworkInput:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in SHAPES]
    images = tuple(RawImage(f"{i}.png", w, h) for i, (h, w) in enumerate(SHAPES))
    return NetworkInput(images, crops, np.tile(np.eye(3), (N, 1, 1)))


def test_it_is_called_as_documented(network, views, weights):
    network.model.retrieval = object()
    network.forward(views, CLASSES, Keyframes(2, "similarity"))
    asked = network.model.asked
    assert network.model.path == str(weights)
    assert network.model.device == "cpu"
    assert network.model.vocabulary == (["wall", "chair"], "cpu")
    assert asked.classes == ["wall", "chair"]
    assert (asked.num_keyframes, asked.use_retrieval, asked.max_bs, asked.amp) == (2, True, 1, False)
    assert [image.shape for image in asked.imgs] == [(3, h, w) for h, w in SHAPES]
    assert not asked.true_shape.is_floating_point()
    assert asked.true_shape.tolist() == [list(shape) for shape in SHAPES]
    for image, crop in zip(asked.imgs, views.crops):
        assert np.allclose((image.permute(1, 2, 0).numpy() + 1) * 127.5, crop, atol=1e-3)
    network.forward(views, CLASSES, Keyframes())
    assert (network.model.asked.num_keyframes, network.model.asked.use_retrieval) == (N, False)


def test_what_it_draws_at_random_is_seeded_and_nobody_elses(network, views):
    drawn = []
    for seed in (5, 6):
        np.random.seed(seed)
        network.forward(views, CLASSES, Keyframes())
        drawn.append(network.model.drawn)
        assert np.random.randint(1 << 30) == np.random.RandomState(seed).randint(1 << 30)
    assert drawn[0] == drawn[1]


def test_similarity_needs_the_checkpoints_retrieval(network, views):
    with pytest.raises(InputError, match="no retrieval model") as error:
        network.forward(views, CLASSES, Keyframes(2, "similarity"))
    assert "--keyframes even" in error.value.mend


def test_the_answer_is_copied_before_anybody_overwrites_it(network, views):
    model = network.model
    expected = [mask[0].half() for mask in model.masks]
    logits = model.logits[0].clone()
    output = network.forward(views, CLASSES, Keyframes())
    for mask in model.masks:
        mask.zero_()
    model.logits.zero_()
    for found, mask in zip(output.mask_logits, expected):
        assert found.dtype == torch.float16
        assert torch.equal(found, mask)
    assert torch.equal(output.class_logits, logits)
    assert output.class_activation == "sigmoid"
    for index, head in enumerate(model.heads):
        assert torch.equal(output.points[index], head[0, ..., :3])
        assert torch.equal(output.points_local[index], head[0, ..., 3:6])
        assert torch.equal(output.confidence[index], 1 + head[0, ..., 6].exp())


@pytest.mark.parametrize("geometry", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_geometry_and_masks_are_turned_each_on_their_own(network, views, geometry, masks):
    model = network.model
    expected = network.forward(views, CLASSES, Keyframes())
    for index, (height, width) in enumerate(SHAPES):
        if height > width:
            model.heads[index] = model.heads[index].transpose(1, 2) if geometry else model.heads[index]
            model.masks[index] = model.masks[index].transpose(2, 3) if masks else model.masks[index]
    output = network.forward(views, CLASSES, Keyframes())
    for name in ("mask_logits", "points", "points_local", "confidence"):
        for found, wanted in zip(getattr(output, name), getattr(expected, name)):
            assert torch.equal(found, wanted)


def test_a_column_more_than_classes_is_a_softmax(network, views):
    network.model.logits = torch.randn(1, Q, len(CLASSES) + 1)
    assert network.forward(views, CLASSES, Keyframes()).class_activation == "softmax"


def test_unexpected_answers_are_described(network, views):
    def message() -> str:
        with pytest.raises(InputError, match=r"v0\.2\.1") as error:
            network.forward(views, CLASSES, Keyframes())
        return str(error.value)

    model = network.model
    masks, heads, logits = model.masks, model.heads, model.logits
    model.masks = masks[:2]
    assert "a list of 2" in message()
    model.masks = [masks[0], masks[1], masks[2][..., :-5]]
    assert "pred_masks" in message()
    model.masks, model.heads = masks, heads[:1]
    assert "3 tensors" in message()
    model.heads = [{"depth": None}] * N
    assert "'pts3d'" in message()
    model.heads = [head[:, :, ::2] for head in heads]
    assert "crop's shape of 32×48" in message()
    model.heads, model.logits = heads, logits[..., :1]
    assert "pred_logits" in message()


def test_without_panst3r_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="non-commercial") as error:
        load_network("panst3r", NetworkOptions())
    assert "https://github.com/naver/panst3r" in error.value.mend


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda path: NetworkOptions(), "no checkpoint"),
        (lambda path: NetworkOptions(path.with_name("other.pth"), True), "no such file"),
        (lambda path: NetworkOptions(path), "it is code"),
        (lambda path: NetworkOptions(path, True, amp="fp16"), "--device cuda"),
    ],
)
def test_the_checkpoint_is_not_opened_without_consent(package, weights, options, message):
    package.load_model = lambda path: pytest.fail("it was opened")
    with pytest.raises(InputError, match=message):
        load_network("panst3r", options(weights))


def test_checksums_are_compared_with_the_published_ones(package, weights, monkeypatch):
    package.load_model = Model
    digest = hashlib.md5(weights.read_bytes()).hexdigest()
    assert load_network("panst3r", NetworkOptions(weights, True)).notes == [
        f"none of the published ones (v1_512_5ds, v2_512_5ds), MD5 {digest}"
    ]
    monkeypatch.setitem(adapter.PUBLISHED, digest, "v9")
    assert load_network("panst3r", NetworkOptions(weights, True)).notes == [f"PanSt3R v9 as published, MD5 {digest}"]
    with pytest.raises(InputError, match="v9 as published"):
        load_network("panst3r", NetworkOptions(weights))


@pytest.mark.parametrize(("stated", "expected"), [(None, None), ("standard_v2", "standard-v2"), ("qubo", "qubo")])
def test_the_checkpoints_own_way_to_merge_is_read(package, weights, views, stated, expected):
    package.load_model = Model
    torch.save({"args": "{}", "weights": {}} | ({"postprocess_default": stated} if stated else {}), weights)
    network = load_network("panst3r", NetworkOptions(weights, True))
    assert network.forward(views, CLASSES, Keyframes()).recommended_merge == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "torch"), (b"weights", "torch"), ({"model": {}}, "no entry 'args'"), ([1, 2], "a list")],
)
def test_what_is_no_checkpoint_of_it_is_named(package, weights, content, message):
    package.load_model = lambda path: pytest.fail("it was opened")
    if isinstance(content, bytes):
        weights.write_bytes(content)
    else:
        torch.save(content, weights)
    with pytest.raises(InputError, match=message) as error:
        load_network("panst3r", NetworkOptions(weights, True))
    assert str(weights) in error.value.source


def raising(error: Exception):
    def raised(*arguments, **options):
        raise error

    return raised


@pytest.mark.parametrize(
    ("error", "found", "mend"),
    [
        (ModuleNotFoundError("No module named 'asmk'", name="asmk"), "asmk", "jenicek/asmk"),
        (ModuleNotFoundError("No module named 'faiss.swig'", name="faiss.swig"), "faiss", "faiss-cpu"),
        (OSError("couldn't connect to 'https://huggingface.co' to load facebook/dinov2-large"), "facebook/dinov2-large",
         "hf download facebook/dinov2-large"),
        (KeyError("must3r_decoder"), "KeyError.*must3r_decoder", "v0.2.1"),
        (json.JSONDecodeError("Expecting value", "", 0), "JSONDecodeError", "complete"),
    ],
)  # fmt: skip
def test_what_it_needs_and_lacks_is_said_with_the_way_to_get_it(package, weights, error, found, mend):
    package.load_model = raising(error)
    with pytest.raises(InputError, match=found) as raised:
        load_network("panst3r", NetworkOptions(weights, True))
    assert mend in raised.value.mend


def test_the_vocabulary_may_be_missing_too(network, views):
    network.model.set_vocab = raising(OSError("google/siglip-base-patch16-224 is not cached: offline mode is enabled"))
    with pytest.raises(InputError, match="siglip") as error:
        network.forward(views, CLASSES, Keyframes())
    assert "hf download google/siglip-base-patch16-224" in error.value.mend


def test_a_package_that_is_laid_out_otherwise_is_described(package, weights):
    options = NetworkOptions(weights, trust_checkpoint=True)
    package.build = Model
    with pytest.raises(InputError, match="no function that loads a checkpoint among build") as error:
        load_network("panst3r", options)
    assert "override load_model" in error.value.mend

    class Other(PanSt3R):
        def load_model(self):
            return package.build(str(self.options.checkpoint))

    assert isinstance(Other(options).model, Model)
    package.load_model = lambda path: torch.nn.Identity()
    with pytest.raises(InputError, match="Identity without forward_inference_multi_ar"):
        load_network("panst3r", options)
