"""Read a data set by name: split folders, class folders, a manifest, torchvision, a sample."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from smallset.data.cleaned import is_cleaned, origin, read_cleaned
from smallset.data.listing import ImageSet, refuse_alike
from smallset.data.manifest import read_manifest
from smallset.data.samples import sample_folder
from smallset.data.split import one_pool, split_images, usual_folds
from smallset.data.torchvision_sets import torchvision_folder
from smallset.errors import ConfigError, DataError
from smallset.groups import SPLITS, DataConfig

Data = str | Path | ImageSet
"""A data set by its name, or one that was listed before."""
IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".jfif",
        ".avif",
    ]
)


def read_data(data: Data, config: DataConfig | None = None) -> ImageSet:
    """List the images of a data set; nothing is decoded, nothing is changed.

    Args:
        data: A folder ``train|val|test|extra/<class>/image``; a folder ``<class>/image``; a CSV or
            JSON-lines manifest; "torchvision:NAME"; "sample:shapes"; a folder that
            ``smallset clean`` left; or a listing.
        config: Fractions and seed of the split, for data that has none of its own.

    Raises:
        DataError: If there is no such data, or it is not laid out as one of these.
    """
    config = config or DataConfig()
    if not isinstance(data, ImageSet) and is_cleaned(path := Path(data).expanduser()):
        return read_cleaned(path, lambda origin: read_data(origin, config))
    images = _listed(data)
    if (images.splits == "").all():
        return one_pool(images) if config.folds else split_images(images, config)
    for name in ("val_fraction", "test_fraction", "split_seed"):
        if getattr(config, name) != DataConfig.model_fields[name].default:
            raise ConfigError(f"data.{name} is not read: {data} has splits of its own")
    return images


def folds_for(data: Data, config: DataConfig) -> int:
    """Return into how many folds data is dealt where nothing is said; see `usual_folds`."""
    if not isinstance(data, ImageSet) and is_cleaned(path := Path(data).expanduser()):
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
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(
            f"no data at {path}; give a folder, a .csv or .jsonl manifest, torchvision:NAME "
            "or sample:shapes"
        )
    if path.is_dir():
        return _read_folder(path)
    images = read_manifest(path)
    _refuse_splits_as_classes(path, images.classes, kind="labels")
    return images


_SPLIT_NAME = re.compile(
    r"(?:images?|data)?[\W_]*"
    r"(?:(?P<train>tr(?:ai)?n(?:ing)?)|(?P<val>val(?:id(?:ation)?)?|dev(?:elopment)?|hold[\W_]*out)"
    r"|(?P<test>te?st(?:ing)?|eval(?:uation)?)|(?P<extra>extra))"
    r"[\W_]*(?:sets?|images?|imgs?|data|splits?)?[\W_\d]*",
    re.IGNORECASE,
)


def _split_meant(name: str) -> str | None:
    """Return the split that a name looks like, such as "val" for "Validation_set"."""
    found = _SPLIT_NAME.fullmatch(name)
    return found and found.lastgroup


def _refuse_splits_as_classes(root: Path, names: Iterable[str], *, kind: str) -> None:
    renames = {name: _split_meant(name) for name in names}
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
        renames = [f"{name} -> {split}" for name in odd if (split := _split_meant(name))]
        raise DataError(
            f"{root} holds split folders ({', '.join(splits)}) beside others ({', '.join(odd[:5])})"
            f"; the splits of smallset are {', '.join(SPLITS)}: rename or move the others"
            + (f" ({', '.join(renames)})" if renames else "")
        )
    if not folders:
        raise DataError(f"{root} has no class folders; expected {root}/<class>/<image>")

    if not splits:
        # A class named Train holds pictures; a split named Train holds folders of them.
        nested = [name for name in folders if _subfolders(root / name)]
        of_splits = [name for name in folders if _split_meant(name) and name in nested]
        _refuse_splits_as_classes(root, of_splits or folders, kind="folders")
    places = [(split, split) for split in splits] or [("", "")]
    class_folders = {place: _subfolders(root / place) for place, _ in places}
    classes = tuple(sorted({name for names in class_folders.values() for name in names}))
    refuse_alike(classes, root)
    paths: list[str] = []
    labels: list[int] = []
    in_split: list[str] = []
    others: Counter[str] = Counter()
    notes: list[str] = []
    for place, split in places:
        for name in class_folders[place]:
            found, skipped = image_files(root / place / name)
            others += skipped
            if not found:
                beside = f" (found: {', '.join(sorted(skipped))})" if skipped else ""
                notes.append(f"class folder {root / place / name} has no image{beside}")
            paths += [file.relative_to(root).as_posix() for file in found]
            labels += [classes.index(name)] * len(found)
            in_split += [split] * len(found)
    if not paths:
        raise DataError(f"{root} has no images; supported: {' '.join(sorted(IMAGE_SUFFIXES))}")
    if others:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items()))
        notes.append(f"files whose names do not end like images were left out: {listed}")
    return ImageSet(
        root, classes, tuple(paths), np.array(labels), np.array(in_split), notes=tuple(notes)
    )


def _subfolders(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from None


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the image files below a folder, and a count of the others by ending.

    Raises:
        DataError: If a link leads back to a folder above it.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    for here, inner, files in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for name in inner:
            link = Path(here, name)
            if link.is_symlink() and Path(here).resolve().is_relative_to(link.resolve()):
                raise DataError(f"symlink loop: {link} leads back to {link.resolve()}; remove it")
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if suffix in IMAGE_SUFFIXES and name[0] != ".":
                images.append(Path(here, name))
            else:
                others[suffix or name] += 1
    return images, others
