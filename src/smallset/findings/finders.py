"""The kinds of findings: for each its level, its title, and the function that looks for it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from smallset.findings.curves import (
    below_its_probe,
    collapse,
    gradients_too_large,
    gradients_too_small,
    milestone_jump,
    not_learning,
    still_improving,
    triplet_stuck,
)
from smallset.findings.facts import Facts, Finding, Level, Seen, level_of
from smallset.findings.mistakes import (
    confused,
    memorised,
    miscalibrated,
    one_class,
    overfitting,
    small_classes,
    wrong_labels_learnt,
)
from smallset.findings.test_set import few_test_images, label_errors, leak
from smallset.words import Text, text

IDLE, BY_HEART = "did not learn", "learnt its images by heart"
READS_HELD_OUT = ("overfitting", "memorised", "small-classes")


class Kind(NamedTuple):
    """One kind of finding."""

    level: Level
    title: Text
    """What a study says of arms that have it."""
    look: Callable[[Facts], Seen | None]
    """Says what it saw in a run, or None. It leaves room for chance (an interval, or a p value
    corrected for the number of things looked at), so that it stays silent where nothing is."""
    cause: str = ""
    """Findings that share it have one cause, and are shown as one; empty where it has its own."""


KINDS: dict[str, Kind] = {
    "leak": Kind("problem", text("Test images that are also training images."), leak),
    "gradients-too-small": Kind(
        "problem", text("Did not learn: the gradient is too small."), gradients_too_small, IDLE
    ),
    "gradients-too-large": Kind(
        "problem",
        text("Did not learn, or not steadily: the learning rate is too high."),
        gradients_too_large,
        IDLE,
    ),
    "not-learning": Kind("problem", text("Did not learn."), not_learning, IDLE),
    "collapse": Kind("problem", text("The embeddings collapsed."), collapse, IDLE),
    "below-its-probe": Kind(
        "hint", text("Fine-tuning made the network worse than its probe."), below_its_probe
    ),
    "triplet-stuck": Kind("hint", text("The triplet stage taught little."), triplet_stuck),
    "one-class": Kind("problem", text("One class gets most predictions."), one_class, IDLE),
    "overfitting": Kind("problem", text("Overfitting."), overfitting, BY_HEART),
    "memorised": Kind("problem", text("Memorised classes."), memorised, BY_HEART),
    "wrong-labels-learnt": Kind(
        "problem", text("Memorised wrong labels."), wrong_labels_learnt, BY_HEART
    ),
    "small-classes": Kind("hint", text("Small classes pay for large ones."), small_classes),
    "label-errors": Kind("hint", text("Images that may be mislabelled."), label_errors),
    "milestone-jump": Kind(
        "hint", text("Accuracy jumped when the learning rate fell."), milestone_jump
    ),
    "still-improving": Kind("hint", text("Still improving when training ended."), still_improving),
    "confused": Kind("hint", text("Classes confused with each other."), confused),
    "miscalibrated": Kind(
        "hint", text("Probabilities that cannot be taken at face value."), miscalibrated
    ),
    "few-test-images": Kind("hint", text("A small test set."), few_test_images),
}
"""Every kind. To add one: write the function, add it here; problems come before hints."""


def find(facts: Facts) -> list[Finding]:
    """Return what is to be said about a run, problems first, the largest effect first among them.

    How much a finding matters is said by its effect, where that is known, and else by its kind.
    """
    found: list[Finding] = []
    for name, kind in KINDS.items():
        seen = kind.look(facts)
        if seen is None:
            continue
        level = seen.level or kind.level
        if seen.level is None and seen.effect is not None:
            level = level_of(seen.effect)
        said = _owned_up(name, seen, facts)
        found.append(Finding(name, level, *said[:4], said.effect, said.named))
    return sorted(found, key=lambda finding: (finding.level == "hint", -(finding.effect or 0)))


def by_cause(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return findings in their order, those of one cause together."""
    causes: dict[str, list[Finding]] = {}
    for finding in findings:
        causes.setdefault(KINDS[finding.kind].cause or finding.kind, []).append(finding)
    return list(causes.values())


def _owned_up(kind: str, seen: Seen, facts: Facts) -> Seen:
    """Say where advice was read from the test images, since there were no others."""
    from_test = facts.judged.split.template == "test" and not facts.predictions.of_folds
    if kind not in READS_HELD_OUT or seen.command is None or not from_test:
        return seen
    why = text(
        "{evidence} There is no val, so the test images say this; what you change after it is "
        "chosen on test.",
        evidence=seen.evidence,
    )
    return seen._replace(evidence=why)
