"""The table of classes on a run's page: what is recognised, and how surely that is known."""

from typing import Any

import numpy as np

from smallset.findings.facts import Facts
from smallset.findings.mistakes import memorised_classes
from smallset.record.measures import class_scores, held_out_share
from smallset.stats import Interval


def class_rows(facts: Facts, folds: int) -> list[dict[str, Any]]:
    """Return a line for every class, the one recognised least often first.

    Args:
        folds: That judged each other; 0 where there is a test split. Their intervals are wider.
    """
    predictions = facts.predictions
    counts = predictions.confusion("test")
    train = predictions.recall("train")
    learnt = set(memorised_classes(predictions, facts.judged.rows))
    rows = []
    for k, score in enumerate(class_scores(counts)):
        wrong = counts[k].copy()
        wrong[k] = 0
        often = [int(j) for j in np.argsort(-wrong, kind="stable")[:2] if wrong[j]]
        name, right = predictions.classes[k], int(counts[k, k])
        rows.append({
            "number": k, "name": name, "images": score.images, "train_recall": train[name],
            "recall": _share(right, int(counts[k].sum()), folds),
            "precision": _share(right, int(counts[:, k].sum()), folds),
            "memorised": k in learnt,
            "confused": ", ".join(f"{predictions.classes[j]} ({wrong[j]})" for j in often),
        })  # fmt: skip
    return sorted(rows, key=lambda row: 2.0 if row["recall"] is None else row["recall"].value)


def _share(right: int, total: int, folds: int) -> Interval | None:
    return held_out_share(right, total, folds=folds) if total else None
