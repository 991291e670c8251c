"""What was learnt by heart, what is taken for each other, and how far probabilities hold."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.stats import binom

from smallset.findings.facts import Facts, Finding
from smallset.record.measures import calibration, share_interval, temperature
from smallset.record.predictions import Predictions
from smallset.words import Text, text

AGAINST_HEART = {"augment.flip": True, "augment.crop_fraction": 0.1, "optim.weight_decay": 0.001}
"""Settings that keep a net from learning the training images by heart."""


def swallowing(facts: Facts) -> Finding | None:
    """One class that takes far more predictions than it has images."""
    said = np.bincount(facts.predictions.predicted[facts.test], minlength=facts.num_classes)
    there = np.bincount(facts.predictions.labels[facts.test], minlength=facts.num_classes)
    k = int(said.argmax())
    share, true = said[k] / len(facts.test), there[k] / len(facts.test)
    least = max(4 * true, 0.15) if facts.num_classes > 4 else true + 0.3
    if share_interval(int(said[k]), len(facts.test)).low <= least:
        return None
    return Finding(
        "one-class", "problem",
        text("One class swallows the predictions: {share:.0%} of the test images are called "
             "{name}.", share=share, name=facts.predictions.classes[k]),
        text("It has {true:.0%} of them. A net that has learnt nothing, or whose embeddings "
             "collapsed, looks like this.", true=true),
        None, classes=(k,), images=_wrong(facts, predicted=k),
    )  # fmt: skip


def overfitting(facts: Facts) -> Finding | None:
    """Far better on the images trained on than on others."""
    predictions = facts.predictions
    as_told = (predictions.predicted == predictions.given_labels)[facts.train]
    known = share_interval(int(as_told.sum()), len(as_told))
    tested = share_interval(int(facts.right[facts.test].sum()), len(facts.test))
    if known.value < 0.6 or known.low - tested.high < 0.1:
        return None
    augment = facts.settings["augment"]
    if not augment["flip"] or not augment["crop_fraction"]:
        changes = dict(AGAINST_HEART)
    elif not facts.settings["optim"]["weight_decay"]:
        changes = {"optim.weight_decay": 0.001}
    else:
        changes = {"data.train_on": "train+val+extra"}
    return Finding(
        "overfitting", "problem",
        text("Overfitting: {known:.0%} of the training images are known, {tested:.0%} of the test "
             "images.", known=known.value, tested=tested.value),
        text("The gap is at least {gap:.0f} points. Changing the training images at random, weight "
             "decay, more images or a pretrained net narrow it.",
             gap=100 * (known.low - tested.high)),
        facts.try_next(changes),
    )  # fmt: skip


def memorised(facts: Facts) -> Finding | None:
    """Classes learnt by heart: known on train, but on test worse than the net as a whole."""
    classes = memorised_classes(facts.predictions)
    if not classes:
        return None
    labels = facts.predictions.labels
    recall = {
        split: {k: float(facts.right[rows][labels[rows] == k].mean()) for k in classes}
        for split, rows in (("train", facts.train), ("test", facts.test))
    }
    names = [facts.predictions.classes[k] for k in classes]
    first = classes[0]
    taken = facts.predictions.predicted[facts.test][labels[facts.test] == first]
    wrong = np.bincount(taken[taken != first], minlength=facts.num_classes)
    return Finding(
        "memorised", "problem",
        text("Learnt by heart, not understood: {names}.", names=_listed(names)),
        text("Of {name} it knows {train:.0%} of the training images and {test:.0%} of the test "
             "images (all classes together: {all:.0%}); the others it most often calls {other}.",
             name=names[0], train=recall["train"][first], test=recall["test"][first],
             all=float(facts.right[facts.test].mean()),
             other=facts.predictions.classes[int(wrong.argmax())]),
        facts.try_next({"augment.flip": True, "augment.crop_fraction": 0.1, "augment.color": 0.2}),
        classes=tuple(classes),
        images=tuple(i for k in classes for i in _wrong(facts, label=k)),
    )  # fmt: skip


def memorised_classes(predictions: Predictions) -> list[int]:
    """Return the classes known on train but beyond chance worse than the whole on test.

    Worst first. The intervals are widened for the number of classes looked at.
    """
    right = predictions.predicted == predictions.labels
    is_test, is_train = predictions.splits == "test", predictions.splits == "train"
    overall, num_classes = right[is_test].mean(), len(predictions.classes)
    found: list[tuple[float, int]] = []
    for k in range(num_classes):
        train = right[is_train & (predictions.labels == k)]
        test = right[is_test & (predictions.labels == k)]
        if len(train) and len(test) and train.mean() >= 0.9:
            high = share_interval(int(test.sum()), len(test), level=1 - 0.05 / num_classes).high
            if high < min(overall, train.mean() - 0.3):
                found.append((float(test.mean()), k))
    return [k for _, k in sorted(found)]


def wrong_labels_learnt(facts: Facts) -> Finding | None:
    """Added label noise that the net learnt by heart."""
    predictions = facts.predictions
    flipped = facts.train[predictions.given_labels[facts.train] != predictions.labels[facts.train]]
    if len(flipped) < 10:
        return None
    told = int((predictions.predicted[flipped] == predictions.given_labels[flipped]).sum())
    learnt = share_interval(told, len(flipped))
    if learnt.low < 0.3:
        return None
    true = float((predictions.predicted[flipped] == predictions.labels[flipped]).mean())
    return Finding(
        "wrong-labels-learnt", "problem",
        text("It learnt {share:.0%} of the {count} wrong training labels by heart.",
             share=learnt.value, count=len(flipped)),
        text("Of those images it gives {true:.0%} their true class. Cleaning before training takes "
             "most wrong labels out; changing the images at random and weight decay keep a net "
             "from learning the rest.", true=true),
        facts.try_next(AGAINST_HEART if facts.settings["data"]["clean"] else
                       {"data.clean": "self"}),
    )  # fmt: skip


def confused(facts: Facts) -> Finding | None:
    """Pairs of classes taken for each other more often than scattered errors would be."""
    counts, k = facts.predictions.confusion("test"), facts.num_classes
    pairs = confused_pairs(counts)
    # A net that guesses confuses everything, mostly with the class it likes best.
    if not pairs or facts.right[facts.test].mean() < 1 / k + 0.1:
        return None
    i, j = pairs[0]
    names = facts.predictions.classes
    listed = [text("{a} and {b}", a=names[a], b=names[b]) for a, b in pairs[:4]]
    return Finding(
        "confused", "hint",
        text("Often taken for each other: {pairs}.", pairs=_joined(listed)),
        text("{there} of {of} images of {a} are called {b}, and {back} of {back_of} the other way; "
             "evenly spread errors would give {expected:.1f}.",
             there=int(counts[i, j]), of=int(counts[i].sum()), a=names[i], b=names[j],
             back=int(counts[j, i]), back_of=int(counts[j].sum()),
             expected=float((counts[i].sum() - counts[i, i]) / (k - 1))),
        None, classes=tuple(dict.fromkeys(c for pair in pairs[:4] for c in pair)),
        images=tuple(row for a, b in pairs[:4] for x, y in ((a, b), (b, a))
                     for row in _wrong(facts, label=x, predicted=y)),
    )  # fmt: skip


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


def overconfident(facts: Facts) -> Finding | None:
    """Probabilities that promise more than is kept."""
    probs = facts.predictions.probs[facts.test]
    seen = calibration(probs.max(axis=1), facts.right[facts.test])
    if len(facts.test) < 100 or abs(seen.gap) - 2 * np.sqrt(0.25 / len(facts.test)) < 0.05:
        return None
    right = float(facts.right[facts.test].mean())
    shares = {"said": float(probs.max(axis=1).mean()), "true": right}
    sentence = (
        text("Its probabilities are too high: {said:.0%} in the mean, and {true:.0%} are right.",
             **shares)
        if seen.gap > 0
        else text("Its probabilities are too low: {said:.0%} in the mean, and {true:.0%} are "
                  "right.", **shares)
    )  # fmt: skip
    t = temperature(probs, facts.predictions.labels[facts.test])
    return Finding(
        "miscalibrated", "hint", sentence,
        text("Expected calibration error {error:.1%}. Divided by a temperature of {t:.2f} the "
             "logits would be right in the mean; until then, do not read 0.9 as nine in ten.",
             error=seen.error, t=t),
        None,
    )  # fmt: skip


def _wrong(facts: Facts, *, label: int | None = None, predicted: int | None = None) -> tuple:
    """Return the wrong test images of a class, predicted as a class."""
    p = facts.predictions
    keep = ~facts.right[facts.test]
    if label is not None:
        keep &= p.labels[facts.test] == label
    if predicted is not None:
        keep &= p.predicted[facts.test] == predicted
    return tuple(int(row) for row in facts.test[keep])


def _listed(names: Sequence[str], most: int = 6) -> Text:
    if len(names) <= most:
        return text("{names}", names=", ".join(names))
    return text("{names} and {more} more", names=", ".join(names[:most]), more=len(names) - most)


def _joined(texts: Sequence[Text]) -> Text:
    """Return texts joined by commas, to be said in one language."""
    joined = texts[0]
    for each in texts[1:]:
        joined = text("{first}, {second}", first=joined, second=each)
    return joined
