# SPDX-License-Identifier: Apache-2.0
"""Click to identify in nerfstudio's viewer, without a browser."""

import numpy as np
import pytest
from small_rooms import CENTERS, FAR, NEAR, small_room

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
