# SPDX-License-Identifier: Apache-2.0
"""The processes of a training end together."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio_plugin.launching import launch


def die(local_rank: int, world_size: int, config: Any, global_rank: int) -> None:
    if local_rank == 1:
        config.write_text(repr(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


def test_a_process_that_dies_ends_the_training_with_its_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    died: Any = tmp_path / "died"
    with pytest.raises(SystemExit) as ended:
        launch(die, 2, config=died, device_type="cpu")
    assert time.time() - float(died.read_text()) < 30
    assert ended.value.code == 1
    assert "process 1 of 2 was ended by signal 9" in capfd.readouterr().err
