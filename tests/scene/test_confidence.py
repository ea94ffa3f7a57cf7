# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from panoptic_gs import InputError
from panoptic_gs.files import write_png
from panoptic_gs.scene.confidence import ConfidenceMaps, encode_confidence


def test_maps_come_back_to_half_a_step(tmp_path: Path) -> None:
    confidence = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    confidence[0, :3] = 0, 1, 0.5
    write_png(tmp_path / "a.png", encode_confidence(confidence))
    read = ConfidenceMaps(tmp_path, ["a", "b"]).read("a")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, confidence, atol=0.51 / 65535)
    np.testing.assert_array_equal(read[0, :2], [0, 1])


def test_values_beyond_the_range_are_its_ends() -> None:
    assert encode_confidence(np.array([[-0.1, 1.1]])).tolist() == [[0, 65535]]


def test_what_is_no_confidence_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no confidence maps"):
        ConfidenceMaps(tmp_path)
    write_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="no image of the scene"):
        ConfidenceMaps(tmp_path, ["b"])
    with pytest.raises(InputError, match="uint8"):
        ConfidenceMaps(tmp_path, ["a"]).read("a")
    with pytest.raises(InputError, match=r"b\.png"):
        ConfidenceMaps(tmp_path).read("b")
