"""Folders of the cache: made aside, sealed by checksums, verified when they are opened."""

import contextlib
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smallset.errors import DataError, RunError
from smallset.files import FULL, LOCK, file_sum, locked, make_folder, write_json
from smallset.reading import read_json

SEAL = ".sums.json"
"""In every folder of the cache: the CRC-32 of each of its files."""
ALIVE = ".alive"
"""Ends the name of the lock that stands beside a half-made folder while its process lives."""
_verified: dict[Path, tuple[Any, ...]] = {}


def build_folder(
    folder: Path, fill: Callable[[Path], None], *, note: Callable[[str], object] = warnings.warn
) -> Path:
    """Return `folder`, filling it aside and renaming it where it does not exist or is damaged.

    Several processes may do so at a time; the first to finish wins, and all see a whole folder.
    What processes left half-made that are dead by now is removed.

    Args:
        fill: Writes the content into the empty folder it is given.
        note: Told that a folder was damaged, and is made again.

    Raises:
        RunError: If it cannot be written; nothing half-made stays.
    """
    build_folders([folder], lambda asides: fill(asides[folder]), note=note)
    return folder


def build_folders(
    folders: Sequence[Path],
    fill: Callable[[dict[Path, Path]], None],
    *,
    note: Callable[[str], object] = warnings.warn,
) -> None:
    """Do what `build_folder` does for several that are made in one go.

    Args:
        fill: Given an empty folder for each of those that do not exist or are damaged.

    Raises:
        RunError: If one cannot be written; nothing half-made stays.
    """
    missing: list[Path] = []
    for folder in folders:
        if folder.exists() and (why := _damage(folder)):
            note(f"{folder} is damaged ({why}); it is made again")
            _remove(folder)
        if folder.exists():
            _clear_dead(folder.parent)
        else:
            missing.append(folder)
    if not missing:
        return
    with contextlib.ExitStack() as stack:
        asides = {folder: stack.enter_context(_aside(folder)) for folder in missing}
        with _written(missing):
            fill(asides)
        for folder, aside in asides.items():
            with _written([folder]):
                sums = {
                    file.relative_to(aside).as_posix(): file_sum(file) for file in _files(aside)
                }
                write_json(aside / SEAL, {"files": sums})
                aside.chmod(0o755)
                aside.rename(folder)


@contextlib.contextmanager
def _written(folders: Sequence[Path]) -> Iterator[None]:
    """Turn what the disk says into an error, unless another process made all of the folders."""
    try:
        yield
    except (OSError, RunError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        if not isinstance(cause, OSError):
            raise
        for folder in folders:
            if not folder.exists():
                raise _no_room(folder, cause) from error


def _no_room(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {folder}: {error.strerror or error}; free some room, or set "
        "SMALLSET_CACHE to a folder that has some"
    )


def sound_folders(
    parent: Path,
    *,
    wanted: Callable[[Path], bool] = lambda _: True,
    note: Callable[[str], object] = warnings.warn,
) -> Iterator[Path]:
    """Yield the folders that `build_folder` made in another one; damaged ones are removed.

    Args:
        wanted: Whether a folder, which may be damaged, is worth a look.
        note: Told that a folder was damaged.
    """
    _clear_dead(parent)
    inside = sorted(parent.iterdir()) if parent.is_dir() else []
    for folder in (path for path in inside if path.is_dir() and path.name[0] != "."):
        if not wanted(folder):
            continue
        if why := _damage(folder):
            note(f"{folder} is damaged ({why}); it is made again")
            _remove(folder)
        else:
            yield folder


def new_array(path: Path, shape: Sequence[int], dtype: type) -> np.memmap:
    """Return a new .npy file, mapped into memory to be written; the disk has room for all of it.

    Without that, a disk that becomes full would kill the process at the first write beyond it.

    Raises:
        OSError: If the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
    with path.open("r+b") as file:
        start, size = array.offset, os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            file.seek(start)  # neither every system nor every disk can: zeros do the same
            for at in range(start, size, 1 << 20):
                file.write(bytes(min(1 << 20, size - at)))
    return array


def _damage(folder: Path) -> str:
    """Return why a folder is not as it was made; empty where it is. A process asks once."""
    try:
        seen = tuple(
            (file, at.st_ino, at.st_size, at.st_mtime_ns)
            for file in (folder / SEAL, *_files(folder))
            if (at := file.stat())
        )
        if _verified.get(folder) == seen:
            return ""
        promised = read_json(folder / SEAL)["files"]
        there = {file.relative_to(folder).as_posix(): file for file in _files(folder)}
        for name in promised.keys() | there.keys():
            if name not in there or name not in promised:
                return f"{name} {'is missing' if name in promised else 'does not belong to it'}"
            if file_sum(there[name]) != promised[name]:
                return f"the checksum of {name} does not fit"
    except (DataError, OSError, LookupError, AttributeError) as error:
        return str(error)
    _verified[folder] = seen
    return ""


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder that smallset made; desktops and disks add hidden ones."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if not path.name.startswith(".")]


def _remove(folder: Path) -> None:
    """Remove a folder that others may be reading; they keep what they have open."""
    with contextlib.suppress(FileNotFoundError), _aside(folder) as aside:
        if _damage(folder):  # nobody has made it again meanwhile
            folder.rename(aside / folder.name)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside one, which nobody takes for left over while it is in use."""
    try:
        parent = make_folder(folder.parent)
    except RunError as error:
        raise RunError(f"{error}; set SMALLSET_CACHE to a folder that can be written") from None
    aside = parent / f".{folder.name}-{secrets.token_hex(4)}"
    alive = aside.with_name(aside.name + ALIVE)
    with contextlib.ExitStack() as stack:
        # One process at a time makes folders aside, or looks for those that were left over.
        with locked(parent / LOCK, wait=True):
            _remove_dead(parent)
            stack.callback(alive.unlink, missing_ok=True)  # Windows removes no open file
            # Before the folder: one without a lock would be nobody's, and stay for ever.
            stack.enter_context(locked(alive))
            try:
                aside.mkdir(0o700)
            except OSError as error:
                raise _no_room(folder, error) from error
            stack.callback(shutil.rmtree, aside, ignore_errors=True)
        yield aside


def _clear_dead(parent: Path) -> None:
    """Remove what dead processes left half-made, if there is any."""
    if any(parent.glob(f".*{ALIVE}")) or (parent / LOCK).exists():
        with contextlib.suppress(RunError), locked(parent / LOCK, wait=True):
            _remove_dead(parent)


def _remove_dead(parent: Path) -> None:
    for alive in parent.glob(f".*{ALIVE}"):
        with contextlib.suppress(RunError, OSError):
            with locked(alive):
                shutil.rmtree(alive.with_name(alive.name.removesuffix(ALIVE)), ignore_errors=True)
            alive.unlink(missing_ok=True)
