"""What to do after a run: at most three commands, the most promising first."""

import os
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from smallset import contents
from smallset.findings.facts import Finding
from smallset.reading import read_json
from smallset.recipes import steps_at_default
from smallset.record.command import best_command
from smallset.record.looks import best_on_val, study_of
from smallset.record.record import FIX, Record
from smallset.settings import flat, nested
from smallset.stats import share_interval
from smallset.words import Text, joined, text

MOST = 3
ENOUGH = 0.995  # of held-out images right: no other network is worth the time
FIRST = ("mobilenet_v2", "efficientnet_lite0", "resnet18", "mobilenet_v3_large", "resnet50")
"""Pretrained networks to begin with: small ones first; any other comes after them."""
SECONDS_AN_IMAGE = 0.031
"""Of mobilenet_v2 as a feature extractor at 224 px on one core, decoding with it: 121 s for 3,850
pictures."""


class Step(NamedTuple):
    """One thing to do next."""

    command: str
    brings: Text
    """What it can be expected to bring."""
    costs: Text


def next_steps(
    record: Record,
    causes: Sequence[Sequence[Finding]],
    *,
    at_hand: Sequence[str] = (),
    beside: Sequence[Record] = (),
) -> list[Step]:
    """Return what to do next: a pretrained network first, then what the findings say, then use.

    Args:
        causes: The findings, those of one cause together; each cause gets one command.
        at_hand: Pretrained networks whose weights are here.
        beside: Other runs with the same test images. Which is better is read from val: what one
            goes on with must not be chosen on test.
    """
    steps = [_other_network(record, at_hand, beside)]
    steps += [_of_cause(record, cause) for cause in causes]
    if not any(finding.kind in HOPELESS for cause in causes for finding in cause):
        steps.append(_use(record))
    ranked = {step.command: step for step in reversed(steps) if step}  # each command once
    return list(reversed(ranked.values()))[:MOST]


HOPELESS = ("gradients-too-small", "gradients-too-large", "not-learning", "collapse", "one-class")
"""Findings of networks that are of no use as they are."""


def _other_network(record: Record, at_hand: Sequence[str], beside: Sequence[Record]) -> Step | None:
    """Return how to come to a better network: one that is there, one at hand, or a search."""
    settings = record.config["config"]
    if (record.folder / "best.json").exists():
        return _longer_search(record)
    if (
        record.joined is not None
        or study_of(record)  # another network is not what was asked
        or settings["data"]["noise_rate"]
        or settings["data"]["classes"]
    ):
        return None
    if ahead := _ahead(record, beside):
        return ahead
    accuracy = record.result["val_accuracy"]
    if accuracy is not None and accuracy >= ENOUGH:
        return None
    if _is_pretrained(record):
        return _search(record) if at_hand else None
    tried = {other.config["config"]["model"] for other in beside}
    ranked = sorted(at_hand, key=lambda name: (*FIRST, name).index(name))
    name = next((each for each in ranked if each not in tried), None)
    return None if name is None else _head_on(record, name)


def _ahead(record: Record, beside: Sequence[Record]) -> Step | None:
    """Return the look at a pretrained network that is better on val by more than chance."""
    own = record.result["val_accuracy"]
    best = best_on_val([record, *(other for other in beside if _is_pretrained(other))])
    if best is None or best is record:
        return None
    share, images = best.result["val_accuracy"], best.config["data"]["images"]["val"]
    if share_interval(share * images, images).low <= own:
        return None
    return Step(
        shlex.join(["smallset", "report", os.path.relpath(best.folder)]),
        text(
            "A better run is there already: {model} is right in {share:.1%} of the val images, "
            "this one in {own:.1%}.",
            model=best.config["config"]["model"],
            share=share,
            own=own,
        ),
        text("Nothing: it is trained."),
    )


def _search(record: Record) -> Step:
    data, kept = record.config["data"]["source"], ("data.skip_unreadable", "data.skip_empty")
    settings = flat(record.config["config"])
    asked = {"data": data, "minutes": 10, "networks": [],
             "settings": nested({name: settings[name] for name in kept})}  # fmt: skip
    return Step(
        best_command(asked) or "",
        text(
            "Compares the pretrained networks at hand, alone and joined, and fine-tunes the best "
            "in the time that is left. With 35 classes of 60 pictures that gave 2 points over a "
            "head alone."
        ),
        text("Ten minutes, or what you give it."),
    )


def _longer_search(record: Record) -> Step | None:
    """Return the search that a run is from with more time, where it had too little for networks."""
    story = read_json(record.folder / "best.json", contents.Best, fix=FIX)
    names = [each["name"] for each in story["candidates"] if each["state"] == "left out"]
    minutes = 3 * story["minutes"]
    command = best_command({**story["asked"], "minutes": minutes})
    if not names or command is None:
        return None
    return Step(
        command,
        text(
            "A longer search tries {names}, too, for which there was no time, and has more epochs "
            "for fine-tuning.",
            names=joined(names),
        ),
        text("{minutes:g} minutes.", minutes=minutes),
    )


def _head_on(record: Record, name: str) -> Step:
    """Return the training of a head on a pretrained network in place of one from scratch."""
    changes = {"recipe": "head", "model": name, "weights": "auto", "image_size": None}
    images = sum(record.config["data"]["images"].values())
    return Step(
        record.command({**steps_at_default(), "start_from": "", **changes}),
        text(
            "A network that has learnt from a million other pictures, in place of one from "
            "scratch: with tens of pictures per class, mostly the largest step there is. {name} "
            "is at hand.",
            name=name,
        ),
        text(
            "One look at each of the {images:,} pictures: mobilenet_v2 takes about {minutes:.1f} "
            "min for that on one core.",
            images=images,
            minutes=max(images * SECONDS_AN_IMAGE / 60, 0.1),
        ),
    )


def _is_pretrained(record: Record) -> bool:
    return record.config["weights"] is not None


def _of_cause(record: Record, cause: Sequence[Finding]) -> Step | None:
    """Return the first command among the findings of a cause."""
    finding = next((each for each in cause if each.command), None)
    if finding is None or finding.command is None:
        return None
    if finding.kind in HOPELESS:
        brings = text("Steps of a size that it can learn from. Until then the accuracy says "
                      "nothing about your pictures.")  # fmt: skip
    elif finding.effect is None or finding.effect < 0.1:
        brings = text("{sentence}", sentence=finding.sentence)
    else:
        brings = text(
            "{sentence} Up to {points:.1f} points are at stake; a part of them is to be expected.",
            sentence=finding.sentence,
            points=finding.effect,
        )
    return Step(finding.command, brings, _costs(record, finding))


def _costs(record: Record, finding: Finding) -> Text:
    """Say what a command takes; training again takes what this run took."""
    match finding.kind:
        case "leak":
            return text("Under a minute.")
        case "label-errors":
            return text("Some minutes of computing, and your look at {count} pictures.",
                        count=len(finding.images))  # fmt: skip
        case "below-its-probe":
            return text("Less than the {minutes:.1f} min of this run: only the head is fitted.",
                        minutes=record.result["seconds"] / 60)  # fmt: skip
    times = 2 if finding.kind == "still-improving" else 1
    settings, command = record.config["config"], finding.command or ""
    if settings["head"] == "probe" and "finetune" in command:
        return text("The whole network is trained: many times the {minutes:.1f} min of this run.",
                    minutes=record.result["seconds"] / 60)  # fmt: skip
    return text("About {minutes:.1f} min: this run took {own:.1f}.",
                minutes=times * record.result["seconds"] / 60,
                own=record.result["seconds"] / 60)  # fmt: skip


def _use(record: Record) -> Step:
    """Return how new pictures are named."""
    return Step(
        shlex.join(["smallset", "predict", str(record.folder), "NEW_PICTURES"]),
        text("The answers of this network for pictures of your own, each with its probability."),
        text("Seconds."),
    )
