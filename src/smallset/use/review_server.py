"""The server of the review page: this machine alone, its own page alone, this set's images alone.

Beside the locks of every server (`guard.py`) it has a third: everything needs the key that stands
in the address the terminal shows, kept in a cookie that no other site's requests carry.
"""

import functools
import getpass
import io
import secrets
import shlex
import threading
import webbrowser
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, Field
from starlette.types import ASGIApp

from smallset.clean.review import TOOL, Conflict, Review, Row, alone, find_images, read_rows
from smallset.clean.rules import assumption
from smallset.data.cleaned import FIX, read_about
from smallset.data.pictures import Unreadable, decode, read_file
from smallset.errors import ConfigError, DataError, RunError, suggest
from smallset.files import file_sum
from smallset.reading import read_array, reading
from smallset.stats import directions
from smallset.use.connections import listen
from smallset.use.guard import HOSTS, Guard, is_foreign_origin, is_foreign_site, wrong_host
from smallset.words import Lang, catalogue

SIDES = {"big": 1200, "small": 200}  # of served images, px
NEIGHBOURS = 4
MAX_BODY = 10_000  # bytes


class PageGuard(Guard):
    """Lets requests of the page itself through, and nothing else.

    Args:
        key: What the address or the cookie must hold.
    """

    most = MAX_BODY

    def __init__(self, app: ASGIApp, key: str, cookie: str) -> None:
        super().__init__(app)
        self.key = key
        self.cookie = cookie

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused; None lets it through."""
        why = self._why(request)
        return None if why is None else Response(why, 403, media_type="text/plain")

    def _why(self, request: Request) -> str | None:
        headers = request.headers
        if wrong := wrong_host(request, HOSTS):
            return wrong
        changes = request.method not in ("GET", "HEAD")
        if changes and "origin" not in headers:
            return "This request does not say which page it comes from."
        opens = request.url.path == "/" and self._is_key(request.query_params.get("key", ""))
        # Only the address with the key may be opened from elsewhere, such as a terminal's link.
        if is_foreign_origin(request) or (is_foreign_site(request) and not opens):
            return "This request comes from another page."
        if not opens and not self._is_key(request.cookies.get(self.cookie, "")):
            return "Open the address that `smallset review` shows: it holds the key."
        return None

    def _is_key(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.key.encode())


class Wish(BaseModel):
    """A decision, as the page sends it."""

    image: int
    decision: Literal["keep", "relabel", "drop"]
    label: str = ""
    seen: dict[str, str]


class Sure(BaseModel):
    """Which suspects are decided on at once, as the page sends it."""

    below: float = Field(gt=0, le=0.5)


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
        about = read_about(folder)
        self.assumption = assumption(about)
        self.features: np.ndarray | None = None
        stored = folder / "features.npy"
        if stored.exists():
            with reading(stored, FIX):
                promised = about.get("files", {}).get(stored.name)
                if promised is not None and file_sum(stored) != promised:
                    raise ValueError("its checksum is not the one in clean.json")
            features = read_array(stored, fix=FIX).astype(np.float32)
            if features.ndim != 2 or len(features) != len(rows):
                raise DataError(f"{stored} and labels.csv have different lengths; {FIX}")
            self.features = directions(features)

    @functools.lru_cache(maxsize=300)  # noqa: B019  one album per process; some 60 MB
    def jpeg(self, path: str, side: int) -> bytes:
        """Return an image as JPEG.

        Args:
            side: Its longer side is shrunk to this, px.

        Raises:
            DataError: If the file is gone or damaged.
        """
        try:
            picture = decode(read_file(self.root / path), max_megapixels=178).image
        except Unreadable as error:
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
            and not (row.is_suspect and row.by == TOOL)
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
    app.add_middleware(PageGuard, key=key, cookie=cookie)

    @app.exception_handler(RunError)
    @app.exception_handler(DataError)
    def _failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=500)

    @app.exception_handler(RequestValidationError)
    def _misread(_: Request, error: RequestValidationError) -> Response:
        # Without what was sent: JSON cannot say it where it is an infinite number.
        said = [{"loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
        return JSONResponse({"detail": said}, status_code=422)

    _serve_page(app, key, cookie, lang)
    _serve_images(app, review, album)
    _take_decisions(app, review, album)
    return app


def _serve_page(app: FastAPI, key: str, cookie: str, lang: Lang) -> None:
    from smallset.show.report.render import environment, page_file

    @app.get("/")
    def page() -> Response:
        shown = HTMLResponse(environment().get_template("review.html").render(lang=lang),
                             headers={"Cache-Control": "no-store"})  # fmt: skip
        shown.set_cookie(cookie, key, httponly=True, samesite="strict")
        return shown

    @app.get("/style.css")
    def style() -> Response:
        text = page_file("page.css") + page_file("review.css")
        return Response(text, media_type="text/css")

    @app.get("/review.js")
    def script() -> Response:
        text = page_file("review.js")
        return Response(text, media_type="text/javascript")


def _serve_images(app: FastAPI, review: Review, album: Album) -> None:
    @app.get("/state")
    def state() -> Response:
        return _answer({
            "classes": list(album.classes),
            "by": review.by,
            "folder": str(review.folder),
            "words": catalogue(),
            "assumption": album.assumption,
            "images": [
                {"path": row.path, "given": row.given, "probability": row.probability,
                 "suspect": row.is_suspect, "why": row.why, **_decided(row)}
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
                return _answer(_decided(conflict.row), 409)
        return _answer(_decided(row))

    @app.post("/undo")
    def undo() -> Response:
        with lock:
            try:
                numbers = review.undo()
            except Conflict as conflict:
                return _answer({"detail": str(conflict)}, 409)
            return _answer(_states(review, numbers))

    @app.post("/accept")
    def accept(sure: Sure) -> Response:
        with lock:
            return _answer(_states(review, review.accept(sure.below)))


def _states(review: Review, numbers: Sequence[int]) -> list[dict[str, Any]]:
    rows = review.rows()
    return [{"image": number, "state": _decided(rows[number])} for number in numbers]


def _decided(row: Row) -> dict[str, Any]:
    """Return how an image stands, and how probable the class is that it is suggested to be."""
    return {**row.state, "likely": row.suggested_probability}


def _answer(content: Any, status: int = 200) -> Response:
    return JSONResponse(content, status, headers={"Cache-Control": "no-store"})


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
    with alone(folder), listen("127.0.0.1", port) as listener:
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
        on_line(f"train:    smallset train {shlex.quote(str(folder))} --out RUN")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise ConfigError(
            "this system does not say who you are; name yourself: --by NAME"
        ) from None
