"""The page of a study: what can be told of its arms, and the images that they disagree about."""

import json
import os
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from smallset.compare.summary import Arm, Summary
from smallset.files import write_atomic
from smallset.findings.headline import headline
from smallset.findings.in_study import find_in_study
from smallset.findings.in_words import in_words, study_notes
from smallset.paired import PRACTICAL, Verdict
from smallset.settings import flat
from smallset.show.report.render import render, signed
from smallset.show.report.thumbnails import Pictures, fit_thumbnails
from smallset.show.study_figures import AXIS_NAMES, SHARES
from smallset.words import Lang

WHOLE = 0.2  # of accuracy, from the lowest bound to the highest: then arms have the whole scale


def write_study_page(
    summary: Summary, pictures: Pictures | None, *, lang: Lang, budget_mb: float = 15.0
) -> Path:
    """Write report.html into the folder of a study.

    Args:
        pictures: The images of its first run; None makes a page without them.
        budget_mb: The file stays under this, in 10^6 bytes; thumbnails become smaller for it.

    Raises:
        ConfigError: If the budget is too small for a page without images.
        RunError: If the page cannot be written.
    """
    data: dict[str, Any] = {
        "arms": [_arm(arm) for arm in summary.arms],
        "images": _images(summary),
        "comparisons": [{"a": each.arm, "b": each.against} for each in summary.comparisons],
        "charts": _charts(summary),
    }  # fmt: skip
    notes = study_notes(summary)
    context = _context(summary)
    if pictures is not None and summary.arms:
        rows = np.flatnonzero(summary.arms[0].records[0].predictions.splits == "test").tolist()
        empty = render("study.html", lang=lang, data=data | {"thumbs": {}}, notes=notes, **context)
        order = _most_disputed(summary, rows)
        made, left_out = fit_thumbnails(pictures.shown, order, page=empty, budget_mb=budget_mb)
        place = {row: number for number, row in enumerate(rows)}
        data["thumbs"] = {place[row]: shown for row, shown in made.items()}
        notes += left_out
    page = render("study.html", lang=lang, data=data, notes=notes, **context)
    path = summary.folder / "report.html"
    write_atomic(path, page)
    return path


def _arm(arm: Arm) -> dict[str, Any]:
    """Return an arm's curves, and what it said of each test image, seeds averaged."""
    probs = np.mean([_test_probs(record) for record in arm.records], axis=0)
    shortest = min(len(record.history) for record in arm.records)
    histories = [record.history[:shortest] for record in arm.records]
    curves = {
        what: [_mean([history[n][what] for history in histories]) for n in range(shortest)]
        for what in ("train_accuracy", "val_accuracy")
    }
    return {
        "name": arm.name,
        "accuracy": list(arm.accuracy),
        "right": np.round(arm.correct.mean(axis=0), 3),
        "said": probs.argmax(axis=1),
        "p": np.round(probs.max(axis=1), 4),
        **curves,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _test_probs(record: Any) -> np.ndarray:
    predictions = record.predictions
    return predictions.probs[predictions.splits == "test"]


def _images(summary: Summary) -> dict[str, Any]:
    if not summary.arms:
        return {"classes": [], "path": [], "label": []}
    predictions = summary.arms[0].records[0].predictions
    at = np.flatnonzero(predictions.splits == "test")
    paths = [predictions.paths[row] for row in at]
    return {"classes": predictions.classes, "path": paths, "label": predictions.labels[at]}


def _most_disputed(summary: Summary, rows: list[int]) -> list[int]:
    """Return the test rows, those that the arms disagree about most first."""
    shares = np.stack([arm.correct.mean(axis=0) for arm in summary.arms])
    order = np.argsort(-shares.std(axis=0), kind="stable")
    return [rows[n] for n in order]


def _charts(summary: Summary) -> list[dict[str, Any]]:
    arms = {arm.name: arm for arm in summary.arms}
    charts = []
    for chart in summary.spec.charts:
        curves = {
            label: [
                {"x": arms[name].at(chart), "y": list(arms[name].accuracy), "arm": name}
                for name in names
                if name in arms
            ]
            for label, names in chart.curves.items()
        }
        if len({point["x"] for points in curves.values() for point in points}) > 1:
            charts.append({
                "title": chart.title, "x": AXIS_NAMES.get(chart.x, chart.x), "log": chart.log,
                "percents": chart.x in SHARES,
                "curves": {k: v for k, v in curves.items() if v},
            })  # fmt: skip
    return charts


def _context(summary: Summary) -> dict[str, Any]:
    verdicts = [each.result.verdict for each in summary.comparisons]
    # Of several comparisons of an arm the first, which is the one with its baseline.
    against = {each.arm: (each.against, each.result) for each in reversed(summary.comparisons)}
    axis, has_chance = _scale(summary)
    title, about = summary.spec.headings
    return {
        "title": title,
        "about": about,
        "only_some": "--arms" in summary.called,
        "summary": summary,
        "headline": headline(summary),
        "verdicts": {v: verdicts.count(v) for v in _possible(summary)} if verdicts else {},
        "words": in_words(summary),
        "findings": find_in_study(summary),
        "arm_rows": [
            {"arm": arm, "against": against.get(arm.name), "train": arm.mean("train"),
             "val": arm.mean("val"), "pages": _pages(summary, arm),
             **axis.placed(*arm.accuracy)}
            for arm in sorted(summary.arms, key=lambda arm: -arm.accuracy.value)
        ],
        "chance": axis.at(summary.chance) if has_chance else None,
        "scale": [f"{end:.{axis.decimals}%}" for end in (axis.low, axis.high)],
        "ticks": [(at, f"{tick:.{axis.decimals}%}") for at, tick in axis.ticks()],
        "forest": _forest(summary),
        "is_open": any(r.equal_within is not None or r.needed_seeds or r.needed_images
                       for r in (each.result for each in summary.comparisons)),
        "has_charts": bool(_charts(summary)),
        "has_curves": any(len(record.history) > 1 for arm in summary.arms
                          for record in arm.records),
        "settings": [
            (name, [f"{key} = {json.dumps(value, ensure_ascii=False)}"
                    for key, value in flat(settings).items()])
            for name, settings in [("base", summary.spec.base), *summary.spec.arms.items()]
        ],
        "laid": [word for before, word in pairwise(summary.called) if before == "--set"],
        "command": summary.command(seeds=summary.planned_seeds, out="NEW"),
        "version": version("smallset"),
    }  # fmt: skip


class Axis(NamedTuple):
    """A scale that several lines share."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return where a value is, in percent of the width."""
        return 100 * (value - self.low) / max(self.high - self.low, 1e-9)

    def placed(self, value: float, low: float, high: float) -> dict[str, float]:
        """Return where an interval begins, how wide it is, and where its value is."""
        start = self.at(low)
        return {"from": start, "width": self.at(high) - start, "at": self.at(value)}

    def ticks(self) -> list[tuple[float, float]]:
        """Return round values on the scale, about four, each with its place before it."""
        step = self.step
        first, last = int(np.ceil(self.low / step)), int(np.floor(self.high / step))
        return [(self.at(n * step), n * step) for n in range(first, last + 1)]

    def rounded(self) -> "Axis":
        """Return the scale from a tick to a tick, among shares."""
        step = self.step
        low, high = np.floor(self.low / step + 1e-6), np.ceil(self.high / step - 1e-6)
        return Axis(max(0.0, float(low * step)), min(1.0, float(high * step)))

    @property
    def step(self) -> float:
        """Return the distance of the ticks."""
        rough = max(self.high - self.low, 1e-9) / 4
        power = 10.0 ** np.floor(np.log10(rough))
        return next(m * power for m in (1, 2, 5, 10) if m * power >= rough)

    @property
    def decimals(self) -> int:
        """Return how many decimals tell the ticks of shares apart, in percent."""
        return max(0, -int(np.floor(np.log10(100 * self.step) + 1e-9)))


def _scale(summary: Summary) -> tuple[Axis, bool]:
    """Return the scale of the arms, and whether chance is on it.

    From 0 to 100 %, so that no bar looks full that is not, but where arms differ by less than
    `WHOLE`: there, differences could not be seen. Chance is left out where it would take more than
    half of the width.
    """
    chance = summary.chance
    bounds = [v for arm in summary.arms for v in arm.accuracy] or [chance]
    low, high = min(bounds), max(bounds)
    if high - low >= WHOLE:
        return Axis(0.0, 1.0), True
    if low - chance > high - low:
        return Axis(low, high).rounded(), False
    return Axis(min(low, chance), max(high, chance)).rounded(), True


def _forest(summary: Summary) -> dict[str, Any]:
    """Return the differences on one scale, in points, with the band of the practically equal."""
    found = [each.result for each in summary.comparisons]
    equal = 100 * PRACTICAL
    bounds = [100 * v for each in found for v in each.difference] + [-1.5 * equal, 1.5 * equal]
    axis = Axis(min(bounds), max(bounds))
    return {
        "rows": [
            {"a": each.arm, "b": each.against, "verdict": each.result.verdict,
             "points": 100 * each.result.difference.value,
             **axis.placed(*(100 * v for v in each.result.difference))}
            for each in summary.comparisons
        ],
        "zero": axis.at(0),
        "equal": (axis.at(-equal), axis.at(equal) - axis.at(-equal)),
        "ticks": [(at, signed(tick, "+g") if tick else "0") for at, tick in axis.ticks()],
    }  # fmt: skip


def _possible(summary: Summary) -> list[Verdict]:
    """Return the verdicts that this study can come to."""
    seeds = {each.seeds for each in summary.comparisons}
    networks = not seeds or min(seeds) == 1
    settings = not seeds or max(seeds) > 1
    never = set() if networks else {"these two networks differ"}
    never |= set() if settings else {"better", "worse"}
    return [verdict for verdict in get_args(Verdict) if verdict not in never]


def _pages(summary: Summary, arm: Arm) -> list[tuple[int, str | None]]:
    """Return each seed with the link to its page, None where it has none."""
    pages = []
    for seed, record in zip(arm.seeds, arm.records, strict=True):
        page = record.folder / "report.html"
        link = Path(os.path.relpath(page, summary.folder)).as_posix() if page.exists() else None
        pages.append((seed, link))
    return pages
