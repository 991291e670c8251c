"""What a study answers, in a few sentences: what was asked first, then which arm is highest."""

from collections.abc import Mapping, Sequence
from typing import Any

from smallset.compare.leader import find_leader
from smallset.compare.summary import Arm, Comparison, Summary
from smallset.findings.trained import of_training
from smallset.words import Text, joined, listed, sentences, some, text

NOTHING = 0.0005  # of accuracy, which is printed to a tenth of a point
MOST_ARMS = 6  # named in one sentence
TASK = ("classes", "train_on", "train_fraction", "imbalance", "noise_rate", "folds")
"""Settings of the data that make the task of an arm easier or harder than that of another."""


def headline(summary: Summary) -> list[Text]:
    """Say in a few sentences what the study lets one say; the first is the answer to its question.

    What was asked comes first: the arms against those that they are compared with. Then the highest
    arm, and how far the arms were trained.
    """
    if not summary.arms:
        return [text("No run of this study is finished yet.")]
    training = of_training(summary.arms)
    if len(summary.arms) == 1:
        [arm] = summary.arms
        said = text("{arm} has {accuracy:.1%} test accuracy.",
                    arm=arm.name, accuracy=arm.accuracy.value)  # fmt: skip
        return [said, *training]
    paragraphs = (_answers(summary), training)
    answers, trained = ([sentences(said)] if said else [] for said in paragraphs)
    return [*answers, *_highest(summary), *trained]


def _answers(summary: Summary) -> list[Text]:
    """Say what was found of each arm against the one that the study compares it with."""
    asked = [each for each in summary.comparisons if (each.arm, each.against) in summary.spec.pairs]
    said: list[Text] = []
    for against in dict.fromkeys(each.against for each in asked):
        said += _against(against, [each for each in asked if each.against == against])
    settings = [each for each in asked if each.seeds > 1]
    if settings and all(each.verdict != "better" for each in asked):
        said.insert(0, text("No arm is shown to be better than the one it is compared with."))
    return said


def _against(against: str, compared: Sequence[Comparison]) -> list[Text]:
    ordered = sorted(compared, key=lambda each: -abs(each.result.difference.value))

    def named(verdict: str, *, equal: bool = False) -> Text | None:
        found = [
            text("{arm} ({points:+.1f} points)",
                 arm=each.arm, points=100 * each.result.difference.value)
            for each in ordered
            if each.verdict == verdict and (each.result.equal_within is not None) == equal
        ]  # fmt: skip
        return some(found, MOST_ARMS) if found else None

    said: list[Text] = []
    if arms := named("better"):
        said.append(text("Better than {against}: {arms}.", against=against, arms=arms))
    if arms := named("worse"):
        said.append(text("Worse than {against}: {arms}.", against=against, arms=arms))
    if arms := named("these two networks differ"):
        said.append(
            text(
                "One network each, which says nothing of the settings, differs from that of "
                "{against}: {arms}.",
                against=against,
                arms=arms,
            )
        )
    if arms := named("cannot tell", equal=True):
        said.append(text("Practically equal to {against}: {arms}.", against=against, arms=arms))
    if arms := named("cannot tell"):
        said.append(text("Cannot be told from {against}: {arms}.", against=against, arms=arms))
    return said


def _highest(summary: Summary) -> list[Text]:
    """Name the highest arm among those with the same task."""
    tasks: dict[str, list[Arm]] = {}
    given = {arm.name: _task(arm) for arm in summary.arms}
    differing = [name for name in TASK if len({repr(each[name]) for each in given.values()}) > 1]
    for arm in summary.arms:
        tasks.setdefault(repr([given[arm.name][name] for name in differing]), []).append(arm)
    several = [arms for arms in tasks.values() if len(arms) > 1]
    if not several:
        names = listed([f"data.{name}" for name in differing])
        return [
            text(
                "No arm is called the best: they were given different data ({names}).", names=names
            )
        ]
    said: list[Text] = []
    for arms in several:
        among = {"count": len(arms)}
        where = text("Of {count} arms", **among)
        if differing:
            task = _of_task({name: given[arms[0].name][name] for name in differing})
            where = text("Of the {count} arms with {task}", **among, task=task)
        said.append(_best(arms, where, summary))
    return said


def _task(arm: Arm) -> Mapping[str, Any]:
    data = arm.records[0].config["config"]["data"]
    return {name: data.get(name) for name in TASK}


def _of_task(task: Mapping[str, Any]) -> Text:
    return joined([
        text("{rate:.4g}% wrong training labels", rate=100 * value) if name == "noise_rate"
        else text("{name} = {value}", name=f"data.{name}", value=value)
        for name, value in task.items()
    ])  # fmt: skip


def _best(arms: Sequence[Arm], where: Text, summary: Summary) -> Text:
    """Say which of some arms is highest, and what may be claimed of it."""
    leader = find_leader(
        [arm.correct for arm in arms], [arm.luck for arm in arms], of=len(summary.arms)
    )
    best, second = arms[leader.arm], arms[leader.second]
    value, low, high = leader.expected
    seen = {"where": where, "best": best.name, "accuracy": best.accuracy.value}
    seen |= {"value": value, "low": low, "high": high}
    if abs(value - best.accuracy.value) < NOTHING:
        said = text(
            "{where}, {best} has the highest test accuracy: {accuracy:.1%} (95% interval {low:.1%} "
            "to {high:.1%}).",
            **seen,
        )
    else:
        said = text(
            "{where}, {best} has the highest test accuracy: {accuracy:.1%}. The highest of several "
            "is partly luck; without it, {value:.1%} are to be expected (95% interval {low:.1%} to "
            "{high:.1%}).",
            **seen,
        )
    if len({arm.seeds for arm in arms}) > 1:
        said = text("{said} Not all arms have the same seeds yet.", said=said)
    if any({best.name, second.name} == {each.arm, each.against} for each in summary.comparisons):
        return said  # the answers have it
    ahead = {"said": said, "second": second.name, "points": 100 * leader.result.difference.value}
    if leader.result.verdict == "cannot tell":
        return text(
            "{said} The second, {second} ({points:.1f} points behind), cannot be told from it.",
            **ahead,
        )
    if leader.result.verdict == "these two networks differ":
        return text(
            "{said} Its network differs from that of the second, {second}, by {points:.1f} points, "
            "which says nothing of the settings.",
            **ahead,
        )
    return text(
        "{said} The second, {second}, is {points:.1f} points behind, more than luck explains.",
        **ahead,
    )
