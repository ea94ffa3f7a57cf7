# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import pytest

from benchmarks.associating.learned import COMPONENTS, METHODS, variants
from benchmarks.learned_association import LearnedAssociationBenchmark
from panoptic_gs import InputError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return LearnedAssociationBenchmark(
        out=tmp_path_factory.mktemp("learned"), rooms=1, views=10, width=48, steps=60, voxel=0.1, levels=("none",),
        methods=("PanopticRecon++",), ablation=("start", "local-attention"), ablation_level="none", seconds=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(tiny):
    tiny.run()
    return json.loads((tiny.out / "results.json").read_text())["cases"][0]


def test_queries_at_the_closed_forms_objects_put_most_exact_masks_together(rows):
    found = rows["rows"]["PanopticRecon++"]["queries begin at the closed form's objects"]
    assert found["precision"] > 80
    assert found["maps"]["strict"] > rows["true ids"]["strict"] - 10
    assert 0 < found["things"] <= found["tokens"]


def test_local_attention_changes_seconds_alone(rows):
    own, all_gaussians = (rows["rows"]["PanopticRecon++"][name] for name in ("", "without local attention"))
    for key in ("precision", "recall", "things"):
        assert all_gaussians[key] == pytest.approx(own[key], abs=1e-6)
    assert all_gaussians["maps"]["strict"] == pytest.approx(own["maps"]["strict"], abs=1e-6)


def test_the_table_shows_differences_to_true_ids(tiny, rows):
    own = rows["rows"]["PanopticRecon++"][""]
    true = rows["true ids"]["strict"]
    text = (tiny.out / "table.md").read_text()
    cells = [cell.strip() for cell in next(li for li in text.splitlines() if "| | Panoptic" in li).split("|")]
    assert float(cells[3]) == pytest.approx(own["maps"]["strict"] - true, abs=0.06)
    assert float(cells[5]) == pytest.approx(own["labels"]["strict"] - true, abs=0.06)


def test_what_is_finished_is_kept_and_other_steps_are_learned_anew(tiny, rows, monkeypatch):
    learned = []
    own = rows["rows"]["PanopticRecon++"][""]
    monkeypatch.setattr("benchmarks.learned_association.scored", lambda case, given: learned.append(given) or own)
    tiny.run()
    assert not learned
    dataclasses.replace(tiny, steps=2, ablation_rooms=0).run()
    assert [options.steps for options in learned] == [2]


@pytest.mark.parametrize("method", list(METHODS))
def test_each_variant_differs_from_its_method_in_what_it_names(method):
    found = variants(method, tuple(COMPONENTS))
    assert len(found) == len(COMPONENTS) - (METHODS[method].masks != "softmax")
    for options in found.values():
        own = METHODS[method]
        assert sum(getattr(options, f.name) != getattr(own, f.name) for f in dataclasses.fields(own)) == 1


def test_unknown_names_are_refused(tmp_path):
    for option in ({"levels": ("loud",)}, {"ablation": ("hat",)}, {"methods": ("mine",)}, {"ablation_level": "loud"}):
        with pytest.raises(InputError, match="Choose among these"):
            LearnedAssociationBenchmark(out=tmp_path, **option).run()
