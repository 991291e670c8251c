"""Fine-tune the leader of a search in the time that is left: is it better than its head?

The tuned network and the head are compared by log-loss, on val or out of fold; where there is a val
split, both are joined unless that is clearly worse.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.special import softmax

from smallset.choose.candidates import Bench, Candidate
from smallset.choose.timing import milliseconds
from smallset.config import override
from smallset.errors import RunError
from smallset.files import make_folder, write_arrays, write_json
from smallset.learn.folds import answer_val
from smallset.learn.plan import Plan
from smallset.learn.run import build_run
from smallset.progress import Reporter
from smallset.record.measures import difference, log_losses, temperature, tempered
from smallset.record.record import Record

MOST_EPOCHS, ENOUGH_STEPS = 30, 400
FEW_EPOCHS, SMALLER = 3, 0.72  # with fewer at its own size, a network is tuned at this share of it
SLACK = 1.25  # a step also augments, and moves the weights
ALONE = ("tuned", "head")  # what may be chosen by itself
HELD_OUT = "held_out.npz"  # in the work folder: answers about val by what then learnt it, too
RESERVE = 20.0  # seconds, for figures and the page
LATE = 0.05
"""Of the time that was asked for: so much later a search may end, where a network that took minutes
to tune would be thrown away otherwise."""


class Trials:
    """Networks that a search trains to see what they are worth.

    Args:
        train: Trains a run of some settings in a place of the work folder, or takes up its record.
    """

    def __init__(
        self, bench: Bench, work: Path, train: Callable[[str, dict[str, Any]], Record]
    ) -> None:
        self.bench, self.work, self.train = bench, work, train

    def answers(
        self, place: str, plan: Plan, settings: dict[str, Any]
    ) -> tuple[Float[ndarray, "n classes"], Int[ndarray, " n"], float]:
        """Train, and return what a run says of images new to it, their labels, and its seconds.

        Args:
            place: In the work folder.

        Raises:
            RunError: If its loss stops being finite.
        """
        if self.bench.folds:
            record = self.train(place, settings)
            predictions = record.predictions
            return predictions.probs, predictions.given_labels, record.result["seconds"]
        write_json(make_folder(self.work / place) / "config.json", plan.described)
        answer = answer_val(build_run(plan, self.work / place, self.bench.reporter))
        if answer is None:
            raise RunError(f"the loss of {plan.config.model} stopped being finite")
        return answer.probs, plan.data.given_labels[plan.data.of("val")], answer.seconds

    def keep_answers(self, plan: Plan, probs: Float[ndarray, "n classes"]) -> None:
        """Keep what was said of val by what then learns it: the record will have no val."""
        paths = [plan.data.images.paths[row] for row in plan.data.of("val")]
        write_arrays(self.work / HELD_OUT, paths=np.array(paths), probs=probs)


class Tuner(Trials):
    """Fine-tunes one network of a search; see `Trials`."""

    said: Float[ndarray, "n classes"] | None = None
    """What was chosen over the head says of the images that both were judged by."""

    def tune(self, leader: Candidate, winner: Candidate) -> dict[str, Any] | None:
        """Fine-tune the best single network, and see on images it is new to whether it is better.

        Returns:
            What was found, with the settings of the run on all images; None where there is no time,
            or no val to see it on.
        """
        bench, known = self.bench, self.bench.notebook.known
        settings = {**bench.settings(leader.name), "recipe": "finetune", "mirror": True}
        plan = bench.planner.plan(override(self.bench.config, {**settings, "epochs": 1}))
        if not (bench.folds or len(plan.data.of("val"))):
            self.bench.reporter.note(
                "not fine-tuned: there is no val split to see on whether it helps"
            )
            return None
        if "tuned" not in known:
            self.bench.notebook.remember(tuned=self._affordable(plan, leader, winner))
        if not known["tuned"]["epochs"]:
            self.bench.reporter.note(
                "not fine-tuned: an epoch takes longer than the time that is left"
            )
            return None
        settings |= known["tuned"]
        plan = bench.planner.plan(override(self.bench.config, settings))
        try:
            probs, labels, seconds = self.answers("tuned", plan, settings)
        except RunError as error:
            self.bench.reporter.note(f"not fine-tuned: {error}")
            return None
        refit = self._refit(plan, leader, winner, seconds)
        said = bench.as_trained(winner.name, plan.data, others_refit=True)
        alone = bench.as_trained(winner.name, plan.data, others_refit=bool(refit))
        tuned, head = (each.argmax(axis=1) == labels for each in (probs, alone))
        # A few hundred images say more by log-loss than by accuracy.
        joins = not bench.folds and self._joins(plan, leader, winner)
        choice = chosen_of(probs, said, labels, joins=joins, alone=alone)
        kept = choice["chosen"] != "head"
        if kept and not (bench.folds or refit):
            bench.reporter.note("there is no time to fit it again on train + val")
        settings |= refit
        if kept:
            both = joined_of(probs, said, choice["temperatures"])
            self.said = both if choice["chosen"] == "joined" else probs
            if refit:
                self.keep_answers(plan, self.said)
        epochs, size = settings["epochs"], plan.config.image_size
        where = "out of fold" if bench.folds else "on val"
        self.bench.reporter.line(
            f"fine-tuned {leader.name}, {epochs} epochs at {size} px: {tuned.mean():.1%} {where}, "
            f"where the head has {head.mean():.1%}: {'kept' if kept else 'not kept'}"
        )
        return {
            "network": leader.name, "epochs": epochs, "size": size, "kept": kept, "choice": choice,
            "tuned": float(tuned.mean()), "head": float(head.mean()),
            "settings": settings,
        }  # fmt: skip

    def _affordable(self, plan: Plan, leader: Candidate, winner: Candidate) -> dict[str, Any]:
        """Time a step, and return what there is time for; no step where a look takes too long."""
        looks = len(plan.data.of("train")) * (plan.config.data.folds or 1)
        if self.bench.notebook.left() - RESERVE < leader.cost * looks / 1000:
            return {"epochs": 0}
        step = milliseconds(build_run(plan, self.work / "timing", Reporter()), train=True)
        fixed = leader.is_of_one_size or self.bench.config.image_size is not None
        left = self.bench.notebook.left()
        known = 2 if winner.name == self.bench.mirrored and leader.name in winner.parts else 1
        return affordable(plan, leader, winner, step, left, fixed=fixed, known=known)

    def _joins(self, plan: Plan, leader: Candidate, winner: Candidate) -> bool:
        """Whether there is time to join the tuned network and the head."""
        if "joins" not in self.bench.notebook.known:
            needed = head_seconds(plan, winner) + scoring_seconds(plan, leader)
            if "image_size" in self.bench.notebook.known["tuned"]:  # of larger pictures, again
                needed += scoring_seconds(plan, leader)
            left = self.bench.notebook.left() + LATE * self.bench.notebook.seconds
            self.bench.notebook.remember(joins=left - RESERVE > needed)
        return self.bench.notebook.known["joins"]

    def _refit(
        self,
        plan: Plan,
        leader: Candidate,
        winner: Candidate,
        seconds: float,
    ) -> dict[str, Any]:
        """Return the settings that fit a tuned network again on train + val, if there is time."""
        if self.bench.folds:
            return {}  # its last run has learnt from all images
        if "refit" not in self.bench.notebook.known:
            train, val = (len(plan.data.of(split)) for split in ("train", "val"))
            needed = seconds * (1 + val / train) + scoring_seconds(plan, leader)
            needed += head_seconds(plan, winner)
            self.bench.notebook.remember(refit=self.bench.notebook.left() - RESERVE > needed)
        if self.bench.notebook.known["refit"]:
            return {"data.train_on": self.bench.train_on}
        return {}


def scoring_seconds(plan: Plan, network: Candidate) -> float:
    """Return what it takes to show all images, and their mirror images if need be, to a network."""
    images = sum(len(plan.data.of(split)) for split in ("train", "val", "test"))
    return (1 + plan.config.mirror) * network.cost * images / 1000


def head_seconds(plan: Plan, winner: Candidate) -> float:
    """Return what it takes to show test to the winner; of train and val, its vectors are kept."""
    return winner.cost * len(plan.data.of("test")) / 1000


def chosen_of(
    tuned: Float[ndarray, "n classes"],
    head: Float[ndarray, "n classes"],
    labels: Int[ndarray, " n"],
    *,
    joins: bool,
    alone: Float[ndarray, "n classes"] | None = None,
) -> dict[str, Any]:
    """Choose between the tuned network, the head, and both joined, by log-loss.

    Both joined are the choice unless the better of the two alone has a log-loss that is smaller by
    more than the standard error of the difference: joined networks have a smaller one than the mean
    of theirs, whatever they are, and few images cannot tell (docs/log.md). Each has the
    temperature that is fitted on the same images, one number; the joined one has none of its own.

    Args:
        tuned: Probabilities by the tuned network.
        head: Probabilities by a head fitted to the same images.
        joins: Whether joining them is a choice.
        alone: By the head as it would be taken alone, where that has learnt more than the one that
            is joined; by models that had not learnt these images.

    Returns:
        As best.json has it: "chosen", "log_loss" by name, the "temperatures" of the tuned network
        and the head, and, where joining is a choice, the "error" of the difference.
    """
    temperatures = [temperature(probs, labels) for probs in (tuned, head)]
    logs = [tempered(probs, t) for probs, t in zip((tuned, head), temperatures, strict=True)]
    each = {name: log_losses(said, labels) for name, said in zip(ALONE, logs, strict=True)}
    if alone is not None:
        each["head"] = log_losses(tempered(alone, temperature(alone, labels)), labels)
    chosen = min(ALONE, key=lambda name: each[name].mean())
    error = {}
    if joins:
        each["joined"] = log_losses((logs[0] + logs[1]) / 2, labels)
        more, error_of_it = difference(each["joined"], each[chosen])
        error = {"error": error_of_it}
        if more <= error_of_it:
            chosen = "joined"
    losses = {name: float(loss.mean()) for name, loss in each.items()}
    return {"chosen": chosen, "log_loss": losses, "temperatures": temperatures, **error}


def joined_of(
    tuned: Float[ndarray, "n classes"],
    head: Float[ndarray, "n classes"],
    temperatures: Sequence[float],
) -> Float[ndarray, "n classes"]:
    """Return what both say together: the mean of their logits, each over its temperature."""
    logs = [tempered(probs, t) for probs, t in zip((tuned, head), temperatures, strict=True)]
    return softmax((logs[0] + logs[1]) / 2, axis=1)


def affordable(
    plan: Plan,
    leader: Candidate,
    winner: Candidate,
    step: float,
    left: float,
    *,
    fixed: bool,
    known: int = 1,
) -> dict[str, Any]:
    """Return the epochs of fine-tuning that there is time for, and what is saved on for them.

    First nothing is; then fitting again on train + val; then the mirror images; then pixels, with
    the others again. Fitting again is worth more than epochs, and smaller pictures cost 2 points
    (docs/log.md, 2026-11-27 and -26); what mirror images are worth here was not compared.

    Args:
        leader: The network to tune; its cost is what a look at one picture takes.
        winner: What it may be joined with.
        step: Milliseconds that a training step takes per picture.
        left: Seconds that are left.
        fixed: Whether the size must stay as it is.
        known: Views of which the search has the vectors of train and val, at that size.
    """
    size, folds = plan.config.image_size or 224, plan.config.data.folds
    train, val, test = (len(plan.data.of(split)) for split in ("train", "val", "test"))
    look, smaller = leader.cost, 32 * round(SMALLER * size / 32)

    # Of few images an epoch is few steps.
    most = min(MOST_EPOCHS, max(6, ENOUGH_STEPS * plan.config.batches.size // max(train, 1)))

    def epochs_at(side: int, *, refit: bool, views: int) -> int:
        if folds:  # each on the others, and one on all: one learns from an image as often
            steps, looks, once = folds * train, train, look * 3 * train
        else:  # on train, scoring val after each epoch; all are scored at the end
            steps, looks = train + refit * (train + val), val + refit * val
            unknown = max(0, views - known) if side == size else views
            passes = 1 if side == size else 2  # to join it, larger pictures are shown again
            once = unknown * (train + val) + views * val
            once = look * (once + passes * views * (train + val + test))
        epoch, ratio = SLACK * (step * steps + look * looks) / 1000, (side / size) ** 2
        rest = left - RESERVE - once / 1000 * ratio - head_seconds(plan, winner)
        rest -= winner.seconds if folds else 0.0  # its head is fitted on each fold again
        return max(0, min(most, int(rest / (epoch * ratio))))

    saving = [(True, 2)] if folds else [(True, 2), (False, 2), (False, 1)]
    found = [
        (epochs_at(side, refit=refit, views=views), side, views)
        for side in ([size] if fixed else [size, smaller])
        for refit, views in saving
    ]
    epochs, side, views = next((each for each in found if each[0] >= FEW_EPOCHS), found[-1])
    saved = {} if side == size else {"image_size": side}
    return {"epochs": epochs, **saved, **({} if views == 2 else {"mirror": False})}
