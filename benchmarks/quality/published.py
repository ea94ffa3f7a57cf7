# SPDX-License-Identifier: Apache-2.0
"""Published scene-PQ of the datasets, to stand beside what is measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A method's scene-PQ (protocol ``panoptic-lifting``, percent) as a paper prints it."""

    method: str
    source: str
    pq: float


TITLES = {"hypersim": "Hypersim", "replica": "Replica", "scannet": "ScanNet", "scannetpp": "ScanNet++"}
"""Datasets as they are called in print."""

_PANLIFT = ("hypersim", "replica", "scannet")
_PANST3R = "PanSt3R, ICCV 2025"

_ROWS: tuple[tuple[str, str, tuple[float | None, float | None, float | None]], ...] = (
    ("DM-NeRF", "Panoptic Lifting, CVPR 2023", (51.6, 44.1, 41.7)),
    ("PNF", "Panoptic Lifting, CVPR 2023", (44.8, 41.1, 48.3)),
    ("Panoptic Lifting", "Panoptic Lifting, CVPR 2023", (60.1, 57.9, 58.9)),
    ("Contrastive Lift", "Contrastive Lift, NeurIPS 2023", (62.3, 59.1, 62.3)),
    ("PLGS", "PLGS, 2024", (62.4, 57.8, 58.7)),
    ("PCF-Lift", "PCF-Lift, ECCV 2024", (None, None, 63.5)),
    ("PanSt3R", _PANST3R, (56.5, 62.0, 65.7)),
    ("PanSt3R + LUDVIG", _PANST3R, (66.3, 60.6, 67.5)),
    ("PanSt3R, second release, without uplifting", "PanSt3R v0.2", (59.6, 61.8, 63.0)),
)

_SCANNETPP = (
    ("Panoptic Lifting", 29.5),
    ("Contrastive Lift", 28.4),
    ("PanSt3R", 49.1),
    ("PanSt3R + LUDVIG", 54.7),
)

PUBLISHED: dict[str, tuple[Published, ...]] = {
    **{
        dataset: tuple(
            Published(method, source, pq)
            for method, source, values in _ROWS
            for pq in values[column : column + 1]
            if pq is not None
        )
        for column, dataset in enumerate(_PANLIFT)
    },
    "scannetpp": tuple(Published(method, f"{_PANST3R}, 50 validation scenes", pq) for method, pq in _SCANNETPP),
}
"""Dataset → the methods' rows."""

_ABLATION = (
    ("PanSt3R + LUDVIG", (66.3, 60.6, 67.5)),
    ("without regularisation", (66.7, 60.7, 67.3)),
    ("without QUBO (MaskFormer's merging)", (59.3, 61.2, 60.6)),
    ("without both", (58.1, 60.8, 60.2)),
)

PUBLISHED_ABLATION: dict[str, tuple[Published, ...]] = {
    dataset: tuple(Published(method, f"{_PANST3R}, Table 5", values[column]) for method, values in _ABLATION)
    for column, dataset in enumerate(_PANLIFT)
}
"""Dataset → regularisation × merge."""

PUBLISHED_VIEWS: dict[str, tuple[Published, ...]] = {
    "scannetpp": tuple(
        Published(f"PanSt3R + LUDVIG, {views} seen views", f"{_PANST3R}, Table 7", pq)
        for views, pq in ((10, 41.7), (25, 56.1), (50, 61.6), (100, 65.0))
    )
}
"""Dataset → number of views that were seen."""
