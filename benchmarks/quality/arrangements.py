# SPDX-License-Identifier: Apache-2.0
"""Furniture in places where it is known what is on, in, under and next to what, as Gaussians that are not quite right.

Trained rooms have floors, tables and what stands on them, but hardly anything under, in or close beside something. Here
each place of a floor has one small arrangement. Gaussians lie off the surfaces that they are of by a centimetre, there
are none where two surfaces meet, few on undersides, and some have the label of what is next to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import KDTree

from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.splats import Splats
from panoptic_gs.uplift import GaussianLabels, LabelledScene

FLOOR = 1
_SPACING = 0.035
_BLUR = 0.01
_UNDERSIDE = 0.1  # of the Gaussians of a face that looks down that are there
_MISLABELLED = 0.03
_APART = 3.0  # metres between two places

Fact = tuple[int, str, int]
"""Subject, relation, object."""


@dataclass
class Arranged:
    """A floor with arrangements on it.

    Attributes:
        facts: what is true; ``next to`` has the smaller id first.
        open: pairs of which nothing is asked: either answer is right.
        not_on: pairs of which only ``on`` would be wrong.
    """

    boxes: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)  # id, low, high
    names: list[str] = field(default_factory=lambda: ["floor"])
    facts: set[Fact] = field(default_factory=set)
    open: set[frozenset[int]] = field(default_factory=set)
    not_on: set[tuple[int, int]] = field(default_factory=set)

    def thing(self, name: str, *boxes: tuple[Sequence[float], Sequence[float]]) -> int:
        """A new object of boxes from corner to corner; its id."""
        self.names.append(name)
        number = len(self.names)
        self.boxes += [(number, np.array(low, float), np.array(high, float)) for low, high in boxes]
        return number


Place = Callable[[Arranged, np.ndarray, np.random.Generator], None]


def _table(here: Arranged, at: np.ndarray, rng: np.random.Generator, high: float = 0.75) -> int:
    x, y = rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.5)
    legs = [((i * x - 0.03 + at[0], j * y - 0.03 + at[1], 0), (i * x + 0.03 + at[0], j * y + 0.03 + at[1], high - 0.04))
            for i in (-0.95, 0.95) for j in (-0.95, 0.95)]  # fmt: skip
    table = here.thing("table", ((at[0] - x, at[1] - y, high - 0.04), (at[0] + x, at[1] + y, high)), *legs)
    here.facts.add((table, "on", FLOOR))
    return table


def _block(here: Arranged, name: str, center: Sequence[float], size: Sequence[float]) -> int:
    half = np.array(size) / 2
    return here.thing(name, ((np.array(center) - half).tolist(), (np.array(center) + half).tolist()))


def _on_a_table(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    table, high = _table(here, at, rng), rng.uniform(0.06, 0.35)
    cup = _block(here, "crate", [at[0] + rng.uniform(-0.3, 0.3), at[1] + rng.uniform(-0.2, 0.2), 0.75 + high / 2],
                 [rng.uniform(0.08, 0.3), rng.uniform(0.08, 0.3), high])  # fmt: skip
    here.facts.add((cup, "on", table))


def _flat_on_a_table(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    plate = _block(here, "plate", [at[0] + rng.uniform(-0.3, 0.3), at[1] + rng.uniform(-0.2, 0.2), 0.76],
                   [0.24, 0.24, 0.02])  # fmt: skip
    here.facts.add((plate, "on", _table(here, at, rng)))


def _under_a_table(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    high = rng.uniform(0.25, 0.6)
    bin_ = _block(here, "bin", [at[0] + rng.uniform(-0.2, 0.2), at[1], high / 2], [0.3, 0.3, high])
    here.facts |= {(bin_, "under", _table(here, at, rng)), (bin_, "on", FLOOR)}


def _beside_a_table(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    table = _table(here, at, rng)
    edge = max(high[0] for number, _, high in here.boxes if number == table)
    gap = rng.uniform(0.15, 0.5)
    bin_ = _block(here, "bin", [edge + gap + 0.15, at[1], 0.2], [0.3, 0.3, 0.4])
    here.facts.add((bin_, "on", FLOOR))


def _neighbours(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    gap = rng.choice([rng.uniform(0.0, 0.03), rng.uniform(0.12, 0.4)])
    one = _block(here, "chest", [at[0] - 0.25, at[1], 0.4], [0.5, 0.5, 0.8])
    other = _block(here, "chest", [at[0] + 0.3 + gap, at[1], 0.3], [0.6, 0.5, 0.6])
    here.facts |= {(one, "on", FLOOR), (other, "on", FLOOR)}
    if gap < 0.1:
        here.facts.add((one, "next to", other))


def _in_a_crate(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    x, y = at
    high, out, wall = rng.uniform(0.3, 0.6), 0.3, 0.28
    crate = here.thing(
        "crate",
        ((x - out, y - out, 0), (x + out, y + out, 0.02)),
        ((x - out, y - out, 0), (x - wall, y + out, high)),
        ((x + wall, y - out, 0), (x + out, y + out, high)),
        ((x - out, y - out, 0), (x + out, y - wall, high)),
        ((x - out, y + wall, 0), (x + out, y + out, high)),
    )
    ball = _block(here, "ball", [x + rng.uniform(-0.08, 0.08), y, 0.02 + 0.1], [0.2, 0.2, 0.2])
    here.facts |= {(crate, "on", FLOOR), (ball, "in", crate)}


def _before_a_partition(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    """A partition with a wing, so that its box holds the table and the bottle on it; neither is in or under it."""
    table = _table(here, at, rng)
    y = max(high[1] for number, _, high in here.boxes if number == table) + 0.08
    partition = here.thing("partition", ((at[0] - 1, y, 0), (at[0] + 1, y + 0.05, 1.4)),
                           ((at[0] + 0.98, y - 1.1, 0), (at[0] + 1.03, y, 1.4)))  # fmt: skip
    bottle = _block(here, "bottle", [at[0] + rng.uniform(-0.4, 0.4), y - 0.2, 0.88], [0.09, 0.09, 0.26])
    here.facts |= {(partition, "on", FLOOR), (bottle, "on", table)}
    here.open.add(frozenset((partition, table)))


def _under_a_board(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    """A bottle on a table under a board that is fixed somewhere, close or far."""
    table, close = _table(here, at, rng), rng.random() < 0.5
    gap = rng.uniform(0.08, 0.2) if close else rng.uniform(0.7, 1.0)
    bottle = _block(here, "bottle", [at[0], at[1], 0.88], [0.09, 0.09, 0.26])
    board = _block(here, "board", [at[0], at[1], 1.01 + gap + 0.015], [0.8, 0.25, 0.03])
    here.facts.add((bottle, "on", table))
    if close:
        here.facts.add((bottle, "under", board))


def _between_two_tables(here: Arranged, at: np.ndarray, rng: np.random.Generator) -> None:
    """Two tables in a row, and a book that lies on one of them for the larger part."""
    one = here.thing("table", ((at[0] - 1.0, at[1] - 0.4, 0.71), (at[0], at[1] + 0.4, 0.75)))
    other = here.thing("table", ((at[0] + 0.01, at[1] - 0.4, 0.71), (at[0] + 1.0, at[1] + 0.4, 0.75)))
    side = rng.choice([-1.0, 1.0])
    book = _block(here, "book", [at[0] + side * rng.uniform(0.1, 0.14), at[1], 0.77], [0.3, 0.2, 0.04])
    carries, other_one = (one, other) if side < 0 else (other, one)
    here.facts |= {(book, "on", carries), (one, "next to", other)}
    here.not_on.add((book, other_one))


PLACES: tuple[Place, ...] = (
    _on_a_table, _flat_on_a_table, _under_a_table, _beside_a_table, _neighbours, _in_a_crate, _before_a_partition,
    _under_a_board, _between_two_tables,
)  # fmt: skip


def arranged(seed: int) -> tuple[Arranged, LabelledScene]:
    """One of each arrangement at random, on a floor of its own."""
    rng = np.random.default_rng(seed)
    here = Arranged()
    side = int(np.ceil(np.sqrt(len(PLACES))))
    for number, place in enumerate(PLACES):
        place(here, _APART * (np.array(divmod(number, side)) - (side - 1) / 2), rng)
    return here, _scene(here, rng)


def _scene(here: Arranged, rng: np.random.Generator) -> LabelledScene:
    reach = max(float(np.abs(corner[:2]).max()) for _, *corners in here.boxes for corner in corners) + 0.5
    floor = np.arange(-reach, reach, 0.07)
    ground = np.stack(np.meshgrid(floor, floor), axis=-1).reshape(-1, 2)
    points, ids = [np.column_stack([ground, np.zeros(len(ground))])], [np.full(len(ground), FLOOR)]
    for number, low, high in here.boxes:
        face = _faces(low, high, rng)
        points.append(face)
        ids.append(np.full(len(face), number))
    means, segment = np.concatenate(points), np.concatenate(ids)
    kept = np.ones(len(means), dtype=bool)
    for number, low, high in here.boxes:  # where two surfaces meet nobody sees either
        within = ((means >= low - 0.004) & (means <= high + 0.004)).all(axis=1) & (segment != number)
        kept &= ~within
    means, segment = means[kept], segment[kept]
    count = len(means)
    means = means + rng.normal(0, _BLUR, means.shape)
    wrong = rng.random(count) < _MISLABELLED  # the label of whatever is close by
    beside = KDTree(means).query_ball_point(means[wrong], 0.12)
    segment[wrong] = [segment[rng.choice(rows)] for rows in beside]
    splats = Splats(
        torch.from_numpy(means).float(), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), 0.5 * _SPACING), torch.full((count,), 0.9), torch.zeros(count, 1, 3),
    )  # fmt: skip
    labels = GaussianLabels(torch.arange(count + 1), torch.from_numpy(segment).int(), torch.ones(count),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    classes = tuple(Category(k, name, isthing=k > FLOOR) for k, name in enumerate(here.names, 1))
    return LabelledScene(splats, labels, Labelling(classes, tuple(Segment(k, k) for k in range(1, len(classes) + 1))))


def _faces(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points ``[P, 3]`` all over a box, few of them on its underside."""
    found, size = [], high - low
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        count = max(8, int(size[others].prod() / _SPACING**2))
        for side in (low, high):
            share = _UNDERSIDE if axis == 2 and side is low else 1.0
            points = rng.uniform(low, high, (max(1, int(share * count)), 3))
            points[:, axis] = side[axis]
            found.append(points)
    return np.concatenate(found)
