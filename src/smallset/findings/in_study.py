"""What a good colleague would notice in a study: what went wrong where, and what cannot be told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from smallset.compare.summary import Arm, Comparison, Summary
from smallset.findings.facts import Finding, read_facts
from smallset.findings.finders import KINDS, find
from smallset.record.record import Record
from smallset.words import Text, text

MOST_SEEDS = 30  # a study of more is no advice


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

    A finding of runs counts for an arm where at least half of its seeds have it.

    Args:
        look: Finds in one run; None takes all of `smallset.findings.finders`.
    """
    look = look or (lambda record: find(read_facts(record)))
    by_kind: dict[str, list[tuple[Arm, list[Finding]]]] = {}
    for arm in summary.arms:
        found: dict[str, list[Finding]] = {}
        for record in arm.records:
            for finding in look(record):
                found.setdefault(finding.kind, []).append(finding)
        for kind, those in found.items():
            if 2 * len(those) >= len(arm.records):
                by_kind.setdefault(kind, []).append((arm, those))
    said = [_of_runs(kind, arms) for kind, arms in by_kind.items()]
    said += [each for each in (_failed(summary), _cannot_tell(summary)) if each is not None]
    order = ["failed", *KINDS]
    known = {kind: number for number, kind in enumerate(order)}
    return sorted(said, key=lambda f: (f.level == "hint", known.get(f.kind, len(known))))


def _of_runs(kind: str, arms: list[tuple[Arm, list[Finding]]]) -> StudyFinding:
    first = arms[0][1][0]
    command = next((each.command for _, those in arms for each in those if each.command), None)
    lines: list[tuple[str, Text]] = []
    for arm, those in arms:
        count, said = {"seeds": len(those), "all": len(arm.records)}, those[0].sentence
        lines.append(
            (arm.name, text("{sentence} ({seeds} of {all} seeds)", sentence=said, **count))
        )
    return StudyFinding(kind, first.level, KINDS[kind].title, tuple(lines), command)


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
    open_ones = [each for each in summary.comparisons if each.result.verdict == "cannot tell"]
    if not open_ones:
        return None
    lines: list[tuple[str, Text]] = []
    for arm, against, seeds, found in open_ones:
        seen = text(
            "{seen:+.1f} points; {over} can show {can:.1f} or more.",
            seen=100 * found.difference.value,
            over=_over(summary.num_images, seeds),
            can=100 * found.detectable,
        )
        if found.equal_within is not None:
            within = 100 * found.equal_within
            seen = text("{seen} Practically equal: within ±{within:.1f}.", seen=seen, within=within)
        elif found.needed_images is not None:
            count = found.needed_images
            seen = text("{seen} {images:,} test images would settle it.", seen=seen, images=count)
        lines.append((f"{arm} / {against}", seen))
    needed = [r.needed_seeds for _, _, _, r in open_ones if r.equal_within is None]
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


def _over(images: int, seeds: int) -> Text:
    if seeds == 1:
        return text("{images:,} test images with one seed", images=images)
    return text("{images:,} test images with {seeds} seeds", images=images, seeds=seeds)


def in_words(summary: Summary) -> list[Text]:
    """Return a sentence for each comparison, as it may stand in a paper, and one for the method."""
    said = [_in_words(each, summary.num_images) for each in summary.comparisons]
    several = [each.seeds for each in summary.comparisons if each.seeds > 1]
    method = text(
        "Method: paired t tests over the test images and the seeds, degrees of freedom by "
        "Satterthwaite, the variance over seeds moderated over all arms; p values and intervals "
        "corrected for {count} comparisons (Bonferroni).",
        count=len(said),
    )
    if not several:
        method = text(
            "Method: McNemar's test with the correction for continuity; p values and intervals "
            "corrected for {count} comparisons (Bonferroni).",
            count=len(said),
        )
    return [*said, method] if said else []


def _in_words(compared: Comparison, images: int) -> Text:
    found = compared.result
    points = dict(zip(("value", "low", "high"), (100 * v for v in found.difference), strict=True))
    p = "p < 0.001" if found.p_corrected < 0.001 else f"p = {found.p_corrected:.2g}"
    measured = text(
        "{value:+.1f} points of test accuracy (95 % interval {low:+.1f} to {high:+.1f}; {p}; "
        "{over})",
        **points,
        p=p,
        over=_over(images, compared.seeds),
    )
    names = {"arm": compared.arm, "against": compared.against, "measured": measured}
    match found.verdict:
        case "better":
            return text("{arm} is better than {against}: {measured}.", **names)
        case "worse":
            return text("{arm} is worse than {against}: {measured}.", **names)
        case "these two networks differ":
            return text(
                "One trained network of {arm} differs from one of {against}: {measured}. This says "
                "nothing of the two settings.",
                **names,
            )
    if found.equal_within is not None:
        return text("{arm} is practically equal to {against}: {measured}.", **names)
    return text("{arm} cannot be told from {against}: {measured}.", **names)
