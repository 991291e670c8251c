"""What a reader of a study must know beside its tables, and its claims as they may be copied."""

from collections.abc import Sequence

from smallset.compare.family import Looked
from smallset.compare.summary import Arm, Comparison, Summary
from smallset.stats import PowerLaw
from smallset.words import Text, joined, listed, text

NOTHING = 0.0005  # of accuracy, which is printed to a tenth of a point
UNEQUAL = 1.1  # times the images that another arm saw


def headline(summary: Summary) -> Text:
    """Say in a few sentences what the study lets one say."""
    if not summary.arms:
        return text("No run of this study is finished yet.")
    if summary.leader is None:
        [arm] = summary.arms
        return text(
            "{arm} has {accuracy:.1%} test accuracy.", arm=arm.name, accuracy=arm.accuracy[0]
        )
    best, second = summary.arms[summary.leader.arm], summary.arms[summary.leader.second]
    value, low, high = summary.leader.expected
    seen = {"best": best.name, "accuracy": best.accuracy.value, "count": len(summary.arms)}
    seen |= {"value": value, "low": low, "high": high}
    first = text(
        "{best} has the highest test accuracy, {accuracy:.1%}. The highest of {count} is too high: "
        "without the luck of being picked, {value:.1%} ({low:.1%} to {high:.1%}).",
        **seen,
    )
    if abs(value - best.accuracy.value) < NOTHING:
        first = text(
            "{best} has the highest test accuracy, {accuracy:.1%} ({low:.1%} to {high:.1%}); that "
            "it was picked among {count} adds nothing to it.",
            **seen,
        )
    claim = text("{first} {claim}", first=first, claim=_of_family(best.name, summary))
    if len(summary.arms) == 2:
        return claim
    result = summary.leader.result
    ahead = {"second": second.name, "points": 100 * result.difference.value}
    if result.verdict == "cannot tell":
        after = text(
            "The second, {second} ({points:.1f} points behind), cannot be told from it.", **ahead
        )
    elif result.verdict == "these two networks differ":
        after = text(
            "Its network differs from that of the second, {second}, by {points:.1f} points, "
            "held against all pairs.",
            **ahead,
        )
    else:
        after = text(
            "It is better than the second, {second}, by {points:.1f} points, held against "
            "all pairs of arms.",
            **ahead,
        )
    return text("{first} {claim}", first=claim, claim=after)


def _of_family(best: str, summary: Summary) -> Text:
    """Say which arms the best one beats in the comparisons that the study decided on."""
    others: dict[str, list[str]] = {}
    for arm, against, _, found in summary.comparisons:
        if best in (arm, against) and found.verdict != "cannot tell":
            won = found.verdict == ("better" if arm == best else "worse")
            how = "better" if won else found.verdict
            others.setdefault(how, []).append(against if arm == best else arm)
    if "better" in others:
        return text(
            "It is better than {others} by more than luck.", others=listed(others["better"])
        )
    if differ := others.get("these two networks differ"):
        return text(
            "Its network differs from that of {others} by more than the luck of the images. One "
            "seed each says nothing of the settings: another training may turn it round.",
            others=listed(differ),
        )
    return text("No comparison of the study shows that this is more than luck.")


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
        notes += _unequal(summary.arms) + _at_chance(summary.arms, summary.chance)
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


def _unequal(arms: Sequence[Arm]) -> list[Text]:
    """Say that some arms had more training than others."""
    least = min(arms, key=lambda arm: arm.images_seen)
    most = max(arms, key=lambda arm: arm.images_seen)
    if most.images_seen <= UNEQUAL * least.images_seen:
        return []
    return [
        text(
            "The arms were not trained alike: {most} saw {more:,.0f} images (epochs times training "
            "images) in {longer:,.0f} s, {least} {fewer:,.0f} in {shorter:,.0f} s. What longer "
            "training gives is part of a difference.",
            longer=most.seconds, shorter=least.seconds,
            most=most.name, more=most.images_seen, least=least.name, fewer=least.images_seen,
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
    said = [_in_words(each, summary.num_images) for each in summary.comparisons]
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
    return how


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
