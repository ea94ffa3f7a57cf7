# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from benchmarks.ablation import Ablation
from benchmarks.hypersim import Hypersim
from benchmarks.quality.published import PUBLISHED, PUBLISHED_ABLATION, PUBLISHED_VIEWS
from benchmarks.quality.table import columns_of, markdown, mean_columns, method_rows, scene_rows, write_between
from benchmarks.replica import Replica
from benchmarks.scannet import ScanNet
from benchmarks.scannetpp import ScanNetPlusPlus
from panoptic_gs import Category, InputError, PanopticScene, Segment
from panoptic_gs.metrics import Scorer, evaluate_scenes


def result(scene, pq, variant="full", rows=("predictions", "uplifted"), things=0.25):
    scores = {"pq": pq, "sq": 0.9, "rq": 0.8, "pq_things": things, "pq_stuff": 0.75, "miou": 0.6, "macc": 0.7,
              "mcov": 0.4, "mwcov": 0.3}  # fmt: skip
    strict = {**scores, "pq": pq / 2}
    return {"scene": scene, "variant": variant, "group": "", "images": {"psnr": 25.0, "ssim": 0.9},
            "minutes": {"total": 2.0},
            "rows": {row: {"scores": {"panoptic-lifting": scores, "strict": strict}} for row in rows}}  # fmt: skip


def test_the_mean_is_over_scenes_and_leaves_out_what_a_scene_lacks():
    rows = scene_rows([result("a", 0.5), result("b", 0.7, things=None), result("a", 0.1, "no regularisation")])
    assert list(rows) == ["a", "b", "mean of 2"]
    mean = rows["mean of 2"]
    assert (mean["PQ"], mean["PQ*"], mean["things"], mean["PSNR"], mean["min"]) == pytest.approx((60, 30, 25, 25, 2))
    assert mean_columns([{"PQ": None}, {"PQ": None}]) == {"PQ": None}


def test_methods_come_with_baselines_of_the_full_variant_and_predictions_of_each_merge():
    baselines = ("predictions", "nearest-view", "hard-labels", "uplifted")
    runs = [result("a", 0.6, rows=baselines), result("b", 0.8, rows=baselines), result("a", 0.4, "no regularisation"),
            result("a", 0.3, "merge standard")]  # fmt: skip
    rows = method_rows(runs, ablation=True)
    assert list(rows) == ["predictions (training views)", "nearest view, by depth", "one label per Gaussian",
                          "predictions (training views), merge standard", "uplifted", "uplifted, no regularisation",
                          "uplifted, merge standard"]  # fmt: skip
    assert rows["uplifted"]["PQ"] == pytest.approx(70)
    assert rows["uplifted, merge standard"]["PQ"] == pytest.approx(30)
    assert "PSNR" not in rows["nearest view, by depth"]


def test_points_have_columns_only_where_they_were_scored():
    scored = {**result("a", 0.5), "points": {"ap50": 0.4, "ap25": 0.6, "miou": None}}
    assert columns_of(scored, "uplifted")["AP50"] == pytest.approx(40)
    assert columns_of(scored, "uplifted")["3D mIoU"] is None
    assert "AP50" not in columns_of(result("a", 0.5), "uplifted")


def test_markdown_has_a_cell_for_every_heading():
    text = markdown("scene", scene_rows([result("a", 0.512), result("b", 0.7)]))
    lines = text.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "PQ\\*" in lines[0]
    assert lines[2].startswith("| a | 51.2 | 90.0 |")
    assert "| 0.900 |" in lines[2]


def test_a_table_is_written_between_its_markers_and_nowhere_else(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- rooms -->\nold\n<!-- /rooms -->\nafter\n")
    write_between(file, "rooms", "new")
    assert file.read_text() == "before\n<!-- rooms -->\nnew\n<!-- /rooms -->\nafter\n"
    with pytest.raises(InputError, match="ablation"):
        write_between(file, "ablation", "new")
    with pytest.raises(InputError, match="ablation"):
        Ablation(tmp_path, write_docs=file).run()  # before hours of training, not after


def test_the_collector_scores_as_the_whole_scene_does():
    categories = [Category(1, "wall", False), Category(5, "chair", True)]
    generator = np.random.default_rng(0)
    maps = [{stem: np.kron(generator.integers(0, 4, (6, 8)), np.ones((5, 5), int)) for stem in "abc"} for _ in range(2)]
    pred, truth = (PanopticScene(categories, [Segment(1, 1), Segment(2, 5), Segment(3, 5)], m) for m in maps)
    scorer = Scorer(pred, truth)
    for stem in "abc":
        scorer.add(pred.maps[stem], truth.maps[stem])
    assert scorer.scores() == evaluate_scenes(pred, truth)


@pytest.mark.parametrize(("table", "said"), [("scannetv2-labels.combined.tsv", True),
                                             ("scannet-labels.combined.tsv", False), (None, False)])  # fmt: skip
def test_it_is_said_whose_truth_was_reduced_by_another_table_than_the_benchmarks(tmp_path, table, said):
    scene = tmp_path / "scene0050_02"
    scene.mkdir()
    raw = {"layout": "scannet", "labels": None if table is None else str(tmp_path / table)}
    (scene / "preparation.json").write_text(json.dumps({"raw": raw}))
    (tmp_path / "made_by_hand").mkdir()
    notes = ScanNet(tmp_path).notes([scene, tmp_path / "made_by_hand"])
    assert len(notes) == said
    assert not said or "scene0050_02" in notes[0]


def test_published_rows_are_the_papers():
    numbers = {dataset: {row.method: row.pq for row in rows} for dataset, rows in PUBLISHED.items()}
    assert [numbers[d]["PanSt3R + LUDVIG"] for d in ("hypersim", "replica", "scannet", "scannetpp")] == [
        66.3, 60.6, 67.5, 54.7
    ]  # fmt: skip
    second = "PanSt3R, second release, without uplifting"
    assert [numbers[d][second] for d in ("hypersim", "replica", "scannet")] == [59.6, 61.8, 63.0]
    assert second not in numbers["scannetpp"]
    assert "PCF-Lift" not in numbers["replica"]
    assert numbers["scannet"]["PCF-Lift"] == 63.5
    assert {d: rows[2].pq for d, rows in PUBLISHED_ABLATION.items()} == {
        "hypersim": 59.3, "replica": 61.2, "scannet": 60.6
    }  # fmt: skip
    assert [row.pq for row in PUBLISHED_VIEWS["scannetpp"]] == [41.7, 56.1, 61.6, 65.0]
    assert all(row.source for rows in PUBLISHED.values() for row in rows)


def test_every_dataset_has_its_scenes_and_published_rows(tmp_path):
    counts = {command.name: len(command.benchmark_scenes) for command in (Hypersim, Replica, ScanNet, ScanNetPlusPlus)}
    assert counts == {"hypersim": 10, "replica": 7, "scannet": 12, "scannetpp": 0}
    (tmp_path / "036bce3393").mkdir()
    assert ScanNetPlusPlus(tmp_path).scene_names() == ["036bce3393"]
    assert set(PUBLISHED) == set(counts)
    views = ScanNetPlusPlus(tmp_path, ablate=("views",), views=(10,)).published()
    assert len(views) == 2


def test_raw_scenes_of_scannetpp_are_the_validation_scenes_or_all_that_are_there(tmp_path):
    for folder in ("b/scans", "a/scans", "metadata/semantic_benchmark"):
        (tmp_path / "flat" / folder).mkdir(parents=True)
        (tmp_path / "whole" / "data" / folder).mkdir(parents=True)
    for name in ("flat", "whole"):
        assert ScanNetPlusPlus(tmp_path / "prepared", raw=tmp_path / name).scene_names() == ["a", "b"]
    (tmp_path / "whole" / "splits").mkdir()
    (tmp_path / "whole" / "splits" / "nvs_sem_val.txt").write_text("b\nc\n")
    assert ScanNetPlusPlus(tmp_path / "prepared", raw=tmp_path / "whole").scene_names() == ["b", "c"]
    with pytest.raises(InputError, match="no such folder"):
        ScanNetPlusPlus(tmp_path / "prepared", raw=tmp_path / "nowhere").scene_names()


def test_what_cannot_be_scored_is_said_before_anything_is_trained(tmp_path):
    with pytest.raises(InputError, match="'nearest'"):
        Replica(tmp_path, baselines=("nearest",)).run()
    with pytest.raises(InputError, match="--iterations"):
        Replica(tmp_path, iterations=0).run()


def test_nothing_to_run_and_finished_maps_to_merge_are_said(tmp_path):
    with pytest.raises(InputError, match="no scene of 7"):
        Replica(tmp_path).run()
