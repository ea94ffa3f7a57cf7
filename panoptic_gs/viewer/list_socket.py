# SPDX-License-Identifier: Apache-2.0
"""The connection of the page's own list of objects: JSON over a websocket of its own, behind the same guard.

viser's widgets cannot show a list that one works in. Ours is a piece of plain JavaScript on viser's page
(``object_panel.js``); it hears what there is to show and says what a visitor does. Nothing of it passes through viser.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

PATH = "/panoptic-objects"
LONGEST = 1 << 16
"""Letters of a message; all but a long list of ids are below a thousand."""


class ListSocket:
    """All pages that show the list.

    Attributes:
        state: gives the document that pages show, called on a thread of its own.
        heard: takes a page's message and gives an answer for it alone or None; on a thread of its own, one at a time.
    """

    def __init__(self) -> None:
        self.state: Callable[[], dict[str, Any]] = dict
        self.heard: Callable[[Any], dict[str, Any] | None] = lambda message: None
        self._work = ThreadPoolExecutor(1, "objects")
        self._pages: set[_Connection] = set()
        self._painting: bytes | None = None

    async def serve(self, websocket: Any) -> None:
        """Talk to a page until it closes."""
        page = _Connection(asyncio.get_running_loop())
        self._pages.add(page)
        telling = asyncio.ensure_future(self._tell(websocket, page))
        try:
            while True:
                raw = await websocket.recv()
                message = _decoded(raw)
                if message is None:
                    await websocket.close(1008, "No message of a page.")
                    return
                answer = await page.loop.run_in_executor(self._work, self.heard, message)
                if answer is not None:
                    await websocket.send(_encoded(answer))
        except Exception:  # the page is gone; which error says so differs between versions of websockets
            return
        finally:
            self._pages.discard(page)
            telling.cancel()

    async def _tell(self, websocket: Any, page: _Connection) -> None:
        with suppress(Exception):
            while True:
                await page.news.wait()
                page.news.clear()
                if self._painting is not page.painted:
                    page.painted = self._painting
                    if page.painted is not None:
                        await websocket.send(page.painted)
                if page.stale:
                    page.stale = False
                    await websocket.send(_encoded(await page.loop.run_in_executor(None, self.state)))

    def refresh(self) -> None:
        """Have every page show the state anew."""
        for page in list(self._pages):
            page.stale = True
        self._wake()

    def paint(self, painting: bytes | None) -> None:
        """Have every page, also one that opens later, write these colours over those of the Gaussians that it has; None
        where these have their own. Of colours that come faster than a page takes them it gets the last ones."""
        self._painting = painting
        self._wake()

    def _wake(self) -> None:
        for page in list(self._pages):
            with suppress(RuntimeError):  # its loop has ended
                page.loop.call_soon_threadsafe(page.news.set)

    def close(self) -> None:
        """Do no more work."""
        self._work.shutdown(wait=False, cancel_futures=True)


class _Connection:
    """A page."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.news = asyncio.Event()
        self.news.set()
        self.stale = True
        """Whether it shows an older state."""
        self.painted: bytes | None = None
        """The colours that it got last."""


def _decoded(raw: bytes | str) -> Any:
    if not isinstance(raw, str) or len(raw) > LONGEST:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _encoded(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
