# SPDX-License-Identifier: Apache-2.0
# scipy has no types: what is inferred of its sparse matrices is wrong.
# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Other ways to associate masks, from the same evidence: objects ``[M]`` of each view's masks, −1 for none."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from benchmarks.associating.cases import Case
from benchmarks.associating.view_consensus import view_consensus
from benchmarks.quality.baselines import SourceView, nearest_view_labels
from panoptic_gs.associate import MaskEvidence
from panoptic_gs.errors import InputError
from panoptic_gs.rasterize import rasterization
from panoptic_gs.uplift import ViewWeights

Objects = dict[str, np.ndarray]
BASELINES = ("linear-assignment", "tracking", "view-consensus", "contrastive")
ACCEPT = 0.25
"""Overlap from which on assignment and tracking take a mask for an object."""


def baseline(name: str, case: Case, evidence: MaskEvidence) -> Objects:
    """Do what one of :data:`BASELINES` does."""
    if name == "linear-assignment":
        return linear_assignment(case, evidence)
    if name == "tracking":
        return tracking(case)
    if name == "view-consensus":
        return view_consensus(case, evidence)
    return contrastive(case, evidence)


def linear_assignment(case: Case, evidence: MaskEvidence) -> Objects:
    """View by view, masks of things are matched one to one with what the objects so far would show there."""
    votes = sparse.lil_matrix((evidence.num_gaussians, 0), dtype=np.float32)
    votes, total = sparse.csc_matrix(votes), np.zeros(evidence.num_gaussians)
    result: Objects = {}
    for stem, view in evidence.views.items():
        things = np.flatnonzero(case.things(stem))
        found = np.full(len(view.ids), -1)
        masks = view.votes[:, things].tocsc()
        if votes.shape[1] and len(things):
            rows = votes.tocsr()[view.gaussians]
            share = sparse.diags(1 / np.maximum(total[view.gaussians], 1e-9)) @ rows
            both = (masks.T @ share).toarray()
            shown = np.asarray(share.T @ view.labelled).ravel()
            iou = both / np.maximum(view.areas[things][:, None] + shown[None] - both, 1e-9)
            for m, o in zip(*linear_sum_assignment(iou, maximize=True)):
                if iou[m, o] >= ACCEPT:
                    found[things[m]] = o
        fresh = things[found[things] < 0]
        found[fresh] = votes.shape[1] + np.arange(len(fresh))
        count = votes.shape[1] + len(fresh)
        entries = masks.tocoo()
        new = sparse.csc_matrix(
            (entries.data, (view.gaussians[entries.row], found[things][entries.col])), (evidence.num_gaussians, count)
        )
        votes = sparse.hstack([votes, sparse.csc_matrix((evidence.num_gaussians, len(fresh)))]).tocsc() + new
        total[view.gaussians] += view.labelled
        result[stem] = found
    return result


@torch.no_grad()
def _depth(case: Case, stem: str) -> np.ndarray:
    camera, splats = case.cameras[stem], case.splats
    depth, _, _ = rasterization(
        splats.means, splats.quats, splats.scales, splats.opacities, torch.zeros(len(splats), 3), camera.viewmat[None],
        camera.K[None], camera.width, camera.height, render_mode="ED",
    )  # fmt: skip
    return depth[0, ..., 0].numpy()


def tracking(case: Case) -> Objects:
    """Each view's masks are carried into the next one by rendered depth, and matched with its masks one to one."""
    result: Objects = {}
    free, previous = 0, None
    for stem, masks in case.masks.items():
        things, depth = case.things(stem), _depth(case, stem)
        found = np.full(len(masks), -1)
        current = masks.paint(np.arange(1, len(masks) + 1))
        if previous is not None:
            before, objects = previous
            carried = nearest_view_labels(case.cameras[stem], depth, [before])
            table = np.zeros((len(objects) + 1, len(masks) + 1))
            np.add.at(table, (carried.ravel(), current.ravel()), 1)
            union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - table[1:, 1:]
            iou = table[1:, 1:] / np.maximum(union, 1) * (objects >= 0)[:, None] * things[None]
            for a, b in zip(*linear_sum_assignment(iou, maximize=True)):
                if iou[a, b] >= ACCEPT:
                    found[b] = objects[a]
        fresh = np.flatnonzero(things & (found < 0))
        found[fresh] = free + np.arange(len(fresh))
        free += len(fresh)
        previous = SourceView(case.cameras[stem], depth, current), found
        result[stem] = found
    return result


def contrastive(case: Case, evidence: MaskEvidence, steps: int = 400, pixels: int = 768, seed: int = 0) -> Objects:
    """Features of Gaussians that are alike under one mask of a view and unlike under two, clustered by HDBSCAN.

    A mask's object is the cluster that most of its weight lies in.
    """
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError as error:
        raise InputError(
            "--baselines contrastive", "no scikit-learn", "scikit-learn 1.3 or later", "pip install scikit-learn"
        ) from error
    generator = torch.Generator().manual_seed(seed)
    features = (0.1 * torch.randn(evidence.num_gaussians, 16, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([features], 0.02)
    drawn = []
    for stem, masks in case.masks.items():
        value = np.where(case.things(stem), np.arange(1, len(masks) + 1), 0)
        labels = masks.paint(value).ravel()
        under = np.flatnonzero(labels)
        if len(np.unique(labels[under])) > 1:
            draw = np.random.default_rng([seed, len(drawn)]).permutation(under)[:pixels]
            chosen = torch.from_numpy(np.sort(draw))
            drawn.append((ViewWeights.of(case.splats, case.cameras[stem], chosen), torch.from_numpy(labels[chosen])))
    for _ in range(steps if drawn else 0):
        weights, label = drawn[int(torch.randint(len(drawn), (1,), generator=generator))]
        rendered = torch.nn.functional.normalize(weights.matrix @ features[weights.gaussians], dim=1)
        logits = rendered @ rendered.T / 0.1
        logits.fill_diagonal_(-1e4)
        same = (label[:, None] == label[None]).float().fill_diagonal_(0)
        log_share = logits - torch.logsumexp(logits, 1, keepdim=True)
        loss = -((log_share * same).sum(1) / same.sum(1).clamp_min(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(features.detach(), dim=1).numpy()
    under = np.zeros(evidence.num_gaussians)
    for stem, view in evidence.views.items():
        things = np.flatnonzero(case.things(stem))
        under[view.gaussians] += np.asarray(view.votes[:, things].sum(1)).ravel()
    heavy = np.argsort(-under)[: min(6000, int((under > 1).sum()))]
    result = {stem: np.full(len(view.ids), -1) for stem, view in evidence.views.items()}
    if len(heavy) < 20:
        return result
    cluster = HDBSCAN(min_cluster_size=max(15, len(heavy) // 200), copy=True).fit_predict(unit[heavy])
    place = np.full(evidence.num_gaussians, -1)
    place[heavy] = cluster
    for stem, view in evidence.views.items():
        of = place[view.gaussians]
        rows = np.flatnonzero(of >= 0)
        table = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, of[rows])), (len(of), int(cluster.max()) + 2))
        weight = (view.votes.T @ table).toarray()
        result[stem] = np.where(case.things(stem) & (weight.max(1) > 0), weight.argmax(1), -1)
    return result
