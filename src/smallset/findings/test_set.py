"""What is wrong with the images: too few, in two splits, or with labels that look wrong."""

import shlex

import numpy as np
from scipy.stats import poisson

from smallset.findings.facts import Facts, Seen, level_of
from smallset.record.measures import held_out_share, tempered
from smallset.record.predictions import Predictions
from smallset.stats import LEVEL
from smallset.words import text

WORTH = 0.5  # points of accuracy that leaks must be worth to be a problem


def leak(facts: Facts) -> Seen | None:
    """Test images that were trained on: the same pixels in both splits."""
    said = facts.predictions
    learnt: dict[str, set[int]] = {}
    for row in facts.train:
        learnt.setdefault(said.ids[row], set()).add(int(said.labels[row]))
    both = tuple(int(row) for row in facts.test if said.ids[row] in learnt)
    if not both:
        return None
    same = sum(int(said.labels[row]) in learnt[said.ids[row]] for row in both)
    high, low = (100 * count / len(facts.test) for count in (same, len(both) - same))
    counts = {"count": len(both), "all": len(facts.test), "high": high, "low": low}
    if not low:
        sentence = text("{count} of {all} test images are also training images: the test accuracy "
                        "can be too high by up to {high:.1f} points.", **counts)  # fmt: skip
    elif not high:
        sentence = text("{count} of {all} test images are also training images with another label: "
                        "the test accuracy can be too low by up to {low:.1f} points.",
                        **counts)  # fmt: skip
    else:
        sentence = text("{count} of {all} test images are also training images, some with another "
                        "label: the test accuracy can be too high by up to {high:.1f} points, or "
                        "too low by up to {low:.1f}.", **counts)  # fmt: skip
    evidence = text("They have exactly the same pixels; the first is {path}.",
                    path=said.paths[both[0]])  # fmt: skip
    level = "hint" if max(high, low) < WORTH else None
    check = shlex.join(["smallset", "check", facts.data])
    return Seen(sentence, evidence, check, both, level, max(high, low))


def few_test_images(facts: Facts) -> Seen | None:
    """A test set that cannot tell runs apart."""
    count, folds = len(facts.test), facts.folds
    right = facts.right[facts.test]
    seen = held_out_share(int(right.sum()), count, folds=folds)
    half = 100 * (seen.high - seen.low) / 2
    if half < 3.5:
        return None
    small = text("The test set is small: {count} images give the accuracy to ±{half:.1f} points.",
                 count=count, half=half)  # fmt: skip
    few = text("There are few images: {count} give the accuracy to ±{half:.1f} points.",
               count=count, half=half)  # fmt: skip
    return Seen(
        few if folds else small,
        text(
            "Four times as many pictures would halve that. A smaller difference between two runs "
            "means nothing by itself; a study (smallset study) compares runs image by image, and "
            "says which differences are more than luck."
        ),
    )


def label_errors(facts: Facts) -> Seen | None:
    """Images that a good network is sure show another class than their label says."""
    scale = 1.0 if facts.temperature is None else facts.temperature.value  # None: is in already
    rows = label_suspects(facts.predictions, scale)
    if not rows:
        return None
    first, predictions = rows[0], facts.predictions
    clean = shlex.join(["smallset", "clean", facts.data, "--out", "CLEAN", "--with", "self"])
    return Seen(
        text(
            "{count} images may be mislabelled: the network is sure that they show another class.",
            count=len(rows),
        ),
        text(
            "The first, {path}, is labelled {label}; the network says {said} with {p:.1%}. Look at "
            "the images before you believe either.",
            path=predictions.paths[first],
            label=predictions.classes[predictions.given_labels[first]],
            said=predictions.classes[predictions.predicted[first]],
            p=float(predictions.probs[first].max()),
        ),
        # Cleaning judges every split but test.
        clean if any(predictions.splits[row] != "test" for row in rows) else None,
        rows,
        level_of(100 * len(rows) / len(predictions.labels)),  # of images: nobody knows the points
    )


def label_suspects(predictions: Predictions, temperature: float) -> tuple[int, ...]:
    """Return images whose label a good network contradicts with near certainty, surest first.

    Sure means by probabilities over the temperature, which makes none of them surer. A network
    that is right in less than 90 % of the test images accuses nobody, and neither does one that
    contradicts no more labels than a network with such probabilities is wrong about: those are hard
    images. Which of the images are mislabelled only a look can tell.
    """
    test = predictions.splits == "test"
    if (predictions.predicted == predictions.labels)[test].mean() < 0.9:
        return ()
    probs = np.exp(tempered(predictions.probs, max(temperature, 1.0)))
    given = probs[np.arange(len(probs)), predictions.given_labels]
    sure = probs.max(axis=1) >= 0.95
    suspect = sure & (given <= 0.02)
    found: list[int] = []
    for split in dict.fromkeys(predictions.splits.tolist()):
        of_split = predictions.splits == split
        own_mistakes = float((1 - probs.max(axis=1))[of_split & sure].sum())
        if poisson.sf((of_split & suspect).sum() - 1, own_mistakes) < LEVEL:
            found += np.flatnonzero(of_split & suspect).tolist()
    return tuple(sorted(found, key=lambda row: given[row]))
