"""Pictures as Python gives them: paths, one array, or a folder; every item is looked at."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image

from smallset.data.listing import ImageSet
from smallset.data.read import image_files, list_data
from smallset.errors import DataError
from smallset.files import given_path

Folder = str | os.PathLike
Given = list[str] | UInt8[ndarray, "n height width 3"]
"""Paths, or RGB pictures of one size."""
KINDS = "a list of paths, one uint8 array (N, height, width, 3), or a folder"


def look_at(pictures: Any) -> Given:
    """Return paths, or one array of pictures.

    Args:
        pictures: Paths, pictures of one size, or an array of them.

    Raises:
        DataError: If it is something else; the message names the item.
    """
    if hasattr(pictures, "__array__"):
        pictures = np.asarray(pictures)
    if not isinstance(pictures, ndarray) or pictures.ndim == 1:
        if not hasattr(pictures, "__iter__"):
            raise DataError(f"X must be {KINDS}, got {type(pictures).__name__}")
        items = list(pictures)
        if items and all(isinstance(item, Folder) for item in items):
            return [str(given_path(item)) for item in items]
        pictures = _stacked(items)
    shape = pictures.shape
    if pictures.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not pictures.size:
        raise DataError(f"X must be {KINDS}, got {pictures.dtype} of shape {shape}")
    return pictures


def _stacked(items: Sequence[Any]) -> ndarray:
    for row, item in enumerate(items):
        if not isinstance(item, ndarray):
            raise DataError(f"X must be {KINDS}, got {type(item).__name__} as X[{row}]")
        if item.shape != np.shape(items[0]):
            raise DataError(
                f"arrays must have one size: X[{row}] is {item.shape}, X[0] {np.shape(items[0])}; "
                "save pictures of several sizes as files, and give their paths"
            )
    return np.stack(items) if items else np.empty(0)


def list_given(
    given: Given, labels: Int[ndarray, " n"], classes: Sequence[str], aside: Path
) -> ImageSet:
    """List pictures as training images; arrays become files first, without loss.

    Args:
        labels: Class of each.
        aside: A folder for files of arrays.
    """
    if isinstance(given, list):
        files = [Path(path).absolute() for path in given]
        root = Path(os.path.commonpath([file.parent for file in files]))
    else:
        root, files = aside, [aside / f"{row}.ppm" for row in range(len(given))]
        for file, pixels in zip(files, given, strict=True):
            Image.fromarray(pixels).save(file)
    paths = tuple(file.relative_to(root).as_posix() for file in files)
    return ImageSet(root, tuple(classes), paths, labels, np.full(len(files), "train"))


def class_folders(folder: Folder) -> ImageSet:
    """List a folder of class folders, all of it as training images.

    Raises:
        DataError: If it is something else.
    """
    path = _there(folder)
    images = list_data(path)
    splits = sorted(set(images.splits.tolist()))
    if splits != ["train"]:
        raise DataError(
            f"{path} has splits ({', '.join(splits)}); give the folder of one, such as "
            f"{path / splits[-1]}"
        )
    return images


def pictures_below(folder: Folder) -> list[str]:
    """Return the paths of the pictures in and below a folder, sorted.

    Raises:
        DataError: If there are none.
    """
    found, _ = image_files(_there(folder))
    if not found:
        raise DataError(f"{folder} has no image")
    return [str(path) for path in found]


def _there(folder: Folder) -> Path:
    path = given_path(folder)
    if not path.is_dir():
        raise DataError(f"no folder {path}; X must be {KINDS}")
    return path
