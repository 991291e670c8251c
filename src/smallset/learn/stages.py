"""Train the stages of a run, or of several runs on one frozen network at once."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy import ndarray
from torch.nn.functional import cross_entropy

from smallset.data.prepare import families_of
from smallset.data.read import MANY
from smallset.errors import ConfigError, RunError
from smallset.learn.inputs import Inputs
from smallset.learn.keep import KeptWeights
from smallset.learn.objectives import OnePass, per_lane
from smallset.learn.optim import build_schedule, side_by_side
from smallset.learn.plan import Plan
from smallset.learn.stack import StackedHead, is_stackable
from smallset.learn.train import EpochResult, Scores, Setup, fit
from smallset.learn.training import Training
from smallset.models.probe import HEAD_PENALTIES, Head, fit_head
from smallset.seeds import torch_seed

CHECKPOINT_SECONDS = 10.0  # between checkpoints of runs that train together


@dataclass(frozen=True)
class Run:
    """A run that trains: what it will be, what it is fed with, and how far it is."""

    plan: Plan
    inputs: Inputs
    state: Training

    @property
    def has_folds(self) -> bool:
        """Whether its images are scored by runs that did not learn from them."""
        return bool(self.plan.config.data.folds)

    def is_cached(self, stage: int) -> bool:
        """Whether a stage can go on from features that were computed once."""
        fixed = not self.plan.config.augment.is_on
        return fixed and self.state.stages[stage].trains == "classifier"


def train_together(runs: Sequence[Run], *, resume: bool) -> Iterator[list[Run]]:
    """Train runs of the same stages epoch by epoch; one that diverges gets its `state.error`.

    Args:
        runs: One, or several that `shares_backbone` says yes to.
        resume: Take up their checkpoints; those that stand at different epochs train apart.

    Yields:
        The runs that an epoch was just finished of.

    Raises:
        RunError: If a record cannot be written, or a checkpoint is damaged.
    """
    places: dict[tuple[int, int], list[Run]] = {}
    for run in runs:
        places.setdefault(run.state.restore() if resume else (0, 0), []).append(run)
    for (first_stage, first_epoch), group in places.items():
        for number in range(first_stage, len(group[0].state.stages)):
            start = first_epoch if number == first_stage else 0
            if group[0].state.stages[number].objective is None:
                for run in group:
                    _fit_probe(run, number)
                yield group
                continue
            for _ in _train_stage(group, number, start):
                yield [run for run in group if run.state.error is None]


def _train_stage(runs: Sequence[Run], number: int, start: int) -> Iterator[None]:
    first, config = runs[0], runs[0].plan.config
    begun = [run.state.begin_stage(number, start) for run in runs]
    lanes, optimizers = zip(*begun, strict=True)
    setup = _setup(runs, number)
    reporter = first.inputs.reporter
    reporter.begin_stage(setup.name, start, config.epochs)
    began = saved = time.perf_counter()
    for results in fit(
        setup,
        lanes,
        side_by_side(optimizers),
        build_schedule(config.schedule, config.epochs),
        epochs=range(start, config.epochs),
        grad_clip=config.optim.grad_clip,
        bfloat16=first.inputs.bfloat16,
        on_step=reporter.step,
    ):
        now = time.perf_counter()
        is_last = results[0].epoch + 1 == config.epochs
        save = len(runs) == 1 or is_last or now - saved > CHECKPOINT_SECONDS
        saved = now if save else saved
        for run, result, optimizer in zip(runs, results, optimizers, strict=True):
            if result.broken and run.state.error is None:
                run.state.error = RunError(result.broken)
            if run.state.error is None:
                run.state.after_epoch(number, result, optimizer, now - began, save=save)
        going = [run for run in runs if run.state.error is None]
        if not going:
            return
        reporter.epoch(going[0].state.history[-1])
        yield
        began = time.perf_counter()


def _fit_probe(run: Run, number: int) -> None:
    """Fit the last layer of a run to convergence, on what its frozen part gives once."""
    began = time.perf_counter()
    inputs, state, reporter = run.inputs, run.state, run.inputs.reporter
    reporter.begin_stage(state.stages[number].name, 0, 1)
    splits = [split for split in ("train", "val") if len(inputs.data.of(split))]
    vectors = {split: inputs.vectors(split) for split in splits}
    labels = {split: inputs.data.given_labels[inputs.data.of(split)] for split in splits}
    families = run.plan.families
    if families is None and not state.config.penalty:
        families = families_of(inputs.data, state.config.data, reporter, most=MANY)
    head = fit_head(
        vectors["train"],
        labels["train"],
        num_classes=len(inputs.data.images.classes),
        seed=torch_seed(state.config.seed, "probe"),
        groups=families,
        penalties=[state.config.penalty] if state.config.penalty else HEAD_PENALTIES,
        balance=state.config.balance,
    )
    last = inputs.last_layer()
    with torch.no_grad():
        last.weight.copy_(head.weight)
        last.bias.copy_(head.bias)
    scores = {split: _scores(head, vectors[split], labels[split]) for split in splits}
    result = EpochResult(0, 0.0, scores["train"], scores.get("val"))
    state.kept = KeptWeights(state.changed)
    state.after_epoch(number, result, None, time.perf_counter() - began, save=True)
    reporter.epoch(state.history[-1])


def _scores(head: Head, vectors: ndarray, labels: ndarray) -> Scores:
    logits = torch.from_numpy(np.asarray(vectors)) @ head.weight.T + head.bias
    target = torch.from_numpy(labels)
    right = (logits.argmax(dim=1) == target).float().mean()
    return Scores(float(cross_entropy(logits, target)), float(right))


def _setup(runs: Sequence[Run], number: int) -> Setup:
    """Return what a stage of the runs trains on: classifiers of one Linear layer side by side."""
    first = runs[0]
    stage, cached = first.state.stages[number], first.is_cached(number)
    assert stage.objective is not None
    train = first.inputs.feed("train", cached=cached, stage=number)
    has_val = len(first.inputs.data.of("val")) > 0
    val = first.inputs.feed("val", cached=cached) if has_val else None
    alone = Setup(
        stage.name,
        first.inputs.model.classify if cached else first.inputs.model,
        stage.objective,
        train,
        val,
        partial(first.inputs.batches, number),
        # Dropout draws from torch's global stream, so each epoch starts one of its own.
        lambda epoch: torch.manual_seed(first.state.dropout_seed(number, epoch)),
    )
    parts = [run.state.part(number) for run in runs]
    if not (
        cached
        and getattr(train, "is_flat", False)
        and is_stackable(parts[0])
        and isinstance(stage.objective, OnePass)
    ):
        if len(runs) > 1:
            raise ConfigError(
                f"the classifier part of {first.plan.config.model} is not one Linear layer"
            )
        return alone
    heads = StackedHead(parts)
    return alone._replace(
        name=stage.name + (f", {len(runs)} classifiers at once" if len(runs) > 1 else ""),
        model=heads,
        objective=per_lane(stage.objective),
        batches=lambda epoch: _stacked([run.inputs.batches(number, epoch) for run in runs]),
        seed_epoch=lambda epoch: heads.seed(
            [run.state.dropout_seed(number, epoch) for run in runs]
        ),
    )


def _stacked(plans: Sequence[Sequence[ndarray]]) -> list[ndarray]:
    return [np.stack(batches) for batches in zip(*plans, strict=True)]
