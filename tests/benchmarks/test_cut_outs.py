# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np

from benchmarks.quality.cut_outs import silhouette
from panoptic_gs import Camera
from panoptic_gs.synthetic.parts import RoomObject
from panoptic_gs.synthetic.room import make_room


def test_a_silhouette_is_that_of_the_corners_around_it():
    room = make_room(0)
    item: RoomObject = next(o for o in room.objects if o.name == "door")
    low, high = item.bounds()
    middle = (low + high) / 2
    eye = middle * [0.2, 0.2, 1.0]  # from inside the room, some metres off
    camera = Camera.look_at(eye.tolist(), middle.tolist(), [0.0, 0.0, 1.0], math.radians(80), 160, 160)
    inside = silhouette(item, camera)
    corners = np.array(np.meshgrid(*zip(low, high))).reshape(3, -1).T
    local = corners @ camera.viewmat[:3, :3].double().numpy().T + camera.viewmat[:3, 3].double().numpy()
    at = (local @ camera.K.double().numpy().T)[:, :2] / local[:, 2:]
    rows, columns = np.nonzero(inside)
    assert columns.min() >= math.floor(at[:, 0].min()) - 1
    assert columns.max() <= math.ceil(at[:, 0].max()) + 1
    assert rows.min() >= math.floor(at[:, 1].min()) - 1
    assert rows.max() <= math.ceil(at[:, 1].max()) + 1
    width, height = at.max(axis=0) - at.min(axis=0)
    assert inside.sum() > 0.8 * width * height * 0.9  # a door fills nearly all of it
