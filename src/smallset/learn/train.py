"""The training loop: one step, one epoch, one validation.

Runs whose classifiers share one frozen network can be trained at once, each in a lane of its own:
then inputs and outputs have a leading axis of lanes, and there is one loss per lane.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smallset.data.batches import Rows, in_order
from smallset.data.feed import Batch, Feed
from smallset.learn.keep import KeptWeights
from smallset.learn.objectives import Forward, Objective, Outcome
from smallset.learn.optim import Group, Schedule
from smallset.models.forward import forward, passes
from smallset.models.parts import Output


@dataclass(frozen=True)
class Lane:
    """What one run changes."""

    part: nn.Module
    """What is put into train mode; all else stays in eval mode."""
    groups: Sequence[Group]
    """Its groups in the optimizer, each at its peak rate; lanes share no parameter."""
    kept: KeptWeights
    """Which weights stay."""
    still: Sequence[nn.Module] = ()
    """Modules of `part` that stay in eval mode all the same."""

    def train(self) -> None:
        """Put what the run changes into train mode."""
        self.part.train()
        for module in self.still:
            module.eval()


class Setup(NamedTuple):
    """What a stage trains on, and how."""

    name: str
    model: Callable[[Tensor], Output]
    """Maps what the feeds load to an `Output`."""
    objective: Objective
    """What to minimise: a scalar, or one value per lane."""
    train: Feed
    val: Feed | None
    """Images to score after each epoch."""
    batches: Callable[[int], Sequence[Rows]]
    """From the epoch to the rows of each of its batches; the same each time it is asked."""
    seed_epoch: Callable[[int], object]
    """Seeds dropout; called with the epoch before it begins."""


class StepStats(NamedTuple):
    """Sums over one batch, on the device: reading them at each step would stall a GPU."""

    loss_sum: Float[Tensor, "*lanes"]
    num_correct: Int[Tensor, "*lanes"]
    num_images: int


@dataclass(frozen=True)
class Scores:
    """Loss and accuracy over some images."""

    loss: float
    """Mean over images (over batches weighted by their size, where a loss is one of batches)."""
    accuracy: float
    """In [0, 1]."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave."""

    epoch: int
    lr: float
    """Rate at the start of the epoch, the highest of the groups."""
    train: Scores
    """Running mean while the weights moved."""
    val: Scores | None
    broken: str | None = None
    """Why the lane cannot go on: its loss or weights stopped being finite."""


def train_step(
    forward: Forward,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    lanes: Sequence[Lane],
    batch: Batch,
    *,
    grad_clip: float | None = None,
) -> StepStats:
    """Update the lanes once on one batch.

    Expects train mode to be set and the batch to be on the network's device. The learning rates
    are whatever the optimizer holds; schedules are applied by the caller.

    Args:
        grad_clip: Largest allowed L2 norm of a lane's whole gradient; None for no limit.

    Returns:
        The batch's loss times its size, number of correct predictions and number of images.
    """
    outcome = objective(forward, batch)

    optimizer.zero_grad(set_to_none=True)
    outcome.loss.sum().backward()  # lanes share no parameter, so each gets its own gradient
    if grad_clip is not None:
        for lane in lanes:
            own = [parameter for group in lane.groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(own, grad_clip)
    optimizer.step()
    for lane in lanes:
        lane.kept.after_step()
    return _stats(outcome, batch)


def fit(
    setup: Setup,
    lanes: Sequence[Lane],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    epochs: range,
    grad_clip: float | None = None,
    bfloat16: bool = False,
    on_step: Callable[[int, int, int], object] = lambda *_: None,
) -> Iterator[list[EpochResult]]:
    """Train epoch by epoch; the results of all lanes are yielded with the network as it then is.

    Args:
        setup: The network, its images and the objective.
        optimizer: Holds the parameters of the lanes, each group at its peak rate.
        epochs: Which epochs to run; starts above 0 where a run is resumed.
        grad_clip: Largest L2 norm of a lane's gradient; None for no limit.
        bfloat16: Compute forward passes in bfloat16.
        on_step: Told the steps done, the steps of the epoch, and the images of the batch.
    """
    one_pass = partial(forward, setup.model, bfloat16=bfloat16)
    peaks = [group["lr"] for group in optimizer.param_groups]
    highest = [max(group["lr"] for group in lane.groups) for lane in lanes]
    for epoch in epochs:
        setup.seed_epoch(epoch)
        for lane in lanes:
            lane.train()
        batches = setup.batches(epoch)
        stats: list[StepStats] = []
        factors: list[float] = []
        for step, batch in enumerate(setup.train.load(batches, epoch)):
            # The middle of the step: a warm-up's first step moves, a milestone falls between two.
            factors.append(schedule(epoch + (step + 0.5) / len(batches)))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factors[-1]
            stats.append(
                train_step(one_pass, setup.objective, optimizer, lanes, batch, grad_clip=grad_clip)
            )
            on_step(step + 1, len(batches), stats[-1].num_images)
        for lane in lanes:
            lane.part.eval()
        val: Sequence[Scores | None] = [None] * len(lanes)
        if setup.val is not None:
            with contextlib.ExitStack() as stack:
                for lane in lanes:
                    stack.enter_context(lane.kept.shown())
                size = batches[0].shape[-1]
                val = evaluate(one_pass, setup.objective, setup.val, batch_size=size)
        train = _means(stats)
        bad = _first_not_finite(stats, [lane.part for lane in lanes])
        results: list[EpochResult] = []
        for number, (lr, at) in enumerate(zip(highest, bad, strict=True)):
            broken = None if at is None else _diverged(epoch, at, lr * factors[at])
            results.append(EpochResult(epoch, lr * factors[0], train[number], val[number], broken))
        yield results
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak


def evaluate(
    forward: Forward, objective: Objective, feed: Feed, *, batch_size: int = 128
) -> list[Scores]:
    """Score images in eval mode; one result per lane.

    They are mixed, the same way each time, for a loss that compares the images of a batch would
    say little about batches of one class.

    Args:
        forward: One pass through the network, which is in eval mode already.
        batch_size: Images at a time; a loss that sums over a batch grows with it.
    """
    mixed = np.random.default_rng(0).permutation(len(feed.labels))
    batches = [mixed[rows] for rows in in_order(len(mixed), batch_size)]
    score = lambda batch: _stats(objective(forward, batch), batch)  # noqa: E731
    return _means(list(passes(score, feed, batches)))


def _stats(outcome: Outcome, batch: Batch) -> StepStats:
    num_images = batch.labels.shape[-1]
    correct = (outcome.output.logits.argmax(dim=-1) == batch.labels).sum(dim=-1)
    return StepStats(outcome.loss.detach() * num_images, correct, num_images)


def _means(stats: Sequence[StepStats]) -> list[Scores]:
    num_images = sum(s.num_images for s in stats)
    losses = torch.stack([s.loss_sum for s in stats]).double().sum(dim=0) / num_images
    correct = torch.stack([s.num_correct for s in stats]).sum(dim=0)
    lanes = zip(losses.reshape(-1).tolist(), correct.reshape(-1).tolist(), strict=True)
    return [Scores(loss, count / num_images) for loss, count in lanes]


def _first_not_finite(stats: Sequence[StepStats], parts: Sequence[nn.Module]) -> list[int | None]:
    """Return, per lane, the first step of the epoch that went wrong, or None."""
    finite = torch.stack([s.loss_sum for s in stats]).isfinite().reshape(len(stats), -1)
    steps: list[int | None] = []
    for part, lane in zip(parts, finite.T.tolist(), strict=True):
        # The last step of an epoch can break the weights without showing in any loss yet.
        sound = all(bool(p.isfinite().all()) for p in part.parameters())
        steps.append(lane.index(False) if not all(lane) else None if sound else len(lane) - 1)
    return steps


def _diverged(epoch: int, step: int, lr: float) -> str:
    return (
        f"the loss stopped being finite in epoch {epoch}, step {step}, at learning rate {lr:g}; "
        "lower it (--lr) or limit the gradient (--set optim.grad_clip=1)"
    )
