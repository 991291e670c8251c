"""What the curves show: steps too large or too small, a collapse, an end that came too soon."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t as student

from smallset.findings.facts import Facts, Seen
from smallset.findings.rise import falls, last_rise
from smallset.recipes import steps_at_default
from smallset.stats import directions
from smallset.words import Text, text

FEWEST = 6
"""If so many val images turned wrong and none right, chance did it once in 32 (exact McNemar)."""


class Standstill(NamedTuple):
    """A last stage in which the network did not even learn its training images."""

    sentence: Text
    loss: str
    first: float
    last: float
    """Training loss of the first and the last epoch."""
    blind: float | None
    """The loss where every class gets the same probability; None where that is not known."""

    @property
    def moved(self) -> float:
        """Return the share of the loss that is gone; below 0 where it rose."""
        return (self.first - self.last) / max(abs(self.first), 1e-12)

    @property
    def died(self) -> bool:
        """Whether the first steps threw the network far off, to where nothing moves it any more."""
        if self.blind is None:
            return False
        began_above = self.first > 1.1 * self.blind
        return bool(began_above and abs(self.last - self.blind) < 0.02 * self.blind)


def _standstill(facts: Facts) -> Standstill | None:
    if not facts.history:  # joined runs: nothing was trained
        return None
    stage = facts.stages()[-1]
    accuracy, chance = stage[-1]["train_accuracy"], 1 / facts.num_classes
    by_entropy = stage[-1]["objective"] == "cross-entropy" and facts.num_classes > 1
    found = Standstill(
        text(
            "The network did not learn: after {epochs} epochs it predicts {accuracy:.1%} of its "
            "own training images right (guessing: {chance:.1%}).",
            epochs=len(stage),
            accuracy=accuracy,
            chance=chance,
        ),
        stage[-1]["objective"],
        stage[0]["train_loss"],
        stage[-1]["train_loss"],
        float(np.log(facts.num_classes)) if by_entropy else None,
    )
    learnt = accuracy > chance + 0.1 * (1 - chance) or (found.moved > 0.1 and not found.died)
    return None if len(stage) < 5 or learnt else found


def gradients_too_small(facts: Facts) -> Seen | None:
    """No learning, because the gradient of the loss is far smaller than cross-entropy's."""
    found, lr = _standstill(facts), facts.settings["lr"]
    ratio = gradient_ratio(facts, found.loss) if found else None
    if found is None or ratio is None or ratio >= 0.1:
        return None
    return Seen(
        found.sentence,
        text(
            "At these predictions the gradient of the loss {loss} is {times:,.0f} times smaller "
            "than that of cross-entropy, so a learning rate of {lr:g} acts like {acts:.1g}. The "
            "loss moved by {moved:.1%} in all.",
            loss=found.loss,
            times=1 / ratio,
            lr=lr,
            acts=lr * ratio,
            moved=found.moved,
        ),
        facts.try_next({"lr": float(f"{lr / ratio:.1g}")}),
    )


def gradients_too_large(facts: Facts) -> Seen | None:
    """A training loss that rose, or jumps up again and again: steps that are too large."""
    lr = facts.settings["lr"]
    found = _standstill(facts)
    if found is not None and found.died:
        fell = text(
            "The training loss began at {first:.3g}, over the {blind:.3g} of a guess, and has "
            "stood at that since: the first steps, at the learning rate {lr:g}, threw the network "
            "off.",
            first=found.first,
            blind=found.blind,
            lr=lr,
        )
        return Seen(found.sentence, fell, facts.try_next({"lr": lr / 10}))
    if found is not None and found.moved < 0 and not _is_small(facts, found.loss):
        rose = text(
            "The training loss rose from {first:.3g} to {last:.3g}: the learning rate {lr:g} is "
            "too high.",
            first=found.first,
            last=found.last,
            lr=lr,
        )
        return Seen(found.sentence, rose, facts.try_next({"lr": lr / 10}))
    for stage in facts.stages():
        losses = [line["train_loss"] for line in stage]
        # Where almost nothing is left of the loss, a fifth of it is nothing, too.
        least = 0.02 * losses[0]
        rises = [b for a, b in itertools.pairwise(losses) if b > 1.2 * a and b > least]
        if len(rises) >= 3:
            return Seen(
                text(
                    "Training is unstable: the loss rose by more than a fifth in {count} of "
                    "{epochs} epochs.",
                    count=len(rises),
                    epochs=len(losses),
                ),
                text(
                    "Such jumps come from steps that are too large for the loss; the learning rate "
                    "is {lr:g}.",
                    lr=lr,
                ),
                facts.try_next({"lr": lr / 10}),
            )
    return None


def not_learning(facts: Facts) -> Seen | None:
    """No learning, and a loss that stands still: the rate may be too low."""
    found, lr = _standstill(facts), facts.settings["lr"]
    if found is None or found.moved < 0 or found.died or _is_small(facts, found.loss):
        return None
    return Seen(
        found.sentence,
        text(
            "The training loss moved by {moved:.1%} in all: the learning rate {lr:g} may be too "
            "low.",
            moved=found.moved,
            lr=lr,
        ),
        facts.try_next({"lr": lr * 10}),
    )


def _is_small(facts: Facts, loss: str) -> bool:
    ratio = gradient_ratio(facts, loss)
    return ratio is not None and ratio < 0.1


def gradient_ratio(facts: Facts, loss: str) -> float | None:
    """Return how large a loss's gradient is against that of cross-entropy; None if not known.

    Both are taken with respect to the logits of the training images, at the run's predictions.
    With p the probabilities and y the one-hot labels, that of cross-entropy is (p - y) / B, that of
    ||p - y||^2 summed over a batch of B is 2 p * (p - y - <p, p - y>), and `mse` divides it by B K.
    """
    if not len(facts.train):
        return None
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


class Standing(NamedTuple):
    """A stage whose loss compares images, and ended where it stands when all of them are equal."""

    values: dict[str, Any]
    loss: float
    at_point: float
    """The loss of equal embeddings."""
    spread: float
    """Of the training embeddings, around their mean."""

    @property
    def is_collapsed(self) -> bool:
        """Whether the embeddings fell together, and the loss stands where that leaves it."""
        near = abs(self.loss - self.at_point) <= 0.02 * max(self.at_point, 1e-12)
        return self.spread < 0.05 and near


def _standing(facts: Facts) -> Standing | None:
    for stage in facts.stages():
        name, at_point = stage[0]["objective"], stage[0]["collapsed_loss"]
        if at_point is None:
            continue
        loss, spread = stage[-1]["train_loss"], _spread(facts.embeddings["train"])
        values = {"loss": loss, "margin": at_point, "spread": spread, "name": name}
        found = Standing(values, loss, at_point, spread)
        if found.is_collapsed or loss >= at_point:
            return found
    return None


def collapse(facts: Facts) -> Seen | None:
    """Embeddings that fell together to a point, the end of many triplet trainings.

    Signature: the loss stands at the margin (softplus(0) = 0.693 with the soft margin), and the
    embeddings hardly differ (Hermans et al. 2017, section 3.2, on the same plateau).
    """
    found = _standing(facts)
    if found is None or not found.is_collapsed:
        return None
    return Seen(
        text(
            "The embeddings collapsed: all images lie within {spread:.1%} of one point.",
            **found.values,
        ),
        text(
            "The loss {name} ended at {loss:.3f}, its value when all embeddings are equal "
            "({margin:.3g}). A soft margin has a gradient there, and batches of few classes with "
            "several images each are easier.",
            **found.values,
        ),
        facts.try_next({"loss_args.soft_margin": True, **_easier_batches(facts)}),
    )


def triplet_stuck(facts: Facts) -> Seen | None:
    """A loss that compares images, and never fell below its margin."""
    found = _standing(facts)
    if found is None or found.is_collapsed:
        return None
    return Seen(
        text("The triplet stage taught little: its loss never fell below the margin."),
        text(
            "The loss {name} ended at {loss:.3f}, margin {margin:.3g}: in the average batch the "
            "hardest image of another class is still nearer than the hardest of the same class. "
            "The embeddings did not collapse (spread {spread:.0%}).",
            **found.values,
        ),
        facts.try_next(_easier_batches(facts)),
    )


def _easier_batches(facts: Facts) -> dict[str, Any]:
    return {"batches.kind": "pk", "batches.classes_per_batch": min(8, facts.num_classes)}


def _spread(embeddings: Float[ndarray, "n dim"]) -> float:
    """Return the root mean square distance to the mean, over that to the origin.

    Of the vectors, or of these scaled to length 1, whichever is smaller: a loss of angles leaves
    lengths alone.
    """
    vectors = embeddings.astype(np.float64)
    unit = directions(vectors)
    spreads: list[float] = []
    for each in (vectors, unit):
        length = np.sqrt((each**2).sum(axis=1).mean())
        around = np.sqrt(((each - each.mean(axis=0)) ** 2).sum(axis=1).mean())
        spreads.append(float(around / max(length, 1e-12)))
    return min(spreads)


def still_improving(facts: Facts) -> Seen | None:
    """Accuracy on val that was still rising when training ended."""
    if not facts.history:
        return None
    rise = last_rise(facts.stages()[-1], len(facts.rows("val")))
    if rise is None:
        return None
    changes: dict[str, Any] = {"epochs": 2 * facts.settings["epochs"]}
    schedule = facts.settings["schedule"]
    if schedule["name"] == "multistep":
        changes["schedule.milestones"] = [2 * m for m in schedule["milestones"]]
    return Seen(
        text("The network was still improving when training ended."),
        rise.said,
        facts.try_next(changes),
        effect=100 * rise.gain,
    )


def below_its_probe(facts: Facts) -> Seen | None:
    """Fine-tuning that ended with a lower accuracy on val than the probe it began with."""
    stages, num_val = facts.stages(), len(facts.rows("val"))
    if len(stages) < 2 or stages[0][0]["objective"] != "probe" or not num_val:
        return None
    probe, scores = stages[0][0]["val_accuracy"], [line["val_accuracy"] for line in stages[-1]]
    end = max(scores) if facts.settings["keep"] == "best-val" else scores[-1]
    # Both answer for the same images, most of them alike: their difference errs by no more than
    # one share does.
    middle, fall = (probe + end) / 2, probe - end
    chance = 1.96 * np.sqrt(middle * (1 - middle) / num_val)
    if fall <= chance or round(fall * num_val) < FEWEST:
        return None
    return Seen(
        text(
            "Accuracy on val fell below the probe's, from {probe:.1%} to {end:.1%}: the head alone "
            "(--recipe head) is better here.",
            probe=probe,
            end=end,
        ),
        text(
            "The probe was fitted to the frozen network before {epochs} epochs moved all of it; on "
            "{count} val images the fall is larger than chance.",
            epochs=len(scores),
            count=num_val,
        ),
        facts.try_next({**steps_at_default(), "recipe": "head"}) if facts.has_weights else None,
        effect=float(100 * fall),
    )


def milestone_jump(facts: Facts) -> Seen | None:
    """Accuracy that jumps when the rate falls: it was too high before."""
    places = ((stage, at) for stage in facts.stages() for at in falls(stage) if at >= 3)
    for (stage, at), split in itertools.product(places, ("val", "train")):
        scores = [line[f"{split}_accuracy"] for line in stage]
        if None in scores:
            continue
        before, after = np.array(scores[:at]), np.array(scores[at : at + 3])
        jump = after.mean() - before[-3:].mean()
        # The epochs before say how far it would have come anyway.
        if jump > 0.03 and after.mean() > _upper_forecast(before, len(after)) + 0.01:
            return Seen(
                text(
                    "Accuracy on {split} jumped by {jump:.1f} points when the learning rate fell "
                    "at epoch {epoch}.",
                    split=split,
                    jump=100 * jump,
                    epoch=stage[at]["epoch"],
                ),
                text(
                    "From {before:.1%} to {after:.1%}: at {lr:g} the steps were too large to "
                    "settle. A schedule that falls smoothly wastes fewer epochs.",
                    before=float(before[-3:].mean()),
                    after=float(after.mean()),
                    lr=stage[at - 1]["lr"],
                ),
                facts.try_next({"schedule.name": "cosine"}),
            )
    return None


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
