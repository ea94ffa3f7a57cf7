# SPDX-License-Identifier: Apache-2.0
"""Labels in checkpoints: what is kept, what older ones kept, and damage of any kind."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from brute_force import random_splats

from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.labelling import Labelling
from panoptic_gs.uplift import GaussianLabels
from panoptic_gs.uplift.checkpoint import labels_from_state, labels_to_state, load_checkpoint

LABELLING = Labelling(
    (Category(4, "chair", True, (1, 2, 3)), Category(9, "wall", False)),
    (Segment(2, 4, 0.5, (7, 1), "Ann's"), Segment(3, 4), Segment(6, 9, iscrowd=True)),
    "a test",
)
COUNT = 12


def labels() -> GaussianLabels:
    label = torch.tensor([2, 3, 6] * 4, dtype=torch.int32)
    return GaussianLabels(torch.arange(COUNT + 1), label, torch.ones(COUNT), torch.ones(COUNT), torch.zeros(COUNT))


def checkpoint(extra) -> dict:
    splats = random_splats(0, COUNT)
    gaussians = {
        "means": splats.means, "quats": splats.quats, "scales": splats.scales.log(),
        "opacities": splats.opacities.clamp(0.1, 0.9).logit()[:, None], "features_dc": splats.sh[:, 0],
        "features_rest": torch.zeros(COUNT, 15, 3),
    }  # fmt: skip
    state = {f"_model.gauss_params.{name}": value for name, value in gaussians.items()}
    return {"step": 1, "pipeline": {**state, "_model._extra_state": extra}}


def save(path: Path, document) -> Path:
    torch.save(document, path)
    return path


def test_a_checkpoint_keeps_all_that_is_known_of_segments(tmp_path):
    scene = load_checkpoint(save(tmp_path / "a.ckpt", checkpoint(labels_to_state(labels(), LABELLING))))
    assert scene.labelling == LABELLING
    assert torch.equal(scene.labels.label, labels().label)


def test_a_name_reaches_every_exported_map(tmp_path):
    scene = load_checkpoint(save(tmp_path / "a.ckpt", checkpoint(labels_to_state(labels(), LABELLING))))
    PanopticScene(scene.categories, scene.segments, {"a": np.full((4, 4), 2)}).save(tmp_path / "maps")
    assert PanopticScene.load(tmp_path / "maps").segments == LABELLING.segments[:1]


def first_form() -> dict:
    return {
        "labels": labels().tensors(),
        "segments": [(s.id, s.category_id, s.score) for s in LABELLING.segments],
        "categories": [(c.id, c.name, c.isthing, c.color) for c in LABELLING.categories],
        "source": "a test",
    }


def test_checkpoints_of_the_first_form_are_read():
    _, labelling = labels_from_state(first_form(), "old.ckpt")
    assert labelling.categories == LABELLING.categories
    assert [(s.id, s.category_id, s.score) for s in labelling.segments] == first_form()["segments"]


def test_checkpoints_of_a_later_form_are_refused_by_name(tmp_path):
    path = save(tmp_path / "new.ckpt", checkpoint(labels_to_state(labels(), LABELLING) | {"version": 3}))
    with pytest.raises(InputError, match=r"new\.ckpt: found labels in the form 3"):
        load_checkpoint(path)


HUGE = torch.zeros(1).expand(2_000_000_000)
JUNK = (None, "x", [], {}, -1, float("nan"), 10**30, "a\0", torch.zeros(2, 2), torch.full((COUNT,), float("nan")),
        torch.full((COUNT,), 2**33), HUGE, torch.zeros(COUNT, dtype=torch.complex64))  # fmt: skip


def places(value, path=()):
    """Every place inside plain containers."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def changed(value, path, junk):
    if not path:
        return junk
    copied = list(value) if isinstance(value, tuple) else copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], junk)
    return copied


def is_refused(file: Path) -> bool:
    try:
        load_checkpoint(file)
    except InputError as error:
        if error.source == str(file):
            return True
        raise
    return False


@pytest.mark.parametrize("form", [first_form(), labels_to_state(labels(), LABELLING)])
def test_any_value_in_any_place_is_read_or_refused_with_the_file(tmp_path, form):
    document = checkpoint(form)
    inside = [path for path in places(document) if path]
    generator = np.random.default_rng(0)
    refused = 0
    for path in inside:
        junk = JUNK[generator.integers(len(JUNK))]
        file = save(tmp_path / "broken.ckpt", changed(document, path, junk))
        refused += is_refused(file)
    assert refused > 0.7 * len(inside)


def test_any_damaged_byte_is_read_or_refused_with_the_file(tmp_path):
    whole = save(tmp_path / "whole.ckpt", checkpoint(labels_to_state(labels(), LABELLING))).read_bytes()
    generator = np.random.default_rng(1)
    file = tmp_path / "broken.ckpt"
    for _ in range(80):
        broken = bytearray(whole)
        for where in generator.integers(0, len(broken), generator.integers(1, 6)):
            broken[where] = generator.integers(256)
        file.write_bytes(broken[: generator.integers(1, len(broken)) if generator.random() < 0.3 else None])
        is_refused(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", float("nan")), ("weight", float("inf")), ("weight", -0.1), ("total", -1.0), ("void", float("nan")),
        ("label", 2**32 + 7), ("label", -1), ("label", 2**31),
    ],
)  # fmt: skip
def test_labels_out_of_range_are_refused_before_they_are_converted(name, value):
    tensors = labels().tensors()
    tensors[name] = tensors[name].to(torch.int64 if name == "label" else torch.float64).clone()
    tensors[name][5] = value
    with pytest.raises(InputError, match=f"GaussianLabels.{name}"):
        GaussianLabels(**tensors)
