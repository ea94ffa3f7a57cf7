# SPDX-License-Identifier: Apache-2.0
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from panoptic_gs import kernels

# A machine that does other work is slow now and then; that is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Only tests are collected here: for doctests pytest would import each ``conftest.py`` as one module ``conftest``,
    and the stand-in for PanSt3R as ``panst3r``.
    """
    return True if collection_path.is_file() and not collection_path.name.startswith("test_") else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real scenes kept beside the repository; tests that need them skip where they are missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real scenes beside the repository")
    return folder


@pytest.fixture
def peak_of() -> Callable[[Callable[[], Any]], tuple[Any, int]]:
    """Calls something, and gives what it returned and how many bytes over those resident before it took at most."""

    def resident(name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
        assert found is not None
        return 1024 * int(found[1])

    def measured(call: Callable[[], Any]) -> tuple[Any, int]:
        gc.collect()
        kernels.give_back_memory()  # else what earlier tests freed is taken again, and not seen
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pytest.skip("the system does not tell a process's peak memory")
        before = resident("VmRSS")
        result = call()
        return result, resident("VmHWM") - before

    return measured
