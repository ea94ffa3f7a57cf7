# SPDX-License-Identifier: Apache-2.0
"""The device kernels, on a GPU where there is one, and compiled for the host everywhere.

Tests that take ``machine`` run on both: they call :mod:`panoptic_gs.kernels.cuda` with tensors on ``machine.device``,
and on the host its launches are carried out by the emulation under ``tests/cuda_emulation``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cuda_scenes import host_lists
from torch import Tensor

from panoptic_gs import kernels
from panoptic_gs.camera import Camera
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TileLists
from panoptic_gs.splats import Splats

ROOT = Path(__file__).resolve().parents[2]

i32, u32, pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p


class TileListsStruct(ctypes.Structure):
    _fields_ = (
        [(name, i32) for name in ("width", "height", "tile_width", "tile_height", "num_intersections")]
        + [(name, pointer) for name in ("offsets", "flatten_ids", "means2d", "conics", "opacities")]
        + [("alpha_max", ctypes.c_float)]
    )  # fmt: skip


class VoteSlotsStruct(ctypes.Structure):
    _fields_ = (
        [("slots", i32)]
        + [(name, pointer) for name in ("labels", "sums", "overflow_keys", "overflow_sums", "overflow_count")]
        + [("overflow_capacity", u32), ("overflow_only", ctypes.c_bool)]
    )


class FeatureChannelsStruct(ctypes.Structure):
    _fields_ = (
        [(name, pointer) for name in ("values", "weights")]
        + [(name, i32) for name in ("channels", "first", "count")]
        + [("scale", pointer)]
    )  # fmt: skip


class FeatureSumsStruct(ctypes.Structure):
    _fields_ = [(name, pointer) for name in ("sums", "totals")]


class LabelRowsStruct(ctypes.Structure):
    _fields_ = [(name, pointer) for name in ("indptr", "rank", "weight")] + [("num_ranks", i32)]


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _struct(lists: TileLists) -> TileListsStruct:
    rows, columns = lists.offsets.shape
    count = len(lists.flatten_ids)
    return TileListsStruct(
        lists.width, lists.height, columns, rows, count, *map(_address, lists.tensors), lists.alpha_max
    )


class Machine:
    """Where kernels run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def lists(self, lists: TileLists) -> TileLists:
        """The lists on this machine's device."""
        return lists.to(self.device)


class Emulated(Machine):
    """Carries out launches on the host, blocks and warps in an order that ``seed`` decides."""

    seed = 0

    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__(torch.device("cpu"))
        self._library = library

    def launch(self, name: str, device: torch.device, lists: TileLists | None, *arguments) -> None:
        getattr(self, name)(lists, *arguments)

    def cuda_add_label_votes(self, lists, labels, weights, *rest) -> None:
        slots, overflow_only = rest[:-1], rest[-1]
        struct = VoteSlotsStruct(slots[0].shape[1], *map(_address, slots), len(slots[2]), overflow_only)
        self._call("emulated_add_label_votes", _struct(lists), _address(labels), _address(weights), struct)

    def cuda_add_feature_votes(self, lists, features, weights, first, scale, sums, totals) -> None:
        channels = FeatureChannelsStruct(_address(features), _address(weights), features.shape[2], first,
                                         sums.shape[1], _address(scale))  # fmt: skip
        self._call("emulated_add_feature_votes", _struct(lists), channels,
                   FeatureSumsStruct(_address(sums), _address(totals)))  # fmt: skip

    def cuda_render_panoptic(self, lists, indptr, rank, weight, num_ranks, *out) -> None:
        rows = LabelRowsStruct(*map(_address, (indptr, rank, weight)), num_ranks)
        self._call("emulated_render_panoptic", _struct(lists), rows, *map(_address, out))

    def cuda_atomic_adds(self, lists, counters, threads, rounds) -> None:
        self._library.emulated_atomic_adds(
            u32(self.seed), pointer(counters.data_ptr()), u32(len(counters)), u32(-(-threads // 256)), i32(rounds)
        )

    def _call(self, name: str, *arguments) -> None:
        given = [ctypes.byref(value) if isinstance(value, ctypes.Structure) else pointer(value) for value in arguments]
        getattr(self._library, name)(u32(self.seed), *given)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the emulated kernels with")
    target = tmp_path_factory.mktemp("emulation") / "emulated.so"
    folders = [f"-I{ROOT / name}" for name in ("cuda", "cpp", "tests/cuda_emulation")]
    subprocess.run([compiler, "-std=gnu++20", "-O1", "-g", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
                    "-Wno-unknown-pragmas", *folders,
                    str(ROOT / "tests/cuda_emulation/emulated.cpp"), "-o", str(target)], check=True)  # fmt: skip
    return ctypes.CDLL(str(target))


@pytest.fixture
def emulated(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    stand_in = Emulated(library)
    monkeypatch.setattr(cuda_kernels, "_launch", stand_in.launch)
    return stand_in


@pytest.fixture(params=["emulated", "device"])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "emulated":
        return request.getfixturevalue("emulated")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    if not kernels._kernels.with_cuda:
        pytest.skip("panoptic_gs was built without CUDA")
    return Machine(torch.device("cuda", torch.cuda.current_device()))


@pytest.fixture
def lists_of(machine: Machine) -> Callable[..., TileLists]:
    """:func:`host_lists` on the machine."""

    def make(splats: Splats, camera: Camera, antialiased: bool = False) -> TileLists:
        return machine.lists(host_lists(splats, camera, antialiased))

    return make
