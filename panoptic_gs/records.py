# SPDX-License-Identifier: Apache-2.0
"""The one checked door from JSON, and from dictionaries out of other files, to typed records.

A reader declares what it reads as a frozen dataclass and never touches the raw document::

    @dataclass(frozen=True)
    class Frame:
        file_path: str
        transform_matrix: Annotated[np.ndarray, Array(4, 4)]
        w: Annotated[int, Range(1, MAX_SIDE)]
        fl_x: Annotated[float, Range(above=0)] | None = None

    @dataclass(frozen=True)
    class Transforms:
        frames: tuple[Frame, ...]
        camera_model: Literal["OPENCV", "PINHOLE"] = "PINHOLE"

    transforms = read_record(root / "transforms.json", Transforms)

What does not fit is an :class:`~panoptic_gs.InputError` that names the file and the field, as in ``frames[3].w``:

* a field without a default must be there; ``null`` fits ``… | None`` alone; fields that are not declared are ignored;
* ``int`` takes whole numbers, written as 5 or 5.0; ``float`` takes finite ones; neither takes ``true`` or text;
* ``bool`` takes ``true``, ``false``, 0 and 1, as COCO writes it;
* ``str`` takes text without NUL and without lone surrogates, which neither file names nor UTF-8 can hold;
* ``tuple[T, ...]``, ``tuple[A, B]``, ``dict[str, T]``, unions, ``Literal``, other records and ``Any`` nest as they do
  in Python; ``np.ndarray`` with :class:`Array` takes nested lists of numbers of a shape;
* :class:`Range`, :class:`Length` and :class:`Key` in ``Annotated`` bound numbers and sizes, and rename a field;
* a record's ``__post_init__`` may refuse what single fields cannot show, by an ``InputError`` on the field's name.

It is ours and not msgspec or pydantic, because what matters here is where those differ: a file may hold ``NaN`` where
nobody reads it, writers of this field put 1920.0 where a width belongs and 0/1 where a truth value belongs,
dictionaries come out of checkpoints and archives as well as out of JSON, and each error has to say what was found, what
was expected and how to mend it.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from panoptic_gs.errors import InputError, printable
from panoptic_gs.files import read_json

T = TypeVar("T")
Check = Callable[[Any], Any]

MAX_SIDE = 1 << 17
"""Pixels on an image's side, more than any format of photos holds."""
_MOST_LETTERS = 10_000  # of a text that is not bounded otherwise
_MEND = "Write the file again, or correct this field."


@dataclass(frozen=True)
class Range:
    """Bounds of a number: ``low`` and ``high`` belong to it, ``above`` and ``below`` do not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: Any) -> bool:
        """Whether a number lies within."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"from {self.low} to {self.high}"
        words = {"of at least": self.low, "of at most": self.high, "above": self.above, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)


@dataclass(frozen=True)
class Length:
    """Bounds of the number of entries of a list or an object, or of a text's letters."""

    low: int = 0
    high: int | None = None

    def holds(self, value: Any) -> bool:
        """Whether it has a fitting length."""
        return len(value) >= self.low and (self.high is None or len(value) <= self.high)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" if self.high is not None else f"at least {self.low}"


@dataclass(frozen=True, init=False)
class Array:
    """Shape of a list of numbers, or of lists of them, with None for any extent: ``Array(4, 4)``, ``Array(None, 3)``.

    Args:
        shape: extents, or None for any.
        dtype: of the array; for an integer one all numbers have to be whole and in its range.
    """

    shape: tuple[int | None, ...]
    dtype: Any

    def __init__(self, *shape: int | None, dtype: Any = np.float64) -> None:
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", np.dtype(dtype))

    def __str__(self) -> str:
        sizes = "×".join("N" if extent is None else str(extent) for extent in self.shape)
        return f"{sizes} {'whole' if self.dtype.kind in 'iu' else 'finite'} numbers"


@dataclass(frozen=True)
class Key:
    """The name that a field has in the file, where it differs from the record's."""

    name: str


Name = Annotated[str, Length(0, 1000)]
"""What people or programs call something."""


def read_record(path: Path | str, kind: type[T], *, mend: str = _MEND) -> T:
    """Read a JSON file as a record (or as any type that a field may have).

    Args:
        path: the file.
        kind: dataclass, or ``dict[str, …]``, ``tuple[…, ...]``, ….
        mend: what to do about a field that does not fit, as a sentence.

    Raises:
        InputError: the file is missing, unreadable, too large, no JSON, nested too deeply, or a field does not fit.
    """
    return parse_record(read_json(path), kind, path, mend=mend)


def parse_record(value: Any, kind: type[T], source: Path | str, *, text: bool = False, mend: str = _MEND) -> T:
    """Check a value that was read elsewhere, and make it a record.

    Args:
        value: dictionaries, lists and plain values; tuples and NumPy numbers count as lists and numbers.
        kind: as for :func:`read_record`.
        source: what errors name.
        text: whether numbers may be written as text, as in a CSV or a header of lines.
        mend: what to do about a field that does not fit, as a sentence.

    Raises:
        InputError: a field does not fit.
    """
    try:
        return _checker(kind, text)(value)
    except _Misfit as misfit:
        where = misfit.path.lstrip(".")
        found = misfit.found if not where else f"{where}: {misfit.found}"
        raise InputError(
            source, f"a missing or malformed field ({found})", misfit.expected, misfit.mend or mend
        ) from None
    except RecursionError:
        raise InputError(source, "a value that is nested too deeply", _kind_name(kind), mend) from None


def record_to_json(record: Any) -> Any:
    """A record as plain values for JSON, by the names that the file uses; fields that are None are left out."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        entries = ((key, getattr(record, field.name)) for field, key, _ in _fields(type(record)))
        return {key: record_to_json(value) for key, value in entries if value is not None}
    if isinstance(record, Mapping):
        return {str(key): record_to_json(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [record_to_json(value) for value in record]
    if isinstance(record, (np.ndarray, np.generic)):
        return record.tolist()
    return record


class _Misfit(Exception):
    """What does not fit, and where; enclosing values put their part of the path in front."""

    def __init__(self, found: str, expected: str, path: str = "", mend: str = "") -> None:
        super().__init__(found)
        self.found, self.expected, self.path, self.mend = found, expected, path, mend

    def within(self, step: str) -> _Misfit:
        self.path = step + self.path
        return self


@cache
def _checker(kind: Any, text: bool) -> Check:
    """The function that checks a value of this type and gives it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:], text)
    if origin in (Union, types.UnionType):
        return _union(arguments, text)
    if origin is Literal:
        return _literal(arguments)
    if kind in (list, tuple, dict):
        raise TypeError(f"{kind} in a record has to say what it holds")
    if origin in (list, tuple):
        if origin is list or arguments[-1] is Ellipsis:
            return _sequence(arguments[0], origin, text)
        return _fixed(arguments, text)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[1], text)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind, text)
    if kind is Any:
        return lambda value: value
    if kind is type(None):
        return _nothing
    plain = {
        str: _text,
        bool: _truth,
        int: _integer_text if text else _integer,
        float: _number_text if text else _number,
    }
    if kind in plain:
        return plain[kind]
    raise TypeError(f"a record cannot hold {kind}")


@cache
def _fields(kind: type) -> tuple[tuple[dataclasses.Field, str, Any], ...]:
    """(field, its name in files, its type) of what a record's constructor takes."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        if field.init:
            markers = get_args(hints[field.name])[1:] if get_origin(hints[field.name]) is Annotated else ()
            key = next((marker.name for marker in markers if isinstance(marker, Key)), field.name)
            found.append((field, key, hints[field.name]))
    return tuple(found)


def _record(kind: type, text: bool) -> Check:
    fields = []
    for field, key, hint in _fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        fields.append((field.name, key, hint, required))
    checks: list[tuple[str, str, Check, Any, bool]] = []

    def check(value: Any) -> Any:
        if not checks:  # made at first use, so that a record may hold others of its own kind
            checks.extend((name, key, _checker(hint, text), hint, required) for name, key, hint, required in fields)
        if not isinstance(value, Mapping):
            needed = ", ".join(key for _, key, _, needed in fields if needed)
            raise _Misfit(_shown(value), f"an object with {needed}" if needed else "an object")
        given = {}
        for name, key, checked, hint, required in checks:
            if key in value:
                try:
                    given[name] = checked(value[key])
                except _Misfit as misfit:
                    raise misfit.within(f".{key}") from None
            elif required:
                raise _Misfit(f"no '{key}'", f"{key}: {_kind_name(hint)}")
        try:
            return kind(**given)
        except InputError as error:
            raise _Misfit(error.found, error.expected, f".{error.source}", error.mend) from error

    return check


def _annotated(kind: Any, markers: tuple[Any, ...], text: bool) -> Check:
    array = next((marker for marker in markers if isinstance(marker, Array)), None)
    if array is not None:
        return _array(array)
    bounds = [marker for marker in markers if isinstance(marker, (Range, Length))]
    check = _text_of_any_length if kind is str and bounds else _checker(kind, text)
    if not bounds:
        return check

    def bounded(value: Any) -> Any:
        checked = check(value)
        for bound in bounds:
            if checked is not None and not bound.holds(checked):
                if isinstance(bound, Length):
                    unit = "letters" if isinstance(checked, str) else "entries"
                    raise _Misfit(f"{len(checked)} {unit}", f"{bound} {unit}")
                raise _Misfit(_shown(checked), f"{_kind_name(kind)} {bound}")
        return checked

    return bounded


def _union(kinds: tuple[Any, ...], text: bool) -> Check:
    checks = [_checker(kind, text) for kind in kinds if kind is not type(None)]
    optional = type(None) in kinds

    def check(value: Any) -> Any:
        if value is None and optional:
            return None
        misfits = []
        for one in checks:
            try:
                return one(value)
            except _Misfit as misfit:
                misfits.append(misfit)
        deepest = max(misfits, key=lambda misfit: len(misfit.path))
        if deepest.path or len(misfits) == 1:
            raise deepest
        raise _Misfit(_shown(value), " or ".join(misfit.expected for misfit in misfits))

    return check


def _literal(choices: tuple[Any, ...]) -> Check:
    def check(value: Any) -> Any:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        raise _Misfit(_shown(value), " or ".join(_shown(choice) for choice in choices))

    return check


def _sequence(kind: Any, container: type, text: bool) -> Check:
    one = _checker(kind, text)

    def check(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _Misfit(_shown(value), f"a list of {_kind_name(kind)}")
        checked = []
        try:
            for entry in value:
                checked.append(one(entry))
        except _Misfit as misfit:
            raise misfit.within(f"[{len(checked)}]") from None
        return checked if container is list else tuple(checked)

    return check


def _fixed(kinds: tuple[Any, ...], text: bool) -> Check:
    checks = [_checker(kind, text) for kind in kinds]

    def check(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(checks):
            raise _Misfit(_shown(value), f"a list of {len(checks)}: {', '.join(_kind_name(kind) for kind in kinds)}")
        checked = []
        try:
            for one, entry in zip(checks, value):
                checked.append(one(entry))
        except _Misfit as misfit:
            raise misfit.within(f"[{len(checked)}]") from None
        return tuple(checked)

    return check


def _mapping(kind: Any, text: bool) -> Check:
    one = _checker(kind, text)

    def check(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Misfit(_shown(value), "an object")
        checked, key = {}, ""
        try:
            for key, entry in value.items():
                checked[_text(key)] = one(entry)
        except _Misfit as misfit:
            raise misfit.within(f"[{_shown(key)}]") from None
        return checked

    return check


def _array(array: Array) -> Check:
    def check(value: Any) -> np.ndarray:
        misfit = _Misfit(_shown(value), str(array))
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise misfit
        try:
            values = np.asarray(value)
        except (ValueError, OverflowError):  # lists of different lengths, or nested deeper than NumPy goes
            raise misfit from None
        if values.size == 0:
            values = values.astype(array.dtype)
        shape = values.shape
        if len(shape) != len(array.shape) or any(b not in (None, a) for a, b in zip(shape, array.shape)):
            raise _Misfit(f"{_shown(value)} of shape {list(shape)}", str(array))
        if values.dtype.kind not in "iuf":
            raise _Misfit(f"{_shown(value)} with values that are no numbers", str(array))
        if not np.isfinite(values).all():
            raise _Misfit("NaN or infinity among the numbers", str(array))
        if array.dtype.kind in "iu":
            limits = np.iinfo(array.dtype)
            if values.size and (values.min() < limits.min or values.max() > limits.max):
                raise _Misfit(f"a number of {values.min()} … {values.max()}", f"{array} to {limits.max}")
            if values.dtype.kind == "f" and (values != np.round(values)).any():
                raise _Misfit("numbers that are not whole", str(array))
        return values.astype(array.dtype)

    return check


def _nothing(value: Any) -> None:
    if value is not None:
        raise _Misfit(_shown(value), "null")


def _text_of_any_length(value: Any) -> str:
    if not isinstance(value, str):
        raise _Misfit(_shown(value), "text")
    if "\0" in value:
        raise _Misfit("text with a NUL character", "text without it")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _Misfit("text with a lone surrogate", "text that UTF-8 can hold") from None
    return value


def _text(value: Any) -> str:
    checked = _text_of_any_length(value)
    if len(checked) > _MOST_LETTERS:
        raise _Misfit(f"text of {len(checked):,} letters", f"at most {_MOST_LETTERS:,}")
    return checked


def _truth(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise _Misfit(_shown(value), "true or false")


def _integer(value: Any) -> int:
    if isinstance(value, np.generic):
        value = value.item()
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool):
        raise _Misfit(_shown(value), "a whole number")
    if not -(2**63) <= value < 2**63:
        raise _Misfit(_shown(value), "a whole number of 64 bits")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise _Misfit(_shown(value), "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Misfit(_shown(value), "a finite number")
    return number


def _integer_text(value: Any) -> int:
    return _integer(_spelled(value, int) if isinstance(value, str) else value)


def _number_text(value: Any) -> float:
    return _number(_spelled(value, float) if isinstance(value, str) else value)


def _spelled(value: str, kind: type) -> Any:
    try:
        if "_" not in value:  # which Python takes inside numbers, and no file format
            return kind(value)
    except ValueError:
        pass
    raise _Misfit(_shown(value), "a whole number" if kind is int else "a number")


_PLAIN: dict[Any, Check] = {str: _text, bool: _truth, int: _integer, float: _number}
_PLAIN_IN_TEXT: dict[Any, Check] = {**_PLAIN, int: _integer_text, float: _number_text}


def _shown(value: Any) -> str:
    """A value in few words, for errors."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{printable(value if len(value) <= 40 else value[:39] + '…')}'"
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a whole number of more than {20 if abs(value) < 10**100 else 100} digits"
    if isinstance(value, (int, float, np.number)):
        return f"{value}"
    if isinstance(value, Mapping):
        return "an empty object" if not value else f"an object with {_listed(value)}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def _listed(value: Mapping) -> str:
    keys = [printable(str(key)[:30]) for key, _ in zip(value, range(4))]
    return ", ".join(keys) + (" …" if len(value) > 4 else "")


def _kind_name(kind: Any) -> str:
    """A type in words, for errors."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        markers = [m for m in arguments[1:] if isinstance(m, (Array, Range))]
        if markers and isinstance(markers[0], Array):
            return str(markers[0])
        return " ".join([_kind_name(arguments[0]), *(str(marker) for marker in markers)])
    if origin in (Union, types.UnionType):
        return " or ".join(_kind_name(one) for one in arguments)
    if origin is Literal:
        return " or ".join(_shown(one) for one in arguments)
    if origin in (list, tuple):
        return f"a list of {_kind_name(arguments[0])}"
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    return names.get(kind, "an object")
