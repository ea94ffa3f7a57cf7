# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.hostile_client``: malformed requests and messages, foreign pages and slow readers at a viewer.

A viewer of a small room runs in a process of its own. While each kind of hostility goes on, its page is fetched every
50 ms; the longest wait is what counts. The exit code is 1 where a wait is longer than ``--limit`` or the viewer ends.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
import tyro
from rich.console import Console
from rich.table import Table

from panoptic_gs.files import write_json
from panoptic_gs.report.environment import environment

_NUMBERS = (0, -1, 1.5, 1e30, 1e308, float("nan"), float("inf"), 2**63, None, True, [], {}, "x", b"x", [[1]] * 3)
_TYPES = ("ViewerCameraMessage", "GuiUpdateMessage", "ScenePointerMessage", "SceneNodeClickMessage", "ShareUrlRequest",
          "TransformControlsUpdateMessage", "FileTransferStart", "RunJavascriptMessage", "Message", "", "GuiAddButtonMessage")  # fmt: skip  # noqa: E501
_FIELDS = ("wxyz", "position", "fov", "aspect", "look_at", "up_direction", "id", "updates", "value", "name",
           "event_type", "ray_origin", "ray_direction", "screen_pos", "source")  # fmt: skip


@dataclass(frozen=True)
class HostileClient:
    """Attack a viewer and measure how long its own page waits meanwhile."""

    requests: int = 10_000
    """Malformed requests, and as many malformed messages."""
    sockets: int = 100
    """Connections that say nothing, and slow readers."""
    seed: int = 0
    """Of everything that is random."""
    limit: float = 0.1
    """Seconds that the page may take."""
    out: Path = Path("outputs/hostile_client/results.json")
    """Where the figures are written."""


@dataclass
class Waits:
    """Seconds that the viewer's page took during one kind of hostility."""

    kind: str
    sent: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest wait."""
        return max(self.waits, default=0.0)


class Attack:
    """Hostility at a port of this machine, each kind a method that says how much it sent."""

    def __init__(self, port: int, seed: int) -> None:
        self.port, self.random = port, Random(seed)
        own = f"127.0.0.1:{port}"
        self.page = f"GET / HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n".encode()
        self.upgrade = (
            f"GET / HTTP/1.1\r\nHost: {own}\r\nOrigin: {{origin}}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
        )

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def fetch(self) -> float:
        """Seconds until the page is there, whole; raises where it is not."""
        started = time.perf_counter()
        answer = self._ask(self.page)
        if b" 200 " not in answer[:20] or not answer.rstrip().endswith(b"</html>"):
            raise RuntimeError(f"no page: {answer[:80]!r}")
        return time.perf_counter() - started

    def requests(self, count: int) -> int:
        """Requests cut, changed, made of noise, or with long paths and endless headers; their answers are read."""
        random = self.random
        for number in range(count):
            request = bytearray(self.page)
            for _ in range(random.randint(1, 6)):
                request[random.randrange(len(request))] = random.randrange(256)
            if number % 5 == 1:
                request = request[: random.randrange(len(request))]
            elif number % 5 == 2:
                request = bytearray(random.randbytes(400))
            elif number % 5 == 3:
                path = random.choice(("a" * 60 + "!", "../" * 40 + "etc/passwd", "%2e%2e/" * 30, "a/" * 3000, "\\..\\"))
                request = bytearray(self.page.replace(b"GET / ", b"GET /" + path.encode() + b" "))
            elif number % 50 == 4:
                request = bytearray(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000)
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
        return count

    def foreign(self, count: int) -> int:
        """Pages of other sites: every one has to be refused."""
        origins = ("http://evil.example", "null", "http://127.0.0.1:1", f"http://localhost.evil.example:{self.port}")
        for number in range(count):
            answer = self._ask(self.upgrade.format(origin=origins[number % 4]).encode())
            if b" 403 " not in answer[:20]:
                raise RuntimeError(f"a foreign page was answered: {answer[:80]!r}")
        return count

    def messages(self, count: int) -> int:
        """Messages that no page sends, over the websocket of the own page; a new one when it is closed."""
        sent = 0
        while sent < count:
            connection = self.websocket()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(0.0)
                for _ in range(min(20, count - sent)):
                    sent += 1
                    connection.setblocking(True)
                    connection.sendall(self._frame())
                    connection.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        while connection.recv(1 << 20):
                            pass
        return sent

    def websocket(self) -> socket.socket:
        """An open websocket of the own page."""
        connection = self.connect()
        connection.sendall(self.upgrade.format(origin=f"http://127.0.0.1:{self.port}").encode())
        answer = connection.recv(4096)
        if b" 101 " not in answer[:20]:
            raise RuntimeError(f"the own page was refused: {answer[:80]!r}")
        return connection

    def _frame(self) -> bytes:
        random = self.random
        value = lambda: random.choice((*_NUMBERS, [random.choice(_NUMBERS) for _ in range(random.randint(0, 5))]))
        fields = {name: value() for name in random.sample(_FIELDS, random.randint(0, 8))}
        fields["updates"] = {random.choice(("value", "label", "update_cb", "_impl")): value()}
        kind, code = random.randrange(6), 2
        if kind == 0:
            payload = random.randbytes(random.randint(0, 300))
        elif kind == 1:
            payload, code = b"text", 1
        elif kind == 2:
            payload = b"\x91" * 50_000  # lists in lists
        else:
            payload = msgspec.msgpack.encode({"type": random.choice(_TYPES), **fields})
            payload = payload[: random.randrange(len(payload))] if random.random() < 0.1 else payload
        if random.random() < 0.1:
            code = random.randrange(16)
        length = len(payload) if random.random() > 0.05 else random.randrange(1 << 40)
        head = bytes([0x80 | code, 0x80 | (length if length < 126 else 126 if length < 65536 else 127)])
        head += b"" if length < 126 else struct.pack(">H" if length < 65536 else ">Q", length)
        return head + bytes(4) + payload  # a mask of zeros

    def _ask(self, request: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(request)
            answer = b""
            while data := connection.recv(1 << 16):
                answer += data
        return answer


def during(attack: Attack, kind: str, act: Callable[[], int], least: int = 20) -> Waits:
    """Fetch the page every 50 ms while ``act`` goes on, and ``least`` times."""
    waits, ended, failed = Waits(kind), threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            waits.sent = act()
        except BaseException as error:
            failed.append(error)
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not ended.is_set() or len(waits.waits) < least:
        waits.waits.append(attack.fetch())
        time.sleep(0.05)
    thread.join()
    if failed:
        raise failed[0]
    return waits


def attacked(port: int, count: int, sockets: int, seed: int) -> list[Waits]:
    """The page's waits under each kind of hostility; raises where it is not served, or a foreign page is."""
    attack = Attack(port, seed)
    attack.fetch()
    results = [during(attack, "nothing", lambda: 0)]
    silent = [attack.connect() for _ in range(sockets)]
    for connection in silent[::2]:
        connection.sendall(attack.page[:20])
    results.append(during(attack, f"{sockets} silent sockets", lambda: sockets))
    for connection in silent:
        connection.close()
    slow = []
    for _ in range(sockets // 2):
        slow.append(attack.websocket())  # and never reads what it is sent
        slow.append(attack.connect())
        slow[-1].sendall(attack.page)
    results.append(during(attack, f"{len(slow)} slow readers", lambda: len(slow)))
    for connection in slow:
        connection.close()
    results.append(during(attack, "malformed requests", lambda: attack.requests(count)))
    results.append(during(attack, "foreign origins", lambda: attack.foreign(count // 10)))
    results.append(during(attack, "malformed messages", lambda: attack.messages(count)))
    results.append(during(attack, "nothing, afterwards", lambda: 0))
    return results


def main(options: HostileClient) -> int:
    """Run, print, write."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from small_rooms import save, small_room  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        save(small_room(), Path(folder) / "room")
        log = open(Path(folder) / "log", "w+")  # noqa: SIM115
        command = [sys.executable, "-m", "panoptic_gs", "view", f"{folder}/room", "--port", "0", "--no-open", "--json"]
        viewer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert viewer.stdout is not None
            port = int(json.loads(viewer.stdout.readline())["url"].rpartition(":")[2])
            results = attacked(port, options.requests, options.sockets, options.seed)
            lives = viewer.poll() is None
            memory = int(Path(f"/proc/{viewer.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        finally:
            viewer.kill()
            viewer.wait()
    table = Table("during", "sent", "fetches", "median ms", "longest ms")
    for r in results:
        middle = sorted(r.waits)[len(r.waits) // 2]
        table.add_row(r.kind, f"{r.sent:,}", str(len(r.waits)), f"{1e3 * middle:.0f}", f"{1e3 * r.longest:.0f}")
    Console().print(table, f"The viewer {'lives' if lives else 'ended'}; {memory} MiB.")
    rows = [{"kind": r.kind, "sent": r.sent, "fetches": len(r.waits), "longest": r.longest} for r in results]
    write_json(options.out, {"rows": rows, "lives": lives, "memory_mib": memory, "environment": environment()})
    return 0 if lives and all(r.longest <= options.limit for r in results) else 1


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(HostileClient)))
