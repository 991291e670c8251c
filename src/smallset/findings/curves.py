"""What the curves show: steps too large or too small, a collapse, an end that came too soon."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t as student

from smallset.findings.facts import Facts, Finding
from smallset.words import text


def not_learning(facts: Facts) -> Finding | None:
    """A net that does not even learn its training images, and whether the gradient is why."""
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
    """A training loss that jumps up again and again: steps that are too large."""
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
    """
    for stage in facts.stages():
        name, at_point = stage[0]["objective"], stage[0]["collapsed_loss"]
        if at_point is None:
            continue
        loss, spread = stage[-1]["train_loss"], _spread(facts.embeddings["train"])
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


def _spread(embeddings: Float[ndarray, "n dim"]) -> float:
    """Return the root mean square distance to the mean, over that to the origin.

    Of the vectors, or of these scaled to length 1, whichever is smaller: a loss of angles leaves
    lengths alone.
    """
    vectors = embeddings.astype(np.float64)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    spreads: list[float] = []
    for each in (vectors, unit):
        length = np.sqrt((each**2).sum(axis=1).mean())
        around = np.sqrt(((each - each.mean(axis=0)) ** 2).sum(axis=1).mean())
        spreads.append(float(around / max(length, 1e-12)))
    return min(spreads)


def still_improving(facts: Facts) -> Finding | None:
    """Accuracy on val that was still rising when training ended."""
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
    """Accuracy that jumps when the rate falls: it was too high before."""
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
