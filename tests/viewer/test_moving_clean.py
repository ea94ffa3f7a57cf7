# SPDX-License-Identifier: Apache-2.0
"""Cleaning and moving an object in the viewer takes what an export with --clean takes, and no more."""

from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_gs import Splats
from panoptic_gs.errors import InputError
from panoptic_gs.labelling import Category, Labelling, Segment
from panoptic_gs.objects.cut_out import cut_out
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.uplift import GaussianLabels, LabelledScene, save_labelled_scene
from panoptic_gs.viewer import edits
from panoptic_gs.viewer.operations import Clean, Move
from panoptic_gs.viewer.session import Session

FLOOR, BLOCK = 1, 2
SHIFT = np.array([0.0, 3.0, 0.5])


def block_with_a_halo() -> tuple[LabelledScene, np.ndarray]:
    """A block on a floor, of which a ring is labelled as the block, but seen as floor next; and the ring's numbers."""
    rng = np.random.default_rng(0)
    block = rng.uniform([-0.3, -0.3, 0], [0.3, 0.3, 0.8], (4000, 3))
    angle, radius = rng.uniform(0, 2 * np.pi, 200), rng.uniform(0.5, 0.8, 200)
    halo = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(200)], axis=1)
    floor = np.concatenate([rng.uniform(-2, 2, (3000, 2)), np.zeros((3000, 1))], axis=1)
    means = torch.from_numpy(np.concatenate([block, halo, floor])).float()
    count = len(means)
    opacity = torch.cat([torch.full((4000,), 0.9), torch.full((200,), 0.3), torch.full((3000,), 0.9)])
    splats = Splats(means, torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1), torch.full((count, 3), 0.02), opacity,
                    torch.zeros(count, 1, 3))  # fmt: skip
    rows = [[(BLOCK, 1.0)]] * 4000 + [[(FLOOR, 0.4), (BLOCK, 0.6)]] * 200 + [[(FLOOR, 1.0)]] * 3000
    indptr = torch.tensor([0, *np.cumsum([len(row) for row in rows])])
    label, weight = zip(*(entry for row in rows for entry in row))
    labels = GaussianLabels(indptr, torch.tensor(label, dtype=torch.int32), torch.tensor(weight),
                            torch.full((count,), 5.0), torch.zeros(count))  # fmt: skip
    classes = Category(1, "floor", isthing=False), Category(2, "block", isthing=True)
    meaning = Labelling(classes, (Segment(FLOOR, 1), Segment(BLOCK, 2)))
    return LabelledScene(splats, labels, meaning), np.arange(4000, 4200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scene, _ = block_with_a_halo()
    save_labelled_scene(tmp_path / "block", scene.splats, scene.labels, scene.labelling)
    return tmp_path / "block"


def moved_rows(session: Session) -> np.ndarray:
    before, after = (s.splats.means.numpy() for s in (session.opened.scene, session.scene))
    return np.flatnonzero((before != after).any(axis=1))


def test_a_moved_object_leaves_the_floor_where_it_is(folder: Path) -> None:
    session = Session(open_scene(folder))
    kept, halo = cut_out(session.table, BLOCK, session.up), block_with_a_halo()[1]
    assert not np.isin(kept, halo).any()
    session.edit("move", Move(BLOCK, SHIFT, session.strays(BLOCK)))
    assert np.array_equal(moved_rows(session), kept)
    assert (session.table.segment_of[halo] == FLOOR).all()
    assert np.array_equal(session.table.members(BLOCK), kept)


def test_a_second_move_takes_all_of_it(folder: Path) -> None:
    session = Session(open_scene(folder))
    session.edit("move", Move(BLOCK, SHIFT, session.strays(BLOCK)))
    count = session.table[BLOCK].count
    again = session.strays(BLOCK)
    assert len(again) < 0.005 * count
    session.edit("move", Move(BLOCK, -SHIFT, again))
    assert session.table[BLOCK].count == count - len(again)


def test_cleaning_takes_what_an_export_leaves_out(folder: Path) -> None:
    session = Session(open_scene(folder))
    kept = cut_out(session.table, BLOCK, session.up)
    session.edit("clean", Clean(BLOCK, session.strays(BLOCK)))
    assert np.array_equal(session.table.members(BLOCK), kept)
    assert not len(moved_rows(session))


def test_an_unsaved_move_is_made_again_with_the_same_gaussians(folder: Path) -> None:
    session = Session(open_scene(folder))
    session.edit("move", Move(BLOCK, SHIFT, session.strays(BLOCK)))
    expected = session.scene
    session.close()
    again = Session(open_scene(folder))
    assert "1 edit " in again.restore()[0]
    assert torch.equal(again.scene.splats.means, expected.splats.means)
    assert torch.equal(again.scene.labels.label, expected.labels.label)


@pytest.mark.parametrize("strays", [[-1], [10**6], [5000], list(range(4200)), [[1, 2]]])
def test_strays_of_something_else_are_refused(strays: list[int]) -> None:
    scene, _ = block_with_a_halo()
    with pytest.raises(InputError, match="strays"):
        edits.move(scene, BLOCK, SHIFT, strays)
