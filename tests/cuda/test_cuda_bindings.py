# SPDX-License-Identifier: Apache-2.0
"""How tensors cross into the compiled module, with DLPack capsules that call host memory CUDA memory.

A machine without a GPU checks all of a call but the launch: types, ranks, order and lifetime of arguments, and that
a launch that fails is reported. Nothing looks at the memory.
"""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch import Tensor

from panoptic_gs import InputError, kernels
from panoptic_gs.kernels import cuda as cuda_kernels
from panoptic_gs.kernels.cuda import TileLists

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU such a launch would read host memory"),
    pytest.mark.skipif(not kernels._kernels.with_cuda, reason="built without CUDA"),
]

CUDA = 2  # kDLCUDA


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


def as_cuda(tensor: Tensor) -> object:
    capsule = torch.utils.dlpack.to_dlpack(tensor)
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    DLTensor.from_address(address(capsule, b"dltensor")).device_type = CUDA
    return capsule


@pytest.fixture
def called(monkeypatch) -> list[str]:
    """Sends launches into the compiled module; the names of the functions reached."""
    names = []

    def launch(name: str, device: torch.device, lists: TileLists | None, *arguments) -> None:
        names.append(name)
        given = [as_cuda(value) if isinstance(value, Tensor) else value for value in arguments]
        if lists is not None:
            tensors = [as_cuda(value) for value in lists.tensors]
            given.insert(0, kernels._kernels.CudaTileLists(lists.width, lists.height, *tensors, lists.alpha_max))
        getattr(kernels._kernels, name)(*given, 0)

    monkeypatch.setattr(cuda_kernels, "_launch", launch)
    return names


def lists() -> TileLists:
    return TileLists(40, 24, torch.zeros(2, 3, dtype=torch.int32), torch.zeros(4, dtype=torch.int32),
                     torch.zeros(5, 2), torch.zeros(5, 3), torch.zeros(5))  # fmt: skip


def slots(size: int = 4, capacity: int = 8) -> cuda_kernels.VoteSlots:
    return cuda_kernels.VoteSlots(
        torch.zeros(5, size, dtype=torch.int32), torch.zeros(5, size, dtype=torch.int64),
        torch.zeros(capacity, dtype=torch.int64), torch.zeros(capacity, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int32),
    )  # fmt: skip


LABELS, FEATURES, WEIGHTS = torch.zeros(24, 40, dtype=torch.int32), torch.zeros(24, 40, 7), torch.zeros(24, 40)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("cuda_add_label_votes", lambda: cuda_kernels.add_label_votes(lists(), LABELS, WEIGHTS, slots())),
        ("cuda_add_label_votes", lambda: cuda_kernels.add_label_votes(lists(), LABELS, None, slots(4, 0), True)),
        ("cuda_add_label_votes", lambda: cuda_kernels.count_label_votes(lists(), LABELS)),
        ("cuda_add_feature_votes", lambda: cuda_kernels.add_feature_votes(
            lists(), FEATURES, None, 2, torch.ones(1), torch.zeros(5, 3, dtype=torch.int64), None)),
        ("cuda_add_feature_votes", lambda: cuda_kernels.add_feature_votes(
            lists(), FEATURES, WEIGHTS, 0, torch.ones(1), torch.zeros(5, 7, dtype=torch.int64),
            torch.zeros(5, dtype=torch.int64))),
        ("cuda_render_panoptic", lambda: cuda_kernels.render_panoptic(
            lists(), torch.zeros(6, dtype=torch.int64), torch.zeros(3, dtype=torch.int32), torch.zeros(3), 2)),
        ("cuda_render_panoptic", lambda: cuda_kernels.render_panoptic(
            lists()._replace(flatten_ids=torch.zeros(0, dtype=torch.int32)), torch.zeros(6, dtype=torch.int64),
            torch.zeros(0, dtype=torch.int32), torch.zeros(0), 0)),
        ("cuda_atomic_adds", lambda: cuda_kernels.atomic_adds(torch.zeros(8, dtype=torch.int64), 10, 1)),
    ],
)  # fmt: skip
def test_calls_reach_the_launch_which_fails_without_a_device(called, name, call):
    with pytest.raises(RuntimeError, match=r"^CUDA: "):
        call()
    assert called == [name]


def test_views_of_no_gaussian_launch_nothing(called):
    empty = lists()._replace(flatten_ids=torch.zeros(0, dtype=torch.int32))
    cuda_kernels.add_label_votes(empty, LABELS, None, slots())
    assert called == ["cuda_add_label_votes"]


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(5, 4), torch.zeros(5, dtype=torch.int32), torch.zeros(4, 5, dtype=torch.int32).T],
    ids=["dtype", "rank", "strides"],
)
def test_arrays_of_another_type_are_refused_not_converted(wrong):
    given = [as_cuda(tensor) for tensor in slots()]
    tile_lists = kernels._kernels.CudaTileLists(40, 24, *(as_cuda(tensor) for tensor in lists().tensors), 0.999)
    with pytest.raises(TypeError):
        kernels._kernels.cuda_add_label_votes(tile_lists, as_cuda(LABELS), None, as_cuda(wrong), *given[1:], False, 0)


def test_host_memory_is_refused():
    tensors = [torch.utils.dlpack.to_dlpack(tensor) for tensor in lists().tensors]
    with pytest.raises(TypeError):
        kernels._kernels.CudaTileLists(40, 24, *tensors, 0.999)


def test_cpu_tensors_are_refused_by_name():
    with pytest.raises(InputError, match="CUDA tensors"):
        cuda_kernels.atomic_adds(torch.zeros(8, dtype=torch.int64), 10, 1)
