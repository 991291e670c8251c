"""Use a trained network."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset.compare.execute import find_execution
from smallset.errors import ConfigError, need, need_package
from smallset.files import given_path, html_table
from smallset.progress import Reporter, usual_reporter
from smallset.record.new_pictures import Row, more_columns
from smallset.record.predictions import SHOWN, shown_of
from smallset.record.record import Record, is_left_over
from smallset.use.cluster import Cluster, cluster_at
from smallset.use.limits import Limits
from smallset.use.predict import Outputs, Tally
from smallset.words import language, singular


@dataclass(frozen=True, repr=False)
class Predicted:
    """What a network says of pictures, in the order they were given."""

    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    """One per picture: path, id, the split of the run that holds it, error, probabilities."""
    embeddings: Float[ndarray, "n dim"]
    """What the last layer saw; NaN where a picture is unreadable."""
    asked: tuple[str, ...] = ()
    """What else was asked for: "set", "unknown"."""

    @property
    def probs(self) -> Float[ndarray, "n classes"]:
        """Return the probabilities; NaN where a picture is unreadable."""
        return np.stack([row.probs for row in self.rows])

    @property
    def names(self) -> list[str | None]:
        """Return the most probable class of each picture; None where it is unreadable."""
        return [None if (k := row.predicted) is None else self.classes[k] for row in self.rows]

    @property
    def sets(self) -> list[list[str]]:
        """Return the classes that each picture may well belong to, if they were asked for."""
        return [[self.classes[k] for k in row.set] for row in self.rows]

    @property
    def unknown(self) -> list[tuple[str, ...]]:
        """Return why each picture is refused, if that was asked for: probability, distance."""
        return [row.unknown for row in self.rows]

    @property
    def errors(self) -> dict[str, str]:
        """Return why each unreadable file is, by its path."""
        return {row.path: row.error for row in self.rows if row.error}

    def to_pandas(self) -> Any:
        """Return a pandas table as `smallset predict --out` writes it: one row per picture.

        Columns: path, id, predicted, probability, seen_in, error, set and unknown where they were
        asked for, and p_<class> of each class.

        Raises:
            ConfigError: If pandas is not installed.
        """
        need_package("predictions.to_pandas()", "pandas")
        from pandas import DataFrame

        columns: dict[str, Any] = {
            "path": [row.path for row in self.rows],
            "id": [row.id for row in self.rows],
            "predicted": self.names,
            "probability": self.probs.max(axis=1),
            "seen_in": [row.seen_in for row in self.rows],
            "error": [row.error for row in self.rows],
            **{name: {"set": self.sets, "unknown": self.unknown}[name] for name in self.asked},
        }
        shares = {f"p_{name}": self.probs[:, k] for k, name in enumerate(self.classes)}
        return DataFrame(columns | shares)

    def __repr__(self) -> str:
        """Say how many there are, not each of them."""
        bad = f", {len(self.errors)} unreadable" if self.errors else ""
        return singular(f"<Predicted: {len(self.rows)} pictures{bad}, {len(self.classes)} classes>")

    def _repr_html_(self) -> str:
        """Show the first of them in a notebook."""
        lines = [
            [row.path, name, "" if row.error else f"{row.probs.max():.1%}", row.seen_in, row.error]
            for row, name in zip(self.rows[:SHOWN], self.names, strict=False)
        ]
        table = html_table(["picture", "predicted", "probability", "seen in", "error"], lines)
        return table + shown_of(len(self.rows))


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    sets: float | None = None,
    reject: float | None = None,
    device: str = "auto",
    own_code: bool = False,
    reporter: Reporter | None = None,
) -> Predicted:
    """Ask the network of a run about some pictures; all answers are kept in memory.

    Args:
        run: A record; its data is not needed.
        images: A file, a folder, a pattern, a manifest, or several of them.
        sets: Rate, such as 0.9, at which sets of classes are to hold a picture's own.
        reject: Share of known pictures, such as 0.05, that may be refused as unknown.
        device: Where it computes: "auto", "cpu", "cuda" or "mps".
        own_code: Let the record import the function that builds its network; trust it first.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If the device is not here, or the network is own code.
        DataError: If `run` is no record of a finished run, or a name means no picture.

    Example:
        >>> import smallset
        >>> answers = smallset.predict("runs/first", ["a.jpg", "b.jpg"])  # doctest: +SKIP
        >>> answers.names  # doctest: +SKIP
        ['cat', 'dog']
    """
    from smallset.use.named import find_named
    from smallset.use.predictor import Predictor

    reporter = reporter or usual_reporter()
    with closing(reporter):
        record = _opened(given_path(run), _names(images))
        named = find_named(_names(images), read_list=lambda: sys.stdin.buffer.read())
        for note in named.notes:
            reporter.note(note)
        predictor = Predictor(
            record, device=device, embeddings=True, sets=sets, reject=reject, own_code=own_code
        )
        total = len(named.paths)
        done = 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            reporter.counted("predicting", done, total)

        [block] = predictor.blocks(named.paths, [range(total)], progress=progress)
    assert block.embeddings is not None
    rows = tuple(predictor.rows(named.paths, [block]))
    return Predicted(predictor.classes, rows, block.embeddings, more_columns(sets, reject))


def predict_files(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    file_format: str | None = None,
    top: int | None = None,
    embeddings: str | Path | None = None,
    page: str | Path | None = None,
    sets: float | None = None,
    reject: float | None = None,
    lang: str = "auto",
    device: str = "auto",
    own_code: bool = False,
    force: bool = False,
    execute: str = "serial",
    workers: int | None = None,
    address: str | None = None,
    on_line: Callable[[str], object] | None = None,
    reporter: Reporter | None = None,
) -> Tally:
    """Ask the network of a run about any number of pictures, and write what it says.

    The same call goes on where a stopped one was. Memory does not grow with the pictures.

    Args:
        run: A record; its data is not needed.
        images: As in `predict`; "-" is a list on standard input.
        out: The table, one row per picture; None for none.
        file_format: Of the table: "csv" or "jsonl"; None takes what its name ends in.
        top: How many classes a row shows, the most probable ones; None for all.
        embeddings: An .npz file, its arrays `ids` and `embeddings` row for row as the table.
        page: An .html file with the pictures, by class and by doubt.
        sets: As in `predict`; a column `set` of the table.
        reject: As in `predict`; a column `unknown` of the table, with the reason.
        lang: "en" or "zh", the language the page opens in; "auto" takes that of the locale.
        device: Where it computes: "auto", "cpu", "cuda" or "mps".
        own_code: Let the record import the function that builds its network; trust it first.
        force: Write over finished files.
        execute: "serial" computes in this process, on all its processors; "ray" on a Ray cluster,
            whose machines read record and pictures under the same paths. The files are the same.
        workers: On Ray, networks at a time; None takes as many as the cluster has places for.
        address: Of the Ray cluster; None takes ``RAY_ADDRESS``, or the one that runs here.
        on_line: Given the table line by line, with line ends, where no file is named at all.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If a setting does not fit, nothing is to be written, or there is no Ray cluster
            that has a place for a worker.
        DataError: If `run` is no record of a finished run, or a name means no picture.
        RunError: If a finished file is there, or cannot be written, or a worker cannot answer.
    """
    reporter = reporter or usual_reporter()
    table, vectors, html = (
        None if path is None else given_path(path) for path in (out, embeddings, page)
    )
    outputs = Outputs(
        out=table, format=file_format, top=top, embeddings=vectors, page=html,
        sets=sets, reject=reject, lang=language(lang), force=force,
    )  # fmt: skip
    if not outputs.files and on_line is None:
        raise ConfigError("nothing is to be written: give out, embeddings, page or on_line")
    with (
        closing(reporter),
        _cluster(execute, outputs, device, workers=workers, address=address) as cluster,
    ):
        return _predict_files(
            given_path(run), _names(images), outputs, cluster, device, own_code, on_line, reporter
        )


def _predict_files(
    run: Path,
    images: Sequence[str],
    outputs: Outputs,
    cluster: Cluster | None,
    device: str,
    own_code: bool,
    on_line: Callable[[str], object] | None,
    reporter: Reporter,
) -> Tally:
    from smallset.use.named import find_named
    from smallset.use.predict import predict_files as write_all
    from smallset.use.predict import predict_lines
    from smallset.use.predictor import Predictor

    record = _opened(run, images)
    named = find_named(images, read_list=lambda: sys.stdin.buffer.read())
    for note in named.notes:
        reporter.note(note)
    outputs.check(record, named, len(record.model["classes"]))
    # Beside a cluster, the network here says how long embeddings are, and no more.
    predictor = Predictor(
        record, device="cpu" if cluster else device, embeddings=outputs.embeddings is not None,
        sets=outputs.sets, reject=outputs.reject, own_code=own_code,
    )  # fmt: skip
    if predictor.is_slow and not (cluster and cluster.gpus):
        reporter.note("the run computed in bfloat16, which this machine emulates: it is slow")
    tally = Tally(doubt=tuple(each.say("en") for each in predictor.doubt))
    if outputs.files:
        write_all(record, predictor, named, outputs, tally, reporter, cluster)
        return tally
    assert on_line
    for line in predict_lines(predictor, named, outputs, tally, reporter):
        on_line(line)
    return tally


def serve(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    names: Sequence[str] = (),
    limits: Limits | None = None,
    top: int | None = None,
    sets: float | None = None,
    reject: float | None = None,
    lang: str = "auto",
    device: str = "auto",
    own_code: bool = False,
    on_line: Callable[[str], object] = print,
) -> None:
    """Answer over HTTP with the network of a run, until interrupted.

    `POST /predict` answers what `predict` says of the same file, `GET /model` describes the model,
    `GET /health` says that the server answers, `/openapi.json` has it all, and `/` is a page.

    Args:
        run: A record; its data is not needed.
        host: Address to listen on. Any that other machines reach needs a token.
        port: 0 takes a free one.
        token: What requests must carry as "Authorization: Bearer TOKEN", 16 characters or more;
            None takes that of SMALLSET_TOKEN, if it is set.
        names: Other host names that the server is reached by, such as that of a proxy.
        limits: On bytes, pixels, pictures and how many may wait; None takes the usual ones.
        top: How many classes an answer shows, the most probable ones; None for all.
        sets: As in `predict`.
        reject: As in `predict`.
        lang: "en" or "zh", the language the page opens in; "auto" takes that of the locale.
        device: Where it computes: "auto", "cpu", "cuda" or "mps".
        own_code: Let the record import the function that builds its network; trust it first.
        on_line: Told the address, and what there is to know of the probabilities.

    Raises:
        ConfigError: If the extra `web` is not installed, a token is missing or too short, or a
            setting does not fit.
        DataError: If `run` is no record of a finished run.
        RunError: If the port is taken.
    """
    need("smallset serve", "web", "fastapi", "uvicorn")
    from smallset.use.predictor import open_record
    from smallset.use.serve import serve_run

    serve_run(
        open_record(given_path(run)),
        host=host, port=port, token=token or os.environ.get("SMALLSET_TOKEN") or None, names=names,
        limits=limits or Limits(), sets=sets, reject=reject, top=top, device=device,
        own_code=own_code, lang=language(lang), on_line=on_line,
    )  # fmt: skip


@contextmanager
def _cluster(
    execute: str, outputs: Outputs, device: str, *, workers: int | None, address: str | None
) -> Iterator[Cluster | None]:
    """Give the cluster that predicts; None where this process does."""
    if execute == "serial":
        if workers is not None or address is not None:
            raise ConfigError("--workers and --address belong to --execute ray")
        yield None
        return
    if execute != "ray":
        find_execution(execute)
        raise ConfigError(
            f"a prediction is not made in {execute}: one process keeps all processors of a machine "
            "busy; --execute is serial or ray"
        )
    if not outputs.files:
        raise ConfigError(
            "--execute ray makes parts on disk, beside the first file; give --out FILE, or "
            "--embeddings or --page"
        )
    with cluster_at(address, device=device, workers=workers) as cluster:
        yield cluster


def _opened(run: Path, images: Sequence[str]) -> Record:
    """Return the record of a run; where an image is one in its place, say so."""
    from smallset.use.predictor import open_record

    if not is_left_over(run):
        for name in images:
            if name != "-" and is_left_over(found := given_path(name)):
                raise ConfigError(f"the run comes first, then the images: {found} {run}")
    return open_record(run)


def _names(images: str | Path | Sequence[str | Path]) -> list[str]:
    return [os.fspath(each) for each in ([images] if isinstance(images, str | Path) else images)]
