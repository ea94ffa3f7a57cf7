# SPDX-License-Identifier: Apache-2.0
"""Learned association: instance queries trained on unassociated masks (PanopticRecon++ and PanopticSplatting)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_gs.associate.attention import INSIDE, attention
from panoptic_gs.associate.closed_form import associate
from panoptic_gs.associate.head import (
    SEMANTIC_FEATURES,
    Channels,
    SemanticDecoder,
    TokenClassifier,
    blended_semantics,
    instance_shares,
)
from panoptic_gs.associate.learned_options import PANOPTIC_RECON, LearnedOptions
from panoptic_gs.associate.learned_result import LearnedAssociation, result_of
from panoptic_gs.associate.learned_views import (
    IGNORED,
    LearnedView,
    blending_totals,
    channels_of,
    learned_view,
)
from panoptic_gs.associate.masks import LEAST_SEEN, ImageMasks, ViewMasks, foreign_splats, no_masks
from panoptic_gs.associate.matching import Matching, cross_entropy_loss, dice_loss, match
from panoptic_gs.associate.queries import FEATURES, quadratic_terms
from panoptic_gs.associate.starting_queries import from_clusters, from_masks
from panoptic_gs.associate.token_dynamics import TokenCensus, without_duplicates
from panoptic_gs.associate.warping import Warp, warps_of_views
from panoptic_gs.backends import RasterizeMode
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.optimizers import Adam
from panoptic_gs.panoptic import Category
from panoptic_gs.progress import Progress, silent
from panoptic_gs.splats import Splats

LEAST_STD = 0.05
"""Least standard deviation of a query, in units of the scene."""
_LEARNING_RATES = {"centers": 5e-3, "log_scales": 1e-2, "quats": 2e-3, "features": 5e-3, "classes": 1e-2}
_GAUSSIAN_RATE, _HEAD_RATE = 1e-2, 5e-3
_MATCH_STRICTLY_FROM = 0.3
_CHANGE_UNTIL = 0.8


def associate_learned(
    splats: Splats,
    views: Mapping[str, Camera],
    masks: Mapping[str, ViewMasks],
    categories: Collection[Category] | None = None,
    options: LearnedOptions = PANOPTIC_RECON,
    *,
    depths: Mapping[str, Tensor] | None = None,
    rasterize_mode: RasterizeMode = "classic",
    progress: Progress = silent,
) -> LearnedAssociation:
    """Learn the objects of a scene from masks that are numbered image by image; the Gaussians stay as they are.

    Frozen Gaussians fix the blending weights, so each view is a sparse matrix, and rendering queries is a product with
    it. See ``docs/associating.md`` for the equations.

    Args:
        splats: the Gaussians, of any training. CUDA tensors are copied: the work is done on the host.
        views: image stem → camera.
        masks: image stem → masks, on their camera's pixels. Masks that overlap are flattened by score.
        categories: what the masks' category ids mean; known of :class:`~panoptic_gs.associate.ImageMasks`.
        options: components, steps, seed; :data:`PANOPTIC_RECON` or :data:`PANOPTIC_SPLATTING`.
        depths: image stem → depth ``[H, W]`` of a sensor, 0 where unknown, for label warping; else rendered depth.
        rasterize_mode: how the splats were trained.
        progress: called while it works.

    Raises:
        InputError: masks of unknown views or another size, no mask, no Gaussians under the masks.
    """
    learning = Learning(
        splats, views, masks, categories, options, depths=depths, rasterize_mode=rasterize_mode, progress=progress
    )
    for step in range(options.steps):
        learning.step()
        progress("Learning objects", step + 1, options.steps)
    return learning.finish()


@dataclass(frozen=True)
class Drawn:
    """What the queries and Gaussians show of a view."""

    attention: Tensor  # [K, Q], of the view's Gaussians
    masks: Tensor  # [P, Q], without gradients
    matching: Matching


class Learning:
    """The state of the training: queries, features of Gaussians, decoders, their optimizer.

    Arguments as of :func:`associate_learned`.
    """

    def __init__(
        self,
        splats: Splats,
        cameras: Mapping[str, Camera],
        masks: Mapping[str, ViewMasks],
        categories: Collection[Category] | None = None,
        options: LearnedOptions = PANOPTIC_RECON,
        *,
        depths: Mapping[str, Tensor] | None = None,
        rasterize_mode: RasterizeMode = "classic",
        progress: Progress = silent,
    ) -> None:
        self.options = options
        self.categories = _categories_of(masks, categories)
        self.channels: Channels = channels_of(self.categories)
        self.source = getattr(masks, "source", "")
        self.category_ids = {stem: masks[stem].category_ids for stem in masks}
        self.generator = torch.Generator().manual_seed(options.seed)
        host = splats.to(torch.device("cpu"))
        self.views = _views(host, cameras, masks, self.channels, options, self.generator, rasterize_mode, progress)
        self.total = blending_totals(self.views, len(host))
        self.opaque = (self.total > 0) & (host.opacities >= 0.1)
        self.origin, self.unit = scene_unit(host.means, self.opaque)
        points = (host.means - self.origin) / self.unit
        self.terms = quadratic_terms(points)
        if options.start == "clusters":
            clusters = associate(
                host, cameras, masks, self.categories, rasterize_mode=rasterize_mode, progress=progress
            )
            self.queries = from_clusters(self.views, points, clusters, self.generator)
        else:
            self.queries = from_masks(self.views, points, options.most_tokens, self.generator)
        count = len(host)
        self.features = torch.nn.Parameter(0.1 * torch.randn(count, FEATURES, generator=self.generator))
        self.semantics = torch.nn.Parameter(0.1 * torch.randn(count, SEMANTIC_FEATURES, generator=self.generator))
        self.decoder = SemanticDecoder(len(self.channels.category_ids), self.generator)
        self.classifier = TokenClassifier(len(self.channels.category_ids) - self.channels.stuff, self.generator)
        self.warps: dict[str, list[Warp]] = {}
        if options.warping:
            seen = {stem: cameras[stem] for stem in self.views}
            self.warps = warps_of_views(
                host, seen, generator=self.generator, depths=depths, rasterize_mode=rasterize_mode
            )
        heads = [*self.decoder.parameters(), *self.classifier.parameters()]
        self.optimizer = Adam([
            {"params": [self.features, self.semantics], "lr": _GAUSSIAN_RATE},
            {"params": heads, "lr": _HEAD_RATE},
            *({"params": [getattr(self.queries, name)], "lr": rate} for name, rate in _LEARNING_RATES.items()),
        ])  # fmt: skip
        self._first_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steps_done = 0
        self.census = TokenCensus(len(self.queries))
        self._order: list[str] = []

    def draw(self, view: LearnedView, strict: bool) -> Drawn:
        """The attention to a view's Gaussians, its masks, and which query each true mask is matched to."""
        local = self.attention(view.gaussians) if self.options.local_attention else self.attention()[view.gaussians]
        with torch.no_grad():
            rendered = _product(view, local.detach())
            cost = None
            if self.options.class_cost and len(self.queries):
                chance = self.classifier(self.queries.classes).softmax(-1)[:, view.thing_classes]
                cost = 0.5 * (chance.max() - chance) if chance.numel() else None
            matching = match(rendered, view.masks(), cost, self.options.most_dice if strict else None)
        return Drawn(local, rendered, matching)

    def attention(self, gaussians: Tensor | None = None) -> Tensor:  # [K, Q]
        """The attention of the queries to these Gaussians ``[K]``, or to all."""
        features = self.features if gaussians is None else self.features.index_select(0, gaussians)
        terms = self.terms if gaussians is None else self.terms[gaussians]
        options = self.options
        return attention(
            self.queries, features, terms, masks=options.masks, temperature=options.temperature, prior=options.prior,
            least_std=LEAST_STD,
        )  # fmt: skip

    def losses(self, stem: str) -> dict[str, Tensor]:
        """The losses of a view, and the census of its matches."""
        view, options = self.views[stem], self.options
        part = self.steps_done / options.steps
        late = options.panoptic_head and part >= options.panoptic_from
        drawn = self.draw(view, strict=part >= _MATCH_STRICTLY_FROM)
        matched, contested = drawn.matching.queries, drawn.matching.contested
        self.census.add(matched, contested)
        result: dict[str, Tensor] = {}
        if len(matched):
            of_matched = view.matrix @ drawn.attention.index_select(1, matched)
            true = view.masks()[:, drawn.matching.masks]
            result["cross_entropy"] = cross_entropy_loss(of_matched, true)
            if not late:
                result["dice"] = dice_loss(of_matched, true)
            if options.token_classes:
                logits = self.classifier(self.queries.classes[matched])
                classes = view.thing_classes[drawn.matching.masks]
                result["token_class"] = torch.nn.functional.cross_entropy(logits, classes)
        features = self.semantics.index_select(0, view.gaussians)
        known = view.channel_of_pixel != IGNORED
        if known.any():
            shares = blended_semantics(view.matrix, features, self.decoder, by_label=options.label_blending)
            chosen = shares[known, view.channel_of_pixel[known]]
            result["semantics"] = -chosen.clamp_min(1e-6).log().mean()
            if late:
                result["panoptic"] = options.panoptic_weight * self._panoptic_loss(view, drawn, features, shares)
        # The panoptic loss says again what pixels are; what neighbours say keeps its weight against both.
        weight = options.warping_weight * (1 + options.panoptic_weight if late else 1)
        for warp in self.warps.get(stem, ()):
            loss = weight * warp.loss(self.decoder(self.semantics.index_select(0, warp.gaussians)))
            result["warping"] = result["warping"] + loss if "warping" in result else loss
        return result

    def _panoptic_loss(self, view: LearnedView, drawn: Drawn, features: Tensor, shares: Tensor) -> Tensor:
        """The cross entropy of l_P, over pixels of stuff and of matched masks."""
        stuff = self.channels.stuff
        row = torch.full((len(view.thing_masks) + 1,), IGNORED)
        row[drawn.matching.masks] = torch.arange(len(drawn.matching.masks))
        row = row[view.mask_of_pixel]
        chosen: list[Tensor] = []
        on_stuff = ((view.channel_of_pixel != IGNORED) & (view.channel_of_pixel < stuff)).nonzero()[:, 0]
        chosen.append(shares[on_stuff, view.channel_of_pixel[on_stuff]])
        if len(drawn.matching.queries):
            on_things = (row >= 0).nonzero()[:, 0]
            matched = drawn.matching.queries
            if self.options.label_blending:
                things = self.decoder(features)[:, stuff:].sum(-1, keepdim=True)
                of_query = view.matrix @ (things * instance_shares(drawn.attention).index_select(1, matched))
            else:
                whole = instance_shares(view.matrix @ drawn.attention)
                of_query = shares[:, stuff:].sum(-1, keepdim=True) * whole.index_select(1, matched)
            chosen.append(of_query[on_things, row[on_things]])
        probability = torch.cat(chosen)
        return -probability.clamp_min(1e-6).log().mean() if len(probability) else probability.sum()

    def step(self) -> dict[str, float]:
        """One step on one view; views come in a new order in each round."""
        if not self._order:
            stems = list(self.views)
            self._order = [stems[k] for k in torch.randperm(len(stems), generator=self.generator).tolist()]
        # Rates that stay leave every Gaussian as the last view saw it, with that view's errors.
        decay = self.options.last_rate ** (self.steps_done / self.options.steps)
        for group, rate in zip(self.optimizer.param_groups, self._first_rates, strict=True):
            group["lr"] = decay * rate
        losses = self.losses(self._order.pop())
        self.optimizer.zero_grad()
        if losses:
            torch.stack(list(losses.values())).sum().backward()
            self.optimizer.step()
        self.steps_done += 1
        if self.options.dynamic_tokens and self.steps_done <= _CHANGE_UNTIL * self.options.steps:
            self._renew()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _renew(self) -> None:
        """Drop useless queries and duplicates, clone contested ones, where it is time."""
        if self.steps_done % max(self.options.prune_every, len(self.views)) == 0:
            self._select(self.census.useful())
            self._select(without_duplicates(self.members(), self.total[self.opaque]))
            self.census = TokenCensus(len(self.queries))
        if self.steps_done % self.options.split_every == 0:
            cloned = self.census.cloned()
            if len(cloned):
                self._select(torch.cat([torch.arange(len(self.queries)), cloned]))

    def _select(self, rows: Tensor) -> None:
        self.queries.select(rows, self.optimizer)
        self.census.select(rows)

    @torch.no_grad()
    def members(self) -> Tensor:  # [N', Q] bool
        """Which of the opaque Gaussians belong to which query."""
        least = INSIDE[self.options.masks]
        inside = [self.attention(part) > least for part in self.opaque.nonzero()[:, 0].split(16384)]
        return torch.cat(inside) if inside else torch.zeros(0, len(self.queries), dtype=torch.bool)

    @torch.no_grad()
    def finish(self) -> LearnedAssociation:
        """Match the views a last time, drop queries of few views, and give what was learned."""
        return result_of(self)


def _categories_of(masks: Mapping[str, ViewMasks], categories: Collection[Category] | None) -> tuple[Category, ...]:
    if categories is not None:
        return tuple(categories)
    if not isinstance(masks, ImageMasks):
        raise InputError("categories", "none", "the classes of the masks", "Pass categories=…")
    return tuple(masks.categories)


def _views(
    splats: Splats,
    cameras: Mapping[str, Camera],
    masks: Mapping[str, ViewMasks],
    channels: Channels,
    options: LearnedOptions,
    generator: torch.Generator,
    rasterize_mode: RasterizeMode,
    progress: Progress,
) -> dict[str, LearnedView]:
    result: dict[str, LearnedView] = {}
    for number, stem in enumerate(masks):
        if stem not in cameras:
            raise InputError(
                "masks", f"masks of '{stem}'", "masks of the views that are given", "Pass its camera, or leave it out."
            )
        result[stem] = learned_view(
            splats, cameras[stem], masks[stem], channels, pixels=options.pixels, generator=generator,
            rasterize_mode=rasterize_mode,
        )  # fmt: skip
        progress("Weighing pixels", number + 1, len(masks))
    if not any(len(masks[stem]) for stem in result):
        raise no_masks()
    seen = sum(float(view.matrix.weight.sum()) for view in result.values())
    if seen < LEAST_SEEN * sum(view.matrix.shape[0] for view in result.values()):
        raise foreign_splats(f"Gaussians that cover less than {LEAST_SEEN:.0%} of the views' pixels")
    return result


def scene_unit(means: Tensor, seen: Tensor) -> tuple[Tensor, float]:
    """The middle ``[3]`` of the Gaussians that are seen, and half their median distance from it.

    About a metre in a room. Lengths of the method are in this unit, so the scale of a scene changes nothing.
    """
    chosen = means[seen] if seen.any() else means
    middle = chosen.median(dim=0).values
    unit = 0.5 * float((chosen - middle).norm(dim=-1).median())
    return middle, unit if unit > 0 else 1.0


def _product(view: LearnedView, values: Tensor) -> Tensor:
    if values.shape[1] == 0:
        return torch.zeros(view.matrix.shape[0], 0)
    return view.matrix @ values
