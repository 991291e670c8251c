"""What a good colleague would see in a run: sentences with their evidence and the next command.

Each finding leaves room for chance (an interval, or a p value corrected for the number of things
looked at), so that it stays silent where nothing is to be seen. No torch here.
"""

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import binom
from scipy.stats import t as student

from smallset.compare.measures import calibration, share_interval, temperature
from smallset.learn.record import Predictions, Record
from smallset.words import Text, text

MARGIN_LOSSES = ("triplet-cosine", "triplet-euclidean")
AGAINST_HEART = {"augment.flip": True, "augment.crop_fraction": 0.1, "optim.weight_decay": 0.001}
"""Settings that keep a net from learning the training images by heart."""


@dataclass(frozen=True)
class Finding:
    """One thing to know about a run."""

    kind: str
    """Such as "overfitting"; the keys of `FINDERS`."""
    level: Literal["problem", "hint"]
    sentence: Text
    """What was seen, in plain words."""
    evidence: Text
    """The numbers behind it, and what they mean."""
    command: str | None
    """What to try next; None where nothing is to be run."""
    classes: tuple[int, ...] = ()
    """The classes concerned."""
    images: tuple[int, ...] = ()
    """Rows of predictions.csv concerned."""


@dataclass(frozen=True)
class Facts:
    """What the findings look at."""

    predictions: Predictions
    history: Sequence[Mapping[str, Any]]
    """Lines of epochs.jsonl."""
    settings: Mapping[str, Any]
    """The nested settings of config.json."""
    embeddings: Mapping[str, Float[ndarray, "n dim"]]
    """By split: train and test."""
    command: Any
    """Called with dotted settings, returns the command line of the run with these changed."""
    data: str = "DATA"
    """What the data is called on the command line."""

    def try_next(self, changes: Mapping[str, Any]) -> str | None:
        """Return the command line with settings changed; None if that is how the run was trained.

        Args:
            changes: Dotted settings and their new values.
        """
        command = self.command(changes)
        return None if command == self.command({}) else command

    def rows(self, split: str) -> Int[ndarray, " m"]:
        """Return the rows of a split.

        Args:
            split: Its name.
        """
        return np.flatnonzero(self.predictions.splits == split)

    @cached_property
    def test(self) -> Int[ndarray, " m"]:
        """Rows of the test images."""
        return self.rows("test")

    @cached_property
    def train(self) -> Int[ndarray, " m"]:
        """Rows of the training images."""
        return self.rows("train")

    @cached_property
    def right(self) -> ndarray:
        """Whether each image was predicted as the data says."""
        return self.predictions.predicted == self.predictions.labels

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.predictions.classes)

    def stages(self) -> list[list[Mapping[str, Any]]]:
        """Return the epochs of each stage."""
        numbers = sorted({line["stage"] for line in self.history})
        return [[line for line in self.history if line["stage"] == n] for n in numbers]


def read_facts(record: Record) -> Facts:
    """Read what the findings need from a record.

    Args:
        record: A finished run.

    Raises:
        DataError: If a file of the record is missing.
    """
    return Facts(
        record.predictions, record.history, record.config["config"],
        {split: record.embeddings(split) for split in ("train", "test")},
        record.command, record.config["data"]["source"],
    )  # fmt: skip


def find(facts: Facts) -> list[Finding]:
    """Return what is to be said about a run, problems first.

    Args:
        facts: Of the run.
    """
    found = [finding for finder in FINDERS.values() if (finding := finder(facts)) is not None]
    return sorted(found, key=lambda finding: finding.level == "hint")


def leaks(facts: Facts) -> Finding | None:
    """Test images that were trained on: the same pixels in both splits.

    Args:
        facts: Of the run.
    """
    ids = facts.predictions.ids
    seen = {ids[row] for row in facts.train}
    both = tuple(int(row) for row in facts.test if ids[row] in seen)
    if not both:
        return None
    return Finding(
        "leak", "problem",
        text("{count} test images are also training images, so the test accuracy is too high.",
             count=len(both)),
        text("They have exactly the same pixels; the first is {path}.",
             path=facts.predictions.paths[both[0]]),
        f"smallset check {facts.data}", images=both,
    )  # fmt: skip


def not_learning(facts: Facts) -> Finding | None:
    """A net that does not even learn its training images, and whether the gradient is why.

    Args:
        facts: Of the run.
    """
    stage = facts.stages()[-1]
    first, last = stage[0], stage[-1]
    chance = 1 / facts.num_classes
    moved = (first["train_loss"] - last["train_loss"]) / max(abs(first["train_loss"]), 1e-12)
    accuracy = last["train_accuracy"]
    if len(stage) < 5 or accuracy > chance + 0.1 * (1 - chance) or moved > 0.1:
        return None
    sentence = text(
        "The net did not learn: after {epochs} epochs it knows {accuracy:.1%} of its own training "
        "images (guessing: {chance:.1%}).",
        epochs=len(stage), accuracy=accuracy, chance=chance,
    )  # fmt: skip
    name, lr = last["objective"], facts.settings["lr"]
    ratio = gradient_ratio(facts, name)
    if ratio is not None and ratio < 0.1:
        evidence = text(
            "At its predictions the gradient of the loss {loss} is {times:,.0f} times smaller than "
            "that of cross-entropy, so the rate {lr:g} acts like {acts:.1g}. The loss moved by "
            "{moved:.1%} in all.",
            loss=name, times=1 / ratio, lr=lr, acts=lr * ratio, moved=moved,
        )  # fmt: skip
        return Finding(
            "gradients-too-small", "problem", sentence, evidence,
            facts.try_next({"lr": float(f"{lr / ratio:.1g}")}),
        )  # fmt: skip
    if moved < 0:
        evidence = text(
            "The training loss rose from {first:.3g} to {last:.3g}: the rate {lr:g} is too high.",
            first=first["train_loss"], last=last["train_loss"], lr=lr,
        )  # fmt: skip
        return Finding(
            "gradients-too-large", "problem", sentence, evidence, facts.try_next({"lr": lr / 10})
        )
    evidence = text(
        "The training loss moved by {moved:.1%} in all: the rate {lr:g} may be too low.",
        moved=moved, lr=lr,
    )  # fmt: skip
    return Finding("not-learning", "problem", sentence, evidence, facts.try_next({"lr": lr * 10}))


def gradient_ratio(facts: Facts, loss: str) -> float | None:
    """Return how large a loss's gradient is against that of cross-entropy; None if not known.

    Both are taken with respect to the logits of the training images, at the run's predictions.
    With p the probabilities and y the one-hot labels, that of cross-entropy is (p - y) / B, that of
    ||p - y||^2 summed over a batch of B is 2 p * (p - y - <p, p - y>), and `mse` divides it by B K.

    Args:
        facts: Of the run.
        loss: Name of the loss.
    """
    p, labels = facts.predictions.probs[facts.train], facts.predictions.given_labels[facts.train]
    size = facts.settings["batches"]["size"]
    difference = p.copy()
    difference[np.arange(len(p)), labels] -= 1
    cross_entropy = np.linalg.norm(difference, axis=1).mean() / size
    squared = 2 * p * (difference - (p * difference).sum(axis=1, keepdims=True))
    summed = np.linalg.norm(squared, axis=1).mean()
    if loss == "gce":
        power = p[np.arange(len(p)), labels] ** facts.settings["loss_args"]["gce_q"]
        weighted = power * np.linalg.norm(difference, axis=1)
        return float(weighted.mean() / size / max(cross_entropy, 1e-12))
    known = {"squared": summed, "mse": summed / (size * p.shape[1])}
    return None if loss not in known else float(known[loss] / max(cross_entropy, 1e-12))


def unstable(facts: Facts) -> Finding | None:
    """A training loss that jumps up again and again: steps that are too large.

    Args:
        facts: Of the run.
    """
    for stage in facts.stages():
        losses = [line["train_loss"] for line in stage]
        rises = [b for a, b in itertools.pairwise(losses) if b > 1.2 * a]
        if len(rises) >= 3:
            lr = facts.settings["lr"]
            return Finding(
                "gradients-too-large", "problem",
                text("Training is unstable: the loss rose by more than a fifth in {count} of "
                     "{epochs} epochs.", count=len(rises), epochs=len(losses)),
                text("Such jumps come from steps that are too large for the loss; the rate is "
                     "{lr:g}.", lr=lr),
                facts.try_next({"lr": lr / 10}),
            )  # fmt: skip
    return None


def collapse(facts: Facts) -> Finding | None:
    """Embeddings that fell together to a point, the end of many triplet trainings.

    Signature: the loss stands at the margin (softplus(0) = 0.693 with the soft margin), and the
    embeddings hardly differ (Hermans et al. 2017, section 3.2, on the same plateau).

    Args:
        facts: Of the run.
    """
    for stage in facts.stages():
        name = stage[0]["objective"]
        if name not in MARGIN_LOSSES:
            continue
        args = facts.settings["loss_args"]
        at_point = float(np.log(2)) if args["soft_margin"] else args["margin"]
        loss = stage[-1]["train_loss"]
        spread = _spread(facts.embeddings["train"], unit=name == "triplet-cosine")
        values = {"loss": loss, "margin": at_point, "spread": spread, "name": name}
        if spread < 0.05 and abs(loss - at_point) <= 0.02 * max(at_point, 1e-12):
            return Finding(
                "collapse", "problem",
                text("The embeddings collapsed: all images lie within {spread:.1%} of one point.",
                     **values),
                text("The loss {name} ended at {loss:.3f}, where it stands when all embeddings are "
                     "equal ({margin:.3g}). A soft margin does not stand still there, and batches "
                     "of few classes with several images each are less hard.", **values),
                facts.try_next({"loss_args.soft_margin": True, "batches.kind": "pk",
                               "batches.classes_per_batch": min(8, facts.num_classes)}),
            )  # fmt: skip
        if loss >= at_point:
            return Finding(
                "triplet-stuck", "hint",
                text("The triplet stage taught little: its loss never fell below the margin.",
                     **values),
                text("The loss {name} ended at {loss:.3f}, margin {margin:.3g}: in the mean batch "
                     "the hardest image of another class is still nearer than the hardest of the "
                     "own class. The embeddings did not collapse (spread {spread:.0%}).", **values),
                facts.try_next({"batches.kind": "pk",
                               "batches.classes_per_batch": min(8, facts.num_classes)}),
            )  # fmt: skip
    return None


def _spread(embeddings: Float[ndarray, "n dim"], *, unit: bool) -> float:
    """Return the root mean square distance to the mean, over that to the origin."""
    vectors = embeddings.astype(np.float64)
    if unit:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    length = np.sqrt((vectors**2).sum(axis=1).mean())
    around = np.sqrt(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean())
    return float(around / max(length, 1e-12))


def swallowing(facts: Facts) -> Finding | None:
    """One class that takes far more predictions than it has images.

    Args:
        facts: Of the run.
    """
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
    """Far better on the images trained on than on others.

    Args:
        facts: Of the run.
    """
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


def still_improving(facts: Facts) -> Finding | None:
    """Accuracy on val that was still rising when training ended.

    Args:
        facts: Of the run.
    """
    stage, num_val = facts.stages()[-1], len(facts.rows("val"))
    # What a fall of the rate brought is not what more epochs would bring.
    settled = stage[max(_falls(stage), default=0) :]
    k = min(max(2, round(0.2 * len(stage))), len(settled) // 2)
    if len(stage) < 6 or k < 2 or not num_val:
        return None
    stage = settled
    scores = np.array([line["val_accuracy"] for line in stage])
    losses = np.array([line["val_loss"] for line in stage])
    gain = scores[-k:].mean() - scores[-2 * k : -k].mean()
    # Two scores of a net on the same images differ by chance by less than two of different nets.
    chance = np.sqrt(0.25 / num_val)
    if gain < max(0.015, chance) or losses[-k:].mean() > 0.98 * losses[-2 * k : -k].mean():
        return None
    changes: dict[str, Any] = {"epochs": 2 * facts.settings["epochs"]}
    schedule = facts.settings["schedule"]
    if schedule["name"] == "multistep":
        changes["schedule.milestones"] = [2 * m for m in schedule["milestones"]]
    return Finding(
        "still-improving", "hint",
        text("The net was still improving when training ended."),
        text("Accuracy on val rose by {gain:.1f} points from the {k} epochs before to the last "
             "{k}, and its loss fell.", gain=100 * gain, k=k),
        facts.try_next(changes),
    )  # fmt: skip


def milestone_jump(facts: Facts) -> Finding | None:
    """Accuracy that jumps when the rate falls: it was too high before.

    Args:
        facts: Of the run.
    """
    for stage in facts.stages():
        for at in _falls(stage):
            if at < 3:
                continue
            for split in ("val", "train"):
                scores = [line[f"{split}_accuracy"] for line in stage]
                if None in scores:
                    continue
                before, after = np.array(scores[:at]), np.array(scores[at : at + 3])
                jump = after.mean() - before[-3:].mean()
                # The epochs before say how far it would have come anyway.
                if jump > 0.03 and after.mean() > _upper_forecast(before, len(after)) + 0.01:
                    return Finding(
                        "milestone-jump", "hint",
                        text("Accuracy on {split} jumped by {jump:.1f} points when the rate fell "
                             "at epoch {epoch}.", split=split, jump=100 * jump,
                             epoch=stage[at]["epoch"]),
                        text("From {before:.1%} to {after:.1%}: at {lr:g} the steps were too large "
                             "to settle. A schedule that falls smoothly wastes fewer epochs.",
                             before=float(before[-3:].mean()), after=float(after.mean()),
                             lr=stage[at - 1]["lr"]),
                        facts.try_next({"schedule.name": "cosine"}),
                    )  # fmt: skip
    return None


def _falls(stage: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the epochs at whose start the rate fell to half or less."""
    return [n for n in range(1, len(stage)) if stage[n]["lr"] <= 0.5 * stage[n - 1]["lr"]]


def _upper_forecast(scores: Float[ndarray, " n"], ahead: int) -> float:
    """Return what the mean of the scores that come next hardly exceeds, if all goes on as before.

    The upper end of its 95 % interval by a line over the logarithm of the epoch, as accuracies
    rise, or a straight line where that is higher; at least three scores are needed.
    """
    n = len(scores)
    epoch = np.arange(n + ahead) + 1.0
    straight = np.polyval(np.polyfit(epoch[:n], scores, 1), epoch[n:]).mean()
    at = np.log(epoch)
    line = np.polyfit(at[:n], scores, 1)
    left = scores - np.polyval(line, at[:n])
    distance = at[n:].mean() - at[:n].mean()
    leverage = 1 / ahead + 1 / n + distance**2 / (n * at[:n].var())
    spread = np.sqrt(left @ left / (n - 2) * leverage)
    forecast = np.polyval(line, at[n:]).mean() + student.ppf(0.975, n - 2) * spread
    return float(max(straight, forecast))


def memorised(facts: Facts) -> Finding | None:
    """Classes learnt by heart: known on train, but on test worse than the net as a whole.

    Args:
        facts: Of the run.
    """
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

    Args:
        predictions: Of the run.
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


def confused(facts: Facts) -> Finding | None:
    """Pairs of classes taken for each other more often than scattered errors would be.

    Args:
        facts: Of the run.
    """
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
    """Probabilities that promise more than is kept.

    Args:
        facts: Of the run.
    """
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


def few_test_images(facts: Facts) -> Finding | None:
    """A test set that cannot tell runs apart.

    Args:
        facts: Of the run.
    """
    count = len(facts.test)
    seen = share_interval(int(facts.right[facts.test].sum()), count)
    half = (seen.high - seen.low) / 2
    if half < 0.035:
        return None
    return Finding(
        "few-test-images", "hint",
        text("The test set is small: {count} images give the accuracy to ±{half:.1f} points.",
             count=count, half=100 * half),
        text("Do not believe a difference between two runs that is smaller than that; a study "
             "compares them image by image, and says what can be told."),
        f"smallset study --list; smallset study NAME --data {facts.data}",
    )  # fmt: skip


def label_errors(facts: Facts) -> Finding | None:
    """Images that a good net is sure show another class than their label says.

    Args:
        facts: Of the run.
    """
    rows = label_suspects(facts.predictions)
    if not rows:
        return None
    first, predictions = rows[0], facts.predictions
    return Finding(
        "label-errors", "hint",
        text("{count} images may be mislabelled: the net is sure that they show another class.",
             count=len(rows)),
        text("The first, {path}, is labelled {label}; the net says {said} with {p:.1%}. Look at "
             "them before you believe either.", path=predictions.paths[first],
             label=predictions.classes[predictions.given_labels[first]],
             said=predictions.classes[predictions.predicted[first]],
             p=float(predictions.probs[first].max())),
        shlex.join(["smallset", "clean", facts.data, "--out", "CLEAN", "--with", "self"]),
        images=rows,
    )  # fmt: skip


def label_suspects(predictions: Predictions) -> tuple[int, ...]:
    """Return images whose label a good net contradicts with near certainty, surest first.

    A net that is right in less than 90 % of the test images accuses nobody: its mistakes would
    outnumber the wrong labels. Which of the images are mislabelled only a look can tell.

    Args:
        predictions: Of the run.
    """
    test = predictions.splits == "test"
    if (predictions.predicted == predictions.labels)[test].mean() < 0.9:
        return ()
    given = predictions.probs[np.arange(len(predictions.probs)), predictions.given_labels]
    suspect = np.flatnonzero((predictions.probs.max(axis=1) >= 0.95) & (given <= 0.02))
    return tuple(suspect[np.argsort(given[suspect], kind="stable")].tolist())


def wrong_labels_learnt(facts: Facts) -> Finding | None:
    """Added label noise that the net learnt by heart.

    Args:
        facts: Of the run.
    """
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


FINDERS = {
    "leaks": leaks,
    "not-learning": not_learning,
    "unstable": unstable,
    "collapse": collapse,
    "one-class": swallowing,
    "overfitting": overfitting,
    "memorised": memorised,
    "label-errors": label_errors,
    "wrong-labels-learnt": wrong_labels_learnt,
    "milestone-jump": milestone_jump,
    "still-improving": still_improving,
    "confused": confused,
    "miscalibrated": overconfident,
    "few-test-images": few_test_images,
}  # fmt: skip


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
