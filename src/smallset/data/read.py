"""Read a data set by name: split folders, class folders, a manifest, torchvision, a sample."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from smallset.data.cleaned import is_cleaned, origin, read_cleaned
from smallset.data.listing import ImageSet
from smallset.data.manifest import read_manifest
from smallset.data.names import split_meant, with_sound_names
from smallset.data.preprocessing import Square
from smallset.data.samples import sample_folder
from smallset.data.split import (
    UsualFolds,
    carve_val,
    lacking,
    one_pool,
    split_images,
    usual_folds,
)
from smallset.data.torchvision_sets import torchvision_folder
from smallset.errors import ConfigError, DataError
from smallset.files import given_path, near_name
from smallset.groups import SPLITS, DataConfig
from smallset.progress import Reporter
from smallset.record.record import is_left_over
from smallset.words import counted

MANY = 20_000
"""Of more training images no copies are looked for to carve val out: pairs grow with the square."""
Data = str | Path | ImageSet
"""A data set by its name, or one that was listed before."""
IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".avif", ".heic", ".heif",
])  # fmt: skip
"""Names that end so are pictures to be read; what they hold decides how, or why not."""


def read_data(
    data: Data,
    config: DataConfig | None = None,
    reporter: Reporter | None = None,
    *,
    also: Sequence[Square] = (),
) -> ImageSet:
    """List the images of a data set; nothing is changed.

    Pictures are decoded where smallset draws the split, or val from train where data has train and
    test but no val: copies and bursts go to one side.

    Args:
        data: A folder ``train|val|test|extra/<class>/image``; a folder ``<class>/image``; a CSV or
            JSON-lines manifest; "torchvision:NAME"; "sample:shapes"; a folder that
            ``smallset clean`` left; or a listing.
        config: Fractions and seed of the split, for data that has none of its own.
        reporter: Told of progress, where pictures are decoded.
        also: What they become then, too; see `smallset.data.cache.load_pixels`.

    Raises:
        DataError: If there is no such data, or it is not laid out as one of these.
    """
    config, reporter = config or DataConfig(), reporter or Reporter()
    if not isinstance(data, ImageSet) and is_cleaned(path := given_path(data)):
        return read_cleaned(path, lambda origin: read_data(origin, config, reporter, also=also))
    images = _listed(data)
    if (images.splits == "").all():
        return one_pool(images) if config.folds else _split(images, config, reporter, also)
    carved = _lacks_val(images)
    if carved and config.val_fraction and not config.folds:
        images = _carve(images, config, reporter, also)
    for name in ("test_fraction", *(() if carved else ("val_fraction", "split_seed"))):
        if getattr(config, name) != DataConfig.model_fields[name].default:
            raise ConfigError(f"data.{name} is not read: {data} has splits of its own")
    return images


def list_data(data: Data) -> ImageSet:
    """List the images of a data set as `read_data` does, and decode none.

    Where the data has no splits of its own, all of it counts as train: for who needs paths only.
    """
    return read_data(data, DataConfig(folds=2))  # with folds, nothing is held back


def _lacks_val(images: ImageSet) -> bool:
    there = set(images.splits.tolist())
    return {"train", "test"} <= there and "val" not in there


def _carve(
    images: ImageSet, config: DataConfig, reporter: Reporter, also: Sequence[Square]
) -> ImageSet:
    from smallset.data.families import families

    learnt = images.where(images.splits == "train")
    if len(learnt) > MANY:
        carved = carve_val(images, config)
        note = f"copies were not looked for among {len(learnt):,} images: some may be on both sides"
        return replace(carved, notes=(*carved.notes, note))
    known = families(learnt, config, reporter, partial(lacking, learnt, config), also=also)
    said = (f"{known.said} kept on one side of it",) if known.said else ()
    carved = carve_val(images, config, known.names)
    return replace(carved, notes=(*carved.notes, *said, *known.apart))


def _split(
    images: ImageSet, config: DataConfig, reporter: Reporter, also: Sequence[Square]
) -> ImageSet:
    from smallset.data.families import families  # torch, which many who list data need not

    known = families(images, config, reporter, partial(lacking, images, config), also=also)
    split = split_images(images, config, known.names)
    said = (f"{known.said} kept on one side of the split",) if known.said else ()
    return replace(split, notes=(*split.notes, *said, *known.apart))


def folds_for(data: Data, config: DataConfig) -> UsualFolds:
    """Return into how many folds data is dealt where nothing is said; see `usual_folds`."""
    if not isinstance(data, ImageSet) and is_cleaned(path := given_path(data)):
        data = origin(path)
    return usual_folds(_listed(data), config)


def _listed(data: Data) -> ImageSet:
    """List the images of a data set that is no cleaned one; splits are "" where it has none."""
    if isinstance(data, ImageSet):
        return data
    kind, _, name = str(data).partition(":")
    if kind == "sample":
        return _read_folder(sample_folder(name))
    if kind == "torchvision":
        return _read_folder(torchvision_folder(name))
    refuse_missing(data)
    path = given_path(data)
    if path.is_file() and _is_image(path.name):
        raise DataError(f"{path} is one picture; give the folder that holds one for each class")
    if path.is_dir() and is_left_over(path):
        raise DataError(f"{path} is what a run or a study left, no pictures; give those themselves")
    if path.is_dir():
        return with_sound_names(_read_folder(path), path)
    images = read_manifest(path)
    _refuse_splits_as_classes(path, images.classes, kind="labels")
    return with_sound_names(images, path)


def refuse_missing(data: str | Path) -> None:
    """Refuse data that is not there, before anything is said or written for it.

    Raises:
        DataError: If there is no such file or folder; one of nearly its name is named.
    """
    if str(data).partition(":")[0] in ("sample", "torchvision"):
        return
    path = given_path(data)
    if not path.exists():
        near = near_name(path)
        raise DataError(
            f"no data at {path}; "
            + (f"did you mean {near}? Or " if near else "")
            + "give a folder, a .csv or .jsonl manifest, torchvision:NAME or sample:shapes"
        )


def _split_within(name: str) -> str | None:
    """Return the split that a word of a name says, such as "train" for "seg_train"."""
    said = (split_meant(word) for word in re.split(r"[\W_\d]+", name))
    return next((split for split in said if split), None)


def _refuse_splits_as_classes(
    root: Path,
    names: Iterable[str],
    *,
    kind: str,
    meant: Callable[[str], str | None] = split_meant,
) -> None:
    renames = {name: meant(name) for name in names}
    if renames and all(renames.values()):
        listed = ", ".join(f"{name} -> {split}" for name, split in renames.items())
        raise DataError(
            f"the {kind} of {root} look like splits, not classes: {', '.join(renames)}; the splits "
            f"of smallset are {', '.join(SPLITS)}: rename ({listed})"
        )


def _read_folder(root: Path) -> ImageSet:
    folders = _subfolders(root)
    splits = [name for name in SPLITS if name in folders]
    if splits and len(splits) < len(folders):
        odd = sorted(set(folders) - set(splits))
        renames = [f"{name} -> {split}" for name in odd if (split := split_meant(name))]
        raise DataError(
            f"{root} holds split folders ({', '.join(splits)}) beside others ({', '.join(odd[:5])})"
            f"; the splits of smallset are {', '.join(SPLITS)}: rename or move the others"
            + (f" ({', '.join(renames)})" if renames else "")
        )
    if not folders:
        raise DataError(f"{root} has no class folders; {_without_folders(root)}")

    if not splits:
        # A class named Train holds pictures; a split named Train holds folders of them.
        nested = [name for name in folders if _subfolders(root / name)]
        of_splits = [name for name in nested if split_meant(name)]
        _refuse_splits_as_classes(root, of_splits or folders, kind="folders")
        within = {name: split for name in nested if (split := _split_within(name))}
        if len(set(within.values())) > 1:  # seg_train and seg_test
            _refuse_splits_as_classes(root, within, kind="folders", meant=within.get)
        if len(folders) == 1 and nested:
            _refuse_outer(root / folders[0])
    places = [(split, split) for split in splits] or [("", "")]
    class_folders = {place: _subfolders(root / place) for place, _ in places}
    classes = tuple(sorted({name for names in class_folders.values() for name in names}))
    paths: list[str] = []
    labels: list[int] = []
    in_split: list[str] = []
    others: Counter[str] = Counter()
    notes = _beside([root, *(root / split for split in splits)])
    deeper: list[str] = []
    for place, split in places:
        for name in class_folders[place]:
            found, skipped = image_files(root / place / name)
            others += skipped
            deeper += _deeper(root / place / name, found)
            if not found:
                beside = f" (found: {', '.join(sorted(skipped))})" if skipped else ""
                notes.append(f"class folder {root / place / name} has no image{beside}")
            paths += [file.relative_to(root).as_posix() for file in found]
            labels += [classes.index(name)] * len(found)
            in_split += [split] * len(found)
    more = f"; so it is in {len(deeper) - 3} other class folders" if len(deeper) > 3 else ""
    notes += [*deeper[:2], *(f"{each}{more}" for each in deeper[2:3])]
    if not paths:
        raise DataError(f"{root} has no images; supported: {' '.join(sorted(IMAGE_SUFFIXES))}")
    if others:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items()))
        notes.append(f"files that are not named like pictures were left out: {listed}")
    return ImageSet(
        root, classes, tuple(paths), np.array(labels), np.array(in_split), notes=tuple(notes)
    )


def _without_folders(root: Path) -> str:
    """Say how a folder without folders becomes data."""
    pictures = sum(_is_image(path.name) for path in root.iterdir())
    if not pictures:
        return f"expected {root}/<class>/<image>"
    return (
        f"it holds {counted(pictures, 'picture')} without a class: give the folder above it if "
        f"{root.name} is one of the classes, put the pictures of each class into a folder, or "
        "write a manifest path,label"
    )


def _refuse_outer(only: Path) -> None:
    """Refuse a folder whose only folder holds what looks like classes: nothing to tell apart."""
    inner = [name for name in _subfolders(only) if image_files(only / name)[0]]
    if len(inner) > 1:
        raise DataError(
            f"{only.parent} holds one folder, and those inside it look like classes "
            f"({', '.join(inner[:3])}{', ...' if len(inner) > 3 else ''}): give {only}"
        )


def _subfolders(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        _refuse_folder(error)


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from None


def _beside(folders: Sequence[Path]) -> list[str]:
    """Say which pictures lie beside class folders, where they have no class."""
    notes: list[str] = []
    for folder in folders:
        found = sorted(
            p.name for p in folder.iterdir() if _is_image(p.name) and not p.is_dir()
        )  # fmt: skip
        if found:
            more = ", ..." if len(found) > 3 else ""
            notes.append(
                f"left out, without a class: {counted(len(found), 'picture')} beside the class "
                f"folders of {folder} ({', '.join(found[:3])}{more})"
            )
        hidden = sorted(p for p in folder.iterdir() if p.name[0] == "." and p.is_dir())
        for each in hidden:
            inside = (name for _, _, files in os.walk(each) for name in files)
            if count := sum(map(_is_image, inside)):
                notes.append(f"left out: {counted(count, 'picture')} in the hidden folder {each}")
    return notes


def _deeper(folder: Path, found: Sequence[Path]) -> list[str]:
    """Say which folders inside a class folder hold pictures of the class."""
    inner = Counter(f.relative_to(folder).parts[0] for f in found if f.parent != folder)
    if not inner:
        return []
    more = ", ..." if len(inner) > 3 else ""
    return [
        f"{inner.total()} pictures of {folder.name} lie in {counted(len(inner), 'folder')} inside "
        f"{folder} ({', '.join(sorted(inner)[:3])}{more}); all of them count as {folder.name}"
    ]


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != "."


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the image files below a folder, and a count of the others by ending.

    Raises:
        DataError: If a folder cannot be read, or a link leads back to a folder above it.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    for here, inner, files in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        hidden = [name for name in inner if name[0] == "."]
        others.update({"hidden folder": len(hidden)} if hidden else {})
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for name in inner:
            link = Path(here, name)
            if link.is_symlink() and Path(here).resolve().is_relative_to(link.resolve()):
                raise DataError(f"symlink loop: {link} leads back to {link.resolve()}; remove it")
        for name in sorted(files):
            if _is_image(name):
                images.append(Path(here, name))
            else:
                others["hidden file" if name[0] == "." else Path(name).suffix.lower() or name] += 1
    return images, others
