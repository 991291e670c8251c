"""How far the arms of a study were trained: alike or not, and whether they were still improving."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from smallset.compare.summary import Arm
from smallset.findings.rise import Rise, last_rise
from smallset.words import Text, listed, text

UNEQUAL = 1.1  # times the images that another arm saw
OF_VAL = ("val_accuracy", "val_loss")


def rise_of_arm(arm: Arm) -> Rise | None:
    """Return by how much the mean over an arm's seeds still rose on val; None if it did not.

    The mean goes up and down less than one seed; its val images are as many.
    """
    stages = [_last_stage(record.history) for record in arm.records]
    shortest = min(map(len, stages))
    ends = [stage[len(stage) - shortest :] for stage in stages]
    if not shortest or any(stage[-1]["val_accuracy"] is None for stage in ends):
        return None
    mean = [
        {**lines[0], **{k: np.mean([line[k] for line in lines]) for k in OF_VAL}}
        for lines in zip(*ends, strict=True)
    ]
    return last_rise(mean, int((arm.records[0].predictions.splits == "val").sum()))


def _last_stage(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in history if line["stage"] == history[-1]["stage"]]


def of_training(arms: Sequence[Arm]) -> list[Text]:
    """Say whether arms were trained alike, and which were still improving when training ended."""
    return [*alike(arms), *_still_improving(arms)]


def pair_in_training(first: Arm, second: Arm) -> list[Text]:
    """Say of two arms what their difference owes to how far they were trained."""
    said = []
    most, least = sorted((first, second), key=lambda arm: -arm.images_seen)
    if most.images_seen > UNEQUAL * least.images_seen:
        times = most.images_seen / least.images_seen if least.images_seen else float("inf")
        said.append(
            text("{most} saw {times:.3g} times as many images in training as {least}.",
                 most=most.name, least=least.name, times=times)
        )  # fmt: skip
    return said + _still_improving([first, second])


def _epochs(arms: Sequence[Arm]) -> int | None:
    """Return how many epochs every run had; None where they differ, or were no epochs."""
    counts = {len(record.history) for arm in arms for record in arm.records}
    return counts.pop() if len(counts) == 1 and max(counts) > 1 else None


def alike(arms: Sequence[Arm]) -> list[Text]:
    """Say whether arms were trained alike; nothing of a single one, or of heads alone."""
    least = min(arms, key=lambda arm: arm.images_seen)
    most = max(arms, key=lambda arm: arm.images_seen)
    if most.images_seen > UNEQUAL * least.images_seen:
        return [
            text(
                "The arms were not trained alike: {most} saw {more:,.0f} images (epochs times "
                "training images) in {longer:,.0f} s, {least} {fewer:,.0f} in {shorter:,.0f} s. "
                "What longer training gives is part of a difference.",
                longer=most.seconds, shorter=least.seconds,
                most=most.name, more=most.images_seen, least=least.name, fewer=least.images_seen,
            )
        ]  # fmt: skip
    epochs = _epochs(arms)
    if epochs is None or len(arms) == 1:
        return []
    return [text("All arms were trained for {epochs} epochs.", epochs=epochs)]


def _still_improving(arms: Sequence[Arm]) -> list[Text]:
    still = [arm.name for arm in arms if rise_of_arm(arm) is not None]
    if not still:
        return []
    if len(still) == len(arms) > 2:
        return [
            text("All of them were still improving on val when training ended: longer training may "
                 "change these results.")
        ]  # fmt: skip
    if len(still) == 1:
        return [
            text("{arm} was still improving on val when training ended: longer training may change "
                 "these results.", arm=still[0])
        ]  # fmt: skip
    return [
        text("{arms} were still improving on val when training ended: longer training may change "
             "these results.", arms=listed(still))
    ]  # fmt: skip
