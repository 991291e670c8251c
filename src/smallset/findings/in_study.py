"""What a good colleague would notice in a study: what went wrong where, and what cannot be told."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from smallset.compare.summary import Arm, Summary
from smallset.findings.facts import Finding, level_of, read_facts
from smallset.findings.finders import KINDS, find
from smallset.findings.in_words import over
from smallset.findings.trained import rise_of_arm
from smallset.record.record import Record
from smallset.words import Text, some, text

MOST_SEEDS = 30  # a study of more is no advice
RISING = "still-improving"
MOST_NAMES = 6  # of classes, or pairs of them

OfSeeds = list[tuple[int, Finding]]
"""What was found in an arm, by seed."""


@dataclass(frozen=True)
class StudyFinding:
    """One thing to know about a study."""

    kind: str
    """That of the runs' findings, or "cannot-tell" or "failed"."""
    level: Literal["problem", "hint"]
    sentence: Text
    lines: tuple[tuple[str, Text], ...]
    """Arm or comparison, and what there is to say of it."""
    command: str | None
    """What to try next; None where nothing is to be run."""


def find_in_study(
    summary: Summary, *, look: Callable[[Record], list[Finding]] | None = None
) -> list[StudyFinding]:
    """Return what is to be said about a study, problems first.

    A finding of runs counts for an arm where at least half of its seeds have it; whether an arm was
    still improving, the mean over its seeds says.

    Args:
        look: Finds in one run; None takes all of `smallset.findings.finders`.
    """
    look = look or (lambda record: find(read_facts(record)))
    by_kind: dict[str, list[tuple[Arm, OfSeeds]]] = {}
    for arm in summary.arms:
        found: dict[str, OfSeeds] = {}
        for seed, record in zip(arm.seeds, arm.records, strict=True):
            for finding in look(record):
                found.setdefault(finding.kind, []).append((seed, finding))
        for kind, those in found.items():
            if 2 * len(those) >= len(arm.records):
                by_kind.setdefault(kind, []).append((arm, those))
    rising = [each for _, those in by_kind.pop(RISING, ()) for _, each in those]
    said = [_of_runs(kind, arms) for kind, arms in by_kind.items()]
    others = (_failed(summary), _still_improving(summary, rising), _cannot_tell(summary))
    said += [each for each in others if each is not None]
    order = ["failed", *KINDS]
    known = {kind: number for number, kind in enumerate(order)}
    return sorted(said, key=lambda f: (f.level == "hint", known.get(f.kind, len(known))))


def _of_runs(kind: str, arms: list[tuple[Arm, OfSeeds]]) -> StudyFinding:
    first = arms[0][1][0][1]
    command = next((each.command for _, those in arms for _, each in those if each.command), None)
    lines = [(arm.name, said) for arm, those in arms for said in _of_seeds(those, len(arm.records))]
    return StudyFinding(kind, first.level, KINDS[kind].title, tuple(lines), command)


@dataclass(frozen=True)
class _Range:
    """Numbers of several seeds, which stand in a sentence in place of one."""

    low: float
    high: float

    def __format__(self, spec: str) -> str:
        low, high = format(self.low, spec), format(self.high, spec)
        return low if low == high else f"{low.removesuffix('%')}\N{EN DASH}{high}"


def _of_seeds(those: OfSeeds, num_seeds: int) -> list[Text]:
    """Say what an arm's seeds show, each kind of sentence once; nothing of one seed for all."""
    kinds: dict[str, OfSeeds] = {}
    for seed, finding in those:
        kinds.setdefault(finding.sentence.template, []).append((seed, finding))
    return [_together(alike, num_seeds) for alike in kinds.values()]


def _together(alike: OfSeeds, num_seeds: int) -> Text:
    """Say one sentence of several seeds, with ranges of its numbers and the names in common."""
    seed, first = alike[0]
    count: dict[str, Any] = {"seeds": len(alike), "all": num_seeds}
    values = dict(first.sentence.values)
    shared = [name for name in first.named if all(name in each.named for _, each in alike)]
    ranges = False
    for key, value in first.sentence.values.items():
        of_seeds = [each.sentence.values[key] for _, each in alike]
        if all(each == value for each in of_seeds):
            continue
        if all(isinstance(each, Real) for each in of_seeds):
            values[key], ranges = _Range(min(of_seeds), max(of_seeds)), True
        elif key == "names" and shared:
            values[key] = some(shared, MOST_NAMES)
        else:
            return text(
                "{sentence} ({seeds} of {all} seeds; this is seed {seed}, the others differ in "
                "what they name)",
                sentence=first.sentence,
                seed=seed,
                **count,
            )
    said = Text(first.sentence.template, values)
    if ranges:
        return text(
            "{sentence} ({seeds} of {all} seeds; numbers from the lowest to the highest of them)",
            sentence=said,
            **count,
        )
    if any(each.sentence.values != first.sentence.values for _, each in alike):
        return text(
            "{sentence} ({seeds} of {all} seeds; only what all of them share is named)",
            sentence=said,
            **count,
        )
    return text("{sentence} ({seeds} of {all} seeds)", sentence=said, **count)


def _still_improving(summary: Summary, of_runs: list[Finding]) -> StudyFinding | None:
    """Arms whose mean over seeds was rising at the end, with what a run of them would try next."""
    rises = {arm.name: (rise_of_arm(arm), len(arm.seeds)) for arm in summary.arms}
    lines = tuple(
        (name, text("{sentence} (mean over {seeds} seeds)", sentence=rise.said, seeds=seeds))
        for name, (rise, seeds) in rises.items()
        if rise is not None
    )
    if not lines:
        return None
    largest = max(rise.gain for rise, _ in rises.values() if rise is not None)
    command = next((each.command for each in of_runs if each.command), None)
    return StudyFinding(RISING, level_of(100 * largest), KINDS[RISING].title, lines, command)


def _failed(summary: Summary) -> StudyFinding | None:
    if not summary.failed:
        return None
    lines = tuple(
        (run, text("{why}", why=why.strip().splitlines()[-1])) for run, why in summary.failed
    )
    return StudyFinding(
        "failed", "problem", text("{count} runs failed.", count=len(lines)), lines, None
    )


def _cannot_tell(summary: Summary) -> StudyFinding | None:
    """Differences that these images and seeds cannot tell from luck, and what would."""
    open_ones = [
        each
        for each in summary.comparisons
        if each.result.verdict == "cannot tell" and each.result.equal_within is None
    ]
    if not open_ones:
        return None
    lines: list[tuple[str, Text]] = []
    for arm, against, seeds, found in open_ones:
        seen = text(
            "{seen:+.1f} points; {over} can show {can:.1f} or more.",
            seen=100 * found.difference.value,
            over=over(summary.num_images, seeds),
            can=100 * found.detectable,
        )
        if found.needed_images is not None:
            count = found.needed_images
            seen = text("{seen} {images:,} test images would settle it.", seen=seen, images=count)
        lines.append((f"{arm} / {against}", seen))
    needed = [each.result.needed_seeds for each in open_ones]
    wanted = min([n for n in needed if n is not None and n <= MOST_SEEDS], default=None)
    command = None
    if wanted is not None:
        command = summary.command(seeds=wanted, out=str(summary.folder))
    return StudyFinding(
        "cannot-tell",
        "hint",
        text(
            "{count} of {all} differences cannot be told from luck: the test set is too small, or "
            "there are too few seeds.",
            count=len(open_ones),
            all=len(summary.comparisons),
        ),
        tuple(lines),
        command,
    )
