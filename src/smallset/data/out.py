"""The folder that a command writes: outside of its data, and this command's alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from smallset.data.cleaned import is_cleaned, origin
from smallset.data.listing import ImageSet
from smallset.data.read import Data
from smallset.errors import RunError
from smallset.files import LOCK, given_path, locked, make_folder


@contextlib.contextmanager
def taken(out: str | Path, data: Data) -> Iterator[Path]:
    """Give the folder of a run, study, search or cleaning, and keep a second command out of it.

    It is made if need be, and removed again where nothing was written into it.

    Args:
        data: What is read, as `smallset.data.read.read_data` takes it; its files are not mixed
            with those that are written.

    Raises:
        ConfigError: If `out` is no path.
        RunError: If it lies in the data, is being written by another command, or cannot be written.
    """
    folder = given_path(out)
    refuse_inside(folder, data)
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    make_folder(folder)
    try:
        with locked(
            folder / LOCK, f"another command is writing into {folder}; wait, or give another --out"
        ):
            yield folder
    finally:
        with contextlib.suppress(OSError):  # something was written, and it stays
            for each in new:
                each.rmdir()


def refuse_inside(out: Path, data: Data) -> None:
    """Refuse to write where the next command would take what is written for a class.

    Args:
        out: A folder to be written.
        data: As `smallset.data.read.read_data` takes it.

    Raises:
        RunError: If `out` is the folder of the data, or lies in it.
    """
    root = data.root if isinstance(data, ImageSet) else given_path(data)
    if not root.is_dir():
        return
    # A class, or a split, may be a link to a folder that lies elsewhere.
    linked = [each for depth in ("*", "*/*") for each in root.glob(depth) if each.is_symlink()]
    for place in (root, *linked):
        if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(place)):
            raise RunError(
                f"{out} lies in the data {place}, where it would become a class; give another"
            )
    if not isinstance(data, ImageSet) and is_cleaned(root):
        refuse_inside(out, origin(root))
