# SPDX-License-Identifier: Apache-2.0
"""SAM 3's video tracker by the real classes of transformers, tiny and random, against the library's own loop."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from posed_photos import write_cameras

pytest.importorskip("transformers")

import small_transformers
import transformers

from panoptic_gs import Category, PanopticScene, Segment
from panoptic_gs.associate import read_masks
from panoptic_gs.cli.main import main
from panoptic_gs.predict.masks import MaskOptions, load_mask_predictor
from panoptic_gs.predict.masks.sam3_video import flattened, forget
from panoptic_gs.predict.photos import Photo

NUMBER = 7
CLASSES = (Category(3, "seat=chair", True), Category(5, "wall", False))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_transformers.write("sam3-video", tmp_path_factory.mktemp("sam3_video") / "checkpoint")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A pattern that wanders past; the last photos are held upright."""
    root = tmp_path_factory.mktemp("scene") / "known"
    (root / "images").mkdir(parents=True)
    pattern, sizes = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8), {}
    for number in range(NUMBER):
        height, width = (12, 16) if number < 5 else (16, 12)
        photo = np.roll(pattern, number // 3, 1)[:height, :width].repeat(5, 0).repeat(5, 1)
        Image.fromarray(photo).save(root / "images" / f"{number}.png")
        sizes[f"images/{number}.png"] = (5 * width, 5 * height)
    write_cameras(root, sizes)
    return root


@pytest.fixture(scope="module")
def photos(scene):
    return [Photo.open(scene / "images" / f"{number}.png") for number in range(NUMBER)]


@pytest.fixture(scope="module")
def by_the_library(checkpoint, photos):
    """(Object, prompt, score, mask) of each photo by the library's loop over a video that is there as a whole."""
    model = transformers.Sam3VideoModel.from_pretrained(checkpoint).eval()
    processor = transformers.Sam3VideoProcessor.from_pretrained(checkpoint)
    session = processor.init_video_session()
    processor.add_text_prompt(session, ["chair", "wall"])
    for number, photo in enumerate(photos):
        session.add_new_frame(processor(images=photo.read().copy(), return_tensors="pt")["pixel_values"], number)
    found = []
    for answer in model.propagate_in_video_iterator(session):
        photo = photos[answer.frame_idx]
        shown = processor.postprocess_outputs(session, answer, original_sizes=[[photo.height, photo.width]])
        prompt_of = {number: prompt for prompt, of in shown["prompt_to_obj_ids"].items() for number in of}
        rows = zip(shown["object_ids"].tolist(), shown["scores"].tolist(), shown["masks"].numpy(), strict=True)
        found.append([(number, prompt_of[number], score, mask) for number, score, mask in rows])
    return found


def test_maps_show_what_the_library_finds_though_old_frames_are_forgotten(checkpoint, photos, by_the_library):
    lasting = set.intersection(*({number for number, *_ in of} for of in by_the_library))
    assert len(lasting) >= 2
    assert {prompt for number, prompt, *_ in by_the_library[0] if number in lasting} == {"chair", "wall"}
    said = []
    network = load_mask_predictor(f"sam3-video:{checkpoint}", MaskOptions(classes=CLASSES, say=said.append))
    assert "SAM License" in said[-1]
    assert [(c.id, c.name) for c in network.categories] == [(3, "seat"), (5, "wall")]
    for photo, found, expected in zip(photos, network.track(photos), by_the_library, strict=True):
        masks, segments = {}, {}
        for number, prompt, score, mask in expected:
            name, category = (2 + number, 3) if prompt == "chair" else (1, 5)  # stuff has one id
            masks[name] = masks.get(name, False) | mask
            before = segments[name].score if name in segments else 0.0
            segments[name] = Segment(name, category, round(max(score, before), 4))
        ids, shown = flattened(masks, segments, (photo.height, photo.width))
        assert found.stem == photo.stem
        np.testing.assert_array_equal(found.ids, ids)
        assert found.segments == shown


def test_what_is_kept_of_earlier_frames_does_not_grow_with_the_video():
    tracker = SimpleNamespace(num_maskmem=3, max_object_pointers_in_encoder=4, max_cond_frame_num=2)
    outputs = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    session = SimpleNamespace(mask_inputs_per_obj={0: {}}, output_dict_per_obj={0: outputs})
    for frame in range(30):
        shared = torch.zeros(10, 4)  # of all objects of the frame
        output = {"maskmem_features": shared[:, :1], "maskmem_pos_enc": shared[:, :1], "object_pointer": torch.ones(1),
                  "pred_masks": shared, "high_res_masks": shared}  # fmt: skip
        outputs["cond_frame_outputs" if frame % 10 == 0 else "non_cond_frame_outputs"][frame] = output
        session.mask_inputs_per_obj[0][frame] = shared
        forget(session, frame, tracker)
    assert not session.mask_inputs_per_obj[0]
    assert set(outputs["non_cond_frame_outputs"]) == {26, 27, 28, 29}
    assert {n for n, of in outputs["non_cond_frame_outputs"].items() if "maskmem_features" in of} == {27, 28, 29}
    assert set(outputs["cond_frame_outputs"]) == {0, 10, 20}  # the library looks at the pointers of all
    assert {n for n, of in outputs["cond_frame_outputs"].items() if "maskmem_features" in of} == {10, 20}
    for of in outputs.values():
        assert not any(key in output for output in of.values() for key in ("pred_masks", "high_res_masks"))
    assert outputs["cond_frame_outputs"][20]["maskmem_features"].untyped_storage().nbytes() == 40


def test_of_what_is_found_twice_the_surer_mask_stays_and_small_ones_lie_above_large_ones():
    masks = {number: np.zeros((4, 6), bool) for number in (1, 2, 3, 4)}
    masks[1][:, :] = True  # a wall
    masks[2][1:3, 1:3] = True  # a picture on it
    masks[3][1:3, 1:4] = True  # the same by another word
    segments = {n: Segment(n, 1, score) for n, score in ((1, 0.9), (2, 0.6), (3, 0.8), (4, 0.99))}
    ids, shown = flattened(masks, segments, (4, 6))
    expected = np.ones((4, 6), int)
    expected[1:3, 1:4] = 3
    np.testing.assert_array_equal(ids, expected)
    assert [segment.id for segment in shown] == [1, 3]  # what has no pixel is not listed
    assert flattened({}, {}, (4, 6))[0].shape == (4, 6)


def test_ids_span_the_photos_and_association_reads_the_maps(checkpoint, scene, tmp_path, capsys):
    out = tmp_path / "out"
    main(["predict", "--cameras", str(scene), "--masks", f"sam3-video:{checkpoint}", "--out", str(out),
          "--classes", "chair:thing,wall:stuff"])  # fmt: skip
    printed = capsys.readouterr().out
    assert "ids of the tracker" in printed
    assert "image_predictions" not in printed
    tracked = PanopticScene.load(out / "masks_per_image")  # refuses ids that are numbered image by image
    shown = [set(np.unique(tracked.maps[stem]).tolist()) - {0} for stem in tracked.stems]
    assert set.intersection(*shown)
    sizes = {str(number): (80, 60) if number < 5 else (60, 80) for number in range(NUMBER)}
    assert {stem: tracked.maps[stem].shape[::-1] for stem in tracked.stems} == sizes
    masks = read_masks(out / "masks_per_image", sizes)
    assert [set(masks[stem].ids.tolist()) for stem in sorted(masks)] == shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "that SAM 3 is asked for"),
        (["--classes", "seat=chair|sofa:thing,chair:thing"], "'chair' for two classes"),
        (["--classes", "chair:thing", "--merge", "standard"], "these masks are not merged"),
    ],
)
def test_what_does_not_fit_is_named(checkpoint, scene, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--cameras", str(scene), "--masks", f"sam3-video:{checkpoint}", *arguments,
              "--out", str(tmp_path / "out")])  # fmt: skip
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_checkpoint_of_the_detector_alone_is_refused(scene, tmp_path, capsys):
    alone = small_transformers.write("sam3", tmp_path / "alone")
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--cameras", str(scene), "--masks", f"sam3-video:{alone}", "--out", str(tmp_path / "out"),
              "--classes", "chair:thing"])  # fmt: skip
    assert stopped.value.code == 2
    assert "alone" in capsys.readouterr().err


def test_a_checkpoint_of_both_answers_photo_by_photo_too(checkpoint, photos):
    network = load_mask_predictor(str(checkpoint), MaskOptions(classes=CLASSES))
    raw = network.predict(photos[0])
    assert [c.name for c in raw.classes] == ["seat", "wall"]
    assert len(raw.class_logits) >= 2
