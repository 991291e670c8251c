"""How `smallset best` came to the network of a record, for its page."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from smallset import contents
from smallset.reading import read_json
from smallset.record.record import FIX, Record
from smallset.stats import Interval, accuracy_interval
from smallset.words import Text, text

STATES = {
    "raced": text("raced"),
    "dropped": text("dropped: best in under 1%"),
    "left out": text("left out: no time was left"),
}
"""What became of a candidate of `smallset best`."""


def search_section(record: Record) -> dict[str, Any] | None:
    """Return what `smallset best` found, as sentences and candidates; None where it was not it.

    Its "estimate" is the accuracy to be expected, the price of choosing taken off; None where
    nothing was chosen among.
    """
    path = record.folder / "best.json"
    if not path.exists():
        return None
    story = read_json(path, contents.Best, fix=FIX)
    sentences = [
        text("Chosen in {minutes:.1f} of {asked:g} minutes: {chosen}.", chosen=_chosen(story),
             minutes=story["seconds"] / 60, asked=story["minutes"])
    ]  # fmt: skip
    if story["estimate"]:
        sentences.append(
            text("{name} is right in {naive:.1%} out of fold. The best of several looks better "
                 "than it is: with the price of choosing taken off, {value:.1%} are to be expected "
                 "({low:.1%} to {high:.1%}).", name=_estimated(story), naive=story["naive"],
                 **story["estimate"])
        )  # fmt: skip
    tuned = story["finetune"]
    if tuned:
        where = text("out of fold") if story["folds"] else text("on val")
        kept = text("kept") if tuned["kept"] else text("not kept")
        sentences.append(
            text("{network}, fine-tuned for {epochs} epochs, has {tuned:.1%} {where}, where the "
                 "best head has {head:.1%}: the fine-tuned one was {kept}.",
                 **{**tuned, "kept": kept, "where": where})
        )  # fmt: skip
        sentences += _choice(tuned["choice"], where, could_join=not story["folds"])
    if story["plain"]:
        against = story["against_plain"]
        alone = text("a head on {name} alone", name=story["plain"]["name"])
        if "members" in story:
            alone = text("the first of the {members} networks alone", members=story["members"])
        sentences.append(
            text("On test, read once, {alone} has {test:.1%}; the chosen one is {difference:+.1f} "
                 "points from it ({low:+.1f} to {high:+.1f}): {verdict}.",
                 alone=alone, test=story["plain"]["test"], verdict=text(against["verdict"]),
                 **{key: 100 * against[key] for key in ("difference", "low", "high")})
        )  # fmt: skip
    key = lambda each: -(each["accuracy"] or 0)  # noqa: E731
    estimate = Interval(**story["estimate"]) if story["estimate"] else None
    candidates = sorted(story["candidates"], key=key)
    return {"sentences": sentences, "candidates": candidates, "estimate": estimate}


class Headline(NamedTuple):
    """How good a run is on images that it did not learn from."""

    accuracy: Interval
    images: int
    source: Literal["test", "folds", "val"]
    """Val where there is no other; settings may have been chosen on it."""


def headline(record: Record) -> Headline | None:
    """Return the accuracy to be expected of a run; None where it learnt from all its images.

    With folds, it is that of the search where there was one, the price of choosing taken off.
    """
    found, folds = record.predictions, record.result.get("folds")
    split = "val" if not (found.splits == "test").any() else "test"
    right = (found.predicted == found.labels)[found.splits == split]
    if not len(right):
        return None
    if not folds:
        return Headline(accuracy_interval(right[None].astype(np.float64)), len(right), split)
    search = search_section(record)
    expected: Interval | None = search["estimate"] if search else None
    if expected is None:
        expected = Interval(*(folds[key] for key in ("accuracy", "low", "high")))
    return Headline(expected, len(right), "folds")


CHOICES = {
    "tuned": text("the fine-tuned network"), "head": text("the head"),
    "joined": text("both joined"),
}  # fmt: skip
"""What `smallset best` chooses among by log-loss."""


def _chosen(story: Mapping[str, Any]) -> Text | str:
    """Return the name of what was chosen."""
    tuned = story["finetune"]
    if "members" in story:
        return text("{members} networks from scratch, joined ({name})",
                    members=story["members"], name=story["plain"]["name"])  # fmt: skip
    if not (tuned and tuned["kept"]):
        return story["chosen"]
    if tuned["choice"] and tuned["choice"]["chosen"] == "joined":
        # Without folds, which never join, the estimate is that of the best head.
        return text("fine-tuned {network} & a head on {head}", network=tuned["network"],
                    head=story["estimate_of"])  # fmt: skip
    return text("fine-tuned {network}", network=tuned["network"])


def _estimated(story: Mapping[str, Any]) -> Text | str:
    """Return the name of what the expected accuracy is of."""
    tuned, name = story["finetune"], story["estimate_of"]
    if tuned and name == f"fine-tuned {tuned['network']}":
        return text("fine-tuned {network}", network=tuned["network"])
    return name


def _choice(choice: Mapping[str, Any], where: Text, *, could_join: bool) -> list[Text]:
    losses = choice["log_loss"]
    first, second = choice["temperatures"]
    said = text("The choice was made by log-loss {where}, which says more than accuracy on few "
                "images; smaller is better. At temperatures fitted on the same images ({first:.2f} "
                "and {second:.2f}), the fine-tuned network has {tuned:.3f}, and the head "
                "{head:.3f}.", where=where, first=first, second=second, **losses)  # fmt: skip
    chosen = text("Chosen: {chosen}.", chosen=CHOICES[choice["chosen"]])
    if not could_join:
        return [said, chosen]
    joined = text("There was no time to join them.")
    if "joined" in losses:
        joined = text("Both joined, their logits averaged, have {joined:.3f}.", **losses)
    if "error" in choice:  # a search before 2026-11-27 took the smallest log-loss
        joined = text("Both joined, their logits averaged, have {joined:.3f}; they are the choice "
                      "unless one alone is better by more than the standard error of the "
                      "difference, {error:.3f}.",
                      error=choice["error"], **losses)  # fmt: skip
    return [said, joined, chosen]
