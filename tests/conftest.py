# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
