"""How `smallset best` came to the network of a record, for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from smallset import contents
from smallset.reading import read_json
from smallset.record.measures import held_out_share
from smallset.record.record import FIX, Record
from smallset.stats import Interval
from smallset.words import Text, joined, text

HEAD_FOLDS = 5  # as models/probe.py has it, which needs torch
STATES = {
    "raced": text("may be the best"),
    "dropped": text("dropped: best in under 1%"),
    "left out": text("left out for time"),
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
    fresh = story.get("fresh")
    if story["folds"]:  # without folds the estimate is that of a head
        count += bool(tuned) + bool(fresh)
    estimate = Interval(**story["estimate"]) if story["estimate"] else None
    decided = tuned or fresh or story.get("mirror")
    return {
        "story": story,
        "sentences": _sentences(story, estimate, count),
        "candidates": [_row(story, each, best=n == 0) for n, each in enumerate(candidates)],
        "choices": _choices(story) if decided else [],
        "rules": _rules(story) if decided else [],
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
        if story["chosen"] != story["estimate_of"]:
            said.append(text("That is of this head alone; what was chosen was first measured on "
                             "test."))  # fmt: skip
    if story.get("fresh"):
        said.append(
            text("Pictures may be unlike those that pretrained networks know, so {network} was "
                 "trained from scratch, too.", **story["fresh"])
        )  # fmt: skip
        if story["fresh"].get("is_far"):
            said.append(text("After {epochs} epochs it made far more mistakes than the head, so it "
                             "was given no more.", **story["fresh"]))  # fmt: skip
    if tuned:
        said.append(
            text("{network} was then fine-tuned for {epochs} epochs: of the single networks alone, "
                 "it is the cheapest that may be the best.", **tuned)
        )  # fmt: skip
    if story["plain"] and story["plain"].get("is_chosen"):
        said.append(text("The search chose what needs no search: {alone}.",
                         alone=plain_choice(story)))  # fmt: skip
    elif story["plain"]:
        against = story["against_plain"]
        said.append(
            text("On test, read once, {alone} has {test:.1%}; the chosen one is {difference:+.1f} "
                 "points from it ({low:+.1f} to {high:+.1f}): {verdict}.",
                 alone=plain_choice(story), test=story["plain"]["test"],
                 verdict=text(against["verdict"]),
                 **{key: 100 * against[key] for key in ("difference", "low", "high")})
        )  # fmt: skip
        if against["high"] < 0 and "command" in story["plain"]:
            said.append(text("On these test images the search lost. What needs no search is "
                             "trained by: {command}",
                             command=story["plain"]["command"]))  # fmt: skip
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
    tuned, fresh = story["finetune"], story.get("fresh")
    best = min(story["candidates"], key=lambda each: (-(each["accuracy"] or 0), each["cost"]))
    plain = text("a head on {name}", name=best["name"])
    twice = text("a head on {name}, mirror images averaged", name=best["name"])
    head, looks = (twice, 2) if _is_mirrored(story) else (plain, 1)
    chosen, rows = "head", {}
    if tuned:
        chosen, losses = tuned["choice"]["chosen"], tuned["choice"]["log_loss"]
        cost, both = _tuned_cost(story), text("both joined, their logits averaged")
        name = text("{network}, fine-tuned, {epochs} epochs at {size} px", **tuned)
        rows = {
            "tuned": (name, tuned["tuned"], losses["tuned"], cost),
            "head": (head, tuned["head"], losses["head"], looks * best["cost"]),
        }
        if "joined" in losses:
            rows["joined"] = (both, None, losses["joined"], cost and cost + looks * best["cost"])
    elif fresh:
        losses = fresh["log_loss"]
        rows["head"] = (head, fresh["other"], losses["other"], looks * best["cost"])
    elif mirror := story.get("mirror"):
        rows["plain"] = (plain, None, mirror["once"], best["cost"])
        rows["mirror"] = (twice, None, mirror["twice"], 2 * best["cost"])
        chosen = "mirror" if mirror["kept"] else "plain"
    if fresh:
        name = text("{network} from scratch, {epochs} epochs at {size} px", **fresh)
        rows["fresh"] = (name, fresh["accuracy"], fresh["log_loss"]["fresh"], fresh["cost"])
        chosen = "fresh" if fresh["kept"] else chosen
    keys = ("name", "accuracy", "log_loss", "cost")
    return [
        {**dict(zip(keys, row, strict=True)), "is_best": each == chosen}
        for each, row in rows.items()
    ]


def _tuned_cost(story: Mapping[str, Any]) -> float | None:
    """Return the milliseconds of a tuned network; None at another size than it was timed at."""
    tuned = story["finetune"]
    if "image_size" in tuned["settings"]:
        return None
    [cost] = [each["cost"] for each in story["candidates"] if each["name"] == tuned["network"]]
    return cost * (1 + tuned["settings"].get("mirror", True))


def _is_mirrored(story: Mapping[str, Any]) -> bool:
    """Whether the best head averages a picture and its mirror image."""
    mirror = story.get("mirror")  # none in a search before 2026-11-27
    return bool(mirror and mirror["kept"])


def _rules(story: Mapping[str, Any]) -> list[Text]:
    """Say how log-loss decided."""
    said = [text("Log-loss decides: it says more than accuracy on few images, and smaller is "
                 "better.")]  # fmt: skip
    if mirror := story.get("mirror"):
        said.append(text("The head averages a picture and its mirror image if that is better by "
                         "more than the standard error of the difference, {error:.4f}: out of "
                         "fold it has {twice:.4f} with both and {once:.4f} with one.",
                         **mirror))  # fmt: skip
    if tuned := story["finetune"]:
        choice = tuned["choice"]
        first, second = choice["temperatures"]
        said.append(text("Temperatures are fitted on the same images ({first:.2f} and "
                         "{second:.2f}).", first=first, second=second))  # fmt: skip
        if "error" in choice:  # a search before 2026-11-27 took the smallest log-loss
            said.append(text("Both joined are the choice unless one alone is better by more than "
                             "the standard error of the difference, {error:.3f}.",
                             error=choice["error"]))  # fmt: skip
        elif not story["folds"] and "joined" not in choice["log_loss"]:
            said.append(text("There was no time to join them."))
    if fresh := story.get("fresh"):
        said.append(text("The network from scratch is taken if it is better than that by more than "
                         "the standard error of the difference, {error:.3f}.",
                         error=fresh["error"]))  # fmt: skip
    return said


def _points(story: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracy against the time for one picture, of all that were judged."""
    judged = [each for each in candidates if each["accuracy"] is not None]
    images = story["images"].get("train + val", 0)  # where heads were judged
    bounds = [
        held_out_share(each["accuracy"] * images, images, folds=story["folds"] or HEAD_FOLDS)
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
    tuned, fresh = story["finetune"], story.get("fresh")
    if fresh and fresh["kept"]:
        return text("{network} from scratch", network=fresh["network"])
    if "members" in story:
        return text("{members} networks from scratch, joined ({name})",
                    members=story["members"], name=story["plain"]["name"])  # fmt: skip
    if not (tuned and tuned["kept"]):
        if _is_mirrored(story):
            return text("a head on {name}, mirror images averaged", name=story["estimate_of"])
        return story["chosen"]
    if tuned["choice"] and tuned["choice"]["chosen"] == "joined":
        # Without folds, which never join, the estimate is that of the best head.
        names = {"network": tuned["network"], "head": story["estimate_of"]}
        if _is_mirrored(story):
            return text("fine-tuned {network} & a head on {head}, mirror images averaged", **names)
        return text("fine-tuned {network} & a head on {head}", **names)
    return text("fine-tuned {network}", network=tuned["network"])


def _estimated(story: Mapping[str, Any]) -> Text | str:
    """Return the name of what the expected accuracy is of."""
    tuned, name, fresh = story["finetune"], story["estimate_of"], story.get("fresh")
    if fresh and name == f"{fresh['network']} from scratch":
        return text("{network} from scratch", network=fresh["network"])
    if tuned and name == f"fine-tuned {tuned['network']}":
        return text("fine-tuned {network}", network=tuned["network"])
    return name
