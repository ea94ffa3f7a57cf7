# SPDX-License-Identifier: Apache-2.0
"""`panoptic-gs merge` as a user types it, on simulated queries of a small room."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from panoptic_gs import PanopticScene
from panoptic_gs.cli.main import main
from panoptic_gs.metrics import Protocol, evaluate_scenes


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("merge") / "scene"
    main(
        [
            "synth",
            str(root),
            "--views",
            "5",
            "--width",
            "128",
            "--height",
            "96",
            "--seed",
            "3",
            "--raw",
            "--noise",
            "none",
        ]
    )
    return root


@pytest.fixture
def raw(room, tmp_path) -> Path:
    """A copy that may be broken."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in (room / "predictions").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("method", ["standard", "standard-v2"])
def test_clean_masks_give_the_truth_back(room, tmp_path, method, capsys):
    main(["merge", str(room / "predictions"), "--out", str(tmp_path / "out"), "--method", method])
    printed = capsys.readouterr().out
    assert str(tmp_path / "out") in printed
    assert "things" in printed
    merged, truth = PanopticScene.load(tmp_path / "out"), PanopticScene.load(room / "panoptic_gt")
    scores = evaluate_scenes(merged, truth, truth.stems, [Protocol.parse("strict")])
    assert scores["strict"].panoptic.pq > 0.8


def test_qubo_writes_into_the_scene_and_says_what_it_did(room, capsys):
    arguments = ["merge", str(room / "predictions"), "--out", str(room / "panoptic"), "--overwrite", "--bound"]
    main([*arguments, "--resolution", "mask", "--void-threshold", "0"])
    printed = capsys.readouterr().out
    assert "objective" in printed
    assert "below the optimum" in printed
    first = (room / "panoptic" / "panoptic.json").read_bytes()
    info = json.loads(first)["annotations"][0]["segments_info"][0]
    assert {"query", "score"} <= set(info)
    assert len(list((room / "panoptic" / "confidence").glob("*.png"))) == 5
    main([*arguments, "--resolution", "mask", "--void-threshold", "0"])
    assert (room / "panoptic" / "panoptic.json").read_bytes() == first


def rewrite(raw: Path, **tensors: torch.Tensor | None) -> None:
    stored = load_file(raw / "predictions.safetensors") | tensors
    save_file({k: v for k, v in stored.items() if v is not None}, raw / "predictions.safetensors")


def edit(raw: Path, change) -> None:
    document = json.loads((raw / "predictions.json").read_text())
    change(document)
    (raw / "predictions.json").write_text(json.dumps(document))


def masks_of(raw: Path) -> torch.Tensor:
    return load_file(raw / "predictions.safetensors")["mask_logits"].clone()


def nan(raw: Path) -> None:
    masks = masks_of(raw)
    masks[1, 2, 3, 4] = torch.nan
    rewrite(raw, mask_logits=masks)


def truncate(raw: Path) -> None:
    file = raw / "predictions.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def classes(raw: Path, count: int) -> torch.Tensor:
    return torch.zeros(masks_of(raw).shape[1], count)


BROKEN = {
    "NaN": (nan, "NaN"),
    "no queries": (lambda raw: rewrite(raw, mask_logits=masks_of(raw)[:, :0]), "mask_logits"),
    "nothing chosen": (lambda raw: rewrite(raw, mask_logits=masks_of(raw) * 0 - 65504), "no query is worth keeping"),
    "no sure class": (lambda raw: rewrite(raw, class_logits=classes(raw, 21) - 20), "confidence below"),
    "fewer views than images": (lambda raw: rewrite(raw, mask_logits=masks_of(raw)[:3]), "images"),
    "other queries in the classes": (lambda raw: rewrite(raw, class_logits=torch.zeros(2, 21)), "class_logits"),
    "more classes than logits": (lambda raw: rewrite(raw, class_logits=classes(raw, 3)), "class_logits"),
    "no class_logits": (lambda raw: rewrite(raw, class_logits=None), "class_logits"),
    "truncated": (truncate, "predictions.safetensors"),
    "no images in the JSON": (lambda raw: edit(raw, lambda d: d.pop("images")), "images"),
    "no class names": (lambda raw: edit(raw, lambda d: d["classes"][0].pop("name")), "name"),
    "a class twice": (lambda raw: edit(raw, lambda d: d["classes"][1].update(name=d["classes"][0]["name"])), "twice"),
    "no JSON": (lambda raw: (raw / "predictions.json").unlink(), "predictions.json"),
    "an image twice": (lambda raw: edit(raw, lambda d: d["images"][1].update(d["images"][0])), "twice"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_predictions_are_one_screen_and_exit_code_2(raw, capsys, what):
    breaks, word = BROKEN[what]
    breaks(raw)
    with pytest.raises(SystemExit) as stop:
        main(["merge", str(raw), "--out", str(raw.parent / "out")])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert word in message
    assert "expected" in message
    assert len(message.splitlines()) <= 12
    assert [path.name for path in raw.parent.iterdir()] == ["raw"], "nothing half-written is left"


def test_images_that_the_scene_does_not_know_are_named(room, raw, capsys):
    edit(raw, lambda d: d["images"][2].update(name="holiday.jpg"))
    with pytest.raises(SystemExit):
        main(["merge", str(raw), "--out", str(room / "merged")])
    assert "holiday.jpg" in capsys.readouterr().err
    assert not (room / "merged").exists()
    main(["merge", str(raw), "--out", str(raw.parent / "elsewhere"), "--method", "standard"])
    assert (raw.parent / "elsewhere" / "holiday.png").is_file()


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path, capsys):
    torch.save({}, tmp_path / "out.pt")
    with pytest.raises(SystemExit):
        main(["merge", str(tmp_path / "out.pt"), "--out", str(tmp_path / "out")])
    assert "save_file" in capsys.readouterr().err


def test_another_output_is_not_replaced(room, tmp_path, capsys):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SystemExit):
        main(["merge", str(room / "predictions"), "--out", str(tmp_path), "--overwrite"])
    assert "content" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()
