# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from report_room import write_room


@pytest.fixture(scope="session")
def report_room(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A labelled scene and its scene folder; not to be changed."""
    return write_room(tmp_path_factory.mktemp("report"))
