"""What to do after a run: at most three commands, the most promising first."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from smallset.findings.facts import Finding
from smallset.record.record import Record
from smallset.words import Text, text

MOST = 3
ENOUGH = 0.995  # of test images right: no other network is worth the time
SECONDS_AN_IMAGE = 0.031
"""Of a pretrained network as a feature extractor at 224 px, decoding with it: mobilenet_v2 on one
core, 121 s for 3,850 pictures."""


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
        at_hand: Pretrained networks whose weights are here, the one to begin with first.
        beside: Other runs with the same test images.
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
    accuracy = record.result["test_accuracy"]
    ahead = max(beside, key=lambda other: other.result["test_accuracy"], default=None)
    if ahead is not None and ahead.result["test_accuracy"] > accuracy and _is_pretrained(ahead):
        return Step(
            shlex.join(["smallset", "report", str(ahead.folder)]),
            text(
                "A better run is there already: {model} is right in {share:.1%} of the same test "
                "images, this one in {own:.1%}.",
                model=ahead.config["config"]["model"],
                share=ahead.result["test_accuracy"],
                own=accuracy,
            ),
            text("Nothing: it is trained."),
        )
    settings = record.config["config"]
    is_plain = not settings["data"]["noise_rate"] and not settings["data"]["classes"]
    # Of a study or a search, another network is not what was asked.
    if not at_hand or accuracy >= ENOUGH or record.joined is not None or not is_plain:
        return None
    data = record.config["data"]["source"]
    if _is_pretrained(record):
        if (record.folder / "best.json").exists():
            return None
        return Step(
            shlex.join(["smallset", "best", data, "--out", "NEW", "--minutes", "10"]),
            text(
                "Compares the pretrained networks at hand, alone and joined, and fine-tunes the "
                "best. On 35 kinds of butterflies this brought 1.5 points over one network with a "
                "new head (94.6 % to 96.1 %)."
            ),
            text("Ten minutes, or what you give it."),
        )
    tried = {other.config["config"]["model"] for other in beside}
    name = next((each for each in at_hand if each not in tried), None)
    if name is None:
        return None
    changes = {"recipe": "head", "model": name, "weights": "auto", "image_size": None}
    images = sum(record.config["data"]["images"].values())
    return Step(
        record.command(changes),
        text(
            "A network that has learnt from a million other pictures, in place of one from "
            "scratch: with tens of pictures per class, mostly the largest step there is. {name} "
            "is at hand.",
            name=name,
        ),
        text(
            "One look at each of the {images:,} pictures: about {minutes:.1f} min on one core.",
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
        case "few-test-images":
            return text("As many runs as the study has arms and seeds.")
        case "label-errors":
            return text("Some minutes of computing, and your look at {count} pictures.",
                        count=len(finding.images))  # fmt: skip
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
