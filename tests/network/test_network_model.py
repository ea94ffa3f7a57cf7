# SPDX-License-Identifier: Apache-2.0
"""What the network must not depend on: the order of views and classes, padding, and how it goes through the views."""

import pytest
import torch
from network_parts import CLASSES, SMALL, small_network

from panoptic_gs.errors import InputError
from panoptic_gs.network.attention import Attention
from panoptic_gs.network.config import PRESETS, GeometryConfig, MaskConfig
from panoptic_gs.network.geometry import everyone, those_before
from panoptic_gs.network.model import PanopticNetwork, Seen, Views, parameters_of


def look(network: PanopticNetwork, images: torch.Tensor, sizes: torch.Tensor | None = None) -> Seen:
    return network.look(Views.padded(images, network.patch, sizes))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def network() -> PanopticNetwork:
    return small_network()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 4, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_views_after_the_first_have_no_order(network: PanopticNetwork, images: torch.Tensor):
    order = [0, 3, 1, 2]
    seen, shuffled = look(network, images), look(network, images[:, order])
    close(shuffled.features, seen.features[:, order])
    close(shuffled.points.world, seen.points.world[:, order])
    a, b = network.ask(seen)[-1], network.ask(shuffled)[-1]
    close(b.masks, a.masks)
    close(b.classes, a.classes)


@torch.inference_mode()
def test_views_see_each_other(network: PanopticNetwork, images: torch.Tensor):
    changed = images.clone()
    changed[:, 3] = torch.rand(3, 48, 64)
    assert (look(network, changed).features[:, 1] - look(network, images).features[:, 1]).abs().max() > 1e-4


@torch.inference_mode()
def test_classes_have_no_order(network: PanopticNetwork, images: torch.Tensor):
    queries = network.ask(look(network, images))[-1]
    logits = network.class_logits(queries, CLASSES)
    torch.testing.assert_close(network.class_logits(queries, CLASSES[::-1]), logits.flip(-1))
    torch.testing.assert_close(network.class_logits(queries, CLASSES[1:3]), logits[..., 1:3])
    with pytest.raises(InputError, match="'chairs'"):
        network.class_logits(queries, ["chairs"])


@torch.inference_mode()
@pytest.mark.parametrize("height", [48, 40])
def test_padding_changes_nothing(network: PanopticNetwork, height: int):
    images = torch.rand(1, 3, 3, height, 64)
    seen = look(network, images)
    padded = torch.rand(1, 3, 3, 80, 112)
    padded[..., :height, :64] = images
    padded[..., height:, :] = 0.5
    padded[..., :, 64:] = 0.5
    again = look(network, padded, torch.tensor([height, 64]).expand(1, 3, 2))
    h, w = height // 4, 16
    close(again.features[..., :h, :w], seen.features[..., :h, :w])
    close(again.points.world[..., :h, :w, :], seen.points.world[..., :h, :w, :])
    close(network.ask(again)[-1].masks, network.ask(seen)[-1].masks)


@torch.inference_mode()
def test_scenes_of_a_batch_do_not_mix(network: PanopticNetwork):
    images = torch.rand(2, 3, 3, 48, 64)
    both = look(network, images)
    close(both.features[1:], look(network, images[1:]).features)
    close(network.ask(both)[-1].masks[1:], network.ask(look(network, images[1:]))[-1].masks)


@torch.inference_mode()
def test_views_against_a_memory_of_keyframes_are_as_if_seen_with_them(network: PanopticNetwork, images: torch.Tensor):
    together = network.look(Views.padded(images, 16), everyone(4, [0, 1]))
    keyframes = network.look(Views.padded(images[:, :2], 16))
    rest = network.look(Views.padded(images[:, 2:], 16), everyone(2, ()), first=False, memory=keyframes.memory)
    close(torch.cat([keyframes.features, rest.features], 1), together.features)
    close(torch.cat([keyframes.points.world, rest.points.world], 1), together.points.world)


@torch.inference_mode()
def test_one_view_after_the_other_is_as_if_all_saw_those_before(images: torch.Tensor):
    network = small_network(memory="online")
    together = look(network, images)
    close(network.look(Views.padded(images, 16), those_before(4)).features, together.features)
    memory, parts = None, []
    for index in range(4):
        part = network.look(Views.padded(images[:, index : index + 1], 16), first=index == 0, memory=memory)
        memory = part.memory if memory is None else memory.and_then(part.memory)
        parts.append(part)
    close(torch.cat([part.features for part in parts], 1), together.features)


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    own, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([own.query.bias, own.key_value.bias]))
        theirs.out_proj.load_state_dict(own.out.state_dict())
    tokens, context, mask = torch.randn(2, 5, 16), torch.randn(2, 7, 16), torch.rand(5, 7) > 0.3
    expected = theirs(tokens, context, context, attn_mask=~mask, need_weights=False)[0]
    torch.testing.assert_close(own(tokens, context, mask), expected)


@torch.inference_mode()
@pytest.mark.parametrize("fused", [("appearance",), ("encoder",), ("decoder",), ("encoder", "decoder")])
def test_features_may_be_fused_from_any_of_the_backbones(images: torch.Tensor, fused: tuple[str, ...]):
    network = small_network(fused=fused, located=False)
    seen = look(network, images)
    assert seen.features.shape == (1, 4, 16, 12, 16)
    changed = images.clone()
    changed[:, 3] = torch.rand(3, 48, 64)
    apart = (look(network, changed).features[:, 1] - seen.features[:, 1]).abs().max() < 1e-6
    assert apart == ("decoder" not in fused)  # only the decoder looks at other views


@torch.inference_mode()
def test_points_may_be_said_one_by_one(images: torch.Tensor):
    network = small_network(geometry=GeometryConfig(32, 2, 1, 2, "dense", 2))
    points = look(network, images).points
    assert points.world.shape == points.local.shape == (1, 4, 24, 32, 3)
    assert points.poses is None
    assert (points.confidence > 1).all()


@torch.inference_mode()
def test_both_point_maps_of_a_camera_head_agree(network: PanopticNetwork, images: torch.Tensor):
    points = look(network, images).points
    assert points.poses is not None
    moved = (
        torch.einsum("bvij,bvhwj->bvhwi", points.poses[..., :3], points.local) + points.poses[:, :, None, None, :, 3]
    )
    close(points.world, moved)
    close(points.world[:, 0], points.local[:, 0])  # the first view's frame is its own


def test_the_preset_for_two_cores_is_small():
    network = PanopticNetwork(PRESETS["tiny"])
    assert parameters_of(network) <= 8_000_000
    assert 2 * parameters_of(network) <= 12_000_000  # bytes in half precision


def test_what_cannot_be_built_is_said():
    with pytest.raises(InputError, match="power of two"):
        type(SMALL)(masks=MaskConfig(stride=3))
    with pytest.raises(InputError, match="divisor"):
        type(SMALL)(geometry=GeometryConfig(width=100, heads=6))
