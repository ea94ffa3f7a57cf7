# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from the Hugging Face hub, its cache or a folder: named before they are downloaded, refused by name."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from panoptic_gs.errors import InputError
from panoptic_gs.predict.registry import Known

FAMILIES = {
    "eomt": "eomt", "eomt_dinov3": "eomt", "mask2former": "mask2former", "oneformer": "oneformer",
    "sam2": "sam2", "sam2_video": "sam2", "sam3": "sam3", "sam3_video": "sam3",
}  # fmt: skip
"""Model type in a checkpoint's config.json → the family that can run it."""


def family_of(checkpoint: str) -> str:
    """The family of a checkpoint, from its configuration.

    Raises:
        InputError: it cannot be had, or is of no family that finds masks.
    """
    from transformers import AutoConfig  # pyright: ignore[reportMissingImports]

    require_at_hand(checkpoint)
    with readable(checkpoint):
        kind = AutoConfig.from_pretrained(checkpoint).model_type
    if kind not in FAMILIES:
        raise InputError(
            checkpoint, f"a checkpoint of the kind '{kind}'", f"one of {', '.join(sorted(set(FAMILIES.values())))}",
            "Give a checkpoint for universal (panoptic) segmentation, or one of SAM.",
        )  # fmt: skip
    return FAMILIES[kind]


def announced(known: Known, checkpoint: str | None, default: str, say: Callable[[str], None]) -> str:
    """The checkpoint to load; says its licence, and what is downloaded where it is not at hand."""
    own = "" if checkpoint is None else " That of this checkpoint is on its page or beside it."
    say(known.licence + own)
    name = checkpoint or default
    if not Path(name).is_dir() and not _cached(name):
        size = f" ({known.downloads})" if checkpoint is None and known.downloads else ""
        say(f"Downloading {name}{size} from the Hugging Face hub; later runs need no network")
    return name


def require_at_hand(checkpoint: str) -> bool:
    """Whether a checkpoint has to be downloaded; one question to the hub tells whether it can be.

    Raises:
        InputError: no such folder, no such name, one that asks for a login, or no way to the hub.
    """
    if Path(checkpoint).is_dir():
        return False
    if Path(checkpoint).is_absolute() or checkpoint.startswith((".", "~")) or Path(checkpoint).exists():
        found = "a single file" if Path(checkpoint).is_file() else "no such folder"
        raise InputError(checkpoint, found, "the folder of a checkpoint, with config.json and weights",
                         "Give the folder that 'save_pretrained' or 'hf download' wrote.")  # fmt: skip
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url  # pyright: ignore[reportMissingImports]

    try:
        if _cached(checkpoint):
            return False
        get_hf_file_metadata(hf_hub_url(checkpoint, "config.json"))
    except errors.GatedRepoError as error:
        raise InputError(
            checkpoint, "a checkpoint that asks for a login", "a login that has agreed to its terms",
            f"Agree to them on the page of {checkpoint} on the hub, then run: hf auth login",
        ) from error  # fmt: skip
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            checkpoint, "no checkpoint of this name on the hub, or a private one", "the name of a checkpoint",
            "Check the name; for a private one run: hf auth login",
        ) from error  # fmt: skip
    except errors.EntryNotFoundError as error:
        raise InputError(
            checkpoint, "no config.json in it", "a checkpoint of transformers", "Give one that transformers can load."
        ) from error
    except errors.HFValidationError as error:
        raise InputError(
            checkpoint, "no such folder, and no name that the hub allows", "OWNER/NAME, or the folder of a checkpoint",
            "Check the name.",
        ) from error  # fmt: skip
    except Exception as error:  # of whichever HTTP library the hub's client uses
        raise _not_reachable(checkpoint, error) from error
    return True


@contextmanager
def readable(checkpoint: str) -> Iterator[None]:
    """What goes wrong while a checkpoint is fetched or opened, as an `InputError` with the way on."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of transformers, safetensors, pickle, the hub's client and its HTTP library
        if _disk_is_full(error):
            raise InputError(
                checkpoint, "no space left for its weights", "a few gigabytes in the hub's cache",
                "Make room, or set HF_HOME to a folder on another disk.",
            ) from error  # fmt: skip
        if Path(checkpoint).is_dir():
            raise InputError(
                checkpoint, f"a checkpoint that cannot be used ({type(error).__name__}: {_first_line(error)})",
                "config.json, preprocessor_config.json and whole weights of a model that this version of transformers "
                "knows",
                "Copy or download all of its files again, or update transformers: "
                "pip install -U 'panoptic-gs[networks]'.",
            ) from error  # fmt: skip
        if isinstance(error, OSError):
            raise _not_reachable(checkpoint, error) from error
        raise InputError(
            checkpoint, f"a checkpoint that cannot be used ({type(error).__name__}: {_first_line(error)})",
            "a whole checkpoint of a model that this version of transformers knows",
            "Check the name, download it again, or update transformers: pip install -U 'panoptic-gs[networks]'.",
        ) from error  # fmt: skip


def _not_reachable(checkpoint: str, error: Exception) -> InputError:
    return InputError(
        checkpoint, f"a checkpoint that cannot be had ({_first_line(error)})",
        "a name on the Hugging Face hub that is cached or reachable, or a folder with config.json and weights",
        f"Where there is a network, run: hf download {checkpoint}. Then copy ~/.cache/huggingface here, or set "
        "HF_HOME to it; or give the folder that holds it.",
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of it; some libraries keep nothing of it but its words."""
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def loaded(kind: Any, checkpoint: str, device: str, **options: Any) -> Any:
    """A model of a class of transformers, in evaluation mode; weights that are missing are refused, not drawn.

    Raises:
        InputError: it cannot be read, or lacks weights.
    """
    from transformers.utils import logging  # pyright: ignore[reportMissingImports]

    logging.disable_progress_bar()
    with readable(checkpoint):
        model, info = kind.from_pretrained(checkpoint, output_loading_info=True, **options)
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            checkpoint, f"no weights for {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
            f"a checkpoint of {kind.__name__}", "Give one of this model, not of a part of it or of another.",
        )  # fmt: skip
    return model.to(device).eval()


def _cached(repository: str) -> bool:
    try:
        from huggingface_hub import try_to_load_from_cache  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    try:
        return any(
            isinstance(try_to_load_from_cache(repository, name), str)
            for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
        )
    except ValueError:  # no name that the hub allows
        return False
