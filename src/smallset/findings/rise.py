"""Whether accuracy on val was still rising when training ended: lines of epochs.jsonl in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset.words import Text, text


class Rise(NamedTuple):
    """How much accuracy on val still rose at the end of training."""

    gain: float
    """In [0, 1]."""
    epochs: int
    """The last so many against as many before; 1: the last against the best before."""
    left: int
    """Epochs after the rise, at a rate that had just fallen."""

    @property
    def said(self) -> Text:
        """Return what was seen, in words."""
        if self.left:
            return text(
                "Accuracy on val still rose by {gain:.1f} points, and its loss fell, in the last "
                "epoch before the learning rate fell; training ended one epoch later.",
                gain=100 * self.gain,
            )
        if self.epochs == 1:
            return text(
                "In the last epoch accuracy on val rose by {gain:.1f} points over the best before, "
                "and its loss fell.",
                gain=100 * self.gain,
            )
        return text(
            "Accuracy on val rose by {gain:.1f} points from the {k} epochs before to the last {k}, "
            "and its loss fell.",
            gain=100 * self.gain,
            k=self.epochs,
        )


def last_rise(stage: Sequence[Mapping[str, Any]], num_val: int) -> Rise | None:
    """Return the rise at the end of a stage that chance does not explain; None if there is none.

    What a fall of the rate brought is not what more epochs would bring, so epochs after the last
    fall are compared with each other. Where it left a single one, the epochs before it say whether
    training had levelled off by then.

    Args:
        stage: Its lines of epochs.jsonl, or their means over seeds.
        num_val: Number of val images.
    """
    if not stage or not num_val or stage[0]["val_accuracy"] is None:
        return None
    fell_at = falls(stage)
    settled = stage[max(fell_at, default=0) :]
    if len(stage) >= 6:
        k = min(max(2, round(0.2 * len(stage))), len(settled) // 2)
        if k < 2:
            return None
        scores, losses = _val(settled)
        gain = scores[-k:].mean() - scores[-2 * k : -k].mean()
        # Two scores of a net on the same images differ by chance by less than two of other nets.
        chance = np.sqrt(0.25 / num_val)
        fell = losses[-k:].mean() <= 0.98 * losses[-2 * k : -k].mean()
        return Rise(float(gain), k, 0) if gain >= max(0.015, chance) and fell else None
    if len(settled) == 1 and fell_at:
        before = stage[max(fell_at[:-1], default=0) : fell_at[-1]]
        return _last_step(before, num_val, left=1)
    return _last_step(settled, num_val, left=0)


def _last_step(shown: Sequence[Mapping[str, Any]], num_val: int, *, left: int) -> Rise | None:
    """Return the rise of the last epoch over the best before, if it is clear of chance."""
    if len(shown) < 2:
        return None
    scores, losses = _val(shown)
    best, last = scores[:-1].max(), scores[-1]
    # One-sided 5 %, as if the two had seen other images: on the same ones they differ by less, and
    # accuracy that goes up and down at a constant rate is hardly ever so far over all before.
    error = np.sqrt((best * (1 - best) + last * (1 - last)) / num_val)
    fell = losses[-1] <= 0.98 * losses[:-1].min()
    return Rise(float(last - best), 1, left) if last - best > 1.645 * error and fell else None


def _val(lines: Sequence[Mapping[str, Any]]) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Return accuracy and loss on val, by epoch."""
    accuracy, loss = (
        np.array([each[f"val_{of}"] for each in lines]) for of in ("accuracy", "loss")
    )
    return accuracy, loss


def falls(stage: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the epochs at whose start the rate fell to half or less."""
    return [n for n in range(1, len(stage)) if stage[n]["lr"] <= 0.5 * stage[n - 1]["lr"]]
