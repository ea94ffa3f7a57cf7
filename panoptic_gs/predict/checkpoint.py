# SPDX-License-Identifier: Apache-2.0
"""A checkpoint file of torch: its checksum, and what it holds."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from panoptic_gs.errors import InputError


def md5(file: Path) -> str:
    """The MD5 of a file, as authors publish it to tell their files from others."""
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def read_checkpoint(file: Path) -> Mapping[str, Any] | None:
    """The entries of a checkpoint. **This runs code from it**: ask for consent first.

    Tensors stay in the file until they are used.

    Returns:
        The entries; None where they need modules that are not there.

    Raises:
        InputError: it is no file of torch, truncated, or holds something else than named entries.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=False, mmap=zipfile.is_zipfile(file))
    except (ImportError, AttributeError):
        return None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError) as error:
        raise InputError(
            file,
            f"no checkpoint that torch can open ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            "a file that torch.save wrote",
            "Check the path; download it again if it is truncated.",
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(
            file, f"a {type(content).__name__}", "a checkpoint with named entries", "Give the network's own checkpoint."
        )
    return content
