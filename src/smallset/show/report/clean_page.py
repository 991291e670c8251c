"""The page of a cleaning: how many labels are wrong, which, and what was decided about them."""

from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from smallset.clean.review import TOOL, Row, find_images, read_rows
from smallset.clean.rules import RULES, assumption, rate_said, span
from smallset.contents import Cleaning
from smallset.data.cache import load_pixels
from smallset.data.cleaned import read_about
from smallset.data.preprocessing import Square
from smallset.files import write_atomic
from smallset.show.report.render import render
from smallset.show.report.thumbnails import SIZES, Pictures, fit_thumbnails
from smallset.words import Lang, text

EARLIER = {
    "splits": [], "noise_kind": "even", "contradicted": 0, "nowhere": 0, "highest_precision": None,
}  # fmt: skip
"""What cleanings of earlier versions do not say."""


def write_clean_page(
    folder: Path,
    data: str | None,
    *,
    lang: Lang,
    budget_mb: float,
    without_images: bool,
    progress: Callable[[int, int], object],
) -> Path:
    """Write report.html of a folder that `smallset clean` left.

    Args:
        data: Where the data is now; None takes the place where it was.
        budget_mb: The file stays under this, in 10^6 bytes; thumbnails become smaller for it.

    Raises:
        DataError: If it is no cleaned set, or its images are gone.
        RunError: If the page cannot be written.
    """
    rows = read_rows(folder)
    about = read_about(folder, Cleaning)
    suspects = [row for row in rows if row.is_suspect]
    content: dict[str, Any] = {
        "suspects": [
            {
                "path": row.path,
                "given": row.given,
                "probability": row.probability,
                "likely": row.suggested_probability,
                "why": row.why,
                **row.state,
            }
            for row in suspects
        ],
        "thumbs": {},
        "assumption": assumption(about),
    }
    decided = Counter(row.decision for row in rows)
    context: dict[str, Any] = {
        "name": folder.name,
        "folder": folder,
        "about": {**EARLIER, "images": len(rows), **about},
        "decisions": {name: decided[name] for name in ("keep", "relabel", "drop")},
        "by_hand": sum(row.by != TOOL for row in rows),
        "wrong": span(about["rate"]["low"], about.get("most_wrong", about["rate"]["high"])),
        "wrong_if": text(assumption(about), said=text("of the labels are wrong")),
        "rate_said": rate_said(about),
        "classes": _classes(rows),
        "gate_words": RULES,
        "version": version("smallset"),
    }
    notes = []
    if about["noise"]["rate"]:
        notes.append(
            text("{share:.0%} of the labels were made wrong on purpose for this trial.",
                 share=about["noise"]["rate"])
        )  # fmt: skip
    if suspects and not without_images:
        empty = render("clean.html", lang=lang, data=content, notes=notes, **context)
        pictures = _pictures(folder, data, suspects, progress)
        content["thumbs"], left_out = fit_thumbnails(
            pictures, range(len(suspects)), page=empty, budget_mb=budget_mb
        )
        notes += left_out
    page = render("clean.html", lang=lang, data=content, notes=notes, **context)
    write_atomic(folder / "report.html", page)
    return folder / "report.html"


def _pictures(
    folder: Path, data: str | None, suspects: list[Row], progress: Callable[[int, int], object]
) -> Pictures:
    images = find_images(folder, suspects, data)
    chosen = images.where(np.isin(images.paths, [row.path for row in suspects]))
    pixels = load_pixels(chosen, Square(size=max(SIZES), resize="pad"), progress=progress)
    at = {path: row for row, path in enumerate(chosen.paths)}
    return Pictures(pixels.array, np.array([at[row.path] for row in suspects], dtype=np.int64))


def _classes(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the lines of the table of classes."""
    lines: list[dict[str, Any]] = []
    for name in sorted({row.given for row in rows} | {row.label for row in rows}):
        given = [row for row in rows if row.given == name]
        suspects = [row for row in given if row.is_suspect]
        away = sum(row.decision == "relabel" for row in given)
        to = sum(row.decision == "relabel" and row.label == name for row in rows)
        dropped = sum(row.decision == "drop" for row in given)
        like = Counter(row.suggested for row in suspects if row.suggested != name).most_common(1)
        counts = [len(given), len(suspects), away, to, dropped, len(given) - away - dropped + to]
        lines.append({"name": name, "counts": counts, "like": like[0] if like else None})
    return lines
