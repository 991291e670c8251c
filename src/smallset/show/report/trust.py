"""What is gained by trusting only the answers that a network is sure of."""

from typing import Any

import numpy as np

from smallset.record.measures import held_out_share, tempered
from smallset.record.predictions import Predictions

MOST = 200
"""Places on the curve: more cannot be told apart on a screen."""
FEWEST = 20
"""Images that the curve begins with: the share of fewer says little."""


def trust(predictions: Predictions, temperature: float, folds: int) -> dict[str, Any] | None:
    """Return, for falling limits of the probability, how many test images pass and are right.

    Args:
        folds: That judged each other; 0 where there is a test split. Their intervals are wider.

    Returns:
        Lists of equal length: "limit" (the probability from which answers are trusted), "share" (of
        the images that pass), "right" (of these) with "low" and "high"; and "open", the place with
        the most images that has half as many of them wrong as all have. None without test images.

    Source:
        The curve of risk and coverage: El-Yaniv & Wiener 2010.
    """
    rows = np.flatnonzero(predictions.splits == "test")
    if not len(rows):
        return None
    sure = np.exp(tempered(predictions.probs[rows], temperature).max(axis=1))
    order = np.argsort(-sure, kind="stable")
    sure, hits = sure[order], (predictions.predicted == predictions.labels)[rows][order].cumsum()
    # Images that are equally sure pass together.
    last = np.flatnonzero(np.append(sure[:-1] != sure[1:], True))
    last = last[last >= min(FEWEST, len(rows)) - 1]
    if len(last) > MOST:
        last = last[np.unique(np.linspace(0, len(last) - 1, MOST).round().astype(int))]
    shares = [held_out_share(int(hits[at]), int(at) + 1, folds=folds) for at in last]
    wanted = (1 + shares[-1].value) / 2
    good = [n for n, each in enumerate(shares) if each.value >= wanted]
    return {
        # Rounded down, so that the last of those that pass does; no softmax is 1.
        "limit": np.floor(np.minimum(sure[last], 1 - 1e-6) * 1e6) / 1e6,
        "share": np.round((last + 1) / len(rows), 4),
        "right": [round(each.value, 4) for each in shares],
        "low": [round(each.low, 4) for each in shares],
        "high": [round(each.high, 4) for each in shares],
        "open": good[-1] if good else len(last) - 1,
    }
