# SPDX-License-Identifier: Apache-2.0
"""Trainings that go on, are shared by processes, and say what does not fit."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_parts import SMALL, box_views
from safetensors.torch import load_file, save_file

from panoptic_gs.errors import InputError
from panoptic_gs.network.data.draws import Draws, plan_of
from panoptic_gs.network.data.views import SceneViews
from panoptic_gs.network.model import PanopticNetwork
from panoptic_gs.network.recipe import Recipe, RoomsRecipe
from panoptic_gs.network.training import Training
from panoptic_gs.network.weights import load_network_file, save_network
from panoptic_gs.records import parse_record, record_to_json

RECIPE = Recipe(
    network=SMALL, rooms=RoomsRecipe(), width=64, height=48, views=(2, 3), partial=0.5, scenes=2, steps=6, warmup=2,
    pixels=200, workers=0, rate=1e-3,
)  # fmt: skip


class Boxes:
    """A source that needs no renderer."""

    classes = SMALL.classes

    def draw(self, rng, views: int) -> SceneViews:
        return box_views(views, seed=int(rng.integers(1000)))


def draws(recipe: Recipe, first: int, last: int, rank: int = 0, processes: int = 1) -> Draws:
    return Draws(
        [(Boxes(), 1.0)], recipe.seed, recipe.views, recipe.partial, recipe.scenes, first, last, rank, processes
    )


def run(training: Training, last: int) -> list[dict[str, float]]:
    data = draws(training.recipe, training.step, last)
    own = data.own
    return [training.advance([data[k] for k in range(s * own, (s + 1) * own)]) for s in range(last - training.step)]


def test_a_training_that_was_stopped_is_the_same_bit_for_bit(tmp_path: Path):
    whole = Training(RECIPE, Boxes.classes)
    run(whole, 4)
    half = Training(RECIPE, Boxes.classes)
    run(half, 2)
    half.save(tmp_path / "state.safetensors")
    rest = Training(RECIPE, Boxes.classes)
    rest.resume(tmp_path / "state.safetensors")
    run(rest, 4)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, rest.network.state_dict()[name]), name
    assert all(torch.equal(tensor, rest.average[name]) for name, tensor in whole.average.items())
    assert any(not torch.equal(tensor, rest.average[name]) for name, tensor in whole.network.named_parameters())


def test_parts_and_recomputed_activations_change_nothing():
    a = Training(RECIPE, Boxes.classes)
    b = Training(replace(RECIPE, accumulate=2, checkpointing=True), Boxes.classes)
    for x, y in zip(run(a, 2), run(b, 2), strict=True):
        assert y == pytest.approx(x, rel=2e-3, abs=1e-4)


def test_losses_fall():
    training = Training(replace(RECIPE, steps=40, views=(2, 2)), Boxes.classes)
    losses = run(training, 40)
    total = [sum(v for k, v in entry.items() if k not in ("gradient", "rate")) for entry in losses]
    assert sum(total[-5:]) < 0.85 * sum(total[:5])


def test_what_is_drawn_depends_on_numbers_alone():
    alone, second = draws(RECIPE, 0, 3), draws(RECIPE, 0, 3, 1, 2)
    later = draws(RECIPE, 2, 3)
    for index in range(3):
        assert torch.equal(alone[2 * index + 1].images, second[index].images)
    assert torch.equal(alone[4].images, later[0].images)
    assert len({plan_of(0, step, (2, 6), 0.5) for step in range(50)}) > 5


def test_another_recipe_or_version_is_refused(tmp_path: Path):
    training = Training(RECIPE, Boxes.classes)
    training.save(path := tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="another recipe"):
        Training(replace(RECIPE, rate=5e-3), Boxes.classes).resume(path)
    Training(replace(RECIPE, steps=100), Boxes.classes).resume(path)
    save_network(weights := tmp_path / "w.safetensors", training.network, training.average, torch.float16)
    assert load_network_file(weights).config == training.network.config
    tensors = load_file(weights)
    header = {"format": "panoptic-gs network", "version": "2", "config": "{}"}
    save_file(tensors, tmp_path / "later.safetensors", header)
    with pytest.raises(InputError, match="version 2"):
        load_network_file(tmp_path / "later.safetensors")
    save_file(tensors, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="format 'None'"):
        load_network_file(tmp_path / "foreign.safetensors")
    tensors.pop("mask_bias")
    config = json.dumps(record_to_json(training.network.config))
    save_file(tensors, tmp_path / "less.safetensors", header | {"version": "1", "config": config})
    with pytest.raises(InputError, match=r"1 weights missing.*mask_bias"):
        load_network_file(tmp_path / "less.safetensors")
    (tmp_path / "none.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(InputError, match="no readable safetensors"):
        load_network_file(tmp_path / "none.safetensors")


def test_a_recipe_that_makes_no_sense_is_refused():
    for document, said in (
        ({}, "rooms, folders"),
        ({"rooms": {}, "views": [5, 4]}, "views"),
        ({"rooms": {"views": 4}, "views": [2, 6]}, "views"),
        ({"rooms": {}, "rate": 0}, "rate"),
        ({"rooms": {}, "preset": "huge"}, "preset"),
    ):
        with pytest.raises(InputError, match=said):
            parse_record(document, Recipe, "recipe.json")
    with pytest.raises(InputError, match="3 a step"):
        Training(replace(RECIPE, scenes=3, accumulate=2), Boxes.classes)
    rates = [replace(RECIPE, steps=100, warmup=10).rate_at(step) for step in range(100)]
    assert rates.index(max(rates)) == 10
    assert rates[60] == rates[30] > rates[85] > rates[99] > 0


_PROCESS = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_network_training import RECIPE, Boxes, draws
from panoptic_gs.network.training import Training
from panoptic_gs.processes import joined_processes
torch.set_num_threads(1)
with joined_processes() as processes:
    training = Training(RECIPE, Boxes.classes, processes)
    data = draws(RECIPE, 0, 2, processes.rank, processes.count)
    for step in range(2):
        training.advance([data[k] for k in range(step * data.own, (step + 1) * data.own)])
    if processes.leads:
        training.save(Path({out!r}))
"""


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = _PROCESS.format(tests=str(Path(__file__).parent), out=str(tmp_path / "two.safetensors"))
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=os.environ | {
            "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        for rank in range(2)
    ]  # fmt: skip
    alone = Training(RECIPE, Boxes.classes)
    run(alone, 2)
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    two = load_file(tmp_path / "two.safetensors")
    moved = 0.0
    fresh = Training(RECIPE, Boxes.classes).network.state_dict()
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(two[f"network.{name}"], tensor, atol=2e-4, rtol=2e-3)
        moved = max(moved, float((tensor - fresh[name]).abs().max()))
    assert moved > 5e-4


def test_weights_in_half_precision_are_nearly_the_same(tmp_path: Path):
    network = PanopticNetwork(SMALL).eval()
    save_network(tmp_path / "w.safetensors", network, network.state_dict(), torch.float16)
    again = load_network_file(tmp_path / "w.safetensors")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
