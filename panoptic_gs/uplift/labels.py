# SPDX-License-Identifier: Apache-2.0
"""The label distribution of each Gaussian, stored sparsely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.replacing import replacing


@dataclass(frozen=True, eq=False)
class GaussianLabels:
    """What share of a Gaussian's blended pixels carries which label (LUDVIG, Eq. 7), as sparse rows.

    Row i lists the labels that Gaussian i was seen with, ascending, and g_i[l] for each; a row sums to one, and is
    empty for a Gaussian that no labelled pixel shows. Label 0 is void: it has entries only where it was uplifted as a
    label of its own (``void="label"``).

    Args:
        indptr: ``[N + 1]`` int64, row i is ``indptr[i]:indptr[i + 1]``.
        label: ``[nnz]`` int32.
        weight: ``[nnz]`` float32, g_i[l].
        total: ``[N]`` float32, the Gaussian's blending weight summed over all pixels of all views, void ones included.
        void: ``[N]`` float32, the part of ``total`` that lies on void pixels.

    Raises:
        InputError: shapes that do not fit each other, rows that are not ascending.
    """

    indptr: Tensor  # [N + 1]
    label: Tensor  # [nnz]
    weight: Tensor  # [nnz]
    total: Tensor  # [N]
    void: Tensor  # [N]

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            value = getattr(self, name)
            fits = value.dtype in (_FLOATS if dtype.is_floating_point else _INTEGERS)
            if value.ndim != 1 or not fits or value.layout != torch.strided:
                raise InputError(
                    f"GaussianLabels.{name}",
                    f"{value.dtype} of shape {list(value.shape)}",
                    f"one-dimensional {dtype}",
                    "Pass sparse rows as LabelVotes.finish makes them.",
                )
            self._require_range(name, value)
            object.__setattr__(self, name, value.to(dtype).contiguous())
        count = len(self.indptr) - 1
        if count < 0 or self.indptr[0] != 0 or self.indptr[-1] != len(self.label) or (self.indptr.diff() < 0).any():
            raise InputError(
                "GaussianLabels.indptr",
                "offsets that do not enclose the labels",
                f"ascending offsets from 0 to {len(self.label)}",
                "Write the labels again.",
            )
        for name, size in (("weight", len(self.label)), ("total", count), ("void", count)):
            if len(getattr(self, name)) != size:
                raise InputError(
                    f"GaussianLabels.{name}",
                    f"{len(getattr(self, name))} values",
                    f"{size} values",
                    "Write the labels again; the file may be damaged.",
                )
        if len(self.label) == 0:
            return
        inside_a_row = torch.ones(len(self.label), dtype=torch.bool, device=self.label.device)
        starts = self.indptr[:-1]
        inside_a_row[starts[starts < len(self.label)]] = False
        if self.label.min() < 0 or ((self.label.diff() <= 0) & inside_a_row[1:]).any():
            raise InputError(
                "GaussianLabels.label",
                "labels that are negative or not ascending within a row",
                "ascending labels",
                "Sort each row by label.",
            )

    def _require_range(self, name: str, value: Tensor) -> None:
        """Before anything is converted: labels are ids, weights and sums of them are finite and not negative."""
        if value.numel() == 0 or name == "indptr":
            return
        low, high = (bound.item() for bound in value.aminmax())
        most = torch.iinfo(torch.int32).max if name == "label" else torch.finfo(torch.float32).max
        if not (low >= 0 and high <= most):  # false for NaN, too
            raise InputError(
                f"GaussianLabels.{name}",
                f"values from {low:g} to {high:g}",
                f"ids from 0 to {most}" if name == "label" else "finite values of at least 0",
                "Write the labels again; the file may be damaged.",
            )

    @classmethod
    def from_kernel(cls, indptr: Tensor, label: Tensor, weight: Tensor, total: Tensor, void: Tensor) -> GaussianLabels:
        """What the vote store computed, which is right by construction and not checked again."""
        labels = object.__new__(cls)
        for name, value in zip(_DTYPES, (indptr, label, weight, total, void)):
            object.__setattr__(labels, name, value)
        return labels

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.label.device

    def rows(self) -> Tensor:
        """The Gaussian ``[nnz]`` int64 of each entry."""
        numbers = torch.arange(len(self), device=self.device)
        return torch.repeat_interleave(numbers, self.indptr.diff(), output_size=len(self.label))

    @property
    def ranks(self) -> tuple[Tensor, Tensor]:
        """The labels that occur, ascending ``[L]`` int32, and the position ``[nnz]`` int32 of each entry's in it."""
        return self._ranks

    @cached_property
    def _ranks(self) -> tuple[Tensor, Tensor]:
        known, rank = torch.unique(self.label, return_inverse=True)
        return known, rank.int()

    def to_dense(self, num: int) -> Tensor:
        """The matrix ``[N, num]`` float32 of g: column l is label l, column 0 is void.

        Raises:
            InputError: a label is ``num`` or larger.
        """
        largest = int(self.label.max()) if len(self.label) else 0
        if largest >= num:
            raise InputError(
                "num",
                f"{num} columns",
                f"at least {largest + 1}, one for each label up to the largest",
                "Pass a larger num.",
            )
        dense = torch.zeros(len(self), num, device=self.device)
        dense[self.rows(), self.label.long()] = self.weight
        return dense

    def best(self) -> tuple[Tensor, Tensor]:
        """Each Gaussian's strongest label ``[N]`` int64 (the smallest of equal ones) and its share ``[N]`` float32.

        A Gaussian without labels has label 0 (void) and share 0.
        """
        rows = self.rows()
        share = torch.zeros(len(self), device=self.device).scatter_reduce(0, rows, self.weight, "amax")
        strongest = self.weight == share[rows]
        unset = torch.iinfo(torch.int64).max
        segment = torch.full((len(self),), unset, dtype=torch.int64, device=self.device)
        segment = segment.scatter_reduce(0, rows[strongest], self.label[strongest].long(), "amin")
        return torch.where(segment == unset, 0, segment), share

    def subset(self, index: Tensor) -> GaussianLabels:
        """The rows that a mask ``[N]`` or an index tensor ``[M]`` selects, in its order."""
        chosen = torch.arange(len(self), device=self.device)[index]
        counts = self.indptr.diff()[chosen]
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shift = torch.repeat_interleave(self.indptr[chosen] - indptr[:-1], counts)
        entries = torch.arange(len(shift), device=self.device) + shift
        return GaussianLabels(indptr, self.label[entries], self.weight[entries], self.total[chosen], self.void[chosen])

    def to(self, device: torch.device | str) -> GaussianLabels:
        """The same labels on another device."""
        return GaussianLabels.from_kernel(*(getattr(self, name).to(device) for name in _DTYPES))

    def tensors(self) -> dict[str, Tensor]:
        """The five tensors by name, as files hold them."""
        return {name: getattr(self, name) for name in LABEL_TENSORS}

    def save(self, path: Path | str) -> None:
        """Write ``labels.safetensors``: the five tensors by name, in one move."""
        with replacing(Path(path)) as temporary:
            save_file({name: value.cpu() for name, value in self.tensors().items()}, temporary)

    @classmethod
    def load(cls, path: Path | str) -> GaussianLabels:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, truncated, tensors missing or inconsistent.
        """
        expected = "labels.safetensors with " + ", ".join(_DTYPES)
        try:
            tensors = load_file(Path(path))
        except FileNotFoundError as error:
            raise InputError(path, "no such file", expected, "Check the path, or uplift the labels first.") from error
        except (SafetensorError, OSError) as error:
            raise InputError(
                path, f"a file that cannot be read ({error})", expected, "Copy or write it again; it may be truncated."
            ) from error
        missing = [name for name in _DTYPES if name not in tensors]
        if missing:
            raise InputError(path, f"no tensor {', '.join(missing)}", expected, "Write it with GaussianLabels.save.")
        try:
            return cls(**{name: tensors[name] for name in _DTYPES})
        except InputError as error:
            raise error.inside(path) from error

    def require_count(self, num_gaussians: int) -> None:
        """Check that these labels can belong to ``num_gaussians`` Gaussians.

        Raises:
            InputError: the counts differ.
        """
        if len(self) != num_gaussians:
            raise InputError(
                "labels",
                f"labels of {len(self)} Gaussians",
                f"{num_gaussians}, one row for each Gaussian of the splats",
                "These labels are of another scene; uplift them for these splats.",
            )


_DTYPES = {
    "indptr": torch.int64,
    "label": torch.int32,
    "weight": torch.float32,
    "total": torch.float32,
    "void": torch.float32,
}
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LABEL_TENSORS = tuple(_DTYPES)
"""Names of the tensors that make up labels."""
