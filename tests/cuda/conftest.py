# SPDX-License-Identifier: Apache-2.0
"""The device kernels compiled for the host, behind the functions of :mod:`panoptic_gs.kernels`."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.splats import Splats

ROOT = Path(__file__).resolve().parents[2]

i32, u32, pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p


class TileLists(ctypes.Structure):
    _fields_ = (
        [(name, i32) for name in ("width", "height", "tile_width", "tile_height", "num_intersections")]
        + [(name, pointer) for name in ("offsets", "flatten_ids", "means2d", "conics", "opacities")]
    )  # fmt: skip


class VoteSlots(ctypes.Structure):
    _fields_ = (
        [("slots", i32)]
        + [(name, pointer) for name in ("labels", "sums", "overflow_keys", "overflow_sums", "overflow_count")]
        + [("overflow_capacity", u32), ("overflow_only", ctypes.c_bool)]
    )


class LabelRows(ctypes.Structure):
    _fields_ = [(name, pointer) for name in ("indptr", "rank", "weight")] + [("num_ranks", i32)]


def _lists(lists: kernels.TileLists) -> TileLists:
    rows, columns = lists.offsets.shape
    tensors = (lists.offsets, lists.flatten_ids, lists.means2d, lists.conics, lists.opacities)
    return TileLists(lists.width, lists.height, columns, rows, len(lists.flatten_ids), *(t.data_ptr() for t in tensors))


class Emulated:
    """Stands in for the functions of :mod:`panoptic_gs.kernels` that launch device kernels; takes CPU tensors."""

    seed = 0

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def cuda_add_label_votes(self, lists, labels, weights, slots, overflow_only=False) -> None:
        arguments = VoteSlots(slots.labels.shape[1], *(tensor.data_ptr() for tensor in slots),
                              len(slots.overflow_keys), overflow_only)  # fmt: skip
        self._library.emulated_add_label_votes(
            u32(self.seed), ctypes.byref(_lists(lists)), pointer(labels.data_ptr()),
            pointer(None if weights is None else weights.data_ptr()), ctypes.byref(arguments),
        )  # fmt: skip

    def cuda_render_panoptic(self, lists, indptr, rank, weight, num_ranks) -> tuple[Tensor, Tensor, Tensor]:
        winners = torch.full((lists.height, lists.width), -9, dtype=torch.int32)
        confidence, accumulation = torch.full(winners.shape, -9.0), torch.full(winners.shape, -9.0)
        rows = LabelRows(indptr.data_ptr(), rank.data_ptr(), weight.data_ptr(), num_ranks)
        self._library.emulated_render_panoptic(
            u32(self.seed), ctypes.byref(_lists(lists)), ctypes.byref(rows), pointer(winners.data_ptr()),
            pointer(confidence.data_ptr()), pointer(accumulation.data_ptr()),
        )  # fmt: skip
        return winners, confidence, accumulation


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the emulated kernels with")
    target = tmp_path_factory.mktemp("emulation") / "emulated.so"
    folders = [f"-I{ROOT / name}" for name in ("cuda", "cpp", "tests/cuda_emulation")]
    subprocess.run([compiler, "-std=gnu++20", "-O1", "-g", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *folders,
                    str(ROOT / "tests/cuda_emulation/emulated.cpp"), "-o", str(target)], check=True)  # fmt: skip
    return ctypes.CDLL(str(target))


@pytest.fixture
def emulated(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    stand_in = Emulated(library)
    for name in ("cuda_add_label_votes", "cuda_render_panoptic"):
        monkeypatch.setattr(kernels, name, getattr(stand_in, name))
    return stand_in


@pytest.fixture
def lists_of() -> Callable[[Splats, Camera], kernels.TileLists]:
    """The tile lists of the host's own projection, in the layout of gsplat's."""

    def make(splats: Splats, camera: Camera, antialiased: bool = False) -> kernels.TileLists:
        projected = kernels.project(
            splats.means, splats.quats, splats.scales, splats.opacities, camera.viewmat, camera.K, camera.width,
            camera.height, antialiased=antialiased,
        )  # fmt: skip
        view = projected.view
        ids, ranks = torch.from_numpy(view.ids.copy()), torch.from_numpy(view.tile_ranks.astype("int64"))
        offsets = torch.from_numpy(view.tile_offsets[:-1].astype("int32")).reshape(view.tiles_y, view.tiles_x)
        opacities = splats.opacities * (1 if projected.compensations is None else projected.compensations)
        return kernels.TileLists(camera.width, camera.height, offsets, ids[ranks].int(), projected.means2d,
                                 projected.conics, opacities)  # fmt: skip

    return make
