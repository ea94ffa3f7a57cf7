# SPDX-License-Identifier: Apache-2.0
"""Who may talk to a viewer, tried over raw sockets."""

import socket
import time
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("viser")

import viser
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed

from panoptic_gs.errors import InputError
from panoptic_gs.viewer.guard import RequestGuard, guarded_server
from panoptic_gs.viewer.list_socket import PATH, ListSocket
from panoptic_gs.viewer.markdown import plain, unmarked


def test_a_process_that_ends_meanwhile_is_no_reason_not_to_start(monkeypatch):
    class NoSuchProcess(Exception):
        """As psutil's, which viser lets through."""

    started, real = [], viser.ViserServer

    def server(**options):
        started.append(options)
        if len(started) < 3:
            raise NoSuchProcess
        return real(**options)

    monkeypatch.setattr(viser, "ViserServer", server)
    guarded_server("127.0.0.1", 0).stop()
    assert len(started) == 3


@pytest.fixture(scope="module")
def port():
    server = guarded_server("127.0.0.1", 0)
    yield server.get_port()
    server.stop()


def ask(port: int, path: str = "/", host: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and everything else of the answer to a raw request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host if host is not None else f'127.0.0.1:{port}'}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while not answer.startswith(b"HTTP/1.1 101") and (data := connection.recv(1 << 16)):
            answer += data
    return int(answer.split()[1]), answer.decode("utf-8", "replace")


def websocket(origin: str) -> dict[str, str]:
    return {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin,
    }  # fmt: skip


def test_the_page_is_served_to_this_machine(port):
    status, answer = ask(port)
    assert status == 200
    assert "<title>panoptic-gs view</title>" in answer
    assert "frame-ancestors 'none'" in answer
    assert "googletagmanager" not in answer
    assert ask(port, host=f"localhost:{port}")[0] == 200
    assert ask(port, host="localhost:9999")[0] == 200  # forwarded by ssh from another port


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "192.168.0.7", "[::"]
)
def test_foreign_hosts_are_refused(port, host):
    status, answer = ask(port, host=host)
    assert status in (400, 403)
    assert "<html" not in answer


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost.evil.example", "http://["]
)
def test_websockets_of_foreign_pages_are_refused(port, origin):
    assert ask(port, **websocket(origin))[0] == 403


def test_websockets_of_the_own_page_are_served(port):
    assert ask(port, **websocket(f"http://127.0.0.1:{port}"))[0] == 101


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_the_list_of_objects_is_not_told_to_foreign_pages(port, origin):
    assert ask(port, PATH, **websocket(origin))[0] == 403
    assert ask(port, PATH, host="evil.example", **websocket(f"http://127.0.0.1:{port}"))[0] == 403


def test_the_list_of_objects_closes_on_what_no_page_sends():
    from websockets.sync.client import connect

    objects = ListSocket()
    heard = []
    objects.state = lambda: {"show": "state"}
    objects.heard = heard.append
    server = guarded_server("127.0.0.1", 0, objects)
    try:
        url = f"ws://127.0.0.1:{server.get_port()}{PATH}"
        for raw in (b"\x00bytes", "no json", "[" * 40_000, "x" * 70_000, "[" + "1," * 40_000 + "1]"):
            with connect(url, open_timeout=10) as page:
                assert page.recv(timeout=10) == '{"show": "state"}'
                page.send(raw)
                with pytest.raises(ConnectionClosed):
                    page.recv(timeout=10)
        assert heard == []
        with connect(url, open_timeout=10) as page:
            page.recv(timeout=10)
            page.send('{"do": "undo"}')
            objects.refresh()
            assert page.recv(timeout=10) == '{"show": "state"}'
        assert heard == [{"do": "undo"}]
    finally:
        server.stop()
        objects.close()


def test_all_that_is_sent_to_a_slow_page_waits_in_turn(monkeypatch, caplog):
    """State, answers and keep-alive wait for it; websockets' legacy protocol lets one wait and fails the rest."""
    import websockets.asyncio.server
    import websockets.legacy.server

    for module in (websockets.asyncio.server, websockets.legacy.server, viser.infra._infra.websockets.server):
        real = module.serve

        def often(*arguments, real=real, **options):
            return real(*arguments, **{**options, "ping_interval": 0.1, "ping_timeout": None})

        often.__module__ = real.__module__
        monkeypatch.setattr(module, "serve", often)
    objects, length = ListSocket(), 8_000_000
    objects.state = objects.heard = lambda *_: {"show": "x" * length}  # more than the buffers of sockets hold
    server = guarded_server("127.0.0.1", 0, objects)
    port = server.get_port()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as page:
            lines = [f"GET {PATH} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
            lines += [f"{name}: {value}" for name, value in websocket(f"http://127.0.0.1:{port}").items()]
            page.sendall("\r\n".join([*lines, "", ""]).replace("_", "-").encode())
            page.sendall(b"\x81\x82" + bytes(4) + b"{}")  # masked, by zeros
            time.sleep(2)
            objects.refresh()
            got = 0
            while got < 3 * length:
                data = page.recv(1 << 20)
                assert data, f"closed after {got} bytes of three messages"
                got += len(data)
    finally:
        server.stop()
        objects.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_foreign_pages_cannot_read_the_page(port):
    assert ask(port, Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/../__init__.py", "/../../../../../../../etc/passwd", "//etc/passwd", "/%2e%2e/x", "/a/../b", "/\\..\\x", "*"],
)
def test_nothing_outside_the_page_is_served(port, path):
    status, answer = ask(port, path)
    assert status in (400, 403, 404)
    assert "root:" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "/" + "a" * 60 + "!",
        "/" + "a/" * 30 + "!",
        "/" + "a" * 4000,
        "/" + "a." * 2000 + "?" + "b" * 1000,
        "/" + "/" * 500,
    ],
)
def test_no_path_takes_long_to_refuse(port, path):
    guard = RequestGuard("127.0.0.1")
    started = time.process_time()
    assert guard.refusal(path, Headers(Host="localhost")) is not None
    assert guard.refusal(path, Headers(Host="evil.example")) == guard.refusal("/", Headers(Host="evil.example"))
    assert time.process_time() - started < 0.1
    assert ask(port, path)[0] in (400, 403, 414)
    assert ask(port)[0] == 200


def test_it_goes_on_serving_under_malformed_requests_and_slow_readers(port):
    """Random bytes, requests cut anywhere, headers without end, and a hundred connections that say nothing."""
    random = np.random.default_rng(0)
    good = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\r\n".encode()
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    for connection in silent[::2]:
        connection.sendall(good[:20])
    for number in range(300):
        request = bytearray(good)
        for _ in range(random.integers(1, 6)):
            request[random.integers(len(request))] = random.integers(256)
        if number % 3 == 0:
            request = request[: random.integers(len(request))]
        if number % 10 == 0:
            request = bytearray(random.bytes(500))
        if number % 50 == 0:
            request = bytearray(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(OSError):
            connection.sendall(request)
    assert ask(port)[0] == 200
    for connection in silent:
        connection.close()


def test_a_taken_port_is_said(port):
    with pytest.raises(InputError, match=f"--port {port + 1}"):
        guarded_server("127.0.0.1", port)


def test_an_address_of_another_machine_is_said():
    with pytest.raises(InputError, match=r"--host 127\.0\.0\.1"):
        guarded_server("203.0.113.1", 0)


def test_on_all_addresses_numbers_and_the_own_name_are_answered_but_no_other_name():
    guard = RequestGuard("0.0.0.0")
    for host in ("192.168.0.7:8080", "[fe80::1]:8080", f"{socket.gethostname()}:8080", "localhost"):
        assert guard.refusal("/", Headers(Host=host)) is None
    assert guard.refusal("/", Headers(Host="evil.example"))


def test_two_hosts_are_refused():
    assert RequestGuard("127.0.0.1").refusal("/", Headers([("Host", "localhost"), ("Host", "evil.example")]))


def test_the_public_tunnel_is_closed():
    server = guarded_server("127.0.0.1", 0)
    try:
        assert server.request_share_url() is None
    finally:
        server.stop()


def test_names_mean_nothing_in_markdown():
    text = "{alert(1)}\nexport const x = 1 <b>&![a](b)"
    assert set(plain(text)) <= set("&#0123456789;")
    assert unmarked("a\u202eb\x07c") == "a b c"
    assert len(unmarked("x" * 500)) == 60
