"""The server of the review page: this machine alone, its own page alone, this set's images alone.

Other web pages in the same browser can reach 127.0.0.1 too. Three locks keep them out: the Host
header must name this machine (against DNS rebinding), the Origin of whatever changes something
must be the page itself (against forged requests), and everything needs the key that stands in the
address the terminal shows, kept in a cookie that no other site's requests carry.
"""

import functools
import getpass
import io
import secrets
import socket
import threading
import webbrowser
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from smallset.clean.review import TOOL, Conflict, Review, Row, alone, find_images, read_rows
from smallset.data.cleaned import FIX, read_about
from smallset.data.pictures import Unreadable, decode
from smallset.errors import ConfigError, DataError, RunError, suggest
from smallset.files import file_sum
from smallset.reading import read_array, reading
from smallset.words import Lang, catalogue

try:
    import uvicorn
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from pydantic import BaseModel
    from starlette.datastructures import MutableHeaders
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError:
    raise ConfigError("smallset review needs the extra: pip install 'smallset[web]'") from None

HOSTS = ("127.0.0.1", "localhost")
SIDES = {"big": 1200, "small": 200}  # of served images, px
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NEIGHBOURS = 4
MAX_BODY = 10_000  # bytes


class Guard:
    """Lets requests of the page itself through, and nothing else.

    Args:
        key: What the address or the cookie must hold.
    """

    def __init__(self, app: ASGIApp, key: str, cookie: str) -> None:
        self.app = app
        self.key = key
        self.cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # this server has no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        why = self._refusal(Request(scope))
        if why is not None:
            await Response(why, status_code=403, media_type="text/plain")(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _refusal(self, request: Request) -> str | None:
        headers = request.headers
        host = headers.get("host", "")
        name, _, port = host.partition(":")
        if name not in HOSTS or not (port == "" or port.isdecimal()):
            return f"This server answers to {' and '.join(HOSTS)} alone."
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return "This request comes from another page."
        changes = request.method not in ("GET", "HEAD")
        if changes and "origin" not in headers:
            return "This request does not say which page it comes from."
        opens = request.url.path == "/" and self._is_key(request.query_params.get("key", ""))
        # Only the address with the key may be opened from elsewhere, such as a terminal's link.
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not opens:
            return "This request comes from another page."
        if not opens and not self._is_key(request.cookies.get(self.cookie, "")):
            return "Open the address that `smallset review` shows: it holds the key."
        if int(headers.get("content-length", "0") or 0) > MAX_BODY:
            return "This request is too large."
        return None

    def _is_key(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.key.encode())


class Wish(BaseModel):
    """A decision, as the page sends it."""

    image: int
    decision: Literal["keep", "relabel", "drop"]
    label: str = ""
    seen: dict[str, str]


class Album:
    """The images of a cleaned set, found again in its data.

    Args:
        data: Where the data is now; None takes the place where it was.

    Raises:
        DataError: If it is not there, or lacks an image.
    """

    def __init__(self, folder: Path, data: str | None) -> None:
        rows = read_rows(folder)
        images = find_images(folder, rows, data)
        self.classes, self.root = images.classes, images.root
        self.features: np.ndarray | None = None
        stored = folder / "features.npy"
        if stored.exists():
            with reading(stored, FIX):
                promised = read_about(folder).get("files", {}).get(stored.name)
                if promised is not None and file_sum(stored) != promised:
                    raise ValueError("its checksum is not the one in clean.json")
            features = read_array(stored, fix=FIX).astype(np.float32)
            if features.ndim != 2 or len(features) != len(rows):
                raise DataError(f"{stored} and labels.csv have different lengths; {FIX}")
            self.features = features / np.maximum(np.linalg.norm(features, axis=1)[:, None], 1e-9)

    @functools.lru_cache(maxsize=300)  # noqa: B019  one album per process; some 60 MB
    def jpeg(self, path: str, side: int) -> bytes:
        """Return an image as JPEG.

        Args:
            side: Its longer side is shrunk to this, px.

        Raises:
            DataError: If the file is gone or damaged.
        """
        try:
            content = (self.root / path).read_bytes()
            picture = decode(content, max_megapixels=178).image
        except (OSError, Unreadable) as error:
            raise DataError(f"cannot show {path}: {error}") from None
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=88)
        return written.getvalue()

    def neighbours(self, rows: list[Row], number: int, label: str) -> list[int]:
        """Return the images of a class that look most like one; trusted ones alone."""
        if self.features is None:
            return []
        # An undecided suspect of the class is no good example of it.
        usable = [
            n for n, row in enumerate(rows)
            if n != number and row.label == label and row.decision != "drop"
            and (row.probability >= 0.5 or row.by != TOOL)
        ]  # fmt: skip
        if not usable:
            return []
        likeness = self.features[usable] @ self.features[number]
        return [usable[n] for n in np.argsort(-likeness, kind="stable")[:NEIGHBOURS]]


def build_app(review: Review, album: Album, *, key: str, cookie: str, lang: Lang) -> FastAPI:
    """Return the application.

    Args:
        cookie: Name of the cookie that holds the key.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, key=key, cookie=cookie)

    @app.exception_handler(RunError)
    @app.exception_handler(DataError)
    def _failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=500)

    _serve_page(app, key, cookie, lang)
    _serve_images(app, review, album)
    _take_decisions(app, review, album)
    return app


def _serve_page(app: FastAPI, key: str, cookie: str, lang: Lang) -> None:
    @app.get("/")
    def page() -> Response:
        from smallset.show.report.render import environment

        shown = HTMLResponse(environment().get_template("review.html").render(lang=lang),
                             headers={"Cache-Control": "no-store"})  # fmt: skip
        shown.set_cookie(cookie, key, httponly=True, samesite="strict")
        return shown

    @app.get("/style.css")
    def style() -> Response:
        text = _file("show/report/templates/page.css") + _file("use/templates/review.css")
        return Response(text, media_type="text/css")

    @app.get("/review.js")
    def script() -> Response:
        text = _file("use/templates/review.js")
        return Response(text, media_type="text/javascript")


def _serve_images(app: FastAPI, review: Review, album: Album) -> None:
    @app.get("/state")
    def state() -> Response:
        return _answer({
            "classes": list(album.classes),
            "by": review.by,
            "words": catalogue(),
            "images": [
                {"path": row.path, "given": row.given, "probability": row.probability,
                 "suspect": row.is_suspect, **row.state}
                for row in review.rows()
            ],
        })  # fmt: skip

    @app.get("/image/{number}/{side}")
    def image(number: int, side: Literal["big", "small"]) -> Response:
        rows = review.rows()
        if not 0 <= number < len(rows):
            raise HTTPException(404)
        try:
            content = album.jpeg(rows[number].path, SIDES[side])
        except DataError as error:
            raise HTTPException(404, str(error)) from None
        return Response(content, media_type="image/jpeg",
                        headers={"Cache-Control": "private, max-age=600"})  # fmt: skip

    @app.get("/neighbours/{number}")
    def neighbours(number: int, label: str) -> Response:
        rows = review.rows()
        if not 0 <= number < len(rows):
            raise HTTPException(404)
        return _answer(album.neighbours(rows, number, label))


def _take_decisions(app: FastAPI, review: Review, album: Album) -> None:
    lock = threading.Lock()  # requests of several tabs come on several threads

    @app.post("/decide")
    def decide(wish: Wish) -> Response:
        if wish.decision == "relabel" and wish.label not in album.classes:
            raise HTTPException(
                422, f"no class {wish.label!r}; {suggest(wish.label, album.classes)}"
            )
        with lock:
            try:
                row = review.decide(wish.image, wish.decision, wish.label, seen=wish.seen)
            except IndexError as error:
                raise HTTPException(404, str(error)) from None
            except Conflict as conflict:
                return _answer(conflict.row.state, 409)
        return _answer(row.state)

    @app.post("/undo")
    def undo() -> Response:
        with lock:
            try:
                number = review.undo()
            except Conflict as conflict:
                return _answer({"detail": str(conflict)}, 409)
            state = None if number is None else review.rows()[number].state
        return _answer({"image": number, "state": state})


def _answer(content: Any, status: int = 200) -> Response:
    return JSONResponse(content, status, headers={"Cache-Control": "no-store"})


def _file(name: str) -> str:
    return files("smallset").joinpath(name).read_text(encoding="utf-8")


def serve_review(
    folder: Path,
    *,
    data: str | None,
    port: int,
    by: str | None,
    lang: Lang,
    open_browser: bool,
    on_line: Callable[[str], object],
) -> None:
    """Serve the review page of a cleaned set until it is interrupted.

    Args:
        folder: What `smallset clean` left.
        data: Where the data is now; None takes the place where it was.
        port: Of 127.0.0.1; 0 takes a free one.
        by: Whose decisions these are; None takes the user's name.
        on_line: Told the address, and at the end what was decided.

    Raises:
        DataError: If the folder is no cleaned set, or its images are gone.
        RunError: If the port is taken, or another review of the folder runs.
    """
    review, album = Review(folder, by or _user()), Album(folder, data)
    with alone(folder), socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()  # who opens the address at once waits for the server
        except OSError as error:
            raise RunError(
                f"cannot listen on port {port}: {error.strerror}; give another --port"
            ) from None
        port = listener.getsockname()[1]
        key = secrets.token_urlsafe(24)
        app = build_app(review, album, key=key, cookie=f"smallset-{port}", lang=lang)
        address = f"http://127.0.0.1:{port}/?key={key}"
        on_line(f"review:   {address}")
        on_line(f"          of {folder}, decisions by {review.by}; Ctrl-C ends it, all is on disk")
        if open_browser:
            threading.Timer(0.5, lambda: webbrowser.open(address)).start()
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off",
        )  # fmt: skip
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
        rows = review.rows()
        seen = Counter(row.decision for row in rows if row.by != TOOL)
        left = sum(row.is_suspect and row.by == TOOL for row in rows)
        listed = ", ".join(f"{name} {seen[name]}" for name in ("keep", "relabel", "drop"))
        on_line(f"reviewed: {seen.total()} images ({listed}); {left} suspects are left")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise ConfigError(
            "this system does not say who you are; name yourself: --by NAME"
        ) from None
