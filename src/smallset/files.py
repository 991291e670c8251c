"""The cache folder, and files written so that a crash never leaves half of one."""

import contextlib
import csv
import difflib
import errno
import glob
import io
import json
import os
import secrets
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import IO, Any

from smallset.errors import ConfigError, RunError

LOCK = ".lock"
"""Lies in a folder while a command writes into it."""
LOCK_TRIES = 1000


def given_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, with ``~`` and ``~name`` replaced.

    Raises:
        ConfigError: If it is empty or an address, cannot be a path here, or there is no such home
            folder.
    """
    text = os.fspath(path)
    if not text.strip():
        raise ConfigError("a path is empty; '.' is the current folder")
    if "://" in text:
        raise ConfigError(f"{text} is an address; smallset reads files: download it first")
    found = Path(text)
    try:
        found = found.expanduser()
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
    real = Path(os.path.realpath(found))
    # LINK/.. is the parent of what LINK leads to; much of Python's library thinks otherwise.
    short = Path(os.path.normpath(found.absolute()))
    return found if Path(os.path.realpath(short)) == real else real


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, quota or file system that has no more room."""


def why(error: OSError) -> str:
    """Return what went wrong with a file, and what to do where the disk is full."""
    said = error.strerror or str(error)
    return f"{said}; free some room on its disk" if error.errno in FULL else said


@contextlib.contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Say which folder had no more room, where others' code writes into it.

    Raises:
        RunError: If its disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise RunError(f"cannot write into {folder}: {why(error)}") from error
        raise


WRITTEN = "written"
"""Key of the last entry of every JSON file that smallset writes: the format, and a checksum."""
FORMAT = 1
"""Of all that smallset writes. Raise it where an earlier version would misread a file."""


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
        unique = path.with_name(_unfinished(path.name) + secrets.token_hex(4))
        with unique.open("xb") as file:  # unlike one of tempfile, with the permissions of the umask
            aside = unique
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException as error:
        if aside is not None:
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            kept = "; the one already there is kept" if path.exists() else ""
            raise RunError(f"cannot write {path}: {why(error)}{kept}") from error
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


def write_new(path: Path, content: bytes | str) -> None:
    """Write a file where there is none; one that holds the same already stays.

    Args:
        content: Text is written as UTF-8.

    Raises:
        RunError: If something else is there, or it cannot be written.
    """
    content = content.encode() if isinstance(content, str) else content
    if path.exists() or path.is_symlink():
        if path.is_file() and path.read_bytes() == content:
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
def locked(lock: Path, taken: str = "", *, wait: bool = False) -> Iterator[None]:
    """Keep a second process out; the lock ends with the process, however it ends.

    Args:
        lock: A file that is made, locked, and removed at the end; that of a killed process is free.
        taken: What to say where another process has it.
        wait: Wait for the other process to end.

    Raises:
        RunError: If another process has it and is not waited for, or it cannot be written.
    """
    for _ in range(LOCK_TRIES):
        try:
            file = lock.open("a+b")
        except OSError as error:
            raise RunError(f"cannot write into {lock.parent}: {why(error)}") from None
        with file:
            try:
                _lock(file, wait=wait)
            except OSError as error:
                raise RunError(taken or f"cannot lock {lock}: {error.strerror}") from None
            # Whoever had it may have removed it between opening and locking.
            if _is_at(file, lock):
                try:
                    yield
                finally:
                    # It is ours until it is closed: nobody else's lock can be removed here.
                    with contextlib.suppress(OSError):
                        lock.unlink()
                return
    raise RunError(f"cannot lock {lock}: its file system does not keep it")


def _lock(file: IO[bytes], *, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def near_name(path: Path) -> Path | None:
    """Return what is called nearly like a path that is not there, and lies beside it."""
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return path.parent / near[0] if near else None


def did_you_mean(path: Path) -> str:
    """Ask whether what is called nearly like a path was meant, if there is something."""
    near = near_name(path)
    return f" (did you mean {near}?)" if near else ""


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
        # It has a name for a moment where the file system makes no files without.
        with tempfile.TemporaryFile(dir=path, prefix=_unfinished("")):
            pass
    except OSError as error:
        raise RunError(f"cannot write into the folder {path}: {why(error)}") from None
    return path


def csv_text(rows: list[list[Any]]) -> str:
    """Return rows as CSV text with Unix line ends, which `read_csv` reads back as it was."""
    lines = _Lines()
    # The writer quotes what holds a part of its own line end: a name may hold a lone CR.
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


class _Lines(list[str]):
    """Keeps what is written, one call at a time."""

    write = list[str].append


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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomic(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file; its last entry lets `read_json` see damage."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    sealed = {**content, WRITTEN: {"format": FORMAT, "crc32": content_sum(json.loads(text))}}
    return json.dumps(sealed, indent=1, ensure_ascii=False) + "\n"


def content_sum(content: Mapping[str, Any]) -> str:
    """Return the CRC-32 of what a JSON file says, however it is laid out."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def file_sum(path: Path) -> str:
    """Return the CRC-32 of a file as 8 hex digits: it tells damage, not intent.

    Of what comes with Python it is the fastest that does not need a processor with SHA in hardware:
    docs/log.md.

    Raises:
        OSError: If it cannot be read.
    """
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return f"{found:08x}"
