# SPDX-License-Identifier: Apache-2.0
"""Official PanSt3R, where the user has installed it.

PanSt3R is under a non-commercial licence. Nothing of it is part of this toolkit: it is called, and only facts about its
interface (v0.2.1) are relied on. How it is loaded, called and decoded is confined to `PanSt3R.load_model`,
`PanSt3R.call` and `PanSt3R.decode`; where an installation differs, a subclass of a few lines overrides them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category
from panoptic_gs.predict.checkpoint import md5, read_checkpoint
from panoptic_gs.predict.keyframes import Keyframes
from panoptic_gs.predict.network import NetworkInput, NetworkOptions, NetworkOutput, PointMapNetwork

PACKAGE = "panst3r"
METHOD = "forward_inference_multi_ar"
LOADERS = ("PanSt3R.from_checkpoint", "PanSt3R.from_pretrained", "load_model", "load_panst3r")
"""Where a function from a checkpoint's path to a model is looked for in the package."""

PUBLISHED = {
    "901ac0e17153f9b15decaa796511b1be": "v1_512_5ds",
    "6a7a47a2ea635de05af45ded8dcabd57": "v2_512_5ds",
}
"""MD5 → the release of the checkpoint."""

_HUB = {
    "dinov2": "facebook/dinov2-large",
    "siglip": "google/siglip-base-patch16-224",
}
_INSTALL = {
    "asmk": "pip install cython, then pip install git+https://github.com/jenicek/asmk",
    "faiss": "pip install faiss-cpu",
    "must3r": "Install it as https://github.com/naver/panst3r says",
    "viser": "pip install 'viser>=1'",
}
_OTHER_VERSION = "Install PanSt3R v0.2.1, or override {} in a subclass (docs/predicting.md)."


class PanSt3R(PointMapNetwork):
    """PanSt3R: Multi-view Consistent Panoptic Segmentation (Zust et al., ICCV 2025).

    Each photo is seen at the size that fits it. Keyframes are chosen by PanSt3R itself: evenly, or by its retrieval
    model where similarity is asked for.

    Raises:
        InputError: something that it needs is not installed or cannot be downloaded, there is no checkpoint of it, or
            the user did not agree to opening it.
    """

    name: ClassVar[str] = "PanSt3R"
    one_size: ClassVar[bool] = False

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options)
        if options.amp != "off" and not str(options.device).startswith("cuda"):
            raise InputError(
                "--amp", f"{options.amp} on '{options.device}'", "CUDA", "Leave --amp out, or use a GPU: --device cuda."
            )
        if options.checkpoint is None:
            raise InputError(
                "network 'panst3r'",
                "no checkpoint",
                "the file with PanSt3R's weights",
                "Give it with --checkpoint.",
            )
        if not options.checkpoint.is_file():
            raise InputError(options.checkpoint, "no such file", "a checkpoint of PanSt3R", "Check the path.")
        self.md5 = md5(options.checkpoint)
        self.notes = [self._note()]
        if not options.trust_checkpoint:
            raise InputError(
                options.checkpoint,
                f"a checkpoint that nobody has vouched for ({self._note()})",
                "--trust-checkpoint",
                "Loading it evaluates strings that it contains: it is code, and runs with your rights. Pass "
                "--trust-checkpoint if you have it from its authors and compared its checksum.",
            )
        self.recommended_merge: str | None = None
        self.model = self.load_model()
        if not callable(getattr(self.model, METHOD, None)):
            raise InputError(
                "network 'panst3r'",
                f"a {type(self.model).__name__} without {METHOD}",
                "PanSt3R v0.2.1 or one that is called alike",
                _OTHER_VERSION.format("load_model"),
            )

    def load_model(self) -> Any:
        """The model in evaluation mode on the device, from the checkpoint, whose recommended way to merge is kept."""
        self.recommended_merge = self._recommended_merge()
        with _told("loading it"):
            package = importlib.import_module(PACKAGE)
        for path in LOADERS:
            loader: Any = package
            for part in path.split("."):
                loader = getattr(loader, part, None)
            if callable(loader):
                with _told("loading its checkpoint", str(self.options.checkpoint)):
                    model: Any = loader(str(self.options.checkpoint))
                    return model.to(self.options.device).eval()
        public = sorted(name for name in vars(package) if not name.startswith("_"))
        raise InputError(
            f"package '{PACKAGE}' ({getattr(package, '__file__', None)})",
            f"no function that loads a checkpoint among {', '.join(public) or 'nothing'}",
            f"one of {', '.join(LOADERS)}",
            "Derive a class from panoptic_gs.predict.panst3r.PanSt3R, override load_model with this version's way of "
            "loading, and name it with --network (docs/predicting.md).",
        )

    def call(self, views: NetworkInput, classes: list[str], keyframes: Keyframes) -> tuple[Any, Mapping[str, Any]]:
        """What PanSt3R answers: raw geometry of each view, and a dictionary with queries.

        Images are N of ``[3, H, W]`` in −1…1, each of its own size; the shapes one tensor ``[N, 2]`` of heights and
        widths.
        """
        device = self.options.device
        images = [torch.tensor(crop).permute(2, 0, 1).float().div(127.5).sub(1).to(device) for crop in views.crops]
        shapes = torch.tensor([crop.shape[:2] for crop in views.crops], dtype=torch.int64, device=device)
        by_retrieval = keyframes.by == "similarity"
        if by_retrieval and getattr(self.model, "retrieval", None) is None:
            raise InputError(
                str(self.options.checkpoint),
                "no retrieval model in the checkpoint",
                "one, for --keyframes similarity",
                "Use --keyframes even, or a checkpoint that holds it.",
            )
        amp: str | bool = False if self.options.amp == "off" else self.options.amp
        with _told("preparing the classes"):
            # The embeddings of the classes do not follow the model to its device.
            self.model.set_vocab(classes, device=device)
        with _seeded(self.options.seed):
            return getattr(self.model, METHOD)(
                images, shapes, classes, num_keyframes=keyframes.number(len(images)), use_retrieval=by_retrieval,
                max_bs=1, outdevice="cpu", amp=amp,
            )  # fmt: skip

    def decode(self, head: Tensor) -> Mapping[str, Any]:
        """Points and confidence ``[1, H, W, …]`` (pts3d, pts3d_local, conf) of a view's raw head ``[1, H, W, 7]``."""
        with _told("decoding its geometry"):
            engine = importlib.import_module("must3r.engine.inference")
            model = importlib.import_module("must3r.model")
            activation = model.get_pointmaps_activation(self.model.must3r_decoder, verbose=False)
            return engine.postprocess(head, pointmaps_activation=activation)

    def forward(self, views: NetworkInput, classes: Sequence[Category], keyframes: Keyframes) -> NetworkOutput:
        geometry, panoptic = self.call(views, [category.name for category in classes], keyframes)
        count = len(views.images)
        for key in ("pred_logits", "pred_masks"):
            if not isinstance(panoptic, Mapping) or key not in panoptic:
                raise _unexpected("panoptic output", panoptic, f"a dictionary with '{key}'")
        for what, found in (("geometry", geometry), ("pred_masks", panoptic["pred_masks"])):
            if not isinstance(found, (Sequence, Tensor)) or len(found) != count:
                raise _unexpected(what, found, f"{count} tensors, one a view")
        maps: dict[str, list[Tensor]] = {"pts3d": [], "pts3d_local": [], "conf": []}
        for head, size in zip(geometry, views.sizes, strict=True):
            decoded = self.decode(head) if isinstance(head, Tensor) else head
            for key, tensors in maps.items():
                if not isinstance(decoded, Mapping) or key not in decoded:
                    raise _unexpected("geometry", decoded, f"a dictionary with '{key}' for each view")
                channels = () if key == "conf" else (3,)
                found = _without_batch(key, decoded[key], 2 + len(channels))
                tensors.append(_upright(key, found, size, channels).float().cpu())
        # PanSt3R's own post-processing overwrites the masks in place: these are copies.
        masks = [
            _upright("pred_masks", _without_batch("pred_masks", mask, 3).permute(1, 2, 0), size, None)
            .permute(2, 0, 1).to("cpu", torch.float16, copy=True).contiguous()
            for mask, size in zip(panoptic["pred_masks"], views.sizes, strict=True)
        ]  # fmt: skip
        logits = _without_batch("pred_logits", panoptic["pred_logits"], 2).to("cpu", torch.float32, copy=True)
        if logits.shape[0] != masks[0].shape[0] or logits.shape[1] not in (len(classes), len(classes) + 1):
            expected = f"[{masks[0].shape[0]}, {len(classes)}], or a column more for no class"
            raise _unexpected("pred_logits", logits, expected)
        return NetworkOutput(
            masks, logits, maps["pts3d"], maps["pts3d_local"], maps["conf"],
            class_activation="sigmoid" if logits.shape[1] == len(classes) else "softmax",
            recommended_merge=self.recommended_merge,
        )  # fmt: skip

    def _note(self) -> str:
        if self.md5 in PUBLISHED:
            return f"PanSt3R {PUBLISHED[self.md5]} as published, MD5 {self.md5}"
        return f"none of the published ones ({', '.join(PUBLISHED.values())}), MD5 {self.md5}"

    def _recommended_merge(self) -> str | None:
        checkpoint = self.options.checkpoint
        assert checkpoint is not None
        with _told("opening its checkpoint", str(checkpoint)):
            content = read_checkpoint(checkpoint)
        if content is None:
            return None
        missing = [key for key in ("args", "weights") if key not in content]
        if missing:
            raise InputError(
                checkpoint, f"no entry '{missing[0]}'", "a checkpoint of PanSt3R (args, weights)",
                "Give one that its authors published, or one of your own training.",
            )  # fmt: skip
        stated = content.get("postprocess_default")
        return None if stated is None else str(stated).lower().replace("_", "-")


def _upright(key: str, found: Tensor, size: tuple[int, int], channels: tuple[int, ...] | None) -> Tensor:
    """A map ``[h, w, …]`` with its axes as the crop's, which checkpoints may answer transposed for upright photos.

    Args:
        key: for messages.
        found: the map.
        size: width and height of the crop.
        channels: what follows the two axes of a map of the crop's size; None for one of any resolution.
    """
    width, height = size
    h, w = found.shape[:2]
    for rows, columns, turned in ((h, w, False), (w, h, True)):
        # Of another resolution: the same shape up to the rounding of half a pixel.
        same = abs(rows * width - columns * height) <= max(width, height) / 2 if channels is None else (
            (rows, columns) == (height, width) and found.shape[2:] == channels
        )  # fmt: skip
        if same:
            return found.transpose(0, 1) if turned else found
    expected = f"the crop's shape of {height}×{width}, or that transposed"
    raise _unexpected(key, found, expected if channels is None else f"{expected}, with {list(channels)} a pixel")


def _without_batch(key: str, value: Any, dimensions: int) -> Tensor:
    tensor = torch.as_tensor(np.asarray(value) if isinstance(value, list) else value).detach()
    if tensor.ndim == dimensions + 1 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != dimensions:
        raise _unexpected(key, value, f"{dimensions} dimensions after the batch of 1")
    return tensor


def _unexpected(what: str, found: Any, expected: str) -> InputError:
    if isinstance(found, Mapping):
        description = f"a dictionary of {', '.join(map(str, found)) or 'nothing'}"
    elif isinstance(found, Tensor):
        description = f"shape {list(found.shape)}"
    else:
        length = f" of {len(found)}" if hasattr(found, "__len__") else ""
        description = f"a {type(found).__name__}{length}"
    return InputError(
        f"PanSt3R, {what}", description, expected,
        "This version of PanSt3R gives other output than v0.2.1. " + _OTHER_VERSION.format("call or decode"),
    )  # fmt: skip


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's and torch's global generators seeded; NumPy's is put back, as other code may rely on it."""
    state = np.random.get_state()
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@contextmanager
def _told(doing: str, source: str = "network 'panst3r'") -> Iterator[None]:
    """What PanSt3R and what it needs raise, as an `InputError` that says what to do."""
    try:
        yield
    except (InputError, torch.cuda.OutOfMemoryError):
        raise
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        install = _INSTALL.get(name, f"pip install {name}" if name else "See the message")
        raise InputError(
            "network 'panst3r'", f"an import that fails while {doing} ({error})",
            "what PanSt3R needs, in this environment", f"{install}.",
        ) from error  # fmt: skip
    except Exception as error:
        text = "; ".join(_chain(error))
        needed = next((repository for word, repository in _HUB.items() if word in text.lower()), None)
        if needed is not None or any(word in text for word in ("huggingface", "offline mode", "LocalEntryNotFound")):
            wanted = [needed] if needed else list(_HUB.values())
            raise InputError(
                f"network 'panst3r', {doing}",
                f"{' or '.join(wanted)} neither cached nor reachable ({text[:300]})",
                "the files of this model from the Hugging Face hub or its cache",
                f"Where there is a network, run: {'; '.join(f'hf download {repository}' for repository in wanted)}. "
                "Then copy ~/.cache/huggingface here, or set HF_HOME to it.",
            ) from error
        raise InputError(
            source, f"{type(error).__name__} while {doing} ({text[:300]})",
            "PanSt3R v0.2.1 and a checkpoint of it",
            "Check that the file is one of PanSt3R's checkpoints and complete, and that PanSt3R is v0.2.1.",
        ) from error  # fmt: skip


def _chain(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__
