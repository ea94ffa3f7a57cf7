# SPDX-License-Identifier: Apache-2.0
import pytest

from panoptic_gs.datasets.classes import CLASS_LISTS, NYU40, REDUCED21, SCANNET20, ClassList, class_list
from panoptic_gs.datasets.replica_classes import REPLICA_TO_REDUCED21, replica_classes
from panoptic_gs.errors import InputError
from panoptic_gs.panoptic import Category


def names(classes: ClassList, target: ClassList) -> dict[str, str]:
    of = {category.id: category.name for category in target.categories} | {0: "void"}
    own = {category.id: category.name for category in classes.categories}
    return {own[mine]: of[theirs] for mine, theirs in classes.to(target).items()}


def test_the_reduced_classes_are_the_benchmark_s() -> None:
    assert REDUCED21.ids["wall"] == 1
    assert REDUCED21.ids["refrigerator"] == 14
    assert REDUCED21.ids["other"] == 21
    things = {category.name for category in REDUCED21.categories if category.isthing}
    assert things == {"bed", "chair", "sofa", "refrigerator", "television", "person", "toilet", "sink", "bag"}


def test_nyu40_reduces_as_the_benchmark_says() -> None:
    reduced = names(NYU40, REDUCED21)
    assert len(reduced) == 40
    renamed = {"bookshelf": "shelves", "desk": "table", "floor mat": "floor", "shower curtain": "curtain"}
    other = {"picture", "blinds", "dresser", "pillow", "mirror", "clothes", "books", "paper", "towel", "box",
             "whiteboard", "night stand", "bathtub", "otherstructure", "otherfurniture", "otherprop"}  # fmt: skip
    for name, target in reduced.items():
        assert target == renamed.get(name, "other" if name in other else name)


def test_nyu40_ids_are_the_dataset_s() -> None:
    assert [NYU40.ids[name] for name in ("wall", "bookshelf", "ceiling", "television", "toilet", "bag")] == [
        1, 10, 22, 25, 33, 37,
    ]  # fmt: skip
    assert sorted(SCANNET20.ids.values()) == [*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39]


def test_what_a_list_has_no_place_for_is_void() -> None:
    reduced = names(NYU40, SCANNET20)
    assert reduced["television"] == "void"
    assert all(reduced[name] == name for name in SCANNET20.ids)


def test_every_replica_class_is_reduced() -> None:
    assert len(REPLICA_TO_REDUCED21) == 102
    assert set(REPLICA_TO_REDUCED21.values()) - {""} <= set(REDUCED21.ids)
    classes = replica_classes({-1: "undefined", 0: "undefined", 3: "wall-cabinet", 9: "rug"}, "info_semantic.json")
    assert names(classes, REDUCED21) == {"wall-cabinet": "cabinet", "rug": "floor"}


@pytest.mark.parametrize(
    ("reduced", "names"),
    [
        ("table", "bench"), ("bed", "blanket comforter pillow"), ("window", "blinds"),
        ("cabinet", "nightstand tv-stand"), ("wall", "pillar switch wall-plug"), ("chair", "stool"),
        ("ceiling", "vent"), ("other", "undefined"), ("floor", "rug mat"), ("shelves", "shelf"),
        ("counter", "countertop"), ("television", "tv-screen"), ("other", "monitor cushion picture book"),
    ],
)  # fmt: skip
def test_replica_reduces_as_the_benchmarks_own_table(reduced: str, names: str) -> None:
    for name in names.split():
        assert REPLICA_TO_REDUCED21[name] == reduced


def test_unknown_names_suggest_known_ones() -> None:
    own = ClassList("mine", (Category(4, "chair", True),))
    assert class_list("own", own) is class_list("mine", own) is own
    assert all(class_list(name) is classes for name, classes in CLASS_LISTS.items())
    with pytest.raises(InputError, match=r"Did you mean reduced21") as error:
        class_list("reduced-21", own)
    assert "mine" in error.value.expected
    with pytest.raises(InputError, match="one of mine"):
        own.to(NYU40)
