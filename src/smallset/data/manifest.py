"""Read a CSV or JSON-lines manifest: ``path,label[,split][,group]``, paths relative to its folder.

Other columns are allowed and not read, so `predictions.csv` of a record is a manifest too; one that
says who is test or what belongs together under another name is refused.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from smallset.data.listing import ImageSet
from smallset.data.names import split_meant
from smallset.errors import DataError, suggest
from smallset.files import csv_text
from smallset.groups import SPLITS
from smallset.reading import once_each, read_csv

COLUMNS = ("path", "label", "split", "group")
SUFFIXES = (".csv", ".jsonl", ".ndjson")
OTHER_NAMES = {
    "path": ("file", "filename", "filepath", "image", "imagepath", "imagename", "img", "imgpath"),
    "label": ("labels", "class", "classname", "category", "target", "species", "labelname"),
}
"""What others call these columns, without case, spaces and underscores."""
YES_OR_NO = frozenset(["0", "1", "true", "false", "yes", "no", "y", "n", "t", "f"])
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
SHEETS = (".tsv", ".txt", ".xls", ".xlsx", ".ods", ".numbers", ".json")


def read_manifest(path: Path) -> ImageSet:
    """List the images that a manifest names.

    Args:
        path: A file ending in .csv, .jsonl or .ndjson.

    Raises:
        DataError: If it is damaged, a column or a label is missing, labels differ in case alone, a
            split is unknown, a path absolute, outside the manifest's folder, missing or named
            twice, or a group straddles two splits.
    """
    rows = read_rows(path, ("path", "label"))
    _refuse_other_names(rows, path)
    has_split, has_group = (any(each in row for row in rows) for each in ("split", "group"))
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}, image {number}"
        for column in ("path", "label"):
            if not row.get(column, "").strip():
                raise DataError(f"{where}: {column!r} is missing or empty")
        row["path"] = _inside(row["path"], path.parent, where)
        if row["path"] in seen:
            raise DataError(
                f"{where}: {row['path']} was listed before, as image {seen[row['path']]}"
            )
        seen[row["path"]] = number
        split = str(row.get("split", ""))
        if has_split and not split:
            raise DataError(
                f"{where}: 'split' is missing or empty; give every image one, or leave the column "
                "out"
            )
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
    has_split = not (images.splits == "").all()
    more = (["split"] if has_split else []) + (["group"] if images.groups else [])
    lines: list[list[str]] = [["path", "label", *more]]
    for row, relative in enumerate(images.paths):
        file = (images.root / relative).absolute()
        if not file.is_relative_to(folder):
            raise DataError(
                f"{path} cannot name {file}: a manifest's images lie in or below its own folder; "
                f"write it to {images.root.absolute().parent / path.name}"
            )
        line = [file.relative_to(folder).as_posix(), images.classes[images.labels[row]]]
        line += [str(images.splits[row])] if has_split else []
        lines.append(line + ([images.groups[row]] if images.groups else []))
    return csv_text(lines)


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a manifest.

    Args:
        needed: Columns that a CSV file must have; an object of JSON may lack them.

    Raises:
        DataError: If it is no manifest, cannot be read, is damaged, has no rows or lacks a column.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is neither a folder nor a .csv or .jsonl manifest{_way(suffix)}")
    try:
        rows = _csv_rows(path, needed) if suffix == ".csv" else _json_rows(path, needed)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the manifest {path} as UTF-8 text: {error}; save it as UTF-8 (in Excel: "
            "CSV UTF-8)"
        ) from None
    if not rows:
        raise DataError(f"{path} lists no images")
    return rows


def _csv_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        header, rows = read_csv(path)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise DataError(f"{path} is no manifest as it stands: {error}; mend it there") from None
    if missing := [name for name in needed if name not in header]:
        optional = "[,split][,group]" if "label" in needed else ""
        raise DataError(
            f"{path} has no column {' and '.join(missing)}; found: {', '.join(header)}; needed: "
            f"{','.join(needed)}{optional}{_mend(path, header, missing)}"
        )
    return [dict(zip(header, row, strict=True)) for row in rows]


def _way(suffix: str) -> str:
    """Say what to do with a file that is no manifest, as far as its ending tells."""
    if suffix in ARCHIVES:
        return "; unpack it, and give the folder"
    return "; save it as .csv with the columns path,label" if suffix in SHEETS else ""


def _mend(path: Path, header: Sequence[str], missing: Sequence[str]) -> str:
    """Say how a header becomes that of a manifest, as far as it tells."""
    if len(header) == 1 and (mark := next((m for m in ";\t|" if m in header[0]), "")):
        return f"; its cells are divided by {mark!r}: save it with commas"
    if any((path.parent / cell).is_file() for cell in header):
        return "; its first line names an image: write the names of the columns above it"
    renames = [
        f"{cell} -> {name}"
        for name in missing
        for cell in header
        if re.sub(r"[\W_]", "", cell).lower() in (name, *OTHER_NAMES.get(name, ()))
    ]
    return f"; rename {', '.join(renames)}" if renames else ""


def _json_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    # A name may hold what `splitlines` takes for an end of line.
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=once_each)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{where} must be an object with {' and '.join(needed)}")
        rows.append(
            {
                key: _text(key, value, where) if key in COLUMNS else json.dumps(value)
                for key, value in row.items()
                if value is not None
            }
        )
    return rows


def _text(name: str, value: Any, where: str) -> str:
    """Return a label or a name as text; a whole number is one too."""
    if isinstance(value, str) or (type(value) is int and name != "path"):
        return str(value)
    raise DataError(f"{where}: {name!r} must be text or a whole number, got {json.dumps(value)}")


def _inside(name: str, folder: Path, where: str) -> str:
    """Return the normal form of a relative path that stays inside `folder` and exists."""
    if "://" in name:
        raise DataError(f"{where}: {name} is an address; smallset reads files: download it first")
    # "a:b.png" is a file like others where it is not Windows that reads it.
    elsewhere = PureWindowsPath(name).anchor and (os.name == "nt" or not (folder / name).is_file())
    if PurePosixPath(name).is_absolute() or elsewhere:
        inside = Path(name).is_relative_to(folder.absolute())
        fix = f"; write {Path(name).relative_to(folder.absolute()).as_posix()}" if inside else ""
        raise DataError(f"{where}: {name} is an absolute path; paths are relative to {folder}{fix}")
    normal = Path(os.path.normpath(name.replace("\\", "/") if os.sep == "\\" else name)).as_posix()
    if normal.split("/")[0] == "..":
        raise DataError(f"{where}: {name} leads outside the manifest's folder {folder}")
    if not (folder / normal).is_file():
        turned = name.replace("\\", "/")
        fix = f"; write {turned}" if (folder / turned).is_file() else ""
        raise DataError(f"{where}: no file {folder / normal}{fix}")
    return normal


def _refuse_other_names(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Refuse splits and groups that would not be read for the name of their column."""
    header = dict.fromkeys(name for row in rows for name in row)
    for name in header:
        plain = re.sub(r"[\W_]", "", name).lower()
        values = {row.get(name, "").strip('" ').lower() for row in rows} - {""}
        is_split = plain in ("split", "splits") or (
            bool(values)
            and (
                all(map(split_meant, values))
                or (split_meant(plain.removeprefix("is")) and values <= YES_OR_NO)
            )
        )
        meant = "split" if is_split else "group" if plain in ("group", "groups") else ""
        if name not in COLUMNS and meant and meant not in header:
            shown = ", ".join(sorted(values)[:4])
            raise DataError(
                f"{path}: the column {name!r} ({shown}) looks like {meant!r}, which it must be "
                f"called to be read; rename it, or leave it out"
                + (f" (splits: {', '.join(SPLITS)})" if is_split else "")
            )


def _refuse_straddling_groups(images: ImageSet, path: Path) -> None:
    if images.groups is None or (images.splits == "").all():
        return
    home: dict[str, str] = {}
    for group, split in zip(images.groups, images.splits, strict=True):
        if home.setdefault(group, str(split)) != split:
            raise DataError(f"{path}: group {group!r} is in both {home[group]} and {split}")
