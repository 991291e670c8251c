"""How `smallset best` came to the network of a record, for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from smallset import contents
from smallset.models.probe import FOLDS
from smallset.reading import read_json
from smallset.record.measures import held_out_share
from smallset.record.record import FIX, Record
from smallset.stats import Interval
from smallset.words import Text, joined, text

STATES = {
    "raced": text("may be the best"),
    "dropped": text("dropped: best in under 1%"),
    "left out": text("left out: no time was left"),
}
"""What became of a candidate of `smallset best`."""


def search_section(record: Record) -> dict[str, Any] | None:
    """Return what `smallset best` found, as sentences and tables; None where it was not it.

    Returns:
        "sentences" in the order of the steps; "candidates", the heads that were compared, the most
        accurate first; "choices", what log-loss decided between, with "rules" that say how;
        "points" of the chart; the "story"; and "estimate", the accuracy to be expected, the price
        of choosing taken off (None where nothing was chosen among), of "count" candidates.
    """
    path = record.folder / "best.json"
    if not path.exists():
        return None
    story = read_json(path, contents.Best, fix=FIX)
    key = lambda each: (-(each["accuracy"] or 0), each["cost"])  # noqa: E731
    candidates = sorted(story["candidates"], key=key)
    tuned = story["finetune"]
    count = sum(each["accuracy"] is not None for each in candidates)
    count += bool(tuned and story["folds"])  # without folds the estimate is that of a head
    estimate = Interval(**story["estimate"]) if story["estimate"] else None
    return {
        "story": story,
        "sentences": _sentences(story, estimate, count),
        "candidates": [_row(story, each, best=n == 0) for n, each in enumerate(candidates)],
        "choices": _choices(story) if tuned else [],
        "rules": _rules(tuned["choice"], could_join=not story["folds"]) if tuned else [],
        "where": _where(story),
        "points": _points(story, candidates),
        "estimate": estimate,
        "count": count,
    }


def _sentences(story: Mapping[str, Any], estimate: Interval | None, count: int) -> list[Text]:
    tuned = story["finetune"]
    said = [
        text("Chosen in {minutes:.1f} of {asked:g} minutes: {chosen}.", chosen=_chosen(story),
             minutes=story["seconds"] / 60, asked=story["minutes"])
    ]  # fmt: skip
    if estimate:
        said.append(_expected(story, estimate, count))
        if tuned and tuned["kept"] and not story["folds"]:
            said.append(text("That is of this head alone. What was chosen holds more, and was "
                             "first measured on test."))  # fmt: skip
    if tuned:
        said.append(
            text("{network} was then fine-tuned for {epochs} epochs: of the single networks alone, "
                 "it is the cheapest that may be the best.", **tuned)
        )  # fmt: skip
    if story["plain"]:
        against = story["against_plain"]
        said.append(
            text("On test, read once, {alone} has {test:.1%}; the chosen one is {difference:+.1f} "
                 "points from it ({low:+.1f} to {high:+.1f}): {verdict}.",
                 alone=plain_choice(story), test=story["plain"]["test"],
                 verdict=text(against["verdict"]),
                 **{key: 100 * against[key] for key in ("difference", "low", "high")})
        )  # fmt: skip
    return said


def _expected(story: Mapping[str, Any], estimate: Interval, count: int) -> Text:
    """Say how good the best of the candidates is."""
    values = {"name": _estimated(story), "naive": story["naive"], "count": count}
    values |= estimate._asdict()
    if count == 1:
        return text("{name}, the only candidate, is right in {naive:.1%} of the images that the "
                    "fit had not seen (out of fold; {low:.1%} to {high:.1%}).",
                    **values)  # fmt: skip
    if round(estimate.value, 3) >= round(story["naive"], 3):
        return text("{name} is right in {naive:.1%} of the images that the fit had not seen (out "
                    "of fold; {low:.1%} to {high:.1%}). That it was chosen among {count} takes "
                    "nothing off that.", **values)  # fmt: skip
    return text("{name} is right in {naive:.1%} of the images that the fit had not seen (out of "
                "fold). The best of {count} looks better than it is: {value:.1%} are to be "
                "expected ({low:.1%} to {high:.1%}).", **values)  # fmt: skip


def plain_choice(story: Mapping[str, Any]) -> Text:
    """Return the name of the choice that needs no search."""
    if "members" in story:
        return text("the first of the {members} networks alone", members=story["members"])
    return text("a head on {name} alone", name=story["plain"]["name"])


def _where(story: Mapping[str, Any]) -> Text:
    return text("out of fold") if story["folds"] else text("on val")


def _row(story: Mapping[str, Any], candidate: Mapping[str, Any], *, best: bool) -> dict[str, Any]:
    """Return a candidate as the table shows it."""
    tuned, chance = story["finetune"], candidate["chance"]
    states = [text("the best head")] if best else [STATES[candidate["state"]]]
    if tuned and tuned["network"] == candidate["name"]:
        states.append(text("fine-tuned"))
    digits = 1 if chance and 0.0005 <= chance < 0.01 else 0
    return {**candidate, "is_best": best, "states": joined(states), "digits": digits}


def _choices(story: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what log-loss decided between."""
    tuned = story["finetune"]
    costs = {each["name"]: each["cost"] for each in story["candidates"]}
    best = min(story["candidates"], key=lambda each: (-(each["accuracy"] or 0), each["cost"]))
    alone = None  # at another size than it was timed at
    if "image_size" not in tuned["settings"]:
        alone = costs[tuned["network"]] * (1 + tuned["settings"].get("mirror", True))
    both = None if alone is None else alone + best["cost"]
    name = text("{network}, fine-tuned, {epochs} epochs at {size} px", **tuned)
    names = {
        "tuned": (name, tuned["tuned"], alone),
        "head": (text("a head on {name}", name=best["name"]), tuned["head"], best["cost"]),
        "joined": (text("both joined, their logits averaged"), None, both),
    }
    chosen = tuned["choice"]["chosen"]
    return [
        {"name": name, "accuracy": accuracy, "cost": cost, "is_best": each == chosen,
         "log_loss": tuned["choice"]["log_loss"][each]}
        for each, (name, accuracy, cost) in names.items() if each in tuned["choice"]["log_loss"]
    ]  # fmt: skip


def _rules(choice: Mapping[str, Any], *, could_join: bool) -> list[Text]:
    """Say how log-loss decided."""
    first, second = choice["temperatures"]
    said = [text("Log-loss decides: it says more than accuracy on few images, and smaller is "
                 "better. Temperatures are fitted on the same images ({first:.2f} and "
                 "{second:.2f}).", first=first, second=second)]  # fmt: skip
    if "error" in choice:  # a search before 2026-11-27 took the smallest log-loss
        said.append(text("Both joined are the choice unless one alone is better by more than the "
                         "standard error of the difference, {error:.3f}.",
                         error=choice["error"]))  # fmt: skip
    elif could_join and "joined" not in choice["log_loss"]:
        said.append(text("There was no time to join them."))
    return said


def _points(story: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracy against the time for one picture, of all that were judged."""
    judged = [each for each in candidates if each["accuracy"] is not None]
    images = story["images"]["train + val"]
    bounds = [
        held_out_share(each["accuracy"] * images, images, folds=story["folds"] or FOLDS)
        for each in judged
    ]
    return {
        "name": [each["name"] for each in judged],
        "cost": [each["cost"] for each in judged],
        "accuracy": [each["accuracy"] for each in judged],
        "low": [each.low for each in bounds],
        "high": [each.high for each in bounds],
    }


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
