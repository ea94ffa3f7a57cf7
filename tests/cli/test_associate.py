# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs associate`` as a user types it, on a small procedural room."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from panoptic_gs import PanopticScene, Splats
from panoptic_gs.cli.main import main
from panoptic_gs.files import write_png
from panoptic_gs.metrics import evaluate_scenes
from panoptic_gs.scene import Scene
from panoptic_gs.uplift import load_labelled_scene


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A room, untrained splats, and its true things as grey maps whose ids are drawn anew in every photo."""
    root = tmp_path_factory.mktemp("room")
    main(["synth", str(root / "scene"), "--views", "20", "--width", "96", "--height", "72", "--seed", "3"])
    scene = Scene.load(root / "scene")
    assert scene.points is not None
    positions = scene.points[0]
    count = len(positions)
    spacing = KDTree(positions).query(positions, k=4)[0][:, 1:].mean(axis=1).clip(0.005, 0.2)
    Splats(
        torch.from_numpy(positions),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.from_numpy(spacing).float()[:, None].repeat(1, 3) * 0.5,
        torch.full((count,), 0.99),
        torch.zeros(count, 1, 3),
    ).save_ply(root / "splats.ply")
    truth = scene.load_panoptic("panoptic_gt")
    rng = np.random.default_rng(0)
    names = {category.id: category for category in truth.categories}
    table = {}
    for stem in truth.stems:
        ids = truth.maps[stem]
        new = np.zeros(max(s.id for s in truth.segments) + 1, np.uint8)
        new[1:] = rng.permutation(255)[: len(new) - 1] + 1
        write_png(root / "masks" / f"{stem}.png", new[ids])
        table[stem] = [
            {"id": int(new[s.id]), "class": names[s.category_id].name, "isthing": names[s.category_id].isthing}
            for s in truth.segments
        ]
    (root / "masks" / "classes.json").write_text(json.dumps(table))
    return root


def associate(room: Path, *options: str, masks: str = "masks", out: str = "out") -> None:
    main(["associate", str(room / "splats.ply"), str(room / masks), "--data", str(room / "scene"),
          "--out", str(room / out / "panoptic"), *options])  # fmt: skip


def test_exact_masks_become_the_truth_and_labelled_splats(room, capsys):
    associate(room, "--json", str(room / "said.json"), "--overwrite")
    assert "objects" in capsys.readouterr().out
    truth = Scene.load(room / "scene").load_panoptic("panoptic_gt")
    maps = PanopticScene.load(room / "out" / "panoptic")
    renamed = {category.name: category.id for category in truth.categories}
    table = np.zeros(max(s.id for s in maps.segments) + 1, np.int64)
    names = {category.id: category.name for category in maps.categories}
    for segment in maps.segments:
        table[segment.id] = renamed[names[segment.category_id]]
    assert maps.stems == truth.stems
    scored = PanopticScene(
        truth.categories,
        [type(s)(s.id, int(table[s.id])) for s in maps.segments],
        {stem: maps.maps[stem] for stem in maps.stems},
    )
    assert evaluate_scenes(scored, truth, truth.stems, ("strict",))["strict"].panoptic.pq > 0.9
    labelled = load_labelled_scene(room / "out" / "labelled")
    assert {s.id for s in labelled.segments} == {s.id for s in maps.segments}
    said = json.loads((room / "said.json").read_text())
    assert {entry["id"] for entry in said["objects"]} == {s.id for s in maps.segments}
    assert all(row["reason"] for rows in said["masks"].values() for row in rows)


def test_nothing_is_replaced_or_left_behind(room, capsys, monkeypatch):
    target = room / "kept" / "panoptic"
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        associate(room, out="kept")
    assert [path.name for path in target.iterdir()] == ["mine.txt"]

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("panoptic_gs.uplift.save_labelled_scene", interrupted)
    with pytest.raises(SystemExit) as end:
        associate(room, out="cut")
    assert end.value.code == 130
    assert list((room / "cut").iterdir()) == []
    capsys.readouterr()


@pytest.mark.parametrize("where", ["masks", "masks/inside"])
def test_maps_are_never_written_over_the_masks(room, where, capsys):
    with pytest.raises(SystemExit):
        main(["associate", str(room / "splats.ply"), str(room / "masks"), "--data", str(room / "scene"),
              "--out", str(room / where), "--overwrite"])  # fmt: skip
    assert "where the masks are" in capsys.readouterr().err
    assert (room / "masks" / "classes.json").is_file()


def test_masks_of_some_photos_are_enough_and_the_others_are_named(room, capsys):
    shutil.copytree(room / "masks", room / "some")
    for path in sorted((room / "some").glob("*.png"))[:3]:
        path.unlink()
    associate(room, masks="some", out="some_out")
    assert "3 photos without masks" in capsys.readouterr().out
    assert len(PanopticScene.load(room / "some_out" / "panoptic").stems) == 17


def test_a_mask_over_a_whole_photo_is_named(room, capsys):
    shutil.copytree(room / "masks", room / "whole")
    (room / "whole" / "classes.json").unlink()
    path = sorted((room / "whole").glob("*.png"))[4]
    write_png(path, np.full((72, 96), 9, np.uint8))
    associate(room, masks="whole", out="whole_out")
    said = " ".join(capsys.readouterr().out.split())
    assert f"1 photos have a mask of a thing over (nearly) all of them, which tells nothing apart: {path.stem}" in said


def test_masks_that_are_all_empty_name_their_folder(room, capsys):
    for path in (room / "masks").glob("*.png"):
        write_png(room / "void" / path.name, np.zeros((72, 96), np.uint8))
    with pytest.raises(SystemExit) as exit_:
        associate(room, masks="void", out="void_out")
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "no mask in any view" in message
    assert "void" in message
    assert not (room / "void_out").exists()
