"""What a reader of a study must know beside its tables, and its claims as they may be copied."""

from collections.abc import Sequence

from smallset.compare.family import Looked
from smallset.compare.summary import Arm, Comparison, Summary
from smallset.findings.trained import alike, pair_in_training
from smallset.stats import PowerLaw
from smallset.words import Text, joined, listed, sentences, text


def study_notes(summary: Summary) -> list[Text]:
    """Return what a reader must know beside the tables of a study."""
    notes = [
        text("Arm {arm} was left out: {why}", arm=arm, why=why)
        for arm, why in summary.missing.items()
    ]
    for run, why in summary.failed:
        notes.append(text("Run {run} failed: {why}", run=run, why=why.strip().splitlines()[-1]))
    if summary.arms and (folds := summary.arms[0].records[0].result.get("folds")):
        notes.append(
            text(
                "{count} folds scored each other: where test is said, it means the answers of "
                "runs that had not learnt from the image; each seed deals the folds anew.",
                count=folds["folds"],
            )
        )
    for arm in summary.arms:
        if len(arm.seeds) < summary.planned_seeds:
            of = {"count": len(arm.seeds), "all": summary.planned_seeds}
            notes.append(text("Arm {arm} has {count} of {all} seeds.", arm=arm.name, **of))
    if any(len(arm.seeds) == 1 for arm in summary.arms):
        notes.append(
            text(
                "With one seed, a difference is one between two trained networks, not between "
                "two settings: another seed may turn it round; --seeds 3 or more tells."
            )
        )
    notes += _of_looks(summary.family)
    if summary.arms:
        notes += _at_chance(summary.arms, summary.chance)
    if summary.power_law is not None:
        notes.append(_of_power_law(summary.power_law))
    return notes


def _of_power_law(law: PowerLaw) -> Text:
    """Say what more images would be expected to give."""
    expected = joined([
        text("{images:,}: {value:.1%} ({low:.1%} to {high:.1%})", images=images, **at._asdict())
        for images, at in law.expected.items()
    ])  # fmt: skip
    value, low, high = law.exponent
    return text(
        "The test error falls like images^-{value:.2f} ({low:.2f} to {high:.2f}). Expected test "
        "accuracy by the number of training images, if the line goes on without a floor: "
        "{expected}.",
        value=value, low=low, high=high, expected=expected,
    )  # fmt: skip


def _of_looks(family: Sequence[Looked]) -> list[Text]:
    """Say that verdicts made again with more seeds are held against more."""
    most = max(family, key=lambda each: each.looks, default=None)
    if most is None or most.looks == 1:
        return []
    seeds = listed(list(map(str, most.at)))
    return [
        text(
            "Looked at {count} times (with {seeds} seeds): adding seeds until something shows "
            "finds it where nothing is, so p values and intervals allow for the looks (p times "
            "{times}).",
            count=most.looks, seeds=seeds, times=most.looks**2,
        )
    ]  # fmt: skip


def _at_chance(arms: Sequence[Arm], chance: float) -> list[Text]:
    """Name the arms that may only guess."""
    names = [arm.name for arm in arms if arm.accuracy.low <= chance]
    if not names:
        return []
    return [
        text(
            "Not shown to be better than guessing the most frequent class ({chance:.1%}): {arms}.",
            chance=chance, arms=listed(names),
        )
    ]  # fmt: skip


def in_words(summary: Summary) -> list[Text]:
    """Return a sentence for each comparison, as it may stand in a paper, and one for the method."""
    arms = {arm.name: arm for arm in summary.arms}
    said: list[Text] = []
    for each in summary.comparisons:
        trained = pair_in_training(arms[each.arm], arms[each.against])
        said.append(sentences([_in_words(each, summary.num_images), *trained]))
    return [*said, _method(summary)] if said else []


def _method(summary: Summary) -> Text:
    how = text("Method: paired t tests over the test images, with a correction for continuity.")
    if any(each.seeds > 1 for each in summary.comparisons):
        how = text(
            "Method: paired t tests over the test images and the seeds, degrees of freedom by "
            "Satterthwaite, the variance over seeds moderated over all arms."
        )
    count, looks = len(summary.family), max(each.looks for each in summary.family)
    if count > 1:
        how = text(
            "{how} p values and intervals are corrected for {count} comparisons (Bonferroni).",
            how=how,
            count=count,
        )
    if looks > 1:
        how = text(
            "{how} p values and intervals allow for {count} looks (p times its square).",
            how=how,
            count=looks,
        )
    return sentences([how, *alike(summary.arms)])


def _in_words(compared: Comparison, images: int) -> Text:
    found = compared.result
    points = dict(zip(("value", "low", "high"), (100 * v for v in found.difference), strict=True))
    p = "p < 0.001" if found.p_corrected < 0.001 else f"p = {found.p_corrected:.2g}"
    measured = text(
        "{value:+.1f} points of test accuracy (95% interval {low:+.1f} to {high:+.1f}; {p}; "
        "{over})",
        **points,
        p=p,
        over=over(images, compared.seeds),
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


def over(images: int, seeds: int) -> Text:
    """Say what a difference was measured on."""
    if seeds == 1:
        return text("{images:,} test images with one seed", images=images)
    return text("{images:,} test images with {seeds} seeds", images=images, seeds=seeds)
