"""What a study found: tables from its records, and the claims they carry. No torch here."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset.compare.family import Looked, read_family
from smallset.compare.spec import FIX, Chart, StudySpec, read_study_json
from smallset.errors import ConfigError, DataError, suggest
from smallset.files import csv_text, html_table, write_atomic, write_json
from smallset.paired import PairedResult, compare_all
from smallset.reading import reading
from smallset.record.measures import balanced, balanced_accuracy
from smallset.record.record import Record
from smallset.stats import (
    Interval,
    Luck,
    PowerLaw,
    accuracy_interval,
    fit_power_law,
    luck_of_arms,
)


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm."""

    name: str
    seeds: tuple[int, ...]
    records: tuple[Record, ...]
    test_ids: tuple[str, ...]
    """Content hashes of the test images."""
    correct: Float[ndarray, "seeds images"]
    """1 where a run was right about a test image, else 0."""
    luck: Luck | None
    """Of its trainings, pooled over the study; None for one seed."""
    accuracy: Interval
    """On the test images."""

    def mean(self, split: str) -> float | None:
        """Return the mean accuracy over seeds on a split; None where it has no images.

        Args:
            split: "train", "val" or "test".
        """
        values = [record.result[f"{split}_accuracy"] for record in self.records]
        return None if None in values else float(np.mean(values))

    @property
    def spread(self) -> float | None:
        """Return the standard deviation of the test accuracy over seeds; None for one seed."""
        return float(self.correct.mean(axis=1).std(ddof=1)) if len(self.seeds) > 1 else None

    @property
    def balanced(self) -> float:
        """Return the test accuracy where every class counts the same, mean over the seeds."""
        return float(np.mean([balanced_accuracy(each.predictions) for each in self.records]))

    @property
    def train_images(self) -> int:
        """Return the number of training images."""
        return self.records[0].config["data"]["images"]["train"]

    @property
    def images_seen(self) -> float:
        """Return how many images a run was shown while it trained: epochs times training images."""
        return self.train_images * float(np.mean([len(each.history) for each in self.records]))

    @property
    def seconds(self) -> float:
        """Return how long a run took, mean over its seeds."""
        return float(np.mean([each.result["seconds"] for each in self.records]))

    def at(self, chart: Chart) -> float:
        """Return where the arm stands on the axis of a chart.

        Args:
            chart: Its `x` is "images" or a dotted setting.
        """
        if chart.x == "images":
            return self.train_images
        value: Any = self.records[0].config["config"]
        for name in chart.x.split("."):
            value = value[name]
        return float(value)


class Comparison(NamedTuple):
    """One arm against another."""

    arm: str
    against: str
    seeds: int
    """How many both have."""
    result: PairedResult

    @property
    def verdict(self) -> str:
        """Return what can be told, such as "better" or "cannot tell"."""
        return self.result.verdict


@dataclass(frozen=True)
class Summary:
    """What a study found so far."""

    folder: Path
    name: str
    spec: StudySpec
    planned_seeds: int
    arms: tuple[Arm, ...]
    """Those with a finished run, in the order of the study."""
    comparisons: tuple[Comparison, ...]
    family: tuple[Looked, ...]
    """All comparisons of the study, those that cannot be made yet among them: what is said of one
    holds together with what is said of the others."""
    power_law: PowerLaw | None
    failed: tuple[tuple[str, str], ...]
    """Run and reason."""
    missing: dict[str, str]
    """Arms left out because their weights are missing, and why."""
    called: tuple[str, ...]
    """The command line that it was, but for the folder and the seeds."""

    def command(self, *, seeds: int, out: str) -> str:
        """Return the command line that runs the study."""
        return shlex.join([*self.called, "--out", out, "--seeds", str(seeds)])

    @property
    def num_images(self) -> int:
        """Return the number of test images."""
        return len(self.arms[0].test_ids) if self.arms else 0

    @property
    def is_uneven(self) -> bool:
        """Whether some run learnt from classes so uneven that accuracy hides small ones."""
        records = [record for arm in self.arms for record in arm.records]
        return any(balanced(each.predictions) is not None for each in records)

    def __getitem__(self, arm: str) -> Comparison:
        """Return the first comparison of an arm, with the baseline unless the study says otherwise.

        Raises:
            ConfigError: If there is none; says which arms have one.

        Example:
            >>> found = smallset.study("losses", "pictures")  # doctest: +SKIP
            >>> found["triplet-cosine"].verdict  # doctest: +SKIP
            'worse'
        """
        found = next((each for each in self.comparisons if each.arm == arm), None)
        if found is None:
            known = {each.arm for each in self.comparisons}
            others = {each.against for each in self.comparisons}
            why = "is what others are compared with" if arm in others else "is not among them"
            raise ConfigError(
                f"no comparison of {arm!r}, which {why}; "
                + (suggest(arm, known) if known else "none can be made yet")
            )
        return found

    def _repr_html_(self) -> str:
        """Show the arms in a notebook, each with its first comparison."""
        first = {each.arm: each for each in reversed(self.comparisons)}
        rows: list[list[object]] = []
        is_uneven = self.is_uneven
        for arm in self.arms:
            found = first.get(arm.name)
            low, high = f"{arm.accuracy.low:.1%}", f"{arm.accuracy.high:.1%}"
            luck = f"{100 * arm.luck.sd:.1f}" if arm.luck else ""
            verdict = f"{found.result.verdict} ({found.against})" if found else ""
            share = f"{arm.accuracy.value:.1%}"
            even = [f"{arm.balanced:.1%}"] if is_uneven else []
            shown = [arm.name, len(arm.seeds), share, f"{low} to {high}", *even, luck, verdict]
            rows.append(shown)
        head = ["arm", "seeds", "test accuracy", "95% interval"]
        head += [*(["balanced"] if is_uneven else []), "luck, points", "verdict (against)"]
        return html_table(head, rows)

    @property
    def chance(self) -> float:
        """Return the test accuracy of always guessing the most frequent class; 0 before any run."""
        return self.arms[0].records[0].predictions.chance if self.arms else 0.0


def summarise(folder: Path, *, all_pairs: bool = False) -> Summary:
    """Read the records of a study, and write summary.csv and comparisons.csv.

    What is compared was decided when the study was first looked at, and stands in study.json; more
    can be asked for, and then belongs to it from then on.

    Args:
        all_pairs: Compare every arm with every other, not only as the study says.

    Raises:
        DataError: If there is no study, or its arms were scored on different test images.
        RunError: If a file cannot be written.
    """
    content = read_study_json(folder)
    with reading(folder / "study.json", FIX):
        spec = StudySpec.model_validate(content["spec"])
    runs: list[dict[str, Any]] = content["runs"]
    arms = _read_arms(folder, spec.arms, runs)
    for arm in arms[1:]:
        if arm.test_ids != arms[0].test_ids:
            raise DataError(
                f"arms {arms[0].name} and {arm.name} of {folder} were scored on different test "
                "images; run the study again into another folder"
            )
    by_name = {arm.name: arm for arm in arms}
    family = read_family(content.get("comparisons", ()), spec, all_pairs=all_pairs)
    family = [each.again(len(_common_seeds(by_name, each))) for each in family]
    summary = Summary(
        folder, content["study"], spec, content["seeds"], tuple(arms),
        tuple(_compare(by_name, family)),
        tuple(family),
        _power_law(arms) if spec.power_law else None,
        tuple((run["folder"], run["error"]) for run in runs if run.get("error")),
        content["missing"],
        tuple(content["called"]),
    )  # fmt: skip
    write_atomic(folder / "summary.csv", csv_text(_summary_rows(summary)))
    write_atomic(folder / "comparisons.csv", csv_text(_comparison_rows(summary)))
    found: dict[str, Any] = {"comparisons": [each.as_json() for each in family]}
    if summary.power_law is not None:
        law = summary.power_law
        expected = {str(n): each._asdict() for n, each in law.expected.items()}
        fitted = {"scale": law.scale._asdict(), "exponent": law.exponent._asdict()}
        found["power_law"] = fitted | {"expected": expected}
    if content | found != content:
        write_json(folder / "study.json", content | found)
    return summary


def _read_arms(folder: Path, names: Iterable[str], runs: Sequence[Mapping[str, Any]]) -> list[Arm]:
    """Read the finished runs; how lucky those of an arm are, the others help to say."""
    read: list[tuple[str, list[tuple[int, Record]], tuple[str, ...], ndarray]] = []
    for name in names:
        done = [
            (run["seed"], Record(folder / run["folder"]))
            for run in runs
            if run["arm"] == name and (folder / run["folder"] / "result.json").exists()
        ]
        if done:
            read.append((name, done, *_test_answers(name, done)))
    lucks = luck_of_arms([correct for *_, correct in read])
    arms: list[Arm] = []
    for (name, done, ids, correct), luck in zip(read, lucks, strict=True):
        seeds, records = zip(*done, strict=True)
        accuracy = accuracy_interval(correct, luck)
        arms.append(Arm(name, seeds, records, ids, correct, luck, accuracy))
    return arms


def _test_answers(
    name: str, done: Sequence[tuple[int, Record]]
) -> tuple[tuple[str, ...], Float[ndarray, "seeds images"]]:
    """Return the ids of the test images, and where each run was right."""
    rows: list[ndarray] = []
    ids: tuple[str, ...] = ()
    for _, record in done:
        predictions = record.predictions
        at = np.flatnonzero(predictions.splits == "test")
        own = tuple(predictions.ids[row] for row in at)
        if ids and own != ids:
            raise DataError(f"the runs of arm {name} were scored on different test images")
        ids = own
        rows.append((predictions.predicted == predictions.labels)[at].astype(np.float64))
    return ids, np.stack(rows)


def _common_seeds(arms: Mapping[str, Arm], pair: Looked) -> list[int]:
    """Return the seeds that both of a pair have."""
    first, second = (set(arms[n].seeds) if n in arms else set() for n in pair[:2])
    return sorted(first & second)


def _compare(arms: Mapping[str, Arm], family: Sequence[Looked]) -> list[Comparison]:
    """Compare pairs on the seeds that both have."""
    shared: list[tuple[str, str, int]] = []
    values: list[tuple[ndarray, ndarray]] = []
    lucks: list[tuple[Luck | None, Luck | None]] = []
    looks: list[int] = []
    for pair in family:
        common = _common_seeds(arms, pair)
        if common:
            a, b = arms[pair.arm], arms[pair.against]
            rows = [[each.seeds.index(seed) for seed in common] for each in (a, b)]
            values.append((a.correct[rows[0]], b.correct[rows[1]]))
            lucks.append((a.luck, b.luck))
            looks.append(pair.looks)
            shared.append((a.name, b.name, len(common)))
    results = compare_all(values, lucks, family=len(family), looks=looks)
    return [Comparison(*place, result) for place, result in zip(shared, results, strict=True)]


def _power_law(arms: Sequence[Arm]) -> PowerLaw | None:
    images = [arm.train_images for arm in arms]
    if len(set(images)) < 2:
        return None
    most = max(images)
    return fit_power_law(images, [arm.correct for arm in arms], at=[2 * most, 4 * most])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _summary_rows(summary: Summary) -> list[list[str]]:
    rows = [
        [
            "arm", "seeds", "train_images", "train_accuracy", "val_accuracy", "test_accuracy",
            "test_low", "test_high", "luck", "test_sd_over_seeds", "images_seen",
            "test_balanced_accuracy",
        ]
    ]  # fmt: skip
    for arm in summary.arms:
        numbers = [arm.mean("train"), arm.mean("val"), *arm.accuracy]
        numbers += [arm.luck.sd if arm.luck else None, arm.spread, arm.images_seen, arm.balanced]
        counts = [str(len(arm.seeds)), str(arm.train_images)]
        rows.append([arm.name, *counts, *map(_number, numbers)])
    return rows


def _comparison_rows(summary: Summary) -> list[list[str]]:
    rows = [
        [
            "arm", "compared_with", "seeds", "difference", "low", "high", "luck",
            "degrees_of_freedom", "looks", "p", "p_corrected", "verdict", "detectable",
            "discordant", "needed_seeds", "needed_images", "equal_within",
        ]
    ]  # fmt: skip
    for arm, against, seeds, found in summary.comparisons:
        measured = (*found.difference, found.luck, found.freedom)
        counted = [str(found.looks), _number(found.p), _number(found.p_corrected)]
        needed = ["" if n is None else str(n) for n in (found.needed_seeds, found.needed_images)]
        said = [found.verdict, _number(found.detectable), _number(found.discordant), *needed]
        said.append(_number(found.equal_within))
        rows.append([arm, against, str(seeds), *map(_number, measured), *counted, *said])
    return rows
