# SPDX-License-Identifier: Apache-2.0
"""What each number of a report means, in a sentence: shown where the pointer is, and in a legend."""

from __future__ import annotations

from collections.abc import Iterable

from panoptic_gs.report.markup import Markup, element

SENTENCES = {
    "PQ": "Panoptic quality, SQ × RQ: 100 where every segment is found with its exact outline; the mean over classes.",
    "SQ": "Segmentation quality: the mean IoU of the segments that were found.",
    "RQ": "Recognition quality: the F1 score of finding segments; found means an IoU over 0.5.",
    "PQ things": "Panoptic quality of countable objects alone.",
    "PQ stuff": "Panoptic quality of what is not counted: floor, walls and the like, one segment a class.",
    "mIoU": "Mean over classes of the IoU of all their pixels, whatever object they belong to.",
    "mAcc": "Mean over classes of the share of their true pixels that got their class.",
    "mCov": "Coverage: the mean over true objects of the largest IoU that any predicted segment has with it.",
    "mWCov": "Coverage weighed by the size of the true objects, so that large ones count for more.",
    "PSNR": "How close the rendered colours are to the photo, in decibels: 20 is rough, 30 good; 6 more halve errors.",
    "SSIM": "How alike the structures of render and photo are, from 0 to 1.",
    "LPIPS": "How different render and photo look to a network; lower is better.",
    "score": "How sure the network was that made the masks; it says nothing about this scene's Gaussians.",
    "confidence": "The mean share of the object's label among the votes of its Gaussians: 1 where all views agree.",
    "IoU": "Overlap of the object with the true one that it stands for, over all scored views, from 0 to 1.",
    "Gaussians": "Those whose strongest label this is.",
    "size in metres": "Both sides on the ground and the height of the upright box around it, sorted by volume.",
    "TP": "Segments that were found.",
    "FP": "Predicted segments that are no true one.",
    "FN": "True segments that were missed.",
    "wrong": "Share of the view's pixels with truth that got another class or another object.",
    "panoptic-lifting": "All views as one picture, without void pixels and tiny classes: what published tables print.",
    "strict": "The COCO rules over all views as one picture: unlabelled pixels and every class count.",
}  # fmt: skip


def explained(name: str) -> str | None:
    """The sentence on a score, None for what needs none."""
    return SENTENCES.get(name)


def glossary(names: Iterable[str]) -> Markup:
    """A legend of these scores, to open."""
    pairs = [
        element("div", element("dt", name), element("dd", SENTENCES[name]))
        for name in dict.fromkeys(names) if name in SENTENCES
    ]  # fmt: skip
    return element("details", element("summary", "What these numbers mean"), element("dl", *pairs), class_="glossary")
