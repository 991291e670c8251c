"""Use a trained network: predict, export, serve."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from smallset.cli.options import Address, Language, OwnCode, Quiet, reporter_of
from smallset.errors import RunError
from smallset.memory import keep_memory

Sets = Annotated[
    float | None,
    typer.Option(
        metavar="RATE", help="Sets of classes that hold a picture's own at this rate, such as 0.9."
    ),
]
Reject = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Call pictures unknown; at most this share of known ones: 0.05."
    ),
]


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, patterns, .csv or .jsonl manifests; - is a list on stdin.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The table, .csv or .jsonl; default: printed."),
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl; default: by the name of --out.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Show the most probable classes only; default: all.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="What the last layer saw.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The pictures by class and by doubt.")
    ] = None,
    sets: Sets = None,
    reject: Reject = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    own_code: OwnCode = False,
    force: Annotated[bool, typer.Option("--force", help="Write over finished files.")] = False,
    execute: Annotated[
        str, typer.Option(help="serial (here, on all processors) or ray (on a cluster).")
    ] = "serial",
    workers: Annotated[
        int | None, typer.Option(min=1, help="On Ray, networks at a time; default: all that fit.")
    ] = None,
    address: Address = None,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Predict pictures with the network of a run; status 1 if some are unreadable.

    Each unreadable file is a row with its error. The same command goes on where a stopped one was.
    """
    from rich.console import Console

    from smallset import api
    from smallset.progress import Reporter, console_reporter

    keep_memory()
    began = time.perf_counter()
    files = {"table": out, "vectors": embeddings, "page": page}
    prints_table = not any(files.values())
    # What is said goes to stderr where the table goes to stdout; a bar would break into its lines.
    shown = Console(stderr=prints_table)
    reporter = console_reporter(shown)
    if quiet or (prints_table and sys.stdout.isatty()):
        reporter = Reporter(note=reporter.note)
    try:
        tally = api.predict_files(
            run, images, out=out, file_format=file_format, top=top, embeddings=embeddings,
            page=page, sets=sets, reject=reject, lang=lang or "auto", device=device,
            own_code=own_code, force=force, execute=execute, workers=workers, address=address,
            on_line=_print_line, reporter=reporter,
        )  # fmt: skip
    except KeyboardInterrupt:
        kept = "" if prints_table else "; the same command goes on with what is done"
        raise RunError(f"stopped{kept}") from None
    told = sys.stderr if prints_table else sys.stdout
    for line in _said(tally, time.perf_counter() - began):
        print(line, file=told)
    for what, path in files.items():
        if path is not None:
            print(f"{what + ':':<10}{path}", file=told)
    raise typer.Exit(1 if tally.unreadable else 0)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the files go; default: a folder in RUN."),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="onnx, page (runs in a browser) or hf (for timm).")
    ] = "onnx",
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where the images of the run are, if they have moved."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of onnxruntime-web, for a page; default: by npm."),
    ] = None,
    own_code: OwnCode = False,
    force: Annotated[bool, typer.Option("--force", help="Write over an earlier export.")] = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Write the network of a run as files that run without smallset, and try them on its pictures.

    Nothing is written unless the files answer as the network does.
    """
    from smallset import api

    keep_memory()
    exported = api.export(
        run, out, file_format=file_format, data=data, runtime=runtime, lang=lang or "auto",
        own_code=own_code, force=force, reporter=reporter_of(quiet),
    )  # fmt: skip
    print("\n".join(exported.said))
    for file in exported.files:
        print(f"{file.stat().st_size / 1e6:8.1f} MB  {file}")


def _print_line(line: str) -> None:
    """Print a line of the table as it would stand in a file, whatever the terminal's encoding."""
    sys.stdout.buffer.write(line.encode(errors="backslashreplace"))


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _said(tally: Any, seconds: float) -> list[str]:
    now = tally.pictures - tally.earlier
    speed = f" in {seconds:.1f} s, {_rate(now / seconds)} a second" if now else ""
    before = f", {tally.earlier:,} of them by an earlier command" if tally.earlier else ""
    done = tally.pictures - tally.unreadable
    lines = [f"predicted: {done:,} pictures{before}{speed}", *tally.doubt]
    if tally.unreadable:
        lines.append(f"unreadable: {tally.unreadable:,}; each is a row that says why")
    if tally.trained_on:
        lines.append(
            f"trained on: {tally.trained_on:,} of these pictures (seen_in = train); that the "
            "network knows them says nothing of new ones"
        )
    return lines


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            help="What requests must carry; better in SMALLSET_TOKEN, where other users of the "
            "machine do not see it."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Another name that it is reached by, as of a proxy."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Answer the most probable classes only; default: all.")
    ] = None,
    sets: Sets = None,
    reject: Reject = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    own_code: OwnCode = False,
    max_mb: Annotated[float, typer.Option(help="Largest request, in MB (10^6 bytes).")] = 32.0,
    max_image_mb: Annotated[
        float, typer.Option(help="Largest picture, in MB (10^6 bytes).")
    ] = 16.0,
    max_megapixels: Annotated[
        float | None, typer.Option(help="Largest picture; default: as in the run.")
    ] = None,
    max_images: Annotated[int, typer.Option(help="Most pictures in a request.")] = 64,
    max_waiting: Annotated[
        int, typer.Option(help="Pictures that may wait; more are told to come back (503).")
    ] = 256,
    lang: Language = None,
) -> None:
    """Answer over HTTP with the network of a run: an API, and a page to drop pictures on."""
    from smallset import api
    from smallset.use.limits import Limits

    keep_memory()
    api.serve(
        run,
        host=host,
        port=port,
        token=token,
        names=name or [],
        limits=Limits(
            max_mb=max_mb, max_image_mb=max_image_mb, max_megapixels=max_megapixels,
            max_images=max_images, max_waiting=max_waiting,
        ),
        top=top,
        sets=sets,
        reject=reject,
        lang=lang or "auto",
        device=device,
        own_code=own_code,
        on_line=lambda text: print(text, flush=True),
    )  # fmt: skip
