# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs clean`` and ``uplift --labels`` as a user types them, on the hand-made room."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rooms import CATEGORIES, FAR, FLOOR, NASTY, NEAR, SEGMENTS, small_room
from staged_room import renamed, staged

from panoptic_gs import PanopticScene, uplift_labels
from panoptic_gs.cli.main import main
from panoptic_gs.refine import lean_on_neighbours, refine_labels, sharpened, uplift_weighed
from panoptic_gs.scene import write_scene
from panoptic_gs.uplift import load_labelled_scene
from panoptic_gs.uplift.view import render_view


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """Photos, splats, and predictions of which the one with most of a cube has lost it."""
    root = tmp_path_factory.mktemp("clean")
    splats, cameras, maps = staged()
    names = [f"v{k:02d}" for k in range(len(cameras))]
    photos = {}
    for name, camera in zip(names, cameras):
        photos[name] = render_view(small_room(), camera).rgb_bytes
    points = splats.means.numpy(), np.full((len(splats), 3), 128, np.uint8)
    write_scene(root / "scene", dict(zip(names, cameras)), photos, points, {"train": names})
    worst = max(range(len(maps)), key=lambda k: (maps[k] == NASTY).sum())
    wrong = [renamed(m, NASTY, FLOOR) if k == worst else m.copy() for k, m in enumerate(maps)]
    wrong[worst - 1][30:34, 38:42] = 0
    for folder, those in (("panoptic", wrong), ("panoptic_gt", maps)):
        PanopticScene(CATEGORIES, SEGMENTS, dict(zip(names, those)), "planted").save(root / "scene" / folder)
    splats.save_ply(root / "splats.ply")
    (root / "worst").write_text(names[worst])
    return root


def test_maps_are_cleaned_and_each_change_is_told(room, capsys):
    main(["clean", str(room / "scene"), "--splats", str(room / "splats.ply")])
    assert "object swallowed: 1 regions" in capsys.readouterr().out
    out, worst = room / "scene" / "panoptic-cleaned", (room / "worst").read_text()
    cleaned, before, truth = (PanopticScene.load(room / "scene" / name)
                              for name in ("panoptic-cleaned", "panoptic", "panoptic_gt"))  # fmt: skip
    assert "cleaned" in cleaned.source
    assert cleaned.segments == before.segments
    cube = np.asarray(truth.maps[worst]) == NASTY
    assert (np.asarray(cleaned.maps[worst])[cube] == NASTY).mean() > 0.85
    document = json.loads((out / "changes.json").read_text())
    assert document["look_at"] == []  # one view's mistake
    told = {image["stem"]: image for image in document["images"]}
    assert set(told) == set(cleaned.stems)
    for stem, image in told.items():
        assert sum(c["area"] for c in image["changes"]) == (cleaned.maps[stem] != before.maps[stem]).sum()
    assert (told[worst]["changes"][0]["old"], told[worst]["changes"][0]["new"]) == (FLOOR, NASTY)
    assert (out / "changes" / f"{worst}.png").is_file()
    with pytest.raises(SystemExit):
        main(["clean", str(room / "scene"), "--splats", str(room / "splats.ply")])
    with pytest.raises(SystemExit):
        main(["clean", str(room / "scene"), "--splats", str(room / "splats.ply"), "--overwrite", "--out",
              str(room / "scene" / "panoptic")])  # fmt: skip
    assert PanopticScene.load(room / "scene" / "panoptic").source == "planted"


def test_what_to_look_at_is_told(room, tmp_path, capsys):
    truth = PanopticScene.load(room / "scene" / "panoptic_gt")
    maps = {stem: renamed(np.asarray(ids), FAR, NEAR) for stem, ids in truth.maps.items()}
    PanopticScene(truth.categories, truth.segments, maps, "two in one").save(room / "scene" / "two-in-one")
    main(["clean", str(room / "scene"), "--splats", str(room / "splats.ply"), "--panoptic", "two-in-one", "--out",
          str(tmp_path / "out")])  # fmt: skip
    assert "places that do not touch" in " ".join(capsys.readouterr().out.split())
    (told,) = json.loads((tmp_path / "out" / "changes.json").read_text())["look_at"]
    assert (told["kind"], told["segments"], told["views"]) == ("in pieces", [NEAR], [])


def test_uplift_labels_in_each_of_its_ways(room):
    splats, cameras, _ = staged()
    maps = PanopticScene.load(room / "scene" / "panoptic")
    views = [(camera, maps.maps[stem]) for camera, stem in zip(cameras, maps.stems)]
    expected = {
        "refined": refine_labels(splats, views),
        "average": uplift_labels(splats, views),
        "sharpened": sharpened(uplift_labels(splats, views)),
        "weighed": lean_on_neighbours(uplift_weighed(splats, views), splats),
        "literal": uplift_labels(splats, views, void="label"),
    }
    assert not torch.equal(expected["refined"].label, expected["average"].label)
    assert not torch.equal(expected["sharpened"].weight, expected["average"].weight)
    assert not torch.equal(expected["sharpened"].weight, expected["weighed"].weight)
    assert (expected["literal"].label == 0).any()
    for how, labels in expected.items():
        main(["uplift", str(room / "splats.ply"), str(room / "scene"), "--out", str(room / how), "--labels", how])
        found = load_labelled_scene(room / how).labels
        assert torch.equal(found.best()[0], labels.best()[0])
        assert len(found.label) == len(labels.label)
        torch.testing.assert_close(found.weight, labels.weight, rtol=1e-4, atol=1e-5)
