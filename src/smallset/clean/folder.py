"""Clean a data set: features of its images, what is found in them, and the folder that is left."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from smallset.clean.decide import Cleaning
from smallset.clean.find import Found, find_wrong_labels
from smallset.clean.judges import Judge, families_judged, features_of, plan_judges
from smallset.clean.review import TOOL
from smallset.clean.rules import RULES, rate_said, span
from smallset.compute import torch_as_it_was, versions
from smallset.config import RunConfig
from smallset.data.cleaned import WRITTEN, Why
from smallset.data.prepare import DataSource, Prepared
from smallset.data.read import read_data
from smallset.errors import ConfigError, DataError, RunError, suggest
from smallset.files import (
    LOCK,
    clear_unfinished,
    csv_text,
    file_sum,
    given_path,
    json_text,
    make_folder,
    write_new,
)
from smallset.groups import SPLITS, Split
from smallset.progress import Reporter

FEATURES, LABELS, ABOUT = "features.npy", "labels.csv", "clean.json"


def clean_folder(
    data: str | Path,
    nets: Sequence[str],
    out: Path,
    *,
    splits: Sequence[str] | None,
    config: RunConfig,
    reporter: Reporter,
) -> Found:
    """Judge the labels of a data set, and leave labels.csv and clean.json.

    Args:
        data: As `smallset.data.read.read_data` takes it; its files are never changed.
        nets: What judges, as `plan_judges` takes it; the features are joined.
        out: The folder to write; must not hold a cleaning yet.
        splits: Whose labels are judged; None for all but test.
        config: Its `data` group chooses classes, and may add noise to try cleaning out.

    Raises:
        ConfigError: If a network is unknown, not pretrained, or named twice, or there is no such
            split.
        DataError: If the data is not fit, or weights are missing.
        RunError: If the folder cannot be written, or holds files.
    """
    _refuse_filled(out, has_page=config.figures.report)
    chosen = _splits_to_judge(data, splits, config, reporter)
    source = DataSource(data, reporter, judged_splits=chosen)
    judges = plan_judges(nets, config)
    with torch_as_it_was(config.compute.threads):
        blocks = [features_of(judge, source, reporter) for judge in judges]
        prepared = source.prepared(judges[0].config)
        rows = prepared.of("train")
        labels = prepared.given_labels[rows]
        found = find_wrong_labels(
            blocks, labels, num_classes=len(prepared.images.classes),
            groups=families_judged(prepared, config, reporter), seed=config.seed,
            on_progress=lambda done, total: reporter.counted(
                "judging labels", done * len(labels) // total, len(labels)
            ),
        )  # fmt: skip
    make_folder(out)
    right = found.posterior.of_given(labels)
    order = np.lexsort((right, ~(found.contradicted | (right < 0.5))))
    table = _table(found, prepared, rows, order)
    # For whoever reviews: which images look like which.
    content = io.BytesIO()
    np.save(content, found.features[order].astype(np.float16))
    write_new(out / FEATURES, content.getvalue())
    write_new(out / LABELS, csv_text([list(WRITTEN), *table]))
    # Written last: a folder with it is whole.
    sums = {"files": {FEATURES: file_sum(out / FEATURES)}}
    write_new(out / ABOUT, json_text(_about(found, judges, prepared, data, chosen) | sums))
    return found


def _refuse_filled(out: Path, *, has_page: bool) -> None:
    """Refuse a folder that holds anything but what a cleaning that was killed left there.

    What is there stays if the cleaning says the same again; nothing is written over.

    Args:
        has_page: Whether a page is the last that is written, and not clean.json.
    """
    clear_unfinished(out)
    begun = {FEATURES, LABELS, ABOUT, LOCK} if has_page else {FEATURES, LABELS, LOCK}
    if out.is_dir() and not {path.name for path in out.iterdir()} <= begun:
        raise RunError(f"{out} is not empty; give another --out")


def tell(about: Mapping[str, Any]) -> list[str]:
    """Return what clean.json says, in lines for a terminal."""
    rate, lines = about["rate"], []
    if "test" in about["splits"]:
        lines.append(
            "CAREFUL:  TEST labels are judged too, as asked; a test accuracy on the cleaned set is "
            "measured against labels that this cleaning may have changed"
        )
    within = span(rate["low"], rate["high"] if about["is_weak"] else about["most_wrong"]).say("en")
    guess = f"cannot tell, a guess is {rate['value']:.1%} ({within})"
    lines.append(
        f"wrong labels: {guess if about['is_weak'] else within} of {about['images']:,} labels of "
        f"{' + '.join(about['splits'])}" + ("" if about["is_weak"] else _assumed(about))
    )
    if about["is_weak"]:
        return [
            *lines,
            f"judge:    the features predict only {about['accuracy']:.0%} of the given labels, too "
            "few to judge them. labels.csv is an order in which to look at images, the "
            f"{about['suspects']} suspects first; judge by a pretrained network (--with), or "
            "train despite wrong labels (smallset train --loss gce)",
            "decided:  nothing is changed",
        ]
    suspects = f"suspects: {about['suspects']}"
    if about["suspects"]:
        suspects += f"; an estimated {_precision(about)} of them are wrong"
    lines.append(suspects)
    if about.get("contradicted"):
        lines.append(
            f"doubtful: {about['contradicted']} more labels that held-out looks contradict: hard "
            "images, or wrong labels between look-alikes; they come right after the suspects in "
            "labels.csv and in the review"
        )
    if about.get("nowhere"):
        lines.append(
            f"nowhere:  {about['nowhere']} of the suspects and doubtful ones lie far from every "
            "class; drop those that show something else"
        )
    for each in about["gate"]:
        value, low, high = (100 * each["gain"][name] for name in ("value", "low", "high"))
        lines.append(
            f"gate:     after {RULES[each['cleaning']].say('en')}, accuracy on held-out labels "
            f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"
        )
    if about["noise_kind"] == "by class":
        lines.append(
            "noise:    differs from class to class: some classes are confused with each other"
        )
    decided = f"relabel {about['relabelled']}, drop {about['dropped']}"
    if about["chosen"] is None:
        decided = "nothing is changed"
    elif not about["relabelled"] and not about["dropped"]:
        decided = "nothing is changed: there was nothing to apply"
    lines.append(f"decided:  {decided}")
    return lines


def _precision(about: Mapping[str, Any]) -> str:
    """Return the share of the suspects that are wrong, from and to, as the rate has a range.

    Example:
        >>> _precision({"expected_precision": 0.65, "highest_precision": 0.99})
        '65 to 99%'
    """
    low = f"{100 * about['expected_precision']:.0f}"
    high = f"{100 * about.get('highest_precision', about['expected_precision']):.0f}"
    return f"{low}%" if low == high else f"{low} to {high}%"


def _assumed(about: Mapping[str, Any]) -> str:
    """Return what either end of the range takes for granted."""
    return (
        f"; labels alone cannot tell where in this range ({rate_said(about).say('en')}; up to "
        f"{about['most_wrong']:.1%} if they sit between look-alikes or show something else)"
    )


def _splits_to_judge(
    data: str | Path, splits: Sequence[str] | None, config: RunConfig, reporter: Reporter
) -> list[Split]:
    """Return the splits to judge, in their usual order."""
    if config.data.train_on != "train":
        raise ConfigError("clean trains nothing; say whose labels it judges with --splits")
    there = set(read_data(data, config.data, reporter).splits.tolist())
    wanted = there - {"test"} if splits is None else set(splits)
    for name in wanted - set(SPLITS):
        raise ConfigError(f"no split named {name!r}; {suggest(name, SPLITS)}")
    for name in wanted - there:
        raise DataError(f"{data} has no {name} images; it has {', '.join(sorted(there))}")
    if not wanted:
        raise DataError(f"{data} has test images only; judge them with --splits test")
    return [split for split in SPLITS if split in wanted]


def _chosen(found: Found) -> Cleaning | None:
    return None if found.chosen is None else found.chosen.cleaning


def _table(found: Found, prepared: Prepared, rows: ndarray, order: ndarray) -> list[list[str]]:
    """Return the rows of labels.csv."""
    classes = prepared.images.classes
    labels = prepared.given_labels[rows]
    right = found.posterior.of_given(labels)
    other, _ = found.posterior.best_other(labels)
    cleaning, ids = _chosen(found), prepared.ids("train")
    table: list[list[str]] = []
    for n in order:
        decision = "keep" if cleaning is None else str(cleaning.decisions[n])
        why = _why(found, int(n), float(right[n]))
        suggested = other[n] if why or decision != "keep" else labels[n]
        if cleaning is not None and decision == "relabel":
            suggested = cleaning.labels[n]
        elif why and right[n] >= 0.5:
            suggested = found.posterior.looks[n].argmax()
        table.append([
            prepared.images.paths[rows[n]], ids[n], classes[labels[n]], classes[suggested],
            f"{right[n]:.6g}", decision, TOOL, why, f"{found.posterior.probs[n, suggested]:.6g}",
        ])  # fmt: skip
    return table


def _why(found: Found, row: int, right: float) -> Why:
    if found.nowhere[row]:
        return "nowhere"
    if right < 0.5:
        return "improbable"
    return "contradicted" if found.contradicted[row] else ""


def _about(
    found: Found,
    judges: Sequence[Judge],
    prepared: Prepared,
    data: str | Path,
    splits: Sequence[Split],
) -> dict[str, Any]:
    """Return the content of clean.json."""
    config = judges[0].config
    labels = prepared.given_labels[prepared.of("train")]
    flagged = found.posterior.of_given(labels) < 0.5
    cleaning = _chosen(found)
    decisions = [] if cleaning is None else list(cleaning.decisions)
    return {
        "data": str(given_path(data).resolve()) if Path(data).exists() else str(data),
        "fingerprint": prepared.fingerprint(),
        "noise": {"rate": config.data.noise_rate, "seed": config.data.noise_seed},
        "splits": list(splits),
        "images": len(labels),
        "with": [judge.name for judge in judges],
        "weights": [judge.sha256 for judge in judges],
        "versions": versions(),
        "rate": found.posterior.rate._asdict(),
        "most_wrong": found.most_wrong,
        "joint_rate": found.joint_rate,
        "accuracy": found.accuracy,
        "is_weak": found.is_weak,
        "noise_kind": found.posterior.noise,
        "penalty": found.penalty,
        "rounds": found.rounds,
        "suspects": int(flagged.sum()),
        "contradicted": int((found.contradicted & ~flagged).sum()),
        "nowhere": int(found.nowhere.sum()),
        "expected_precision": found.expected_precision,
        "highest_precision": found.highest_precision,
        "gate": [
            {"cleaning": each.cleaning.name, "gain": each.gain._asdict()} for each in found.judged
        ],
        "chosen": None if cleaning is None else cleaning.name,
        "relabelled": decisions.count("relabel"),
        "dropped": decisions.count("drop"),
    }
