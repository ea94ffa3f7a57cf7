# SPDX-License-Identifier: Apache-2.0
"""What a visitor may do from the list of objects, as messages of the page; all else is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.records import Array, Length, Range, parse_record
from panoptic_gs.viewer.appearance import ColorBy

_Id = Annotated[int, Range(1, (1 << 24) - 1)]
_Ids = Annotated[tuple[_Id, ...], Length(0, 5000)]
_Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Hello:
    """The page is there; ``client`` is viser's number of it."""

    do: Literal["hello"]
    client: Annotated[int, Range(0, 1 << 53)] | None = None


@dataclass(frozen=True)
class Select:
    """Select an object, 0 for none."""

    do: Literal["select"]
    id: Annotated[int, Range(0, (1 << 24) - 1)]


@dataclass(frozen=True)
class Hide:
    """Hide some objects, or show them."""

    do: Literal["hide"]
    ids: _Ids
    hidden: bool


@dataclass(frozen=True)
class Only:
    """Show these objects alone."""

    do: Literal["only"]
    ids: _Ids


@dataclass(frozen=True)
class ShowAll:
    """Show everything."""

    do: Literal["show all"]


@dataclass(frozen=True)
class GoTo:
    """Look at an object."""

    do: Literal["go to"]
    id: _Id


@dataclass(frozen=True)
class Color:
    """Colour the scene otherwise; ``next`` goes on from what is shown when this is heard."""

    do: Literal["color"]
    by: ColorBy | Literal["next"]


@dataclass(frozen=True)
class Rename:
    """Call an object something."""

    do: Literal["rename"]
    id: _Id
    name: Annotated[str, Length(0, 200)]


@dataclass(frozen=True)
class Merge:
    """Make one object of two; ``into`` stays."""

    do: Literal["merge"]
    id: _Id
    into: _Id


@dataclass(frozen=True)
class Clean:
    """Take an object's label from its floaters."""

    do: Literal["clean"]
    id: _Id


@dataclass(frozen=True)
class History:
    """Undo, redo or save."""

    do: Literal["undo", "redo", "save"]


@dataclass(frozen=True)
class Measure:
    """Begin to measure between two clicks, or stop."""

    do: Literal["measure"]
    on: bool


@dataclass(frozen=True)
class Brush:
    """Choose what clicks into the scene do to the selected object, and how far around."""

    do: Literal["brush"]
    how: Literal["off", "add", "cut", "delete", "next"]
    radius: Annotated[float, Range(above=0, high=1e6)] | None = None
    lasso: bool | None = None
    """Whether an outline is drawn in place of clicks."""
    through: bool | None = None
    """Whether an outline means what is hidden behind others, too."""


@dataclass(frozen=True)
class Click:
    """A click into the scene: select, measure or brush, whatever is on."""

    do: Literal["click"]
    at: Annotated[tuple[_Share, ...], Length(2, 2)]
    """Shares of the screen's width and height, from its upper left."""


@dataclass(frozen=True)
class Lasso:
    """Do to the selected object what the brush would, inside an outline."""

    do: Literal["lasso"]
    outline: Annotated[np.ndarray, Array(None, 2), Length(3, 500)]
    """Corners as shares of the screen's width and height, from its upper left."""


@dataclass(frozen=True)
class Photo:
    """Show the photo that sees an object best, a photo by its number, or the one nearest to the visitor."""

    do: Literal["photo"]
    id: _Id | None = None
    number: Annotated[int, Range(0)] | None = None


@dataclass(frozen=True)
class StandThere:
    """Look at the scene from where a photo was taken."""

    do: Literal["stand there"]
    number: Annotated[int, Range(0)]


@dataclass(frozen=True)
class Doubts:
    """Look for objects that may be two, and pairs that may be one."""

    do: Literal["doubts"]


@dataclass(frozen=True)
class Find:
    """Find objects by words, as in "the chair next to the window"."""

    do: Literal["find"]
    text: Annotated[str, Length(1, 200)]


@dataclass(frozen=True)
class Settle:
    """Settle a doubt, by the number of the list that it is from and its place there."""

    do: Literal["settle"]
    list: Annotated[int, Range(0)]
    place: Annotated[int, Range(0)]
    how: Literal["merge", "split", "clean", "fine"]


Command = (
    Hello | Select | Hide | Only | ShowAll | GoTo | Color | Rename | Merge | Clean | History | Measure | Brush | Click
    | Lasso | Photo | StandThere | Doubts | Find | Settle
)  # fmt: skip


def read_command(message: object) -> Command:
    """A checked message of a page.

    Raises:
        InputError: it is none.
    """
    if not isinstance(message, dict):
        raise InputError("message", type(message).__name__, "an object with 'do'", "Load the page anew.")
    return parse_record(message, Command, "message", mend="Load the page anew.")  # pyright: ignore[reportArgumentType] (a union is a kind, too)
