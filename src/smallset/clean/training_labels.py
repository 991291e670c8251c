"""Clean the training labels of a run before it trains: the setting `data.clean`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from smallset.clean.find import Found, find_wrong_labels
from smallset.clean.judges import Judge, families_judged, features_of, plan_judges
from smallset.compute import torch_as_it_was
from smallset.config import RunConfig
from smallset.data.prepare import DataSource, Prepared
from smallset.files import cache_dir
from smallset.progress import Reporter
from smallset.reading import read_array
from smallset.store import build_folder

ORACLE = "oracle"
RULES = "5"  # part of the key of what was decided: a change in how it is decided must change it


def describe_cleaning(config: RunConfig) -> dict[str, Any] | None:
    """Return what decides how the labels of a run are cleaned; None where they are not.

    Raises:
        ConfigError: If a network of `data.clean` is unknown or not pretrained.
        DataError: If its weights are not at hand.
    """
    if not config.data.clean:
        return None
    judges = [] if config.data.clean == ORACLE else _judges(config)
    return {"rules": RULES, "judges": {judge.name: judge.sha256 for judge in judges}}


def clean_prepared(
    source: DataSource, data: Prepared, config: RunConfig, reporter: Reporter
) -> tuple[Prepared, str]:
    """Clean the training labels of a run as `data.clean` says.

    What was decided is kept in the cache, under the images, their given labels and the networks.

    Args:
        source: The data, which each judge looks at in its own way.
        data: The images of the run, before cleaning.

    Returns:
        The images with clean labels, and a sentence that says what was done.
    """
    train = data.of("train")
    given = data.given_labels[train]
    if config.data.clean == ORACLE:
        kept, labels, why = given == data.images.labels[train], given, ""
    else:
        kept, labels, why = _decided(_judges(config), source, given, config, reporter)
    done = (
        f"changes nothing: {why}"
        if why
        else f"relabels {int((labels != given).sum())} of {len(given)} training images and leaves "
        f"{int((~kept).sum())} out"
    )
    cleaned, stays = data.given_labels.copy(), np.ones(len(data.images), dtype=bool)
    cleaned[train], stays[train] = labels, kept
    return replace(
        data, images=data.images.where(stays), rows=data.rows[stays], given_labels=cleaned[stays]
    ), f"cleaning by {_called(config)} {done}"


def _judges(config: RunConfig) -> list[Judge]:
    return plan_judges(config.data.clean.split(","), config)


def _called(config: RunConfig) -> str:
    """Return who judges, and which wrong labels: a study cleans many sets."""
    names = ", ".join(name.partition("=")[0] for name in config.data.clean.split(","))
    rate, seed = config.data.noise_rate, config.data.noise_seed
    return names + (f" ({rate:.0%} wrong labels of seed {seed})" if rate else "")


def _decided(
    judges: Sequence[Judge],
    source: DataSource,
    given: Int[ndarray, " n"],
    config: RunConfig,
    reporter: Reporter,
) -> tuple[Bool[ndarray, " n"], Int[ndarray, " n"], str]:
    """Return which images stay, with which labels, and why nothing is changed, if so."""
    data = source.prepared(judges[0].config)
    groups = families_judged(data, config, reporter)
    parts = [RULES, *(judge.key for judge in judges), *data.ids("train"), *map(str, given), *groups]
    key = hashlib.sha256("/".join(parts).encode()).hexdigest()[:24]

    def fill(aside: Path) -> None:
        with torch_as_it_was(config.compute.threads):
            found = find_wrong_labels(
                [features_of(judge, source, reporter) for judge in judges],
                given,
                num_classes=len(data.images.classes),
                groups=groups,
            )
        chosen = found.chosen
        every = np.ones(len(given), dtype=bool)
        np.save(aside / "kept.npy", every if chosen is None else chosen.cleaning.kept)
        np.save(aside / "labels.npy", given if chosen is None else chosen.cleaning.labels)
        (aside / "why.txt").write_text(_why_nothing(found))

    made = build_folder(cache_dir() / "cleaned" / key, fill, note=reporter.note)
    kept, labels = (read_array(made / name) for name in ("kept.npy", "labels.npy"))
    return kept, labels, (made / "why.txt").read_text()


def _why_nothing(found: Found) -> str:
    if found.is_weak:
        return (
            f"the features predict only {found.accuracy:.0%} of the given labels, too few to judge "
            "them; judge by a pretrained network, or train with --loss gce"
        )
    return "" if found.chosen else "it would make predictions of held-out labels worse"
