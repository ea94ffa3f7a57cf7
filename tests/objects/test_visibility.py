# SPDX-License-Identifier: Apache-2.0
"""Which photo, or which side, shows an object best."""

import numpy as np
import pytest
from small_rooms import CENTERS, FAR, NASTY, NEAR, small_room

from panoptic_gs.camera import Camera
from panoptic_gs.objects.table import ObjectTable
from panoptic_gs.objects.visibility import open_side, pixels_of_objects, sights

UP = np.array([0.0, 0.0, 1.0])


def camera(eye, target, fov=1.0) -> Camera:
    return Camera.look_at(eye, target, (0, 0, 1), fov, 160, 120)


def test_photos_are_ordered_by_how_well_they_show_an_object():
    scene = small_room()
    members = ObjectTable(scene).members(FAR)
    cameras = [
        camera((5, 0, 0.4), (0, 0, 0.3)),  # NEAR stands before FAR
        camera((-3, 0, 0.8), CENTERS[FAR]),  # from the other side
        camera((-1.9, 0, 0.4), (-1, 0.55, 0.3)),  # close, and cut by the frame
        camera((-6, 0, 0.8), CENTERS[FAR]),  # from farther away
        camera((0, 3, 0.5), (0, 9, 0.5)),  # turned away
    ]
    shares = pixels_of_objects(scene, cameras)
    assert shares.shape == (5, NASTY + 1)
    assert shares.sum(axis=1) == pytest.approx(1)
    found = sights(scene, cameras, shares, members, FAR)
    order = [sight.view for sight in found]
    assert order[0] == 1
    assert 4 not in order
    assert 0 not in order or order.index(3) < order.index(0)
    cut = next(sight for sight in found if sight.view == 2)
    assert cut.inside < 0.9
    assert found[0].inside == 1
    assert found[0].pixels == pytest.approx(shares[1, FAR] * 160 * 120)


def test_a_hidden_object_is_looked_at_from_an_open_side():
    scene = small_room()
    box = ObjectTable(scene).box(FAR, UP)
    eye = np.array([6.0, 0.0, 0.3])  # NEAR is in the way
    side = open_side(scene, FAR, box, UP, eye)
    assert side[2] > 0.2  # not from below the floor
    small = camera(side.tolist(), box.center.tolist())
    alone = pixels_of_objects(scene, [small])[0]
    assert alone[FAR] > 5 * alone[NEAR]
    stand = np.array([-6.0, 0.0, 2.0])  # nothing is in the way, so it only comes closer
    free = open_side(scene, FAR, box, UP, stand)
    toward = stand - box.center
    assert np.cross(free - box.center, toward / np.linalg.norm(toward)) == pytest.approx(0, abs=1e-9)
    assert np.linalg.norm(free - box.center) < np.linalg.norm(toward)
