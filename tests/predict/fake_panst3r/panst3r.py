# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package of the same name: called alike, returns alike, but what it sees is a procedural room.

Its "checkpoint" is a JSON that names the room and the scene folder with the true cameras. It knows its views by their
pixels. The world it answers in is that of its first view, shrunk.
"""

import json
from pathlib import Path

import numpy as np
import torch

from panoptic_gs.camera import Camera
from panoptic_gs.predict.crop import crop, crop_to_original
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import CATEGORIES, RoomRenderer, make_room
from panoptic_gs.synthetic.raycast import camera_rays

QUERIES = 200
SHRUNK = 0.7


class PanSt3R:
    """The model."""

    def __init__(self, path: str) -> None:
        self.truth = json.loads(Path(path).read_text())
        self.scene = Scene.load(self.truth["scene"])
        self.renderer = RoomRenderer(make_room(self.truth["seed"]))
        self.calls: list[dict] = []

    @classmethod
    def from_checkpoint(cls, path: str) -> "PanSt3R":
        return cls(path)

    def to(self, device: str) -> "PanSt3R":
        return self

    def eval(self) -> "PanSt3R":
        return self

    def forward_inference_multi_ar(
        self, imgs, true_shape, classes, num_keyframes, use_retrieval, max_bs=1, outdevice=None, amp=False
    ):
        assert max_bs == 1
        assert 2 <= num_keyframes <= len(imgs)
        assert len(true_shape) == len(imgs)
        self.calls.append({"num_keyframes": num_keyframes, "use_retrieval": use_retrieval, "amp": amp})
        height, width = imgs[0].shape[2:]
        pictures = {f.stem: crop(f.read_image(), (width, height)).astype(int) for f in self.scene.frames}
        segments = self.renderer.room.segments
        names = {c.id: c.name for c in CATEGORIES}
        rng = np.random.default_rng(0)
        query_of = {s.id: int(q) for s, q in zip(segments, rng.permutation(QUERIES)) if names[s.category_id] in classes}
        logits = torch.full((1, QUERIES, len(classes)), -6.0)
        for segment in segments:
            if segment.id in query_of:
                logits[0, query_of[segment.id], classes.index(names[segment.category_id])] = 4.0
        geometry, masks = [], []
        first = None
        for image, shape in zip(imgs, true_shape):
            assert image.shape == (1, 3, height, width)
            assert shape.tolist() == [[height, width]]
            seen = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().int().numpy()
            stem = next(name for name, picture in pictures.items() if np.array_equal(picture, seen))
            true = self.scene.frame(stem).camera
            K = np.linalg.inv(crop_to_original(true.width, true.height, (width, height))) @ true.K.double().numpy()
            camera = Camera(true.viewmat, torch.from_numpy(K), width, height)
            first = camera if first is None else first
            geometry.append(self._geometry(stem, camera, first, rng))
            masks.append(self._masks(camera, query_of))
        return geometry, {"pred_logits": logits, "pred_masks": masks, "out_queries": torch.zeros(1, QUERIES, 8)}

    def _geometry(self, stem: str, camera: Camera, first: Camera, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        origin, rays = camera_rays(camera)
        depth, _ = self.renderer._cast_image(camera, origin, rays)
        world = (origin[:, :, None] + rays * depth).transpose(1, 2, 0)
        local = world @ camera.viewmat[:3, :3].double().numpy().T + camera.viewmat[:3, 3].double().numpy()
        own = world @ first.viewmat[:3, :3].double().numpy().T + first.viewmat[:3, 3].double().numpy()
        confidence = 1 + 6 / (1 + depth)
        for points in (local, own):
            points *= SHRUNK
            points += rng.normal(0, self.truth.get("noise", 0.0), points.shape) * SHRUNK * depth[..., None]
        spoilt = self.truth.get("spoilt")
        if spoilt and self.truth.get("only", stem) == stem:
            own[:], confidence[:] = {"nan": (np.nan, 1.0), "unsure": (own, 0.0), "line": (np.array([1.0, 2, 3]), 1.0)}[
                spoilt
            ]
        tensors = {"pts3d": own, "pts3d_local": local, "conf": confidence}
        return {key: torch.from_numpy(values[None]).float() for key, values in tensors.items()}

    def _masks(self, camera: Camera, query_of: dict[int, int]) -> torch.Tensor:
        small = camera.resized(camera.width // 2, camera.height // 2)
        _, surface = self.renderer._cast_image(small, *camera_rays(small))
        labels = self.renderer.room.surface_segments[surface]
        masks = torch.full((1, QUERIES, small.height, small.width), -15.0)
        for segment, query in query_of.items():
            masks[0, query][torch.from_numpy(labels == segment)] = 15.0
        return masks
