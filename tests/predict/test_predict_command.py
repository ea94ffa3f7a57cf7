# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs predict`` from photos alone, against the room that the photos show."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from panoptic_gs import InputError, PanopticScene
from panoptic_gs.cli.main import main
from panoptic_gs.merge import merge_predictions
from panoptic_gs.metrics import Protocol, evaluate_scenes
from panoptic_gs.predict import RawPredictions
from panoptic_gs.predict.registration import Similarity
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import RoomRenderer, light, make_room, synthesize, write_synthetic_scene

SEED, VIEWS = 1, 12
FAKE = str(Path(__file__).parent / "fake_panst3r")


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A scene folder with the truth; its photos are wider than any input of the network."""
    root = tmp_path_factory.mktemp("truth") / "room"
    with pytest.MonkeyPatch.context() as patch:  # coarse light is soon computed, and colours are only copied here
        patch.setattr(light, "SHELL_TEXEL", 0.5)
        patch.setattr(light, "OBJECT_TEXEL", 0.5)
        scene = synthesize(SEED, VIEWS, width=160, height=100, seed_points=500)
    write_synthetic_scene(root, scene, scene.truth)
    return root


@pytest.fixture(scope="module")
def photos(room) -> Path:
    """Nothing but photos."""
    shutil.copytree(room / "images", room.parent / "photos")
    return room.parent / "photos"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The stand-in for PanSt3R is installed."""
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def checkpoint(room: Path, **truth) -> Path:
    entries = {key: truth.pop(key) for key in ("retrieval", "postprocess_default") if key in truth}
    path = room.parent / f"{'-'.join(map(str, [*truth.values(), *entries.values()])) or 'exact'}.pth"
    torch.save({"args": json.dumps({"seed": SEED, "scene": str(room), **truth}), "weights": {}, **entries}, path)
    return path


def predict(room: Path, out: Path, *arguments, network: str = "small_networks:SmallPanSt3R", **truth: Any) -> Path:
    main(["predict", *map(str, arguments), "--classes", str(room / "panoptic_gt"), "--out", str(out), "--network",
          network, "--checkpoint", str(checkpoint(room, **truth)), "--trust-checkpoint"])  # fmt: skip
    return out


@pytest.fixture(scope="module")
def predicted(room, photos) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FAKE)
        patch.syspath_prepend(str(Path(__file__).parent))
        return predict(room, room.parent / "predicted", photos)


def similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """Umeyama's closed form, for corresponding points."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(s) @ sign) / (a**2).sum()
    return Similarity(scale, rotation, target.mean(0) - scale * rotation @ source.mean(0))


def compare_cameras(found: Scene, true: Scene) -> tuple[Similarity, float, float, float]:
    """The similarity between the worlds; largest error of a rotation (degrees), centre (of spread), focal length."""
    pairs = [(frame.camera, true.frame(frame.stem).camera) for frame in found.frames]
    mine, theirs = (np.stack([pair[i].center.double().numpy() for pair in pairs]) for i in (0, 1))
    fitted = similarity(mine, theirs)
    spread = np.sqrt(theirs.var(0).sum())
    angles = []
    for a, b in pairs:
        turn = b.viewmat[:3, :3].double().numpy() @ fitted.rotation @ a.viewmat[:3, :3].double().numpy().T
        angles.append(np.degrees(np.linalg.norm(turn - turn.T) / np.sqrt(8)))  # sine of the angle, small
    focal = max(abs(float(a.K[0, 0] / b.K[0, 0]) - 1) for a, b in pairs)
    return fitted, max(angles), np.linalg.norm(fitted(mine) - theirs, axis=1).max() / spread, focal


def share_on_surfaces(points: np.ndarray, cameras: Scene, tolerance: float) -> float:
    """The share of points (world of the room) that some camera sees at their place."""
    renderer = RoomRenderer(make_room(SEED))
    points = points[:: max(1, len(points) // 3000)]
    off = np.full(len(points), np.inf)
    for frame in cameras.frames:
        eye = frame.camera.center.double().numpy()[:, None]
        rays = points.T - eye
        distance = np.linalg.norm(rays, axis=0)
        hit, _ = renderer.cast(np.broadcast_to(eye, rays.shape), rays / distance)
        off = np.minimum(off, np.abs(hit - distance))
    return float((off < tolerance).mean())


def test_photos_alone_give_a_scene_that_agrees_with_the_room(room, photos, predicted):
    scene, true = Scene.load(predicted), Scene.load(room)
    assert [frame.stem for frame in scene.frames] == [frame.stem for frame in true.frames]
    for frame in scene.frames:
        assert frame.image_path.read_bytes() == (photos / f"{frame.stem}.png").read_bytes()
    fitted, angle, center, focal = compare_cameras(scene, true)
    assert fitted.scale == pytest.approx(1 / 0.7, rel=1e-3)
    assert angle < 0.02
    assert center < 1e-3
    assert focal < 1e-3
    assert scene.points is not None
    positions, colors = scene.points
    assert len(positions) > 10_000
    assert share_on_surfaces(fitted(positions.astype(np.float64)), true, 0.01) > 0.99
    # The colour of a point is that of the photos where it is seen.
    camera = scene.frames[0].camera
    local = positions @ camera.viewmat[:3, :3].numpy().T + camera.viewmat[:3, 3].numpy()
    pixel = local @ camera.K.numpy().T
    column, row = np.floor(pixel[:, :2] / pixel[:, 2:]).astype(int).T
    inside = (local[:, 2] > 0) & (column >= 0) & (column < 160) & (row >= 0) & (row < 100)
    photo = scene.frames[0].read_image()[row[inside], column[inside]].astype(int)
    assert np.median(np.abs(photo - colors[inside])) < 12


def test_the_world_is_upright(predicted):
    up = np.mean([-frame.camera.viewmat[1, :3].numpy() for frame in Scene.load(predicted).frames], axis=0)
    assert up[2] / np.linalg.norm(up) > 0.9999


def test_merged_maps_agree_with_the_truth(room, predicted):
    scores = evaluate_scenes(PanopticScene.load(predicted / "panoptic"), PanopticScene.load(room / "panoptic_gt"),
                             protocols=[Protocol.parse("strict")])  # fmt: skip
    quality = scores["strict"].panoptic
    assert quality.rq == 1
    assert quality.pq > 0.8  # masks are 64 × 42, and 5% of the photos are outside the crop


def test_raw_predictions_have_the_shapes_of_the_network(predicted):
    raw = RawPredictions.load(predicted / "predictions")
    assert raw.network == "PanSt3R"
    assert raw.network_size == (128, 84)
    assert raw.mask_logits.shape == (VIEWS, 200, 42, 64)
    assert raw.class_logits.shape == (200, 21)
    assert raw.points is not None
    assert raw.points.shape == (VIEWS, 84, 128, 3)
    assert raw.to_original is not None
    assert torch.allclose(raw.to_original[0] @ torch.tensor([64.0, 42.0, 1.0]), torch.tensor([80.0, 50.0, 1.0]))


def test_noisy_point_maps_still_give_cameras(room, photos, tmp_path):
    scene = Scene.load(predict(room, tmp_path / "out", photos, "--shared-focal", noise=0.01))
    _, angle, center, focal = compare_cameras(scene, Scene.load(room))
    assert angle < 0.1
    assert center < 5e-3
    assert focal < 5e-3
    assert len({float(frame.camera.K[0, 0]) for frame in scene.frames}) == 1


def test_known_cameras_are_kept_and_the_points_follow(room, photos, tmp_path, capsys):
    out = predict(room, tmp_path / "out", photos, "--cameras", room, "--split", "train")
    scene, true = Scene.load(out), Scene.load(room)
    assert scene.splits == true.splits
    for frame in true.frames:
        assert torch.allclose(scene.frame(frame.stem).camera.viewmat, frame.camera.viewmat, atol=1e-6)
        assert torch.allclose(scene.frame(frame.stem).camera.K, frame.camera.K)
    assert scene.points is not None
    assert share_on_surfaces(scene.points[0].astype(np.float64), true, 0.01) > 0.99
    assert set(scene.load_panoptic().maps) == set(true.splits["train"])
    assert (out / "panoptic_gt" / "panoptic.json").is_file()
    assert "differ by" in capsys.readouterr().out
    raw = RawPredictions.load(out / "predictions")
    assert raw.Ks is not None
    assert raw.to_original is not None
    assert torch.allclose(raw.to_original[0] @ raw.Ks[0], true.frames[0].camera.K, atol=1e-3)


def test_masks_alone_serve_where_cameras_are_known(room, tmp_path):
    out = tmp_path / "out"
    main(["predict", "--cameras", str(room), "--classes", "left:stuff,right:stuff", "--out", str(out), "--network",
          "small_networks:Halves"])  # fmt: skip
    scene = Scene.load(out)
    assert scene.points is not None
    assert len(scene.points[0]) == len(Scene.load(room).points[0])  # its own are kept
    labels = scene.load_panoptic().maps["0001"]
    assert labels.shape == (100, 160)
    assert len(np.unique(labels[:, 20:75])) == 1
    assert len(np.unique(labels[:, 85:140])) == 1
    assert labels[50, 40] != labels[50, 120]
    assert (labels[:, :13] == 0).all()  # 100 × 4/3 = 133 of 160 columns are seen


@pytest.mark.parametrize("layout", ["rgb", "test/rgb"])
def test_rendered_views_are_labelled_and_scored_like_any_maps(room, tmp_path, layout):
    renders = tmp_path / "renders"
    test = Scene.load(room).splits["test"]
    for stem in test:
        (renders / layout).mkdir(parents=True, exist_ok=True)
        shutil.copy(room / "images" / f"{stem}.png", renders / layout)
    out = predict(room, tmp_path / "out", "--views", renders)
    assert sorted(path.name for path in out.iterdir()) == ["panoptic", "predictions"]
    main(["evaluate", str(out), str(room), "--splits", "test", "--json", str(tmp_path / "scores.json")])
    scores = json.loads((tmp_path / "scores.json").read_text())["splits"]["test"]
    assert scores["missing"] == []
    assert scores["scores"]["strict"]["pq"] > 0.75


def test_photos_of_two_sizes_and_kinds_end_up_on_the_same_pixels(room, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    stems = [frame.stem for frame in Scene.load(room).frames][:4]
    for index, stem in enumerate(stems):
        picture = Image.open(room / "images" / f"{stem}.png")
        if index == 0:
            exif = Image.Exif()
            exif[0x0112] = 8
            picture.transpose(Image.Transpose.ROTATE_270).save(folder / f"{stem}.png", exif=exif)
        elif index == 1:
            picture.convert("RGBA").crop((0, 0, 160, 90)).save(folder / f"{stem}.webp")
        else:
            picture.save(folder / f"{stem}.jpg", quality=95)
    out = tmp_path / "out"
    main(["predict", "--views", str(folder), "--classes", "left:stuff,right:stuff", "--out", str(out), "--network",
          "small_networks:Halves"])  # fmt: skip
    printed = capsys.readouterr().out
    assert "3 of 160×100, 1 of 160×90" in printed
    maps = PanopticScene.load(out / "panoptic").maps
    assert {stem: m.shape for stem, m in maps.items()} == {s: (90 if s == stems[1] else 100, 160) for s in stems}
    for stem, labels in maps.items():
        seen = 120 if stem == stems[1] else 400 / 3
        assert (labels[50] > 0).sum() == pytest.approx(seen, abs=2)
        assert (labels[50, :79] != labels[50, 81]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-keyframes", "1"], "at least 2"),
        (["--checkpoint", "missing.pth"], "no such file"),
        (["--no-trust-checkpoint"], "evaluates strings"),
        (["--classes", "wall:stuff,wall:stuff"], "'wall' 2 times"),
        (["--classes", ","], "no classes"),
        (["--classes", "wall"], "countable"),
        (["--network", "small_networks:Nothing"], "no class 'Nothing'"),
        (["--network", "small_networks:NoNetwork"], "no method 'predict'"),
        (["--network", "no_such_module:Class"], "cannot be imported"),
        (["--network", "pano3d"], "package.module:Class"),
        (["--network", "small_networks:Halves"], "--cameras SCENE"),
        (["--split", "train"], "no --cameras"),
        (["--views", "renders"], "Leave one of them out"),
        (["--seed-points", "-1"], "0 or more"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(room, photos, tmp_path, capsys, arguments, message):
    usual = {"--classes": str(room / "panoptic_gt"), "--network": "small_networks:SmallPanSt3R",
             "--checkpoint": str(checkpoint(room)), "--out": str(tmp_path / "out")}  # fmt: skip
    given = [] if arguments == ["--no-trust-checkpoint"] else ["--trust-checkpoint", *arguments]
    usual = [word for key, value in usual.items() if key not in given for word in (key, value)]
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(photos), *usual, *given])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [("nan", "0 of"), ("unsure", "0 of"), ("line", "one place")],
)
def test_point_maps_that_give_no_pose_name_the_photo(room, photos, tmp_path, capsys, spoilt, message):
    with pytest.raises(SystemExit):
        predict(room, tmp_path / "out", photos, spoilt=spoilt)
    error = capsys.readouterr().err
    assert "'0001'" in error
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_photo_whose_camera_is_not_found_is_left_out(room, photos, tmp_path, capsys):
    out = predict(room, tmp_path / "out", photos, spoilt="unsure", only="0003")
    assert "1 whose cameras were not found: 0003.png" in capsys.readouterr().out
    scene = Scene.load(out)
    stems = [frame.stem for frame in scene.frames]
    assert len(stems) == VIEWS - 1
    assert "0003" not in stems
    assert scene.load_panoptic().stems == stems
    _, angle, center, _ = compare_cameras(scene, Scene.load(room))
    assert angle < 0.02
    assert center < 1e-3


def test_bad_photos_are_named(room, photos, tmp_path, capsys):
    def refused(folder: Path) -> str:
        with pytest.raises(SystemExit):
            predict(room, tmp_path / "out", folder)
        return capsys.readouterr().err

    folder = tmp_path / "folder"
    assert "no such folder" in refused(folder)
    folder.mkdir()
    (folder / "film.mov").touch()
    assert "1 .mov" in refused(folder)
    shutil.copy(photos / "0001.png", folder)
    assert "at least two images" in refused(folder)
    shutil.copy(photos / "0002.png", folder / "0001.jpg")
    assert "0001.jpg and 0001.png" in refused(folder)
    (folder / "0001.jpg").unlink()
    (folder / "0002.png").write_bytes((photos / "0002.png").read_bytes()[:900])
    assert "0002.png" in refused(folder)


def test_the_folder_that_is_read_is_never_replaced(room, photos, capsys):
    own = room.parent / "own"
    shutil.copytree(room, own)
    (own / "predictions").mkdir()
    (own / "predictions" / "predictions.json").write_text("{}")
    with pytest.raises(SystemExit):
        predict(room, own, "--cameras", own, "--overwrite")
    assert "which is read" in capsys.readouterr().err
    assert (own / "transforms.json").is_file()


@pytest.fixture(scope="module")
def mixed(room) -> Path:
    """The same room, every second photo upright."""
    root = room.parent / "mixed"
    shutil.copytree(room, root)
    document = json.loads((root / "transforms.json").read_text())
    for entry in document["frames"][6:]:
        (root / entry["file_path"]).unlink()
    document["frames"] = document["frames"][:6]
    (root / "splits.json").unlink()
    for entry in document["frames"][1::2]:
        path = root / entry["file_path"]
        with Image.open(path) as picture:
            picture.crop((45, 0, 115, 100)).save(path)
        frame = {key: entry.get(key, document.get(key)) for key in ("w", "cx")}
        entry |= {"w": 70, "cx": frame["cx"] - 45}
        entry |= {key: document[key] for key in ("h", "fl_x", "fl_y", "cy") if key not in entry}
    (root / "transforms.json").write_text(json.dumps(document))
    return root


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("landscape_only", [False, True])
def test_portrait_and_landscape_photos_are_seen_whole(room, mixed, tmp_path, capsys, version, landscape_only):
    out = predict(mixed, tmp_path / "out", mixed / "images", version=version, landscape_only=landscape_only)
    assert "128×84 (3 photos), 84×128 (3 photos)" in capsys.readouterr().out
    scene, true = Scene.load(out), Scene.load(mixed)
    _, angle, center, focal = compare_cameras(scene, true)
    assert angle < 0.02
    assert center < 1e-3
    assert focal < 1e-3
    raw = RawPredictions.load(out / "predictions")
    assert [mask.shape[1:] for mask in (raw.mask_logits[0], raw.mask_logits[1])] == [(42, 64), (64, 42)]
    truth = PanopticScene.load(room / "panoptic_gt")
    category = truth.category_of()
    merged = merge_predictions(raw)
    right = []
    for index, frame in enumerate(scene.frames):
        found = merged.label_map(frame.stem)[0].numpy()
        wanted = truth.maps[frame.stem][:, 45:115] if index % 2 else truth.maps[frame.stem]
        assert found.shape == wanted.shape
        categories = np.array([0, *(segment.category_id for segment in merged.segments)])[found]
        right.append((categories == category[wanted])[found > 0].mean())
        assert (found > 0).mean() > (0.93 if index % 2 else 0.9)
    assert min(right) > 0.9


def test_shared_focal_lengths_are_those_of_the_photos(mixed, tmp_path):
    scene = Scene.load(predict(mixed, tmp_path / "out", mixed / "images", "--shared-focal"))
    assert len({round(float(frame.camera.K[0, 0]), 3) for frame in scene.frames}) == 1
    assert compare_cameras(scene, Scene.load(mixed))[3] < 1e-3


def test_a_merge_that_fails_keeps_what_the_network_found(room, photos, tmp_path, capsys, monkeypatch):
    def failing(*arguments, **options):
        raise InputError("predictions", "no segment", "at least one", "Choose another method.")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("panoptic_gs.merge.methods.qubo", failing)
        with pytest.raises(SystemExit):
            predict(room, out, photos)
    error = capsys.readouterr().err
    assert f"kept in {out}/predictions" in error
    assert "Choose another method." in error
    assert len(Scene.load(out).frames) == VIEWS
    assert not (out / "panoptic").exists()
    main(["merge", str(out / "predictions"), "--out", str(out / "panoptic")])
    assert len(PanopticScene.load(out / "panoptic").maps) == VIEWS


def test_cameras_that_do_not_fit_keep_what_the_network_found(room, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(room, other)
    document = json.loads((other / "transforms.json").read_text())
    for entry in document["frames"]:
        entry["transform_matrix"] = document["frames"][0]["transform_matrix"]
    (other / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit):
        predict(room, tmp_path / "out", "--cameras", other)
    assert "at different places" in capsys.readouterr().err
    assert RawPredictions.load(tmp_path / "out" / "predictions").viewmats is not None
    assert not (tmp_path / "out" / "transforms.json").exists()


def test_the_checkpoints_own_way_to_merge_is_the_default(room, photos, tmp_path, capsys):
    out = predict(room, tmp_path / "out", photos, postprocess_default="standard_v2")
    printed = capsys.readouterr().out
    assert "(standard-v2)" in printed
    assert "none of the published ones" in printed
    assert "standard-v2" in PanopticScene.load(out / "panoptic").source
    main(["merge", str(out / "predictions"), "--out", str(tmp_path / "again")])
    assert "standard-v2" in capsys.readouterr().out


def test_the_classes_of_a_softmax_are_understood(room, photos, tmp_path):
    out = predict(room, tmp_path / "out", photos, label_mode="softmax")
    assert RawPredictions.load(out / "predictions").class_logits.shape == (200, 22)
    scores = evaluate_scenes(PanopticScene.load(out / "panoptic"), PanopticScene.load(room / "panoptic_gt"),
                             protocols=[Protocol.parse("strict")])  # fmt: skip
    assert scores["strict"].panoptic.rq == 1


def test_keyframes_by_similarity_need_retrieval(room, photos, tmp_path, capsys):
    with pytest.raises(SystemExit):
        predict(room, tmp_path / "out", photos, "--keyframes", "similarity")
    assert "no retrieval model" in capsys.readouterr().err
    predict(room, tmp_path / "out", photos, "--keyframes", "similarity", "--num-keyframes", "3", retrieval="a model")


@pytest.mark.parametrize("option", ["-q", "--json"])
def test_what_the_network_prints_stays_out_of_standard_output(room, photos, tmp_path, capsys, monkeypatch, option):
    monkeypatch.delitem(sys.modules, "panst3r")  # it prints when it is imported
    out = predict(room, tmp_path / "out", photos, option)
    printed = capsys.readouterr()
    assert ("RoPE2D" in printed.err) is (option == "--json")
    if option == "-q":
        assert printed.out == f"{out}\n"
        assert printed.err == ""
    else:
        assert json.loads(printed.out)["merge"] == "qubo"


def test_a_missing_network_is_said_before_anything_is_read(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["predict", "no-such-folder", "--classes", "no-such-file.json", "--out", "nowhere"])
    assert "github.com/naver/panst3r" in capsys.readouterr().err
