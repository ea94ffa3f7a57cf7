# SPDX-License-Identifier: Apache-2.0
"""A viser server that only its own pages can talk to.

viser answers anybody. A web site that a user visits could so reach a viewer on the same machine (by DNS rebinding, or
by a websocket, which browsers let cross origins), and older versions serve any readable file to a path with ``..``.
Here every request passes a check of its path, its ``Host`` and its ``Origin`` before viser sees it, and so does every
message of a page.
"""

from __future__ import annotations

import asyncio
import gzip
import http
import importlib
import inspect
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import viser
import viser.infra
from websockets.datastructures import Headers

from panoptic_gs.errors import InputError
from panoptic_gs.objects.web import object_list_files
from panoptic_gs.viewer.list_socket import PATH, ListSocket
from panoptic_gs.viewer.messages import LONGEST, refusal

_SAFE_PATH = re.compile(r"/[A-Za-z0-9_\-.,~/]*")
_LONGEST_PATH = 512  # viser's own are below 100 characters
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    # viser's page compiles its sorter and its markdown at run time; it needs nothing from elsewhere.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws://{host} wss://{host} "
        "data: blob:; frame-ancestors 'none'; object-src 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FOLDER = Path(__file__).parent
_patching = threading.Lock()
_TRIES = 5


class RequestGuard:
    """Decides which requests a viewer answers.

    Args:
        host: the address that the viewer listens on. On all addresses (``0.0.0.0``, ``::``) it may be called by any
            numeric address and by this machine's name, which a foreign page cannot take for its own.
    """

    def __init__(self, host: str) -> None:
        self._names = {*_LOOPBACK, host.casefold()}
        self._any_address = host in ("0.0.0.0", "::", "")
        if self._any_address:
            self._names.add(socket.gethostname().casefold())

    def refusal(self, path: str, headers: Headers) -> str | None:
        """Why a request is refused, or None where it may pass."""
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or not self._is_mine(hosts[0]):
            return "This viewer does not answer to that host name."
        if not all(_is_of(origin, hosts[0]) for origin in headers.get_all("Origin")):
            return "This viewer answers its own pages only."
        where = path[: _LONGEST_PATH + 1].partition("?")[0]
        if len(where) > _LONGEST_PATH or not _SAFE_PATH.fullmatch(where) or ".." in where or "//" in where:
            return "This path is not served."
        return None

    def _is_mine(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").casefold()
        except ValueError:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def guarded_server(host: str, port: int, objects: ListSocket | None = None) -> viser.ViserServer:
    """A viser server behind a :class:`RequestGuard`.

    Args:
        host: address to listen on.
        port: port to listen on, exactly this one; 0 for any that is free.
        objects: the connection of the list of objects, which has a path of its own.

    Raises:
        InputError: the port is in use, or the address is not this machine's.
    """
    listener = _listen(host, port)
    guard = RequestGuard(host)
    try:
        # viser prints a banner that names 0.0.0.0 and the like; the command prints an address of its own.
        with _serving(listener, guard, objects), redirect_stdout(StringIO()):
            server = _started(host, listener.getsockname()[1])
    except BaseException:
        listener.close()
        raise
    # Whoever sees the page could ask for a public tunnel to it.
    server.request_share_url = lambda *_, **__: None
    return server


def _started(host: str, port: int) -> viser.ViserServer:
    """A server. viser looks at all processes of the machine, and fails where one of them ends just then."""
    for left in reversed(range(_TRIES)):
        try:
            return viser.ViserServer(host=host, port=port, verbose=False)
        except Exception as error:  # psutil's, which is viser's own dependency
            if type(error).__name__ != "NoSuchProcess" or not left:
                raise
    raise AssertionError


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, OverflowError) as error:
        in_use = isinstance(error, OSError) and error.errno in (48, 98, 10048)
        raise InputError(
            f"{host}:{port}",
            "a port that is in use" if in_use else f"an address that cannot be listened on ({error})",
            "a free port of this machine",
            f"Another viewer may be running there. Choose another one, as in --port {port + 1 if in_use else 8080}."
            if in_use
            else "Use --host 127.0.0.1, or an address of this machine.",
        ) from error


@contextmanager
def _serving(listener: socket.socket, guard: RequestGuard, objects: ListSocket | None) -> Iterator[None]:
    """While viser starts, have it serve on ``listener`` and through ``guard``.

    viser has no hook for either, so the function by which it starts websockets' server is wrapped meanwhile: the legacy
    one up to viser 0.2, the asyncio one later. It calls it in a thread of its own before its constructor returns.
    """
    names = ("websockets.asyncio.server", "websockets.legacy.server")
    modules = [importlib.import_module(name) for name in names]
    patched = [(module, "serve", module.serve) for module in modules]
    alias = getattr(viser.infra._infra.websockets, "server", None)  # websockets.server, which viser 0.2 goes through
    if alias is not None and alias not in modules:
        patched.append((alias, "serve", alias.serve))
    with _patching:
        for module, name, serve in patched:
            setattr(module, name, _guarded(serve, listener, guard, objects))
        try:
            yield
        finally:
            for module, name, serve in patched:
                setattr(module, name, serve)


def _guarded(
    serve: Callable[..., Any], listener: socket.socket, guard: RequestGuard, objects: ListSocket | None
) -> Callable[..., Any]:
    def guarded(handler: Any, host: str, port: int, *, process_request: Callable[..., Any], **options: Any) -> Any:
        # Without compression: it is most of the time that a large scene takes, and gains nothing on one machine.
        options["compression"] = None
        legacy = len(inspect.signature(process_request).parameters) == 2 and "legacy" in serve.__module__
        wrap = _legacy_check if legacy else _check
        options["max_size"] = LONGEST
        return serve(
            _one_after_the_other(_with_list_of_objects(_with_checked_messages(handler), objects)),
            None,
            None,
            sock=listener,
            process_request=wrap(process_request, guard),
            **options,
        )

    return guarded


def _one_after_the_other(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Have all that waits for a slow page wait in turn.

    websockets' legacy protocol asserts that one sender alone waits until the page took what was sent. A viewer has
    several, its keep-alive among them; the second one would fail, and the page would stay as it is.
    """

    async def queued(websocket: Any, *arguments: Any) -> None:
        if hasattr(websocket, "drain"):  # the asyncio protocol waits in turn by itself
            drain, turn = websocket.drain, asyncio.Lock()

            async def drain_in_turn() -> None:
                async with turn:
                    await drain()

            websocket.drain = drain_in_turn
        await handler(websocket, *arguments)

    return queued


def _with_list_of_objects(handler: Callable[..., Any], objects: ListSocket | None) -> Callable[..., Any]:
    """Connections to the path of the list of objects are none of viser's."""

    async def divided(websocket: Any, *arguments: Any) -> None:
        path = websocket.path if hasattr(websocket, "path") else websocket.request.path
        if objects is not None and path.partition("?")[0] == PATH:
            await objects.serve(websocket)
        else:
            await handler(websocket, *arguments)

    return divided


def _with_checked_messages(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Close a connection at the first message that no page sends; viser takes it for one that its page has closed."""

    async def checked(websocket: Any, *arguments: Any) -> None:
        receive = websocket.recv

        async def recv(*options: Any, **named: Any) -> Any:
            raw = await receive(*options, **named)
            why = refusal(raw)
            if why is None:
                return raw
            await websocket.close(1008, why)
            return await receive()  # raises that it is closed

        websocket.recv = recv
        await handler(websocket, *arguments)

    return checked


def _check(inner: Callable[..., Any], guard: RequestGuard) -> Callable[..., Any]:
    """Of websockets' asyncio server: ``process_request(connection, request)`` gives a response or None."""

    async def process_request(connection: Any, request: Any) -> Any:
        refusal = guard.refusal(request.path, request.headers)
        if refusal is not None:
            return connection.respond(http.HTTPStatus.FORBIDDEN, refusal + "\n")
        answer = inner(connection, request)
        response = await answer if inspect.isawaitable(answer) else answer
        if response is not None:
            body = _page(request.path, response.headers, response.body or b"")
            response.body = body
            for name, value in {"Content-Length": str(len(body)), **_answer_headers(request.headers)}.items():
                if name in response.headers:
                    del response.headers[name]  # else a second one is added
                response.headers[name] = value
        return response

    return process_request


def _legacy_check(inner: Callable[..., Any], guard: RequestGuard) -> Callable[..., Any]:
    """Of websockets' legacy server: ``process_request(path, headers)`` gives status, headers and body, or None."""

    async def process_request(path: str, headers: Headers) -> Any:
        refusal = guard.refusal(path, headers)
        if refusal is not None:
            return http.HTTPStatus.FORBIDDEN, {"Content-Type": "text/plain"}, refusal.encode() + b"\n"
        response = await inner(path, headers)
        if response is None:
            return None
        status, given, body = response
        answer = Headers(given)
        body = _page(path, answer, body)
        for name, value in _answer_headers(headers).items():
            answer[name] = value
        return status, answer, body

    return process_request


def _answer_headers(request: Headers) -> dict[str, str]:
    return {name: value.format(host=request["Host"]) for name, value in _HEADERS.items()}


def _page(path: str, headers: Headers, body: bytes) -> bytes:
    """The start page with our title and additions, and without the visitor counter of viser 0.2; others as they are."""
    if path.partition("?")[0] not in ("/", "/index.html"):
        return body
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
        del headers["Content-Encoding"]
    page = body.decode("utf-8")
    page = re.sub(r"<!-- Google tag.*?</script>\s*<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    page = re.sub(r"<title>.*?</title>", "<title>panoptic-gs view</title>", page, count=1)
    additions = _additions()
    return page.replace("<head>", "<head>" + additions, 1).encode("utf-8")


def _additions() -> str:
    """What is added to viser's page: a check for WebGL, and the list of objects."""
    styles = [*object_list_files("css"), _FOLDER / "object_panel.css"]
    scripts = [*object_list_files("js"), _FOLDER / "object_panel.js"]
    parts = [(_FOLDER / "page_additions.html").read_text(encoding="utf-8")]
    parts += [f"<style>{file.read_text(encoding='utf-8')}</style>" for file in styles]
    parts += [f"<script>{file.read_text(encoding='utf-8')}</script>" for file in scripts]
    return "\n".join(parts)


def _is_of(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.casefold() == host.casefold()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
