"""From named pictures to the files that a prediction leaves: a table, embeddings, a page."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from smallset.errors import ConfigError, RunError
from smallset.files import LOCK, clear_unfinished, locked, make_folder, written_aside
from smallset.progress import Reporter
from smallset.record.new_pictures import BETWEEN, FORMATS, Block, Row, more_columns
from smallset.record.record import Record
from smallset.show.report.predict_page import write_predict_page
from smallset.use.cluster import Cluster, Order, make_parts
from smallset.use.named import Named
from smallset.use.predictor import Predictor
from smallset.use.shards import PLAN, SIZE, Shards, remove
from smallset.words import Lang

ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def check_top(top: int | None, num_classes: int) -> None:
    """Refuse to show fewer classes than one, or more than there are.

    Raises:
        ConfigError: If that is asked for.
    """
    if top is not None and not 1 <= top <= num_classes:
        raise ConfigError(f"--top goes from 1 to {num_classes} (all classes), got {top}")


@dataclass
class Tally:
    """What there is to say about a prediction in one line."""

    pictures: int = 0
    unreadable: int = 0
    trained_on: int = 0
    """Pictures that the network was trained on: that it knows them is no evidence."""
    earlier: int = 0
    """Pictures that an earlier command, which was stopped, had done already."""
    doubt: tuple[str, ...] = ()
    """What there is to know of the probabilities, as sentences."""

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on, and count them."""
        for row in rows:
            self.pictures += 1
            self.unreadable += bool(row.error)
            self.trained_on += row.seen_in == "train"
            yield row


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is to be written, and how."""

    out: Path | None = None
    format: str | None = None
    """Of `out`; None takes what its name ends in."""
    top: int | None = None
    """How many classes a row shows, the most probable ones; None shows all."""
    embeddings: Path | None = None
    page: Path | None = None
    sets: float | None = None
    """Rate at which sets of classes hold a picture's own; None for no sets."""
    reject: float | None = None
    """Share of known pictures that may be called unknown; None calls none so."""
    lang: Lang = "en"
    force: bool = False
    """Write over finished files."""

    @property
    def files(self) -> list[Path]:
        """Return the files that are written."""
        return [path for path in (self.out, self.embeddings, self.page) if path is not None]

    @property
    def work(self) -> Path:
        """Return the folder of what is done so far, beside the first file."""
        return self.files[0].with_name(f"{self.files[0].name}.parts")

    @property
    def more(self) -> tuple[str, ...]:
        """Return the columns that are asked for beside the usual ones."""
        return more_columns(self.sets, self.reject)

    def resolved_format(self) -> str:
        """Return the format of the rows.

        Raises:
            ConfigError: If there is no such format, or the name does not tell it.
        """
        if self.format is not None:
            if self.format not in FORMATS:
                raise ConfigError(f"the format is {' or '.join(FORMATS)}, got {self.format!r}")
            return self.format
        if self.out is None:
            return "csv"
        if self.out.suffix.lower() not in ENDINGS:
            raise ConfigError(
                f"the name {self.out} does not tell its format; let it end in .csv or .jsonl, or "
                "give --format"
            )
        return ENDINGS[self.out.suffix.lower()]

    def check(self, record: Record, named: Named, num_classes: int) -> None:
        """Refuse what cannot be written, before anything is computed.

        Raises:
            ConfigError: If a setting is out of range, or a file would lie over another.
            RunError: If a finished file is there.
        """
        self.resolved_format()
        lists = self.sets is not None and self.resolved_format() == "csv"
        joined = [name for name in record.model["classes"] if BETWEEN in name]
        if lists and joined:
            raise ConfigError(
                f"a set in a CSV is its classes with {BETWEEN} between them, and the class "
                f"{joined[0]!r} has that in its name; write --format jsonl"
            )
        check_top(self.top, num_classes)
        for path, ending in ((self.embeddings, ".npz"), (self.page, ".html")):
            if path is not None and path.suffix.lower() != ending:
                raise ConfigError(f"{path} must end in {ending}")
        there = any(path.exists() for path in self.files)
        inputs = {Path(path).absolute() for path in (*named.paths, *named.manifests) if there}
        inside = record.folder.resolve()
        for number, path in enumerate(self.files):
            if path.is_dir():
                raise ConfigError(f"{path} is a folder; give a file to write")
            if path.absolute() in inputs:
                raise ConfigError(f"{path} is one of the files to read; give another")
            if path in self.files[:number]:
                raise ConfigError(f"{path} is named twice among the files to write")
            if path.resolve().is_relative_to(inside):
                raise ConfigError(f"{path} lies inside the record {record.folder}; give another")
            # Beside parts with a plan are files of the prediction that is to go on.
            if path.exists() and not self.force and not (self.work / PLAN).exists():
                remove(self.work)  # a kill can leave some of it, after all else was done
                raise RunError(
                    f"{path} is there already; give another name, or --force to replace it"
                )


def predict_lines(
    predictor: Predictor, named: Named, outputs: Outputs, tally: Tally, reporter: Reporter
) -> Iterator[str]:
    """Yield the rows of all pictures as text; nothing is kept on disk."""
    total = len(named.paths)
    ranges = [range(start, min(start + SIZE, total)) for start in range(0, total, SIZE)]
    progress = _Progress(reporter, total)
    blocks = predictor.blocks(named.paths, ranges, progress=progress.add)
    rows = tally.count(predictor.rows(named.paths, blocks))
    write = FORMATS[outputs.resolved_format()]
    yield from write(rows, predictor.classes, outputs.top, outputs.more)


def predict_files(
    record: Record,
    predictor: Predictor,
    named: Named,
    outputs: Outputs,
    tally: Tally,
    reporter: Reporter,
    cluster: Cluster | None = None,
) -> None:
    """Write all files of a prediction; the same call goes on where a stopped one was.

    Until all are written, the answers are kept in parts in a folder beside the first file.

    Args:
        outputs: Checked, with one file at least.
        tally: Counts what is written.
        cluster: Has workers that make the parts; None makes them here.

    Raises:
        RunError: If another prediction was begun there, or a file cannot be written.
    """
    for path in outputs.files:
        make_folder(path.parent)
    work = make_folder(outputs.work)
    with locked(work / LOCK, f"another process is writing {outputs.files[0]}"):
        decided_by = predictor.decided_by | ({"device": cluster.device} if cluster else {})
        plan = _plan(decided_by, named)
        shards = Shards(work, plan, len(named.paths), force=outputs.force)
        if cluster is None:
            tally.earlier = _fill(shards, predictor, named, reporter)
        else:
            order = _order(cluster, predictor, outputs, decided_by)
            tally.earlier = _fill_there(shards, cluster, order, predictor, named, reporter)
        _write(shards, predictor, named, outputs, tally, record)
        shards.clear()
    remove(work)


def _plan(decided_by: dict[str, Any], named: Named) -> dict[str, Any]:
    """Return everything that decides the answers."""
    paths = hashlib.sha256()
    for path in named.paths:
        paths.update(os.fsencode(Path(path).absolute()) + b"\0")
    pictures = {
        "number of pictures": len(named.paths),
        "paths of the pictures": paths.hexdigest(),
    }
    return decided_by | pictures


def _fill(shards: Shards, predictor: Predictor, named: Named, reporter: Reporter) -> int:
    """Make the parts that are not there yet; return how many pictures were there."""
    todo = shards.todo
    ranges = [shards.ranges[number] for number in todo]
    earlier = len(named.paths) - sum(map(len, ranges))
    progress = _Progress(reporter, len(named.paths), earlier)
    blocks = predictor.blocks(named.paths, ranges, progress=progress.add)
    for number, block in zip(todo, blocks, strict=True):
        shards.write(number, block)
    return earlier


def _order(
    cluster: Cluster, predictor: Predictor, outputs: Outputs, decided_by: dict[str, Any]
) -> Order:
    settings = {
        "device": cluster.device, "embeddings": predictor.dim is not None,
        "reject": outputs.reject, "own_code": predictor.own_code,
    }  # fmt: skip
    folder = predictor.folder.absolute()
    return Order(folder, settings, decided_by, cluster.threads, decoders=cluster.cpus + 1)


def _fill_there(
    shards: Shards,
    cluster: Cluster,
    order: Order,
    predictor: Predictor,
    named: Named,
    reporter: Reporter,
) -> int:
    """Do what `_fill` does by the workers of a cluster; the parts are written here."""

    def paths(number: int) -> list[str]:
        return [str(Path(named.paths[row]).absolute()) for row in shards.ranges[number]]

    todo = shards.todo
    earlier = len(named.paths) - sum(len(shards.ranges[number]) for number in todo)
    progress = _Progress(reporter, len(named.paths), earlier)
    for made in make_parts(cluster, order, todo, paths, reporter.note):
        for path, error in zip(paths(made.number), made.block.errors, strict=True):
            # What is unreadable everywhere is a row that says so. Here it would be without Ray.
            if error and (here := predictor.open(path).error) != error:
                raise RunError(
                    f"{made.machine} says of {path}: {error}; here it is "
                    f"{here or 'readable'}. Pictures must lie where every machine of the cluster "
                    "reads them, under the same path"
                )
        shards.write(made.number, made.block)
        progress.add(len(made.block.ids))
    return earlier


class _Progress:
    def __init__(self, reporter: Reporter, total: int, done: int = 0) -> None:
        self.reporter, self.total, self.done = reporter, total, done

    def add(self, more: int) -> None:
        self.done += more
        self.reporter.counted("predicting", self.done, self.total)


def _write(
    shards: Shards,
    predictor: Predictor,
    named: Named,
    outputs: Outputs,
    tally: Tally,
    record: Record,
) -> None:
    def rows() -> Iterator[Row]:
        return predictor.rows(named.paths, shards.blocks())

    writers: dict[Path, Callable[[IO[bytes]], None]] = {}
    counted = tally.count(rows())
    if outputs.out is not None:
        text = FORMATS[outputs.resolved_format()]
        lines = text(counted, predictor.classes, outputs.top, outputs.more)
        writers[outputs.out] = partial(_write_lines, lines)
    if outputs.embeddings is not None:
        assert predictor.dim is not None
        shape = (len(named.paths), predictor.dim)
        writers[outputs.embeddings] = partial(_write_embeddings, shards, shape)
    for path, write in writers.items():
        clear_unfinished(path.parent, path.name)
        with written_aside(path) as file:
            write(file)
    for _ in counted:  # where no table was written, nobody has counted yet
        pass
    if outputs.page is not None:
        clear_unfinished(outputs.page.parent, outputs.page.name)
        write_predict_page(
            outputs.page,
            record,
            rows,
            doubt=predictor.doubt,
            max_megapixels=predictor.preprocessing.max_megapixels,
            lang=outputs.lang,
        )


def _write_lines(lines: Iterable[str], file: IO[bytes]) -> None:
    for line in lines:
        # A name that is no UTF-8 on disk is shown with its bytes as \udcXX.
        file.write(line.encode(errors="backslashreplace"))


def _write_embeddings(shards: Shards, shape: tuple[int, int], file: IO[bytes]) -> None:
    """Write an .npz without having all of it in memory: row for row as the table."""

    def ids(block: Block) -> np.ndarray:
        return np.array(block.ids, dtype="U64")

    def vectors(block: Block) -> np.ndarray:
        assert block.embeddings is not None
        return block.embeddings

    parts = (
        ("ids", np.dtype("U64"), shape[:1], ids),
        ("embeddings", np.dtype("f4"), shape, vectors),
    )
    with zipfile.ZipFile(file, "w") as archive:
        for name, dtype, full, of in parts:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                descr = np.lib.format.dtype_to_descr(dtype)
                header = {"descr": descr, "fortran_order": False, "shape": full}
                np.lib.format.write_array_header_1_0(entry, header)
                for block in shards.blocks():
                    entry.write(np.ascontiguousarray(of(block)).tobytes())
