# SPDX-License-Identifier: Apache-2.0
import pytest

from panoptic_gs.synthetic import RoomRenderer, SyntheticScene, make_room, synthesize


@pytest.fixture(scope="session")
def office() -> SyntheticScene:
    """A small rendered scene."""
    return synthesize(seed=1, views=15, width=128, height=96, seed_points=4000)


@pytest.fixture(scope="session")
def office_renderer() -> RoomRenderer:
    """A renderer of the same room, made anew."""
    return RoomRenderer(make_room(1))
