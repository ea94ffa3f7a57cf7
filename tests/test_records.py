# SPDX-License-Identifier: Apache-2.0
"""The door through which files become typed records: what passes, what is refused, and what the refusal says."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_gs.errors import InputError
from panoptic_gs.records import Array, Key, Length, Name, Range, parse_record, read_record, record_to_json


@dataclass(frozen=True)
class Lens:
    model: Literal["OPENCV", "PINHOLE"] = "PINHOLE"
    k1: float = 0.0


@dataclass(frozen=True)
class Frame:
    file_path: Name
    matrix: Annotated[np.ndarray, Array(2, 3), Key("transform_matrix")]
    w: Annotated[int, Range(1, 4000)]
    focal: Annotated[float, Range(above=0)] | None = None
    bad: bool = False
    tags: tuple[str, ...] = ()
    color: tuple[int, int, int] | None = None
    lens: Lens = field(default_factory=Lens)

    def __post_init__(self) -> None:
        if self.focal is not None and self.focal > 10 * self.w:
            raise InputError("focal", f"{self.focal}", "at most ten widths", "Give it in pixels.")


@dataclass(frozen=True)
class Scene:
    frames: Annotated[tuple[Frame, ...], Length(1, 3)]
    names: dict[str, int] = field(default_factory=dict)
    rest: Any = None


GOOD: dict[str, Any] = {"file_path": "a.png", "transform_matrix": [[1, 0, 0.5], [0, 1, 0]], "w": 640}


def refusal(value: Any, kind: Any = Scene, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        parse_record(value, kind, "file.json", **options)
    assert caught.value.source == "file.json"
    found = caught.value.found.removeprefix("a missing or malformed field (").removesuffix(")")
    return f"{found} / {caught.value.expected}"


def frame(**changes: Any) -> dict[str, Any]:
    return {"frames": [GOOD, GOOD | changes]}


def test_a_file_becomes_a_record(tmp_path):
    document = {
        "frames": [GOOD | {"w": 640.0, "bad": 1, "tags": ["x"], "color": [1, 2, 3], "lens": {"model": "OPENCV"}}],
        "names": {"a": 1},
        "unread": float("nan"),
    }
    (tmp_path / "f.json").write_text("\ufeff" + json.dumps(document), encoding="utf-8")
    scene = read_record(tmp_path / "f.json", Scene)
    read = scene.frames[0]
    assert (read.w, read.bad, read.tags, read.color, read.focal) == (640, True, ("x",), (1, 2, 3), None)
    assert type(read.w) is int
    assert type(read.bad) is bool
    assert read.matrix.dtype == np.float64
    assert read.matrix.tolist() == [[1, 0, 0.5], [0, 1, 0]]
    assert read.lens == Lens("OPENCV")
    assert scene.names == {"a": 1}


def test_a_record_is_written_as_it_is_read():
    scene = parse_record({"frames": [GOOD], "names": {"b": 2}}, Scene, "x")
    again = parse_record(json.loads(json.dumps(record_to_json(scene))), Scene, "x")
    assert record_to_json(again) == record_to_json(scene)
    assert record_to_json(scene)["frames"][0]["transform_matrix"] == GOOD["transform_matrix"]
    assert "focal" not in record_to_json(scene)["frames"][0]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "a list of 0 / an object with frames"),
        ({}, "no 'frames'"),
        ({"frames": {}}, "frames: an empty object / a list of"),
        ({"frames": []}, "frames: 0 entries / 1 to 3 entries"),
        ({"frames": [GOOD] * 4}, "4 entries"),
        ({"frames": [GOOD, 7]}, "frames[1]: 7 / an object with file_path, transform_matrix, w"),
        (frame(w=None), "frames[1].w: null / a whole number"),
        (frame(w="640"), "frames[1].w: '640' / a whole number"),
        (frame(w=True), "frames[1].w: true / a whole number"),
        (frame(w=640.5), "frames[1].w: 640.5 / a whole number"),
        (frame(w=math.inf), "frames[1].w: inf / a whole number"),
        (frame(w=0), "frames[1].w: 0 / a whole number from 1 to 4000"),
        (frame(w=2**31), "frames[1].w: 2147483648 / a whole number from 1 to 4000"),
        (frame(w=10**30), "more than 20 digits / a whole number of 64 bits"),
        (frame(w=10**4000), "more than 100 digits"),
        (frame(focal=0), "frames[1].focal: 0"),
        (frame(focal=math.nan), "frames[1].focal: nan / a finite number"),
        (frame(focal=10**400), "a finite number"),
        (frame(focal=7000), "frames[1].focal: 7000.0 / at most ten widths"),
        (frame(bad=2), "frames[1].bad: 2 / true or false"),
        (frame(tags="x"), "frames[1].tags: 'x' / a list of text"),
        (frame(tags=["x", None]), "frames[1].tags[1]: null / text"),
        (frame(color=[7]), "frames[1].color: a list of 1 / a list of 3"),
        (frame(color=[1, 2, "3"]), "frames[1].color[2]: '3' / a whole number"),
        (frame(file_path="a\0b"), "NUL"),
        (frame(file_path="a\ud800"), "lone surrogate"),
        (frame(file_path="a" * 1001), "1001 letters / 0 to 1000 letters"),
        (frame(lens={"model": "FISHEYE"}), "frames[1].lens.model: 'FISHEYE' / 'OPENCV' or 'PINHOLE'"),
        (frame(lens="round"), "frames[1].lens: 'round' / an object"),
        (frame(transform_matrix=[[1, 2], [3, 4]]), "shape [2, 2] / 2×3 finite numbers"),
        (frame(transform_matrix=[[1, 2, 3], [4, 5]]), "2×3 finite numbers"),
        (frame(transform_matrix=[[1, 2, 3], [4, 5, "6"]]), "no numbers"),
        (frame(transform_matrix=[[1, 2, 3], [4, 5, math.nan]]), "NaN or infinity"),
        (frame(transform_matrix=[[1, 2, 3], [4, 5, 10**40]]), "no numbers"),
        (frame(transform_matrix=None), "null / 2×3 finite numbers"),
        ({"frames": [GOOD], "names": {"a\ud800": 1}}, "lone surrogate"),
        ({"frames": [GOOD], "names": {"a": "b"}}, "names['a']: 'b' / a whole number"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value, says):
    assert says in refusal(value)


def test_numbers_may_be_text_where_the_format_is_text():
    kind = tuple[int, float]
    assert parse_record(["7", "2.5e3"], kind, "row", text=True) == (7, 2500.0)
    for bad in (["7", "nan"], ["1_0", "1"], ["7.5", "1"], ["", "1"], ["7", "1,5"], ["9" * 40, "1"]):
        refusal(bad, kind, text=True)
    refusal(["7", "2.5"], kind)


def test_unions_take_what_one_of_them_takes():
    kind = tuple[str | Lens, ...]
    assert parse_record(["a", {"k1": 1}], kind, "f") == ("a", Lens(k1=1.0))
    assert "[0].k1: 'x' / a number" in refusal([{"k1": "x"}], kind)
    assert "[0]: 3 / text or an object" in refusal([3], kind)


def test_integer_arrays_are_whole_and_in_range():
    kind = Annotated[np.ndarray, Array(None, dtype=np.int32)]
    assert parse_record([1, 2.0], kind, "f").dtype == np.int32
    assert parse_record([], kind, "f").shape == (0,)
    for bad in ([1.5], [2**31], [-(2**31) - 1], [2**64], ["1"], [None], [True, "x"], [[1]], 7):
        refusal(bad, kind)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "\x00", '{"frames": [', "\ud83d"])
def test_files_that_are_no_json_are_refused(tmp_path, text):
    file = tmp_path / "broken.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"broken\.json"):
        read_record(file, Scene)


def test_paths_that_are_no_files_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json", tmp_path / "a\0b.json"):
        with pytest.raises(InputError):
            read_record(path, Scene)


def test_an_error_can_be_written_to_any_stream():
    error = InputError("a\ud800b", "\x1b[31mred\x00", "x", "y")
    str(error).encode("utf-8")
    assert "\x1b" not in str(error)
    assert "\\ud800" in error.source


def test_an_error_that_says_what_is_wrong_is_not_taken_for_a_parser_s():
    assert not issubclass(InputError, (ValueError, TypeError, KeyError, OSError, RuntimeError))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([GOOD, 640, 1e400]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*GOOD, "frames", "focal", "lens", "color", "names", "tags"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(values, st.sampled_from([Scene, Frame, dict[str, Scene], tuple[Frame, ...]]))
def test_any_value_is_read_or_refused(value, kind):
    with contextlib.suppress(InputError):
        parse_record(value, kind, "f")
