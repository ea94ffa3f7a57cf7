# SPDX-License-Identifier: Apache-2.0
"""Stands in for the package of the same name, v0.2.1: called alike, answers alike, but it sees a procedural room.

What it checks and how it answers are facts of the official interface, nothing is taken from its code. The "args" of
its checkpoint are a JSON that names the room and the scene folder with the true cameras. It knows its views by their
pixels. The world it answers in is that of its first view, shrunk.
"""

import json

import asmk  # noqa: F401 (the official package needs both)
import faiss  # noqa: F401
import numpy as np
import torch
from must3r.engine.inference import deactivated
from must3r.model import Decoder

from panoptic_gs.camera import Camera
from panoptic_gs.predict.crop import crop, crop_to_original
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic import CATEGORIES, RoomRenderer, make_room
from panoptic_gs.synthetic.raycast import camera_rays

print("Warning, cannot find cuda-compiled version of RoPE2D, using a slow pytorch version instead")

QUERIES = 200
SHRUNK = 0.7

# Version and landscape_only → whether geometry and masks of upright photos come back transposed.
TRANSPOSED = {(1, True): (True, True), (1, False): (False, False), (2, True): (True, False), (2, False): (False, True)}


class PanSt3R:
    """The model."""

    def __init__(self, truth: dict, retrieval: object) -> None:
        self.truth = truth
        self.scene = Scene.load(truth["scene"])
        self.renderer = RoomRenderer(make_room(truth["seed"]))
        self.must3r_decoder = Decoder()
        self.retrieval = retrieval
        self.embeddings: dict[str, torch.Tensor] = {}
        self.device = "cpu"
        self.training = True
        self.calls: list[dict] = []

    @classmethod
    def from_checkpoint(cls, path: str, retrieval_path: str | None = None) -> "PanSt3R":
        content = torch.load(path, weights_only=False)
        print(f"... loading {path}")
        assert isinstance(content["weights"], dict)
        return cls(json.loads(content["args"]), content.get("retrieval"))

    def to(self, device: str) -> "PanSt3R":
        self.device = device  # the embeddings stay where they are
        return self

    def eval(self) -> "PanSt3R":
        self.training = False
        return self

    def set_vocab(self, classes: list[str], device: str = "cpu") -> None:
        assert all(isinstance(name, str) for name in classes)
        self.embeddings = {name: torch.zeros(8, device=device) for name in classes}

    def forward_inference_multi_ar(
        self, imgs, true_shape, classes, num_keyframes, use_retrieval=False, max_bs=1, outdevice=None, amp=False
    ):
        assert not self.training
        assert max_bs == 1
        assert amp is False
        assert isinstance(imgs, list)
        assert 2 <= num_keyframes <= len(imgs)
        assert isinstance(true_shape, torch.Tensor)
        assert not true_shape.is_floating_point()
        assert true_shape.shape == (len(imgs), 2)
        assert true_shape.device == imgs[0].device == torch.device(self.device)
        for image, (height, width) in zip(imgs, true_shape.tolist()):
            assert image.shape == (3, height, width)
            assert image.dtype == torch.float32
            assert -1 <= image.min() < -0.2
            assert 0.2 < image.max() <= 1
        assert {str(self.embeddings[name].device) for name in classes} == {str(torch.device(self.device))}
        anchor = None
        if use_retrieval:
            assert self.retrieval is not None
            anchor = int(np.random.choice(len(imgs)))
        self.calls.append({"num_keyframes": num_keyframes, "use_retrieval": use_retrieval, "anchor": anchor})
        print("keyframes chosen")
        return self._answer(imgs, classes)

    def _answer(self, imgs, classes):
        segments = self.renderer.room.segments
        names = {c.id: c.name for c in CATEGORIES}
        rng = np.random.default_rng(0)
        query_of = {s.id: int(q) for s, q in zip(segments, rng.permutation(QUERIES)) if names[s.category_id] in classes}
        columns = len(classes) + (self.truth.get("label_mode") == "softmax")
        logits = torch.full((1, QUERIES, columns), -6.0)
        if columns > len(classes):
            logits[..., -1] = 6.0
        for segment in segments:
            if segment.id in query_of:
                logits[0, query_of[segment.id], classes.index(names[segment.category_id])] = 4.0
                logits[0, query_of[segment.id], len(classes) :] = -6.0
        turned = TRANSPOSED[self.truth.get("version", 1), self.truth.get("landscape_only", False)]
        heads, masks = [], []
        first = None
        for image in imgs:
            height, width = image.shape[1:]
            stem = self._name_of(image)
            true = self.scene.frame(stem).camera
            K = np.linalg.inv(crop_to_original(true.width, true.height, (width, height))) @ true.K.double().numpy()
            camera = Camera(true.viewmat, torch.from_numpy(K), width, height)
            first = camera if first is None else first
            head, mask = self._head(stem, camera, first, rng), self._masks(camera, query_of)
            upright = height > width
            heads.append(head.transpose(1, 2) if upright and turned[0] else head)
            masks.append(mask.transpose(2, 3) if upright and turned[1] else mask)
        return heads, {"pred_logits": logits, "pred_masks": masks, "out_queries": torch.zeros(QUERIES, 1, 768)}

    def _name_of(self, image: torch.Tensor) -> str:
        seen = ((image.permute(1, 2, 0) + 1) * 127.5).round().int().numpy()
        size = (seen.shape[1], seen.shape[0])
        return next(f.stem for f in self.scene.frames if np.array_equal(crop(f.read_image(), size), seen))

    def _head(self, stem: str, camera: Camera, first: Camera, rng: np.random.Generator) -> torch.Tensor:
        """[1, H, W, 7] before any activation."""
        origin, rays = camera_rays(camera)
        depth, _ = self.renderer._cast_image(camera, origin, rays)
        world = (origin[:, :, None] + rays * depth).transpose(1, 2, 0)
        local = world @ camera.viewmat[:3, :3].double().numpy().T + camera.viewmat[:3, 3].double().numpy()
        own = world @ first.viewmat[:3, :3].double().numpy().T + first.viewmat[:3, 3].double().numpy()
        unsure = np.log(6 / (1 + depth))
        for points in (local, own):
            points *= SHRUNK
            points += rng.normal(0, self.truth.get("noise", 0.0), points.shape) * SHRUNK * depth[..., None]
        spoilt = self.truth.get("spoilt")
        if spoilt and self.truth.get("only", stem) == stem:
            own[:], unsure[:] = {"nan": (np.nan, 0.0), "unsure": (own, np.nan), "line": (np.array([1.0, 2, 3]), 0.0)}[
                spoilt
            ]
        channels = [deactivated(torch.from_numpy(own)), deactivated(torch.from_numpy(local))]
        return torch.cat([*channels, torch.from_numpy(unsure)[..., None]], -1)[None].float()

    def _masks(self, camera: Camera, query_of: dict[int, int]) -> torch.Tensor:
        """[1, Q, H/2, W/2] logits."""
        small = camera.resized(camera.width // 2, camera.height // 2)
        _, surface = self.renderer._cast_image(small, *camera_rays(small))
        labels = self.renderer.room.surface_segments[surface]
        masks = torch.full((1, QUERIES, small.height, small.width), -15.0)
        for segment, query in query_of.items():
            masks[0, query][torch.from_numpy(labels == segment)] = 15.0
        return masks
