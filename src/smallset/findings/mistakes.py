"""What was memorised, which classes are confused, and how far probabilities hold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.stats import binom

from smallset.findings.facts import Facts, Seen, level_of
from smallset.paired import mcnemar
from smallset.record.measures import UNEVEN, calibration
from smallset.record.predictions import Predictions
from smallset.stats import LEVEL, share_interval
from smallset.words import joined, some, text

AGAINST_MEMORISING = {
    "augment.flip": True,
    "augment.crop_fraction": 0.1,
    "optim.weight_decay": 0.001,
}
"""Settings that keep a network from memorising its training images."""


def one_class(facts: Facts) -> Seen | None:
    """One class that gets far more predictions than it has images."""
    said = np.bincount(facts.predictions.predicted[facts.test], minlength=facts.num_classes)
    labels = np.bincount(facts.predictions.labels[facts.test], minlength=facts.num_classes)
    k = int(said.argmax())
    share, true = said[k] / len(facts.test), labels[k] / len(facts.test)
    least = max(4 * true, 0.15) if facts.num_classes > 4 else true + 0.3
    if share_interval(int(said[k]), len(facts.test)).low <= least:
        return None
    return Seen(
        text(
            "One class gets most predictions: {share:.0%} of the test images are predicted as "
            "{name}.",
            share=share,
            name=facts.predictions.classes[k],
        ),
        text(
            "Only {true:.0%} of them are. Networks that learnt nothing, or whose embeddings "
            "collapsed, predict like this.",
            true=true,
        ),
        images=_wrong(facts, facts.test, predicted=k),
        effect=100 * len(_wrong(facts, facts.test, predicted=k)) / len(facts.test),
    )


def overfitting(facts: Facts) -> Seen | None:
    """Far better on the images trained on than on others."""
    predictions = facts.predictions
    if not len(facts.train):
        return None
    as_told = (predictions.predicted == predictions.given_labels)[facts.train]
    known = share_interval(int(as_told.sum()), len(as_told))
    rows, split = facts.judged
    tested = share_interval(int(facts.right[rows].sum()), len(rows))
    if known.value < 0.6 or known.low - tested.high < 0.1:
        return None
    augment = facts.settings["augment"]
    if not augment["flip"] or not augment["crop_fraction"]:
        changes = dict(AGAINST_MEMORISING)
    elif not facts.settings["optim"]["weight_decay"]:
        changes = {"optim.weight_decay": 0.001}
    else:
        changes = {"data.train_on": "train+val+extra"}
    return Seen(
        text(
            "Overfitting: {known:.0%} of the training images are predicted right, but only "
            "{tested:.0%} of the {split} images.",
            known=known.value,
            tested=tested.value,
            split=split,
        ),
        text(
            "The gap is at least {gap:.0f} points. Augmentation, weight decay, more images or a "
            "pretrained network narrow it.",
            gap=100 * (known.low - tested.high),
        ),
        facts.try_next(changes),
        effect=100 * (known.value - tested.value),
    )


def memorised(facts: Facts) -> Seen | None:
    """Classes that are known on train, but on test worse than the network as a whole."""
    rows, split = facts.judged
    classes = memorised_classes(facts.predictions, rows)
    if not classes:
        return None
    labels, first = facts.predictions.labels, classes[0]
    train, judged = (
        float(facts.right[those][labels[those] == first].mean()) for those in (facts.train, rows)
    )
    names = [facts.predictions.classes[k] for k in classes]
    given = facts.predictions.predicted[rows][labels[rows] == first]
    wrong = np.bincount(given[given != first], minlength=facts.num_classes)
    right = facts.right[rows]
    # What there is to win if these classes were recognised as often as the network's average.
    behind = sum((right.mean() - right[labels[rows] == k]).sum() for k in classes)
    return Seen(
        text("Memorised, not learnt: {names}.", names=some(names, 6)),
        text(
            "Of {name}, {train:.0%} of the training images are predicted right and {judged:.0%} of "
            "the {split} images (all classes together: {all:.0%}). Its other images are most often "
            "predicted as {other}.",
            name=names[0],
            train=train,
            judged=judged,
            split=split,
            all=float(facts.right[rows].mean()),
            other=facts.predictions.classes[int(wrong.argmax())],
        ),
        facts.try_next({"augment.flip": True, "augment.crop_fraction": 0.1, "augment.color": 0.2}),
        tuple(row for k in classes for row in _wrong(facts, rows, label=k)),
        effect=float(100 * behind / len(rows)),
        named=tuple(joined([name]) for name in names),
    )


def memorised_classes(predictions: Predictions, rows: Int[ndarray, " m"]) -> list[int]:
    """Return the classes known on train but beyond chance worse than the whole elsewhere.

    Worst first. The intervals are widened for the number of classes looked at.

    Args:
        rows: Of predictions.csv, of images that were not learnt from.
    """
    right = predictions.predicted == predictions.labels
    is_train, num_classes = predictions.splits == "train", len(predictions.classes)
    found: list[tuple[float, int]] = []
    for k in range(num_classes):
        train = right[is_train & (predictions.labels == k)]
        other = right[rows][predictions.labels[rows] == k]
        if len(train) and len(other) and train.mean() >= 0.9:
            high = share_interval(int(other.sum()), len(other), level=1 - 0.05 / num_classes).high
            if high < min(right[rows].mean(), train.mean() - 0.3):
                found.append((float(other.mean()), k))
    return [k for _, k in sorted(found)]


def wrong_labels_learnt(facts: Facts) -> Seen | None:
    """Added label noise that the network memorised."""
    predictions = facts.predictions
    flipped = facts.train[predictions.given_labels[facts.train] != predictions.labels[facts.train]]
    if len(flipped) < 10:
        return None
    as_told = int((predictions.predicted[flipped] == predictions.given_labels[flipped]).sum())
    learnt = share_interval(as_told, len(flipped))
    if learnt.low < 0.3:
        return None
    true = float((predictions.predicted[flipped] == predictions.labels[flipped]).mean())
    is_cleaned = bool(facts.settings["data"]["clean"])
    return Seen(
        text(
            "The network memorised {share:.0%} of the {count} wrong training labels.",
            share=learnt.value,
            count=len(flipped),
        ),
        text(
            "It predicts the true class of {true:.0%} of these images. Cleaning before training "
            "removes most wrong labels; augmentation and weight decay keep a network from "
            "memorising the rest.",
            true=true,
        ),
        facts.try_next(AGAINST_MEMORISING if is_cleaned else {"data.clean": "self"}),
        level=level_of(100 * as_told / len(facts.train)),  # of images: nobody knows the points
    )


def small_classes(facts: Facts) -> Seen | None:
    """Small classes that are recognised less often, and taken for large ones more than back.

    That they are recognised less often alone might be because they are hard: then as many images of
    large classes are taken for small ones.
    """
    sizes = np.bincount(facts.predictions.given_labels[facts.train], minlength=facts.num_classes)
    is_small = UNEVEN * sizes < sizes.max()
    rows, split = facts.judged
    of_small = is_small[facts.predictions.labels[rows]]
    said_small = is_small[facts.predictions.predicted[rows]]
    if not of_small.any() or of_small.all():
        return None
    right = facts.right[rows]
    small, large = (
        share_interval(int(right[which].sum()), int(which.sum())) for which in (of_small, ~of_small)
    )
    lost, gained = of_small & ~said_small, ~of_small & said_small
    p = mcnemar(of_small.astype(float), said_small.astype(float))
    if small.high >= large.low or lost.sum() <= gained.sum() or p >= LEVEL:
        return None
    return Seen(
        text(
            "Small classes pay for large ones: of the {count} classes with under a third of the "
            "training images of the largest, {small:.0%} of the {split} images are predicted "
            "right, of the others {large:.0%}.",
            split=split,
            count=int(is_small.sum()),
            small=small.value,
            large=large.value,
        ),
        text(
            "{lost} {split} images of small classes are taken for larger ones, and {gained} the "
            "other way. Where every class matters the same, let every class count the same in "
            "training.",
            split=split,
            lost=int(lost.sum()),
            gained=int(gained.sum()),
        ),
        facts.try_next(changes) if (changes := _balancing(facts.settings)) else None,
        tuple(int(row) for row in rows[lost]),
        effect=float(100 * (lost.sum() - gained.sum()) / len(rows)),
    )


def _balancing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes classes count the same in a run; nothing where something does already."""
    batches = settings["batches"]
    done = settings.get("balance", "none") != "none" or batches.get("balance", False)
    if done or batches["kind"] != "random" or settings["loss"] != "cross-entropy":
        return {}
    return {"balance": "logits"}


def confused(facts: Facts) -> Seen | None:
    """Pairs of classes confused more often than scattered errors would."""
    counts, k = facts.predictions.confusion("test"), facts.num_classes
    pairs = confused_pairs(counts)
    # A network that guesses confuses everything, mostly with the class it likes best.
    if not pairs or facts.right[facts.test].mean() < 1 / k + 0.1:
        return None
    i, j = pairs[0]
    names = facts.predictions.classes
    # Whichever way they are confused more often: two seeds then name the same pair.
    named = tuple(text("{a} and {b}", a=names[a], b=names[b]) for a, b in map(sorted, pairs))
    both_ways = [way for a, b in pairs[:4] for way in ((a, b), (b, a))]
    rows = tuple(
        row for x, y in both_ways for row in _wrong(facts, facts.test, label=x, predicted=y)
    )
    return Seen(
        text("Often confused: {names}.", names=joined(named[:4])),
        text(
            "{count} of {of} images of {a} are predicted as {b}, and {back} of {back_of} the other "
            "way; evenly spread errors would give {expected:.1f}.",
            count=int(counts[i, j]),
            of=int(counts[i].sum()),
            a=names[i],
            b=names[j],
            back=int(counts[j, i]),
            back_of=int(counts[j].sum()),
            expected=float((counts[i].sum() - counts[i, i]) / (k - 1)),
        ),
        images=rows,
        effect=100 * len(rows) / len(facts.test),
        named=named,
    )


def confused_pairs(counts: Int[ndarray, "classes classes"]) -> list[tuple[int, int]]:
    """Return pairs confused beyond chance and in a tenth of their images, worst first.

    Args:
        counts: counts[i, j]: images of class i predicted as j.
    """
    k = len(counts)
    if k < 3:
        return []
    i, j = np.triu_indices(k, 1)
    totals, wrong = counts.sum(axis=1), counts.sum(axis=1) - counts.diagonal()
    together = counts[i, j] + counts[j, i]
    share = together / np.maximum(totals[i] + totals[j], 1)
    p = binom.sf(together - 1, wrong[i] + wrong[j], 1 / (k - 1)) * len(i)
    found = sorted(
        (-share[n], int(i[n]), int(j[n])) for n in np.flatnonzero((share >= 0.1) & (p < 0.01))
    )
    return [(a, b) if counts[a, b] >= counts[b, a] else (b, a) for _, a, b in found]


def miscalibrated(facts: Facts) -> Seen | None:
    """Probabilities that promise more, or less, than is kept."""
    probs = facts.predictions.probs[facts.test]
    seen = calibration(probs.max(axis=1), facts.right[facts.test])
    if len(facts.test) < 100 or abs(seen.gap) - 2 * np.sqrt(0.25 / len(facts.test)) < 0.05:
        return None
    shares = {
        "said": float(probs.max(axis=1).mean()),
        "true": float(facts.right[facts.test].mean()),
    }
    high = text(
        "The probabilities are too high: {said:.0%} on average, but {true:.0%} are right.", **shares
    )
    low = text(
        "The probabilities are too low: {said:.0%} on average, and {true:.0%} are right.", **shares
    )
    fitted = facts.temperature
    error = text(
        "The expected calibration error is {error:.1%}; a perfect network would have {floor:.1%} "
        "on so many images.",
        error=seen.error, floor=seen.floor,
    )  # fmt: skip
    if fitted is None:
        advice = text(
            "{error} Each of the joined networks has a temperature of its own, by which `predict` "
            "divides its logits.",
            error=error,
        )
    elif fitted.why_not:
        advice = text(
            "{error} There are no val images to fit a temperature on. With some, or --folds, there "
            "are.",
            error=error,
        )
    elif fitted.source == "val":
        advice = text(
            "{error} `predict` divides the logits by a temperature of {t:.2f}, fitted on {count} "
            "val images.",
            error=error, t=fitted.value, count=fitted.images,
        )  # fmt: skip
    else:
        advice = text(
            "{error} `predict` divides the logits by a temperature of {t:.2f}, fitted on {count} "
            "images, each judged out of fold.",
            error=error, t=fitted.value, count=fitted.images,
        )  # fmt: skip
    return Seen(high if seen.gap > 0 else low, advice)


def _wrong(
    facts: Facts,
    rows: Int[ndarray, " m"],
    *,
    label: int | None = None,
    predicted: int | None = None,
) -> tuple[int, ...]:
    """Return those of some rows that are wrong, of a class, predicted as a class."""
    p = facts.predictions
    keep = ~facts.right[rows]
    if label is not None:
        keep &= p.labels[rows] == label
    if predicted is not None:
        keep &= p.predicted[rows] == predicted
    return tuple(int(row) for row in rows[keep])
