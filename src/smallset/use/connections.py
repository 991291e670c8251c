"""Connections that may not be slow, and bodies that may not be large.

uvicorn waits for ever for the headers of a request, and for its body; who opens connections and
says little (slowloris) would hold all of them. Here the headers have a deadline, a body has a pace
to keep, an answer has to be taken, and of too many connections the one that has waited longest
without a request goes.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from smallset.errors import RunError
from smallset.use.guard import HOSTS

HEADER_SECONDS = 10.0
"""For the headers of a request, from the opening of a connection or the answer before it."""
BODY_SECONDS = 10.0
"""For a body, and a second more for every `BODY_PACE` bytes that have come."""
BODY_PACE = 20_000
TAKE_SECONDS = 30.0
"""For an answer to be taken by the client."""
MOST_CONNECTIONS = 800


def most_connections() -> int:
    """Return how many connections there may be, so that there are files left to open."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft < 0 else max(min(MOST_CONNECTIONS, soft - 100), 20)


class Connection(H11Protocol):
    """A connection of HTTP/1.1 that closes when the client is too slow."""

    header_seconds = HEADER_SECONDS
    most = most_connections()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.taking: asyncio.TimerHandle | None = None
        self.opened = time.monotonic()
        self.asking = self.loop.call_later(self.header_seconds, self.timeout_keep_alive_handler)
        if len(self.connections) > self.most:
            idle = (each for each in self.connections if isinstance(each, Connection))
            oldest = min((each for each in idle if each.is_idle), key=lambda each: each.opened)
            oldest.timeout_keep_alive_handler()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered; the rest of a refused body may still come."""
        return self.conn.our_state in (h11.IDLE, h11.DONE)

    def data_received(self, data: bytes) -> None:
        """Take bytes; once they make a request, its headers have come in time."""
        super().data_received(data)
        if not self.is_idle:
            self.asking.cancel()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self.asking.cancel()
        if self.is_idle:
            self.opened = time.monotonic()
            self.asking = self.loop.call_later(self.header_seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection; what was said before is sent, if the client takes it."""
        super().timeout_keep_alive_handler()
        self.connections.discard(self)
        self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Give the client some time to take what was sent."""
        super().pause_writing()
        self.taking = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has taken it."""
        super().resume_writing()
        if self.taking is not None:
            self.taking.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self.asking.cancel()
        if self.taking is not None:
            self.taking.cancel()


class TooLarge(ValueError):
    """A body has more bytes than are allowed."""


class TooSlow(ValueError):
    """A body comes too slowly."""


class Gone(ValueError):
    """The client has gone before its request was complete."""


class Busy(ValueError):
    """There is no room for another request now."""


@dataclass
class Room:
    """Memory for the bodies of all requests that are being received or answered."""

    size: int
    """Bytes."""
    taken: int = 0

    @asynccontextmanager
    async def body(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """Read the body of a request, and hold the room for it.

        Args:
            most: Bytes that are allowed.

        Raises:
            TooLarge: If there are more.
            TooSlow: If it comes too slowly.
            Gone: If the client goes in the middle of it.
            Busy: If other bodies leave no room for it.
        """
        if int(request.headers.get("content-length", "0")) > most:
            raise TooLarge
        chunks: list[bytes] = []
        held, began, more = 0, time.monotonic(), True
        try:
            while more:
                left = began + BODY_SECONDS + held / BODY_PACE - time.monotonic()
                try:
                    message = await asyncio.wait_for(request.receive(), max(left, 0))
                except TimeoutError:
                    raise TooSlow from None
                if message["type"] != "http.request":
                    raise Gone
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if held + len(chunk) > most:
                    raise TooLarge
                if self.taken + len(chunk) > self.size:
                    raise Busy
                self.taken += len(chunk)
                held += len(chunk)
                chunks.append(chunk)
            yield b"".join(chunks)
        finally:
            self.taken -= held


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens already: who connects before the server runs waits for it.

    Args:
        port: 0 takes a free one.

    Raises:
        RunError: If the port is taken, or the address is not of this machine.
    """
    try:
        [family, _, _, _, address], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        where = f"port {port}" if host in HOSTS else f"{host}, port {port}"
        raise RunError(f"cannot listen on {where}: {error.strerror}; give another --port") from None
