"""Read a CSV or JSON-lines manifest: ``path,label[,split][,group]``, paths relative to its folder.

Other columns are allowed and not read, so `predictions.csv` of a record is a manifest too.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from smallset.data.listing import ImageSet
from smallset.errors import DataError, suggest
from smallset.files import csv_text
from smallset.groups import SPLITS

SUFFIXES = (".csv", ".jsonl", ".ndjson")


def read_manifest(path: Path) -> ImageSet:
    """List the images that a manifest names.

    Args:
        path: A file ending in .csv, .jsonl or .ndjson.

    Raises:
        DataError: If a column is missing, a split unknown, a path absolute, outside the manifest's
            folder, missing or named twice, or a group straddles two splits.
    """
    rows = read_rows(path, ("path", "label"))
    has_split, has_group = "split" in rows[0], "group" in rows[0]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}, image {number}"
        for column in ("path", "label"):
            if not row.get(column):
                raise DataError(f"{where}: {column!r} is missing or empty")
        row["path"] = _inside(row["path"], path.parent, where)
        if row["path"] in seen:
            raise DataError(
                f"{where}: {row['path']} was listed before, as image {seen[row['path']]}"
            )
        seen[row["path"]] = number
        split = str(row.get("split"))
        if has_split and split not in SPLITS:
            raise DataError(f"{where}: unknown split {split!r}; {suggest(split, SPLITS)}")
    classes = tuple(sorted({row["label"] for row in rows}))
    index = {name: number for number, name in enumerate(classes)}
    images = ImageSet(
        root=path.parent,
        classes=classes,
        paths=tuple(row["path"] for row in rows),
        labels=np.array([index[row["label"]] for row in rows]),
        splits=np.array([row["split"] if has_split else "" for row in rows]),
        # An image without a group stands alone: its own path is its group.
        groups=tuple(row.get("group") or row["path"] for row in rows) if has_group else None,
    )
    _refuse_straddling_groups(images, path)
    return images


def manifest_text(images: ImageSet, path: Path) -> str:
    """Return the text of a manifest of `images`, to be written at `path`.

    Args:
        path: Where the text will be; a manifest's paths are relative to its folder.

    Raises:
        DataError: If an image lies outside that folder.
    """
    folder = path.resolve().parent
    lines: list[list[str]] = [["path", "label", "split"] + (["group"] if images.groups else [])]
    for row, relative in enumerate(images.paths):
        file = (images.root / relative).absolute()
        if not file.is_relative_to(folder):
            raise DataError(
                f"{path} cannot name {file}: a manifest's images lie in or below its own folder; "
                f"write it to {images.root.absolute().parent / path.name}"
            )
        line = [file.relative_to(folder).as_posix(), images.classes[images.labels[row]]]
        line.append(str(images.splits[row]))
        lines.append(line + ([images.groups[row]] if images.groups else []))
    return csv_text(lines)


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a manifest, with all their columns.

    Args:
        needed: Columns that a CSV file must have; an object of JSON may lack them.

    Raises:
        DataError: If it is no manifest, cannot be read, has no rows or lacks a column.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is neither a folder nor a .csv or .jsonl manifest")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the manifest {path} as UTF-8 text: {error}") from None
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = set(needed) - set(reader.fieldnames or ())
        if missing:
            optional = "[,split][,group]" if "label" in needed else ""
            raise DataError(
                f"{path} has no column {' and '.join(sorted(missing))}; "
                f"found: {', '.join(reader.fieldnames or ())}; needed: {','.join(needed)}{optional}"
            )
        return _some([dict(row) for row in reader], path)
    rows: list[dict[str, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} must be an object with {' and '.join(needed)}")
        rows.append({key: str(value) for key, value in row.items() if value is not None})
    return _some(rows, path)


def _some(rows: list[dict[str, str]], path: Path) -> list[dict[str, str]]:
    if not rows:
        raise DataError(f"{path} lists no images")
    return rows


def _inside(name: str, folder: Path, where: str) -> str:
    """Return the normal form of a relative path that stays inside `folder` and exists."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise DataError(f"{where}: {name} is an absolute path; paths are relative to {folder}")
    normal = Path(os.path.normpath(name.replace("\\", "/") if os.sep == "\\" else name)).as_posix()
    if normal.split("/")[0] == "..":
        raise DataError(f"{where}: {name} leads outside the manifest's folder {folder}")
    if not (folder / normal).is_file():
        raise DataError(f"{where}: no file {folder / normal}")
    return normal


def _refuse_straddling_groups(images: ImageSet, path: Path) -> None:
    if images.groups is None or (images.splits == "").all():
        return
    home: dict[str, str] = {}
    for group, split in zip(images.groups, images.splits, strict=True):
        if home.setdefault(group, str(split)) != split:
            raise DataError(f"{path}: group {group!r} is in both {home[group]} and {split}")
