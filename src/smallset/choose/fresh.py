"""A network from scratch beside the pretrained ones, for pictures unlike those that they know.

Photographs are like them, and then it only costs time, so it is tried where it is quick.
"""

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from numpy import ndarray

from smallset.choose.candidates import FROM_SCRATCH, Candidate
from smallset.choose.finetune import RESERVE, SLACK, Trials
from smallset.choose.timing import milliseconds
from smallset.config import override
from smallset.errors import RunError
from smallset.learn.plan import Plan
from smallset.learn.run import build_run
from smallset.progress import Reporter
from smallset.record.measures import difference, log_losses, temperature, tempered

FRESH, SHORT = "fresh", "fresh-short"  # in the work folder
RECIPE = FROM_SCRATCH[-1]
SHARE = 0.2  # of the time that is left: more is not spent on seeing what it is worth
LITTLE = 0.05  # of it: where all epochs take no longer, a third of them is not tried first
FAR = 3.0
"""Times as many mistakes as the head makes, after a third of the epochs: no more are trained. All
of them left a seventh to two thirds of the mistakes (docs/log.md)."""


class Tried(NamedTuple):
    """What a network from scratch said of images that were new to it."""

    plan: Plan
    probs: Float[ndarray, "n classes"]
    labels: Int[ndarray, " n"]
    seconds: float
    is_far: bool = False
    """Behind the head, after a part of the epochs."""


class Fresh(Trials):
    """Trains a network from scratch for a search; see `Trials`."""

    def train_one(self, winner: Candidate) -> Tried | None:
        """Train it; None where that would take too long, or nothing tells whether it helps.

        Where it takes long, a third of the epochs is tried first, and is all that is trained if it
        is far behind.

        Args:
            winner: The best head.
        """
        bench, settings = self.bench, {"recipe": RECIPE}
        plan = bench.planner.plan(override(bench.config, settings))
        if not (bench.folds or len(plan.data.of("val"))):
            return None
        if "fresh" not in bench.notebook.known:
            bench.notebook.remember(fresh=self._affordable(plan))
        known = bench.notebook.known["fresh"]
        if not known["tried"]:
            return None
        try:
            if known.get("is_long"):
                fewer = {**settings, "epochs": max(1, plan.config.epochs // 3)}
                short = bench.planner.plan(override(bench.config, fewer))
                tried = Tried(short, *self.answers(SHORT, short, fewer), is_far=True)
                head = bench.as_trained(winner.name, short.data, others_refit=False)
                if is_far(tried.probs, head, tried.labels):
                    return tried
            return Tried(plan, *self.answers(FRESH, plan, settings))
        except RunError as error:
            bench.reporter.note(f"not trained from scratch: {error}")
            return None

    def judge(
        self, tried: Tried, said: Float[ndarray, "n classes"] | None, winner: Candidate
    ) -> dict[str, Any]:
        """Say whether it is to be taken: if its log-loss is smaller by more than the error of that.

        Args:
            said: What the best of the others says of the same images; None: the head `winner`.

        Returns:
            As best.json has it.
        """
        bench, plan, probs, labels = self.bench, tried.plan, tried.probs, tried.labels
        refits = not bench.folds and self._refits(tried)
        if said is None:
            said = bench.as_trained(winner.name, plan.data, others_refit=refits)
        better, losses = is_better(probs, said, labels)
        kept = better and not tried.is_far
        right, others = ((each.argmax(axis=1) == labels).mean() for each in (probs, said))
        settings = {"recipe": RECIPE}
        if kept and refits:
            settings["data.train_on"] = bench.train_on
            self.keep_answers(plan, probs)
        bench.reporter.line(
            f"{plan.config.model} from scratch, {plan.config.epochs} epochs: {right:.1%} "
            f"{'out of fold' if bench.folds else 'on val'}, where the best other has {others:.1%}: "
            f"{'kept' if kept else 'not kept'}{', and given no more' if tried.is_far else ''}"
        )
        return {
            "network": plan.config.model, "epochs": plan.config.epochs,
            "size": plan.config.image_size, "kept": kept, "is_far": tried.is_far,
            "accuracy": float(right),
            "other": float(others), "cost": bench.notebook.known["fresh"]["cost"], **losses,
            "settings": settings,
        }  # fmt: skip

    def _affordable(self, plan: Plan) -> dict[str, Any]:
        """Return whether there is time for it, and the milliseconds that one picture takes."""
        run = build_run(plan, self.work / "timing", Reporter())
        look = milliseconds(run)
        train, val = (len(plan.data.of(split)) for split in ("train", "val"))
        steps, looks = train * (plan.config.data.folds or 1), val * (1 + plan.config.mirror)

        def share(step: float) -> float:
            seconds = plan.config.epochs * (SLACK * step * steps + look * looks) / 1000
            return seconds / max(1.0, self.bench.notebook.left() - RESERVE)

        taken = share(look)
        if taken < SHARE:  # a step takes longer than a look
            taken = share(milliseconds(run, train=True))
        is_long = taken > LITTLE and not self.bench.folds
        return {
            "tried": taken < SHARE, "is_long": is_long, "cost": look * (1 + plan.config.mirror),
        }  # fmt: skip

    def _refits(self, tried: Tried) -> bool:
        """Whether there is time to train it again on train + val."""
        notebook = self.bench.notebook
        if "refits" not in notebook.known["fresh"]:
            train, val = (len(tried.plan.data.of(split)) for split in ("train", "val"))
            needed = tried.seconds * (1 + val / train)
            needed += notebook.known["fresh"]["cost"] * len(tried.plan.data.images) / 1000
            refits = notebook.left() - RESERVE > needed
            notebook.remember(fresh={**notebook.known["fresh"], "refits": refits})
        return notebook.known["fresh"]["refits"]


def is_far(
    short: Float[ndarray, "n classes"],
    head: Float[ndarray, "n classes"],
    labels: Int[ndarray, " n"],
) -> bool:
    """Whether a network is so far behind a head that more epochs would not help.

    Args:
        short: Its probabilities, after a third of the epochs.
    """
    wrong, fewer = (int((each.argmax(axis=1) != labels).sum()) for each in (short, head))
    return wrong > FAR * max(1, fewer)


def is_better(
    fresh: Float[ndarray, "n classes"],
    other: Float[ndarray, "n classes"],
    labels: Int[ndarray, " n"],
) -> tuple[bool, dict[str, Any]]:
    """Return whether one's log-loss is smaller by more than the error of the difference.

    Args:
        fresh: Probabilities by the network from scratch.
        other: By what is chosen otherwise; each has its temperature, fitted on the same images.

    Returns:
        That, and as best.json has it: "log_loss" of both and the "error" of their difference.
    """
    losses = [
        log_losses(tempered(each, temperature(each, labels)), labels) for each in (fresh, other)
    ]
    more, error = difference(*losses)
    means = {
        name: float(each.mean()) for name, each in zip(("fresh", "other"), losses, strict=True)
    }
    return more < -error, {"log_loss": means, "error": error}
