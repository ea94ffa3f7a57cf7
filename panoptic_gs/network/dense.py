# SPDX-License-Identifier: Apache-2.0
"""From tokens of patches to features of pixels: an MLP and twice the resolution, repeated; descriptors beside them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional


class DenseFeatures(nn.Module):
    """Tokens → F_n ``[N, mask_width, H / stride, W / stride]``, and descriptors of length 1 at the same pixels.

    Each step makes four tokens of one and adds the appearance backbone's features of the new stride, where it has them.
    """

    def __init__(
        self, width: int, patch: int, stride: int, mask_width: int, fine: Mapping[int, int], match_width: int = 0
    ) -> None:
        super().__init__()
        self.steps, self.skips = nn.ModuleList(), nn.ModuleDict()
        self.norms = nn.ModuleList()
        self.strides: list[int] = []
        while patch > stride:
            patch //= 2
            out = max(mask_width, width // 2)
            self.steps.append(nn.Linear(width, 4 * out))
            self.norms.append(nn.LayerNorm(out))
            if patch in fine:
                self.skips[str(patch)] = nn.Conv2d(fine[patch], out, 1)
            self.strides.append(patch)
            width = out
        self.out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, mask_width))
        self.match_width = match_width
        if match_width:
            self.match = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, match_width))

    def forward(self, tokens: Tensor, fine: Mapping[int, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Features and descriptors of tokens ``[N, rows, columns, D]``, with finer features by their stride."""
        x = tokens
        for stride, step, norm in zip(self.strides, self.steps, self.norms, strict=True):
            x = functional.pixel_shuffle(step(x).permute(0, 3, 1, 2), 2)
            if str(stride) in self.skips:
                x = x + self.skips[str(stride)](fine[stride])
            x = functional.gelu(norm(x.permute(0, 2, 3, 1)))
        features = self.out(x).permute(0, 3, 1, 2)
        if not self.match_width:
            return features, None
        return features, functional.normalize(self.match(x).float(), dim=-1).permute(0, 3, 1, 2)
