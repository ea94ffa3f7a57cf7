# SPDX-License-Identifier: Apache-2.0
"""The pieces of the demo that starts from photos: masks of single photos, and held-out views in the found world."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.demo_photos import add_held_out_views, write_masks
from panoptic_gs import Camera, Category, InputError, PanopticScene, Segment
from panoptic_gs.associate import read_masks
from panoptic_gs.predict.registration import Similarity
from panoptic_gs.scene import Scene, write_scene

CATEGORIES = (Category(1, "wall", isthing=False), Category(4, "chair", isthing=True))
SEGMENTS = (Segment(3, 1), Segment(8, 4), Segment(9, 4))
TRAIN, TEST = ["0001", "0002", "0004", "0005"], ["0003", "0006"]


def cameras_on_a_circle(count: int) -> dict[str, Camera]:
    K = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    cameras = {}
    for index in range(count):
        angle = 0.3 * index
        forward = np.array([-np.cos(angle), -np.sin(angle), -0.2])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        center = np.array([2 * np.cos(angle), 2 * np.sin(angle), 1.2 + 0.1 * index])
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ center
        cameras[f"{index + 1:04d}"] = Camera(torch.from_numpy(viewmat).float(), K, 64, 48)
    return cameras


@pytest.fixture
def known(tmp_path) -> Scene:
    """Six photos of which two are held out, with true maps of all."""
    rng, cameras = np.random.default_rng(0), cameras_on_a_circle(6)
    images = {stem: rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for stem in cameras}
    root = tmp_path / "known"
    points = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.uint8)
    write_scene(root, cameras, images, points, {"train": TRAIN, "test": TEST})
    maps = {stem: rng.choice([0, 3, 8, 9], (48, 64)).astype(np.int32) for stem in cameras}
    PanopticScene(CATEGORIES, SEGMENTS, maps, "by hand").save(root / "panoptic_gt")
    return Scene.load(root)


def test_masks_keep_their_shapes_and_classes_and_lose_their_ids(known, tmp_path):
    truth = known.load_panoptic("panoptic_gt")
    write_masks(tmp_path / "masks", truth, TRAIN, seed=0)
    read = read_masks(tmp_path / "masks", dict.fromkeys(truth.stems, (64, 48)))
    assert [(c.id, c.name, c.isthing) for c in read.categories] == [(1, "wall", False), (4, "chair", True)]
    assert sorted(read.readers) == TRAIN
    chairs = set()
    for stem in TRAIN:
        true, masks = np.asarray(truth.maps[stem]), read.readers[stem]()
        shapes = {masks.mask(m).tobytes(): int(masks.category_ids[m]) for m in range(len(masks))}
        assert shapes == {(true == s.id).tobytes(): s.category_id for s in SEGMENTS}
        entries = json.loads((tmp_path / "masks" / "segments.json").read_text())[stem]
        chairs |= {entry["id"] for entry in entries if entry["class"] == "chair"}
    assert len(chairs) > len(TRAIN)  # two chairs in each photo; hardly an id occurs twice


def test_held_out_views_stand_in_the_found_world_where_they_stood_in_the_true_one(known, tmp_path):
    moved = Similarity(0.37, Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix(), np.array([3.0, -1.0, 0.5]))
    rng = np.random.default_rng(1)
    cameras, images = {}, {}
    for stem in TRAIN:
        frame = known.frame(stem)
        viewmat = moved.move_viewmats(frame.camera.viewmat.double().numpy()[None])[0]
        viewmat[:3, 3] += rng.normal(0, 1e-4, 3)  # found, not given
        cameras[stem] = Camera(torch.from_numpy(viewmat).float(), frame.camera.K, 64, 48)
        images[stem] = frame.read_image()
    write_scene(tmp_path / "found", cameras, images, known.points, {})
    alignment = add_held_out_views(tmp_path / "found", known)
    assert 0 < alignment.center_error < 1e-3
    scene = Scene.load(tmp_path / "found")
    assert scene.splits == {"train": tuple(TRAIN), "test": tuple(TEST)}
    for stem in TEST:
        camera, true = scene.frame(stem).camera, known.frame(stem).camera
        # A point is seen at the same pixel, wherever the worlds are.
        points = np.random.default_rng(2).uniform(-0.5, 0.5, (20, 3)) + np.array([0, 0, 1.0])
        expected = true.K.numpy() @ (true.viewmat.numpy() @ np.c_[points, np.ones(20)].T)[:3]
        there = camera.K.numpy() @ (camera.viewmat.numpy() @ np.c_[moved(points), np.ones(20)].T)[:3]
        assert np.abs(expected[:2] / expected[2] - there[:2] / there[2]).max() < 0.1
        assert (scene.frame(stem).read_image() == known.frame(stem).read_image()).all()
    truth = scene.load_panoptic("panoptic_gt")
    assert truth.stems == TEST  # of views to train on there is none to learn from
    assert (np.asarray(truth.maps["0003"]) == np.asarray(known.load_panoptic("panoptic_gt").maps["0003"])).all()


def test_a_held_out_photo_among_those_to_train_on_is_refused(known, tmp_path):
    cameras = {stem: known.frame(stem).camera for stem in [*TRAIN, "0003"]}
    images = {stem: known.frame(stem).read_image() for stem in cameras}
    write_scene(tmp_path / "found", cameras, images, known.points, {})
    with pytest.raises(InputError, match="0003"):
        add_held_out_views(tmp_path / "found", known)
