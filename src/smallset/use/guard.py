"""What every server of smallset refuses: requests that name another host, or come from other pages.

Other web pages in the same browser can reach 127.0.0.1 too. A Host header that must name this
server keeps out DNS rebinding (a foreign name that suddenly points here), an Origin that must be
the server's own keeps out requests that other pages make.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard(ABC):
    """Answers what it refuses itself, and says in every answer that no other page may use it."""

    most: int | None = None
    """Bytes of a body, however it is sent; None where what is guarded counts them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @abstractmethod
    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused; None lets it through."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no server of smallset has a WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self.refuse(Request(scope))
        if refused is None and self.most is not None:
            body = await _short_body(receive, self.most)
            if body is None:
                refused = Response("This request is too large.", 413, {"Connection": "close"})
            else:
                receive = _said_once(body, receive)
        await (refused or self.app)(scope, receive, guarded)


async def _short_body(receive: Receive, most: int) -> bytes | None:
    """Return a body; None once it is longer than allowed, of which no more is kept then."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > most:
            return None
    return body


def _said_once(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def host_name(request: Request) -> str | None:
    """Return the name or address in the Host header, in lower case; None where it is malformed."""
    host = request.headers.get("host", "").lower()
    if host.startswith("["):  # an IPv6 address
        name, bracket, rest = host[1:].partition("]")
        rest = rest if bracket else "?"
    else:
        name, colon, port = host.partition(":")
        rest = colon + port
    return name if rest == "" or (rest[0] == ":" and _is_port(rest[1:])) else None


def _is_port(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdecimal())


def wrong_host(request: Request, hosts: Collection[str]) -> str | None:
    """Return why a request is refused whose Host header names none of these; None if it does."""
    if host_name(request) in hosts:
        return None
    return f"This server answers to {' and '.join(hosts)} alone."


def is_foreign_origin(request: Request) -> bool:
    """Whether a request says that a page of another server makes it."""
    host = request.headers.get("host", "")
    own = (f"http://{host}", f"https://{host}")  # the latter where a proxy speaks TLS
    return request.headers.get("origin", own[0]) not in own


def is_foreign_site(request: Request) -> bool:
    """Whether a browser says that another site led to a request; other programs say nothing."""
    return request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
