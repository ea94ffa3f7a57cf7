# SPDX-License-Identifier: Apache-2.0
import pytest

from panoptic_gs.synthetic import RoomRenderer, make_room


@pytest.fixture(scope="session")
def renderer() -> RoomRenderer:
    """Of the room that the tests lay out."""
    return RoomRenderer(make_room(1))
