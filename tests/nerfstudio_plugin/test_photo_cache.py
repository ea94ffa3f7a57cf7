# SPDX-License-Identifier: Apache-2.0
"""Photos in bounded memory: the same training, with less of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio_plugin.datamanager import PanopticDatamanagerConfig
from nerfstudio_plugin.photo_cache import PhotoCache, size_of
from nerfstudio_plugin.trainer import PanopticTrainer
from panoptic_gs.errors import InputError

Train = Callable[..., PanopticTrainer]


def test_a_training_is_the_same_whatever_stays_in_memory(
    room: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = []
    for gigabytes in (8.0, 1e-4, 0.0):  # a photo with its maps has 76 kB: all of them, one, none
        torch.manual_seed(0)
        options = {"pipeline__datamanager__gigabytes_in_memory": gigabytes, "model__uplift_every": 5}
        trainer = train(room, tmp_path / str(gigabytes), 12, model__num_downscales=0, **options)
        said = capsys.readouterr().out
        assert ("of 8 train photos stay in memory" in said) == (gigabytes < 1), said
        states.append({name: value.detach().clone() for name, value in trainer.pipeline.model.gauss_params.items()})
        labels = trainer.pipeline.model.current_labels()
        assert labels is not None
        states[-1]["weight"], states[-1]["label"] = labels.labels.weight, labels.labels.label
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
        assert torch.equal(value, states[2][name]), name


def item(index: int) -> dict[str, torch.Tensor]:
    return {"image": torch.full((10, 10, 3), index, dtype=torch.uint8)}


def test_what_stays_is_bounded_and_the_rest_is_read_once_a_use() -> None:
    read: list[int] = []
    cache = PhotoCache(lambda index: (read.append(index), item(index))[1], 10, 950)
    assert sorted(read) == list(range(10))
    assert (cache.kept, cache.kept_bytes, cache.total_bytes) == (3, 900, 3000)
    read.clear()
    cache.announce([8, 1, 9])
    for index in (8, 1, 9, 9, 0, 7):
        assert int(cache[index]["image"][0, 0, 0]) == index
    assert sorted(read) == [7, 8, 9]
    with pytest.raises(IndexError):
        cache[10]
    assert len(list(cache)) == 10


def test_new_maps_reach_photos_that_stay_and_those_that_do_not() -> None:
    cache = PhotoCache(item, 4, 300)
    labels = np.arange(100, dtype=np.int64).reshape(10, 10)
    for index in (0, 3):
        assert "panoptic" not in cache.keys_of(index)
        cache.relabel(index, labels + index)
        assert "panoptic" in cache.keys_of(index)
        assert cache[index]["panoptic"].dtype == torch.int32
        assert torch.equal(cache[index]["panoptic"], torch.from_numpy(labels + index).int())
    assert "panoptic" not in cache[1]


def test_a_photo_that_cannot_be_read_ends_it_at_the_start() -> None:
    def read(index: int) -> dict[str, torch.Tensor]:
        if index == 7:
            raise InputError("photo 7", "nothing", "a photo", "Take it again.")
        return item(index)

    with pytest.raises(InputError, match="photo 7"):
        PhotoCache(read, 9, 0)


@pytest.mark.parametrize("gigabytes", [-1.0, float("nan")])
def test_a_bound_below_zero_is_refused(room: Path, gigabytes: float) -> None:
    with pytest.raises(InputError, match="gigabytes-in-memory"):
        PanopticDatamanagerConfig(data=room, gigabytes_in_memory=gigabytes).setup(device="cpu", test_mode="val")


MEASURED = """
import resource, torch
from nerfstudio_plugin.photo_cache import PhotoCache
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cache = PhotoCache(lambda index: {"image": torch.full((1000, 1000, 3), index, dtype=torch.uint8)}, 200, 30e6)
for index in range(200):
    cache.announce(range(index + 1, 200))
    assert int(cache[index]["image"].max()) == index
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_the_process_takes_no_more_than_what_stays_and_what_is_read_ahead() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) < 30e6 + 20 * 3e6, "200 photos have 600 MB"
    assert size_of(item(1)) == 300
