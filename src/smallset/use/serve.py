"""The server of a trained network: an HTTP API and a page, with a limit on all that it takes."""

import ipaddress
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from markupsafe import Markup
from starlette.types import ASGIApp

from smallset.data.pictures import reasons
from smallset.errors import ConfigError
from smallset.record.new_pictures import Row, json_object, more_columns
from smallset.record.record import Record
from smallset.show.report.render import environment, page_file, page_json
from smallset.use.batcher import Batcher, Full, Upload
from smallset.use.connections import Busy, Connection, Gone, Room, TooLarge, TooSlow, listen
from smallset.use.described import About, Answers, Health, Problem, describe
from smallset.use.guard import (
    HOSTS,
    Guard,
    host_name,
    is_foreign_origin,
    is_foreign_site,
    wrong_host,
)
from smallset.use.limits import Limits
from smallset.use.multipart import Malformed, TooMany, boundary_of, read_parts
from smallset.use.predict import check_top
from smallset.use.predictor import Predictor
from smallset.words import Lang, catalogue

FIELD = "images"
"""Of a form, whose parts are pictures."""
OPEN = ("/", "/style.css", "/serve.js", "/health")
"""What needs no token: nothing of the model is in it."""
TOKEN_LENGTH = 16
Tell = Callable[[Row], dict[str, Any]]


class TokenGuard(Guard):
    """Lets requests to this server through, with the token if there is one.

    Args:
        hosts: Names that the Host header may have.
        any_address: Whether it may be any IP address too. DNS rebinding needs a name.
        token: What the Authorization header must hold; None where nothing has to.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], any_address: bool, token: str | None
    ) -> None:
        super().__init__(app)
        self.hosts, self.any_address, self.token = hosts, any_address, token

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused; None lets it through."""
        wrong = wrong_host(request, self.hosts)
        if wrong and not (self.any_address and _is_address(host_name(request))):
            return JSONResponse({"detail": f"{wrong} Start it with --name for another."}, 403)
        is_page = request.url.path == "/"  # a link may lead to it from anywhere
        if is_foreign_origin(request) or (is_foreign_site(request) and not is_page):
            return JSONResponse({"detail": "This request comes from another page."}, 403)
        if self.token is None or request.url.path in OPEN:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secrets.compare_digest(
            given.strip().encode(), self.token.encode()
        ):
            return None
        return JSONResponse(
            {"detail": "This needs the server's token: Authorization: Bearer TOKEN."},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


def is_here(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    return host in HOSTS or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_token(host: str, token: str | None) -> None:
    """Refuse to serve others without a token, or with one that can be guessed.

    Raises:
        ConfigError: With the command that makes one.
    """
    make = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
    if token is None and not is_here(host):
        raise ConfigError(
            f"--host {host} can be reached from other machines, so it needs a token in "
            f"SMALLSET_TOKEN or --token; {make}"
        )
    if token is not None and not (
        len(token) >= TOKEN_LENGTH and token.isascii() and token.isprintable() and " " not in token
    ):
        raise ConfigError(
            f"the token needs {TOKEN_LENGTH} characters or more, ASCII without spaces; {make}"
        )


def build_app(
    predictor: Predictor,
    about: About,
    limits: Limits,
    *,
    hosts: Collection[str] = HOSTS,
    any_address: bool = False,
    token: str | None = None,
    lang: Lang = "en",
) -> FastAPI:
    """Return the application.

    Args:
        about: As `describe` returns it for the predictor.
        hosts: As in `TokenGuard`, and so are `any_address` and `token`.
        lang: The language that the page opens in.
    """
    app = FastAPI(
        title="smallset", version=version("smallset"), docs_url=None, redoc_url=None,
        description="Classifies pictures with the network of one run.",
    )  # fmt: skip
    app.add_middleware(TokenGuard, hosts=hosts, any_address=any_address, token=token)
    _serve_page(app, needs_token=token is not None, lang=lang)
    more = more_columns(about.sets, about.reject)
    tell = partial(json_object, classes=predictor.classes, top=about.top, more=more)
    _serve_api(app, predictor, about, limits, tell, needs_token=token is not None)
    return app


def _serve_page(app: FastAPI, *, needs_token: bool, lang: Lang) -> None:
    data = Markup(
        page_json({"words": catalogue(), "reasons": reasons(), "needs_token": needs_token})
    )
    page = environment().get_template("serve.html").render(
        lang=lang, data=data, version=version("smallset")
    )  # fmt: skip
    parts = {
        "/style.css": ("text/css", "page.css", "pictures.css"),
        "/serve.js": ("text/javascript", "common.js", "pictures.js", "serve.js"),
    }

    @app.get("/", include_in_schema=False)
    async def show() -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    for path, (kind, *names) in parts.items():
        text = "".join(map(page_file, names))
        answer = partial(Response, text, media_type=kind, headers={"Cache-Control": "no-cache"})
        app.get(path, include_in_schema=False)(_constant(answer))


def _constant(answer: Callable[[], Response]) -> Callable[[], Any]:
    async def same() -> Response:
        return answer()

    return same


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of some refusals."""
    why = {
        400: "The body is not what its content type says, or has too many pictures.",
        401: "The token is missing or wrong.",
        403: "The request names another host, or comes from another web page.",
        408: "The body came too slowly.",
        413: "The request has too many bytes.",
        415: "The content type is none of those that are taken.",
        500: "The network failed; the log of the server says why.",
        503: "Too many pictures wait; come back after Retry-After seconds.",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": why[status]} for status in statuses
    }
    if 503 in found:
        after = {"schema": {"type": "integer"}, "description": "Seconds."}
        found[503]["headers"] = {"Retry-After": after}
    return found


def _body(limits: Limits) -> dict[str, Any]:
    """Return what the OpenAPI document says of the body of a prediction."""
    picture = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": picture, "minItems": 1, "maxItems": limits.max_images}
    form = {
        "type": "object", "properties": {FIELD: several}, "required": [FIELD],
        "additionalProperties": False,
    }  # fmt: skip
    kinds = {"multipart/form-data": form, "image/*": picture, "application/octet-stream": picture}
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


def _serve_api(
    app: FastAPI,
    predictor: Predictor,
    about: About,
    limits: Limits,
    tell: Tell,
    *,
    needs_token: bool,
) -> None:
    batcher = Batcher(predictor, most=limits.max_waiting, image_bytes=limits.image_bytes)
    room = Room(limits.held_bytes)
    said = about.model_dump(mode="json")
    # The guard has looked at the token by then; this is for the OpenAPI document.
    locked = [Depends(HTTPBearer(auto_error=False))] if needs_token else []
    refusals = (401, 403) if needs_token else (403,)

    @app.get(
        "/health", response_model=Health, response_description="It does.", responses=_problems(403)
    )
    async def health() -> Response:
        """Say that the server answers."""
        return JSONResponse({"status": "ok"})

    @app.get(
        "/model", response_model=About, response_description="The description.",
        responses=_problems(*refusals), dependencies=locked,
    )  # fmt: skip
    async def model() -> Response:
        """Describe the model: classes, preprocessing, accuracy, what probabilities are worth."""
        return JSONResponse(said)

    @app.post(
        "/predict",
        response_model=Answers,
        response_description="One answer per picture, in their order.",
        responses={
            **_problems(400, *refusals, 408, 413, 415, 500, 503),
            422: {"model": Answers, "description": "None of the pictures can be read."},
        },
        dependencies=locked,
        openapi_extra=_body(limits),
    )
    async def predict(request: Request) -> Response:
        """Classify one picture or several.

        Send a form (multipart/form-data) whose parts are named `images`, or one picture as the
        body itself. Pictures that cannot be read are answered with an `error`, beside the others;
        where none can be read the status is 422, with the same body.
        """
        try:
            async with room.body(request, _most_bytes(request, limits)) as body:
                uploads = _uploads(request, body, limits)
                del body
                rows = await batcher.answer(uploads)
        except tuple(_REFUSED) as error:
            raise _REFUSED[type(error)](error) from None
        except Full as full:
            after = {"Retry-After": str(full.seconds)}
            raise HTTPException(503, "too many pictures wait; try again", after) from None
        except RuntimeError:
            logging.getLogger("uvicorn.error").exception("the network failed")
            raise HTTPException(500, "the network failed; the log says why") from None
        status = 422 if all(row.error for row in rows) else 200
        return JSONResponse({"images": [tell(row) for row in rows]}, status)


_REFUSED: dict[type[Exception], Callable[[Exception], HTTPException]] = {
    TooLarge: lambda _: HTTPException(413, "the request is too large; GET /model says the limits"),
    TooMany: lambda error: HTTPException(400, f"{error}; GET /model says the limits"),
    TooSlow: lambda _: HTTPException(408, "the body came too slowly", {"Connection": "close"}),
    Gone: lambda _: HTTPException(400, "the body was cut short"),
    Busy: lambda _: HTTPException(503, "too many bytes wait; try again", {"Retry-After": "2"}),
    Malformed: lambda error: HTTPException(400, str(error)),
}


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _most_bytes(request: Request, limits: Limits) -> int:
    """Return how many bytes a body may have, by its kind.

    Raises:
        HTTPException: If it is of a kind that is not taken.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the pictures as they are, without Content-Encoding")
    kind = _kind(request)
    if kind == "multipart/form-data":
        return limits.request_bytes
    if kind == "application/octet-stream" or kind.startswith("image/"):
        return limits.image_bytes
    raise HTTPException(
        415,
        f"the Content-Type is {kind or 'missing'}; send multipart/form-data with {FIELD}, or one "
        "picture as image/* or application/octet-stream",
    )


def _uploads(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    """Return the pictures of a request.

    Raises:
        HTTPException: If a form has other fields, or no picture.
        Malformed: If it is no form.
        TooMany: If it has too many parts.
    """
    if _kind(request) != "multipart/form-data":
        return [Upload("", body)]
    boundary = boundary_of(request.headers["content-type"])
    parts = read_parts(body, boundary, most=limits.max_images)
    other = sorted({part.field for part in parts} - {FIELD})
    if other or not parts:
        got = f"got {', '.join(map(repr, other))}" if other else "got none"
        raise HTTPException(400, f"the parts of the form must be named {FIELD!r}, {got}")
    return [Upload(part.filename, part.content) for part in parts]


def build_server(app: FastAPI) -> uvicorn.Server:
    """Return what answers on a socket, with patience for slow clients, but not without end."""
    return uvicorn.Server(
        uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", log_level="error", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


def serve_run(
    record: Record,
    *,
    host: str,
    port: int,
    token: str | None,
    names: Collection[str],
    limits: Limits,
    sets: float | None,
    reject: float | None,
    top: int | None,
    device: str,
    own_code: bool,
    lang: Lang,
    on_line: Callable[[str], object],
) -> None:
    """Serve the network of a run until it is interrupted; the arguments are those of the API."""
    check_token(host, token)
    check_top(top, len(record.model["classes"]))
    predictor = Predictor(
        record, device=device, sets=sets, reject=reject, own_code=own_code, apart=True
    )
    if limits.max_megapixels is not None:
        predictor.preprocessing = replace(
            predictor.preprocessing, max_megapixels=limits.max_megapixels
        )
    about = describe(record, predictor, limits, top=top, sets=sets, reject=reject)
    side = predictor.preprocessing.size
    predictor.answer(np.zeros((1, side, side, 3), dtype=np.uint8))  # the first one is slow
    hosts = tuple(dict.fromkeys((*HOSTS, host.lower(), *map(str.lower, names))))
    with listen(host, port) as listener:
        app = build_app(
            predictor, about, limits, hosts=hosts,
            any_address=not is_here(host), token=token, lang=lang,
        )  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        on_line(f"serve:    http://{shown}:{listener.getsockname()[1]}/")
        on_line(f"          {about.model}, {len(about.classes)} classes; Ctrl-C ends it")
        if token is not None:
            on_line("          with the token alone (Authorization: Bearer TOKEN)")
        for line in predictor.doubt:
            on_line(line.say("en"))
        with suppress(KeyboardInterrupt):
            build_server(app).run(sockets=[listener])
