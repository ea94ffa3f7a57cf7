# SPDX-License-Identifier: Apache-2.0
"""The benchmark's ablations: what is left out has no say in masks and classes."""

import pytest
import torch
from network_parts import CLASSES, small_network
from torch import Tensor

from benchmarks.network import Features, leave_out
from panoptic_gs.network.model import PanopticNetwork, Views


def masks_and_classes(network: PanopticNetwork) -> tuple[Tensor, Tensor]:
    images = torch.rand(1, 2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = network.look(Views.padded(images, network.patch))
        queries = network.ask(seen)[-1]
        return network.mask_logits(queries, seen.features.permute(0, 1, 3, 4, 2)), network.class_logits(
            queries, CLASSES
        )


@pytest.mark.parametrize("features", ["appearance", "geometry"])
def test_features_that_are_left_out_have_no_say(features: Features):
    network = small_network()
    whole = masks_and_classes(network)
    leave_out(network, features)
    before = masks_and_classes(network)
    assert not torch.allclose(whole[0], before[0])
    other, own = network.get_submodule("geometry"), network.get_submodule("appearance")
    if features == "geometry":
        other, own = own, other
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    for was, now in zip(before, masks_and_classes(network), strict=True):
        torch.testing.assert_close(now, was)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(masks_and_classes(network)[0], before[0])


def test_nothing_is_left_out_of_all():
    network = small_network()
    before = masks_and_classes(network)
    leave_out(network, "all")
    for was, now in zip(before, masks_and_classes(network), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=0)
