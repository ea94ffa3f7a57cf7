# SPDX-License-Identifier: Apache-2.0
"""What a shared page holds, read back from its file; and the command."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from small_rooms import CENTERS, FLOOR, NASTY, NASTY_NAME, NEAR, save, small_room

from panoptic_gs.cli.main import main
from panoptic_gs.errors import InputError
from panoptic_gs.palette import PanopticPalette
from panoptic_gs.share import render_page, shared_scene
from panoptic_gs.splats import Splats, read_splats


def held(page: str, name: str) -> str:
    return re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', page, flags=re.DOTALL)[1]


def unpacked(content: bytes, folder) -> Splats:
    (folder / "page.spz").write_bytes(content)
    return read_splats(folder / "page.spz").splats


def test_a_page_holds_each_object_with_its_gaussians(tmp_path):
    scene = small_room()
    page = render_page(shared_scene(scene, NASTY_NAME, meters_per_unit=2.0))
    document = json.loads(held(page, "scene"))
    means = unpacked(base64.b64decode(held(page, "splats")), tmp_path).means.numpy()
    assert len(means) == document["splats"] == len(scene.splats) == 3400
    objects = document["objects"]
    assert [o["splats"] for o in objects] == [o["gaussians"] for o in objects]
    assert sum(o["splats"] for o in objects) + document["unlabelled"] == 3400
    middle = np.median(scene.splats.means.numpy(), axis=0)
    colors = dict(zip(PanopticPalette([s.id for s in scene.segments]).segment_ids.tolist(),
                      PanopticPalette([s.id for s in scene.segments]).colors.tolist()))  # fmt: skip
    first = 0
    for entry in objects:
        own = means[first : first + entry["splats"]] + middle
        first += entry["splats"]
        if entry["id"] in CENTERS:
            assert np.abs(own.mean(axis=0) - CENTERS[entry["id"]]).max() < 0.03
            assert np.abs(own - CENTERS[entry["id"]]).max() < 0.301
            assert np.allclose(entry["size"], 1.2, atol=0.1)  # 0.6 units of two metres
            corners = np.array(entry["corners"]) * [1, -1, -1] + middle
            assert np.abs(corners.mean(axis=0) - CENTERS[entry["id"]]).max() < 0.03
        assert np.allclose(np.array(entry["color"]) / 255, colors[entry["id"]], atol=0.003)
    assert {o["id"]: o["group"] for o in objects}[FLOOR] == "stuff"
    assert {o["id"]: o["group"] for o in objects}[NEAR] == "thing"
    assert NASTY_NAME not in page  # only ever escaped
    assert next(o for o in objects if o["id"] == NASTY)["name"] == NASTY_NAME


def with_harmonics(scene, degree):
    s = scene.splats
    rest = 0.2 * torch.randn(len(s), (degree + 1) ** 2 - 1, 3, generator=torch.Generator().manual_seed(0))
    return scene._replace(splats=Splats(s.means, s.quats, s.scales, s.opacities, torch.cat([s.sh, rest], dim=1)))


def test_harmonics_are_left_out_until_it_fits_and_no_further():
    scene = with_harmonics(small_room(), 3)
    sizes = {degree: len(shared_scene(scene, "room", sh_degree=degree).spz) for degree in range(4)}
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3]
    for most, degree in ((sizes[3], 3), (sizes[3] - 1, 2), (sizes[2] - 1, 1), (1, 0)):
        shared = shared_scene(scene, "room", most_bytes=most)
        assert shared.sh_degree == degree
        assert len(shared.spz) == sizes[degree]


def test_what_is_seen_least_is_left_out_first(tmp_path):
    scene = small_room()
    faint = torch.zeros(3400, dtype=torch.bool)
    faint[::4] = True
    splats = scene.splats
    opacities = torch.where(faint, 0.01, splats.opacities)
    scene = scene._replace(splats=Splats(splats.means, splats.quats, splats.scales, opacities, splats.sh))
    shared = shared_scene(scene, "room", most_gaussians=int((~faint).sum()))
    assert shared.num_gaussians == shared.document["splats"] == 2550
    assert shared.document["gaussians"] == 3400
    assert unpacked(shared.spz, tmp_path).opacities.min() > 0.9


def test_the_command_writes_a_page_and_spares_other_files(tmp_path, capsys):
    save(small_room(), tmp_path / "my room" / "labelled")
    page = tmp_path / "page.html"
    main(["share", str(tmp_path / "my room" / "labelled"), "--out", str(page), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == [str(page)]
    assert said["gaussians"] == 3400
    assert said["bytes"] == page.stat().st_size
    assert "<title>my room · panoptic scene</title>" in page.read_text()
    main(["share", str(tmp_path / "my room" / "labelled"), "--out", str(page), "--title", "<b>", "-q"])  # its own page
    assert "<title>&lt;b&gt; · panoptic scene</title>" in page.read_text()
    other = tmp_path / "other.html"
    other.write_text("<!doctype html>mine")
    with pytest.raises(SystemExit):
        main(["share", str(tmp_path / "my room" / "labelled"), "--out", str(other)])
    assert other.read_text() == "<!doctype html>mine"


def test_positions_that_spz_cannot_hold_are_refused():
    scene = small_room()
    means = scene.splats.means.clone()
    means[0] = 1e7
    splats = Splats(means, scene.splats.quats, scene.splats.scales, scene.splats.opacities, scene.splats.sh)
    with pytest.raises(InputError, match="positions"):
        shared_scene(scene._replace(splats=splats), "room")
