# SPDX-License-Identifier: Apache-2.0
"""Click to identify in nerfstudio's viewer, without a browser."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from small_rooms import CENTERS, FAR, NEAR, small_room

viser = pytest.importorskip("viser")
elements = pytest.importorskip("nerfstudio.viewer.viewer_elements")

from nerfstudio_plugin.click_to_identify import ClickToIdentify  # noqa: E402 (needs nerfstudio)

EYE = (4.0, 0.0, 0.9)


def labelled():
    scene = small_room()
    return scene.splats, scene.labels, scene.labelling


def click(point):
    return elements.ViewerClick(EYE, tuple(np.subtract(point, EYE)), (0.5, 0.5))


def test_the_object_in_front_is_named():
    control = ClickToIdentify(labelled)
    for target in (NEAR, FAR):  # the near one hides the far one
        assert f"id {NEAR}" in control.identify(click(CENTERS[target]))
    assert "600 Gaussians" in control.identify(click(CENTERS[NEAR]))


def test_the_sky_is_nothing():
    assert "Nothing there" in ClickToIdentify(labelled).identify(click((4.0, 0.0, 9.0)))


def test_before_the_first_uplift_it_says_so():
    assert "No labels yet" in ClickToIdentify(lambda: None).identify(click((0.0, 0.0, 0.0)))


def test_it_listens_for_clicks_while_its_checkbox_is_on(monkeypatch):
    """Else the view could not be turned: viser's page keeps the camera still at each press while it listens."""
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        boxes, add = [], server.gui.add_checkbox
        noted = lambda *given, **named: boxes.append(add(*given, **named)) or boxes[0]
        monkeypatch.setattr(server.gui, "add_checkbox", noted)
        control = ClickToIdentify(labelled)
        control._setup(SimpleNamespace(viser_server=server, train_lock=None))
        (wanted,) = boxes
        assert server.scene._scene_pointer_cb is None
        for on in (True, False):
            wanted.value = on
            until = time.monotonic() + 30  # viser calls back on a thread of its own
            while ("Click" in control._about.content) is not on and time.monotonic() < until:
                time.sleep(0.01)
            assert (server.scene._scene_pointer_cb is not None) is on
    finally:
        server.stop()
