# SPDX-License-Identifier: Apache-2.0
"""SAM 3's video tracker through ``transformers``: classes that are asked for by name, objects that keep their ids.

Carion et al., "SAM 3: Segment Anything with Concepts", 2025. In each frame a detector answers every prompt; a tracker
carries the objects of earlier frames along, and what it does not explain becomes an object. Photos in the order of
their names are taken for the frames of a video.
"""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Segment
from panoptic_gs.predict.masks.found import MaskOptions, TrackedMap
from panoptic_gs.predict.masks.hub import announced, loaded, readable, require_at_hand
from panoptic_gs.predict.masks.sam3 import CHECKPOINT, prompts_of
from panoptic_gs.predict.photos import Photo
from panoptic_gs.predict.registry import MASKS

SAME = 0.5
"""Of two masks of a photo that overlap by more (IoU), found by different prompts, the surer one stays."""
_READ_ONCE = ("high_res_masks", "pred_masks")  # of a frame's outputs; later frames look at its memory alone


class Sam3Video:
    """SAM 3's detector and tracker.

    Raises:
        InputError: no checkpoint of both can be had, no classes are asked for, or one word for two of them.
    """

    def __init__(self, family: str, options: MaskOptions) -> None:
        self.categories, prompts = prompts_of(options.classes)
        self._column_of = {word: column for column, word in reversed(prompts)}
        for column, word in prompts:
            if self._column_of[word] != column:
                raise InputError(
                    "--classes", f"'{word}' for two classes", "a word for one class, so that its objects have one",
                    "Leave it out of one of them.",
                )  # fmt: skip
        from transformers import Sam3VideoModel, Sam3VideoProcessor  # pyright: ignore[reportMissingImports]

        if importlib.util.find_spec("kernels") is not None:
            options.say(
                "The package 'kernels' is installed: transformers may download kernels-community/cv-utils, compiled "
                "code, from the Hugging Face hub. HF_HUB_OFFLINE=1 keeps it from that"
            )
        self.checkpoint = announced(MASKS[family], options.checkpoint, CHECKPOINT, options.say)
        require_at_hand(self.checkpoint)
        self.device = options.device
        with readable(self.checkpoint):
            self.processor = Sam3VideoProcessor.from_pretrained(self.checkpoint)
        self.model = loaded(Sam3VideoModel, self.checkpoint, self.device)

    def track(self, photos: Sequence[Photo]) -> Iterator[TrackedMap]:
        """The map of each photo in their order, with ids that stay the same from photo to photo.

        The library holds a frame back until it is known which objects did not last; the maps come as much later.
        """
        session: Any = self.processor.init_video_session(inference_device=self.device)
        self.processor.add_text_prompt(session, list(self._column_of))
        # Frames are counted beforehand, as if all were there, but only the current one is.
        session.processed_frames = dict.fromkeys(range(len(photos)), None)
        held: deque[tuple[Photo, Any]] = deque()
        for number, photo in enumerate(photos):
            values = self.processor(images=Image.fromarray(photo.read()), return_tensors="pt")["pixel_values"]
            session.add_new_frame(values, number)
            answer = self.model(inference_session=session, frame_idx=number)
            session.processed_frames[number] = None
            forget(session, number, self.model.tracker_model.config)
            session.hotstart_removed_obj_ids.update(answer.removed_obj_ids)
            held.append((photo, answer))
            if len(held) > max(self.model.hotstart_delay - 1, 0):
                yield self._map_of(session, *held.popleft())
        while held:
            yield self._map_of(session, *held.popleft())

    def _map_of(self, session: Any, photo: Photo, answer: Any) -> TrackedMap:
        found = self.processor.postprocess_outputs(session, answer, original_sizes=[[photo.height, photo.width]])
        stuff = [c.id for c in self.categories if not c.isthing]
        masks: dict[int, np.ndarray] = {}
        segments: dict[int, Segment] = {}
        for number, score, mask in zip(
            found["object_ids"].tolist(), found["scores"].tolist(), found["masks"].cpu().numpy(), strict=True
        ):
            category = self.categories[self._column_of[session.prompts[session.obj_id_to_prompt_id[number]]]]
            name = len(stuff) + 1 + number if category.isthing else 1 + stuff.index(category.id)
            masks[name] = masks[name] | mask if name in masks else mask
            before = segments.get(name)
            score = score if before is None or before.score is None else max(score, before.score)
            segments[name] = Segment(name, category.id, round(score, 4))
        return TrackedMap(photo.stem, *flattened(masks, segments, (photo.height, photo.width)))


def forget(session: Any, frame: int, tracker: Any) -> None:
    """Drop what no later frame reads, so that the memory does not grow with the video.

    The tracker looks back at the memory of ``num_maskmem`` frames, at the pointers of
    ``max_object_pointers_in_encoder``, at the memory of each object's newest ``max_cond_frame_num`` frames with a
    detection that it trusts, and at the pointers of all of these.

    Args:
        session: of the library, after its frame ``frame``.
        frame: its number; later ones have larger ones.
        tracker: the tracker's configuration.
    """
    for inputs in session.mask_inputs_per_obj.values():
        inputs.pop(frame, None)
    for outputs in session.output_dict_per_obj.values():
        passing, trusted = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
        for number in [n for n in passing if n <= frame - tracker.max_object_pointers_in_encoder]:
            del passing[number]
        newest = sorted(trusted)[-tracker.max_cond_frame_num :] if tracker.max_cond_frame_num > 0 else list(trusted)
        for of_kind, kept in ((passing, ()), (trusted, newest)):
            for number, output in of_kind.items():
                for key in _READ_ONCE:
                    output.pop(key, None)
                if number <= frame - tracker.num_maskmem and number not in kept:
                    of_kind[number] = {"object_pointer": output["object_pointer"]}
        for number in newest:
            # They are slices of what all objects of their frame have in common, and would keep all of it.
            for key in ("maskmem_features", "maskmem_pos_enc"):
                value = trusted[number].get(key)
                if value is not None and value.untyped_storage().nbytes() > value.nbytes:
                    trusted[number][key] = value.clone()


def flattened(
    masks: Mapping[int, np.ndarray], segments: Mapping[int, Segment], shape: tuple[int, int]
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Masks that may overlap as one map: of what was found twice the surer one, small ones above large ones.

    Args:
        masks: id → ``[H, W]`` boolean.
        segments: id → what it is.
        shape: H and W.

    Returns:
        Ids ``[H, W]`` int32, and the segments that are seen in it.
    """
    areas = {number: int(mask.sum()) for number, mask in masks.items()}
    kept: list[int] = []
    for number in sorted(masks, key=lambda n: (-(segments[n].score or 0.0), n)):
        for other in kept:
            both = int((masks[number] & masks[other]).sum())
            if both > SAME * (areas[number] + areas[other] - both):
                break
        else:
            kept.append(number)
    ids = np.zeros(shape, np.int32)
    for number in sorted(kept, key=lambda n: (-areas[n], n)):
        ids[masks[number]] = number
    return ids, tuple(segments[n] for n in np.unique(ids[ids > 0]).tolist())
