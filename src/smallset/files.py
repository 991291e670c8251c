"""The cache folder, and files and folders written so that a crash never leaves half of one."""

import contextlib
import csv
import errno
import glob
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import IO, Any

from smallset.errors import ConfigError, RunError

LOCK = ".lock"
"""Lies in a folder while a command writes into it."""


def given_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, with ``~`` and ``~name`` replaced.

    Raises:
        ConfigError: If it is empty, cannot be a path here, or there is no such home folder.
    """
    text = os.fspath(path)
    if not text.strip():
        raise ConfigError("a path is empty; '.' is the current folder")
    try:
        found = Path(text).expanduser()
        os.stat(found)  # noqa: PTH116  Path.exists swallows what is asked here
    except RuntimeError:
        raise ConfigError(
            f"{text}: this system knows no such home folder; give the whole path"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{text!r} cannot be a path: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigError(f"{text[:80]}... cannot be a path: {error.strerror}") from None
    found = Path(text).expanduser()
    real = Path(os.path.realpath(found))
    # LINK/.. is the parent of what LINK leads to; much of Python's library thinks otherwise.
    short = Path(os.path.normpath(found.absolute()))
    return found if Path(os.path.realpath(short)) == real else real


def cache_dir() -> Path:
    """Return the folder of decoded images, features, weights and samples.

    ``SMALLSET_CACHE`` names it; without that it is the platform's cache folder.
    """
    named = os.environ.get("SMALLSET_CACHE")
    if named:
        return given_path(named)
    named, place = {
        "win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches"),
    }.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))  # fmt: skip
    if base := os.environ.get(named):
        return Path(base) / "smallset"
    try:
        return Path.home() / place / "smallset"
    except RuntimeError:
        raise ConfigError(
            "this system does not say where your home folder is; set SMALLSET_CACHE to a folder "
            "for decoded images and weights"
        ) from None


def is_file_name(name: str) -> bool:
    """Whether a name can be that of one file or folder here, on Windows and in a shell."""
    odd = set('/\\:*?"<>|') | {chr(code) for code in (*range(32), 127)}
    return 0 < len(name.encode(errors="replace")) <= 100 and name[0] != "." and not set(name) & odd


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, and rename it to `path` once it is whole.

    Raises:
        RunError: If the disk is full or the folder cannot be written; `path` is as it was.
    """
    aside = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=_unfinished(path.name), delete=False
        ) as file:
            aside = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)  # NamedTemporaryFile makes files that only their owner can read
        aside.replace(path)
    except BaseException as error:
        if aside is not None:
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            kept = "; the one already there is kept" if path.exists() else ""
            raise RunError(f"cannot write {path}: {error.strerror}{kept}") from error
        raise


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file aside and rename it, so that `path` holds all of the old or all of the new.

    Args:
        content: Text is written as UTF-8.

    Raises:
        RunError: If the disk is full or the folder cannot be written; `path` is as it was.
    """
    with written_aside(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: str) -> None:
    """Write a text file where there is none; one that holds the same already stays.

    Raises:
        RunError: If something else is there, or it cannot be written.
    """
    if path.exists() or path.is_symlink():
        if path.is_file() and path.read_bytes() == content.encode():
            return
        raise RunError(f"{path} is there already, and is kept; name another file")
    write_atomic(path, content)


def clear_unfinished(folder: Path, name: str = "") -> None:
    """Remove what `written_aside` left in a folder where its process was killed.

    Args:
        name: Of the file that was written; empty for all of them.
    """
    for left in folder.glob(glob.escape(_unfinished(name) if name else ".writing-") + "*"):
        left.unlink()


def _unfinished(name: str) -> str:
    return f".writing-{name[:80]}-"


@contextlib.contextmanager
def locked(lock: Path, taken: str) -> Iterator[None]:
    """Keep a second process out; the lock ends with the process, however it ends.

    Args:
        lock: A file that is made and locked; it stays, unless it is removed while it is locked.
        taken: What to say where another process has it.

    Raises:
        RunError: If another process has it, or it cannot be written.
    """
    try:
        file = lock.open("a+b")
    except OSError as error:
        raise RunError(f"cannot write into {lock.parent}: {error.strerror}") from None
    with file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(taken) from None
        if not _is_at(file, lock):  # whoever had it removed it between opening and locking
            raise RunError(taken)
        yield


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def holds_files(folder: Path) -> bool:
    """Whether there is something in a folder, beside the lock of the command that asks."""
    return folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())


def make_folder(path: Path) -> Path:
    """Make a folder with its parents and return it.

    Raises:
        RunError: If it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RunError(f"cannot write into the folder {path}: {error.strerror}") from None
    return path


def csv_text(rows: list[list[Any]]) -> str:
    """Return rows as CSV text with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def build_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, filling it aside and renaming it where it does not exist.

    Several processes may do so at a time; the first to finish wins, and all see a whole folder.

    Args:
        fill: Writes the content into the empty folder it is given.

    Raises:
        RunError: If it cannot be written; nothing half-made stays.
    """
    if folder.exists():
        return folder
    try:
        make_folder(folder.parent)
    except RunError as error:
        raise RunError(f"{error}; set SMALLSET_CACHE to a folder that can be written") from None
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        fill(aside)
        aside.chmod(0o755)
        aside.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise RunError(
                f"cannot write {folder}: {error.strerror or error}; free some room, or set "
                "SMALLSET_CACHE to a folder that has some"
            ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write an .npz file, whole or not at all."""
    import numpy as np  # not for `smallset --help`

    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomic(path, content.getvalue())


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table for a notebook; what is in it is escaped."""
    lines = ["".join(f"<th>{escape(str(cell))}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
