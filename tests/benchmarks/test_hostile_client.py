# SPDX-License-Identifier: Apache-2.0
"""A viewer under hundreds of hostile requests and messages; ``python -m benchmarks.hostile_client`` sends 10,000."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

pytest.importorskip("viser")

from small_rooms import NEAR, save, small_room
from viser._messages import GuiUpdateMessage

from benchmarks.hostile_client import Attack, attacked
from panoptic_gs.viewer.messages import refusal
from panoptic_gs.viewer.start import start_viewer


def test_it_goes_on_serving_its_page(tmp_path: Path) -> None:
    save(small_room(), tmp_path / "room")
    page, url = start_viewer(tmp_path / "room", port=0)
    try:
        waits = attacked(int(url.rpartition(":")[2]), count=200, sockets=40, seed=0)
        assert max(r.longest for r in waits) < 5.0, "on a machine that may be busy"
        assert {r.kind: r.sent for r in waits}["malformed messages"] == 200
        assert page.session.table[NEAR].count == 600, "nothing was edited"
        attack = Attack(int(url.rpartition(":")[2]), 1)
        with attack.websocket() as own:
            assert own.recv(100), "the own page's websocket is served"
    finally:
        page.close()


CAMERA = {"type": "ViewerCameraMessage", "wxyz": [1.0, 0, 0, 0], "position": [0, 0, 0.5], "fov": 1.0, "aspect": 1.3,
          "look_at": [0, 0, 0], "up_direction": [0, 0, 1]}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"position": [0, 0]}, {"position": [0, 0, float("nan")]}, {"fov": -1.0}, {"fov": "1"}, {"wxyz": [1e38, 0, 0]},
        {"type": "Nothing"}, {"type": ["x"]}, {"type": "ShareUrlRequest"}, {"more": 1},
    ],
)  # fmt: skip
def test_messages_that_no_page_sends_are_refused(change: dict) -> None:
    assert refusal(msgspec.msgpack.encode(CAMERA)) is None
    assert refusal(msgspec.msgpack.encode({**CAMERA, **change})) is not None


def test_a_control_is_changed_by_its_value_alone() -> None:
    name = "uuid" if "uuid" in GuiUpdateMessage.__annotations__ else "id"  # viser 1, viser 0.2
    message = {"type": "GuiUpdateMessage", name: "x", "updates": {"value": "chair"}}
    assert refusal(msgspec.msgpack.encode(message)) is None
    for name in ("update_cb", "_impl", "label", "visible"):
        assert refusal(msgspec.msgpack.encode({**message, "updates": {name: "x"}})) is not None
    for raw in ("text", b"", b"\x91" * 9999, b"\x80", b"\xc1", bytes(2 << 20)):
        assert refusal(raw) is not None
