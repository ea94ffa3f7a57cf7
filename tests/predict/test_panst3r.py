# SPDX-License-Identifier: Apache-2.0
"""The adapter of PanSt3R: what it asks of the user, how it calls, and what it makes of the answer."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from panoptic_gs import Category, InputError
from panoptic_gs.predict import Keyframes, NetworkInput, NetworkOptions, RawImage
from panoptic_gs.predict.network import load_network
from panoptic_gs.predict.panst3r import PanSt3R

N, Q, H, W = 3, 200, 32, 48
CLASSES = (Category(1, "wall", False), Category(2, "chair", True))


class Model:
    """Answers as PanSt3R does, and remembers how it was asked."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.masks = [torch.randn(1, Q, H // 2, W // 2) for _ in range(N)]
        self.logits = torch.randn(1, Q, len(CLASSES))
        self.geometry = [
            {"pts3d": torch.randn(1, H, W, 3), "pts3d_local": torch.randn(1, H, W, 3), "conf": torch.rand(1, H, W)}
            for _ in range(N)
        ]
        self.asked: SimpleNamespace

    def to(self, device: str) -> "Model":
        self.device = device
        return self

    def eval(self) -> "Model":
        return self

    def forward_inference_multi_ar(
        self, imgs, true_shape, classes, num_keyframes, use_retrieval, max_bs=8, outdevice=None, amp=None
    ):
        self.asked = SimpleNamespace(**{key: value for key, value in locals().items() if key != "self"})
        return self.geometry, {"pred_logits": self.logits, "pred_masks": self.masks, "out_queries": None}


@pytest.fixture
def package(monkeypatch, tmp_path) -> ModuleType:
    """An empty package of PanSt3R's name."""
    (tmp_path / "panst3r.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "panst3r", raising=False)
    import panst3r

    yield panst3r
    sys.modules.pop("panst3r", None)


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def network(package, weights) -> PanSt3R:
    package.load_model = Model
    loaded = load_network("panst3r", NetworkOptions(weights, trust_checkpoint=True, amp="fp16"))
    assert isinstance(loaded, PanSt3R)
    return loaded


@pytest.fixture
def views() -> NetworkInput:
    pixels = np.random.default_rng(0).integers(0, 256, (N, H, W, 3)).astype(np.uint8)
    images = tuple(RawImage(f"{i}.png", W, H) for i in range(N))
    return NetworkInput(images, pixels, np.tile(np.eye(3), (N, 1, 1)))


def test_it_is_called_as_documented(network, views, weights):
    network.forward(views, CLASSES, Keyframes(2, "similarity"))
    asked = network.model.asked
    assert network.model.path == str(weights)
    assert network.model.device == "cpu"
    assert asked.classes == ["wall", "chair"]
    assert (asked.num_keyframes, asked.use_retrieval, asked.max_bs, asked.amp) == (2, True, 1, "fp16")
    assert [image.shape for image in asked.imgs] == [(1, 3, H, W)] * N
    assert [shape.tolist() for shape in asked.true_shape] == [[[H, W]]] * N
    again = np.stack([(image[0].permute(1, 2, 0).numpy() + 1) * 127.5 for image in asked.imgs])
    assert np.allclose(again, views.pixels, atol=1e-3)
    network.forward(views, CLASSES, Keyframes())
    assert (network.model.asked.num_keyframes, network.model.asked.use_retrieval) == (N, False)


def test_the_answer_is_copied_before_anybody_overwrites_it(network, views):
    model = network.model
    expected = torch.cat(model.masks).half()
    logits = model.logits[0].clone()
    output = network.forward(views, CLASSES, Keyframes())
    for mask in model.masks:
        mask.zero_()
    model.logits.zero_()
    assert output.mask_logits.dtype == torch.float16
    assert torch.equal(output.mask_logits, expected)
    assert torch.equal(output.class_logits, logits)
    for name, key in (("points", "pts3d"), ("points_local", "pts3d_local"), ("confidence", "conf")):
        assert torch.equal(getattr(output, name), torch.cat([view[key] for view in model.geometry]))


def test_answers_without_batch_and_as_lists_by_quantity_are_understood(network, views):
    model = network.model
    expected = network.forward(views, CLASSES, Keyframes())
    model.geometry = {key: [view[key][0] for view in model.geometry] for key in model.geometry[0]}
    model.masks = [mask[0] for mask in model.masks]
    output = network.forward(views, CLASSES, Keyframes())
    assert torch.equal(output.mask_logits, expected.mask_logits)
    assert torch.equal(output.points, expected.points)


def test_unexpected_answers_are_described(network, views):
    def message() -> str:
        with pytest.raises(InputError, match=r"v0\.2\.1") as error:
            network.forward(views, CLASSES, Keyframes())
        return str(error.value)

    model = network.model
    masks, geometry = model.masks, model.geometry
    model.masks = masks[:2]
    assert "a list of 2" in message()
    model.masks = [masks[0], masks[1], masks[2][..., :-1]]
    assert "pred_masks" in message()
    model.masks, model.geometry = masks, geometry[:1]
    assert "3 maps" in message()
    model.geometry = [{"depth": None}] * N
    assert "'pts3d'" in message()
    model.geometry = [view | {"conf": view["conf"][..., ::2]} for view in geometry]
    assert "conf" in message()


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
    ],
)
def test_the_checkpoint_is_not_opened_without_consent(package, weights, options, message):
    package.load_model = lambda path: pytest.fail("it was opened")
    with pytest.raises(InputError, match=message):
        load_network("panst3r", options(weights))


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
