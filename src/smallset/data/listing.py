"""What a data set is to the rest of smallset: files, labels, splits and one class list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from smallset.errors import ConfigError, suggest


@dataclass(frozen=True)
class ImageSet:
    """A listing of image files; nothing is decoded yet."""

    root: Path
    """Folder the paths are relative to."""
    classes: tuple[str, ...]
    """Class names of the whole set, sorted; a label is an index into it."""
    paths: tuple[str, ...]
    """One file per image, relative to `root`, with "/" between folders."""
    labels: Int[ndarray, " n"]
    """Class of each image."""
    splits: ndarray
    """Split of each image as text; "" before the set was split."""
    groups: tuple[str, ...] | None = None
    """Images of one group never straddle two splits; None where every image stands alone."""
    notes: tuple[str, ...] = ()
    """What the reader did or saw that a user should know."""

    def __len__(self) -> int:
        return len(self.paths)

    def __str__(self) -> str:
        return str(self.root)

    def where(self, keep: Bool[ndarray, " n"]) -> "ImageSet":
        """Return the images where `keep` is True; the class list stays."""
        rows = np.flatnonzero(keep)
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            splits=self.splits[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )

    def with_classes(self, chosen: Sequence[int]) -> "ImageSet":
        """Return the images with a class list of some classes; no image of another may be left.

        Args:
            chosen: Positions in the class list, in order.
        """
        new_label = np.full(len(self.classes), -1)
        new_label[np.asarray(chosen)] = np.arange(len(chosen))
        classes = tuple(self.classes[label] for label in chosen)
        return replace(self, classes=classes, labels=new_label[self.labels])

    def counts(self, split: str) -> Int[ndarray, " classes"]:
        """Return the number of images per class in one split."""
        return np.bincount(self.labels[self.splits == split], minlength=len(self.classes))


def parse_classes(text: str, classes: Sequence[str]) -> list[int]:
    """Turn "1-5", "cat,dog" or a mix into positions (from 0) in the class list, without repeats.

    A part that is a class name is that class. Any other part is a position from 1, or a range.

    Args:
        text: Parts joined by commas; empty for all classes.

    Raises:
        ConfigError: If a part is neither, is outside the list, or could be read both ways.
    """
    if not text.strip():
        return list(range(len(classes)))
    chosen: list[int] = []
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = part.partition("-")
        if part in classes:
            positions = [classes.index(part)]
        elif first.isdecimal() and (last.isdecimal() if dash else True):
            if any(name.isdecimal() for name in classes):
                raise ConfigError(
                    f"classes {part!r} could mean names or positions, because some classes are "
                    "named by numbers; write each name, joined by commas"
                )
            # No class list is a billion long; int() refuses texts of 5,000 digits.
            low, high = (int(text) if len(text) < 10 else 10**9 for text in (first, last or first))
            if not 1 <= low <= high <= len(classes):
                raise ConfigError(f"classes go from 1 to {len(classes)}, got {part!r}")
            positions = list(range(low - 1, high))
        else:
            raise ConfigError(f"no class named {part!r}; {suggest(part, classes)}")
        chosen += [position for position in positions if position not in chosen]
    return chosen
