"""The training loop: one step, one epoch, one evaluation.

Several classifiers on one frozen backbone can be trained at once, each in a lane of its own: then
inputs and outputs have a leading axis of lanes, and there is one loss per lane.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smallset.data.batches import Rows, in_order
from smallset.learn.objectives import Objective
from smallset.learn.optim import Schedule
from smallset.models.parts import Output


@runtime_checkable
class Source(Protocol):
    """Images or their features, ready for the model, with their labels."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def load(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and labels of each batch, on the model's device.

        Args:
            batches: Rows.
            epoch: Which epoch's augmentation to apply; None for none.
        """
        ...


Plan = Callable[[int], Sequence[Rows]]
"""From the epoch, from 0, to the rows of each of its batches; the same each time it is asked."""


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
    """Rate at the start of the epoch."""
    train: Scores
    """Running mean while the weights moved."""
    val: Scores | None
    broken: str | None = None
    """Why the lane cannot go on: its loss or weights stopped being finite."""


def train_step(
    model: Callable[[Tensor], Output],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Int[Tensor, "*lanes batch"],
    *,
    grad_clip: float | None = None,
    bfloat16: bool = False,
) -> StepStats:
    """Update `model` once on one batch.

    Expects train mode to be set and inputs already on the model's device. The learning rate is
    whatever the optimizer holds; schedules are applied by the caller.

    Args:
        model: Maps inputs to an `Output`.
        objective: What to minimise.
        optimizer: Holds the parameters to change, one group per lane.
        images: Normalised images, or features where `model` starts from them.
        labels: Class indices in [0, classes).
        grad_clip: Largest allowed L2 norm of a lane's whole gradient; None for no limit.
        bfloat16: Run the forward pass in bfloat16; weights, loss and optimizer stay in float32.

    Returns:
        The batch's loss times its size, number of correct predictions and number of images.
    """
    output = forward(model, images, bfloat16=bfloat16)
    loss = objective(output, labels)

    optimizer.zero_grad(set_to_none=True)
    loss.sum().backward()  # lanes share no parameter, so the sum gives each its own gradient
    if grad_clip is not None:
        for lane in optimizer.param_groups:
            nn.utils.clip_grad_norm_(lane["params"], grad_clip)
    optimizer.step()
    return _stats(output, loss.detach(), labels)


def forward(model: Callable[[Tensor], Output], images: Tensor, *, bfloat16: bool) -> Output:
    """Return the model's output in float32.

    Args:
        model: Maps inputs to an `Output`.
        images: Its inputs.
        bfloat16: Compute in bfloat16 inside.
    """
    # bfloat16 has float32's exponent range, so no GradScaler, so one path for both precisions.
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        logits, embeddings = model(images)
    return Output(logits.float(), embeddings.float())


def fit(
    model: Callable[[Tensor], Output],
    trained: Sequence[nn.Module],
    source: Source,
    plan: Plan,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    epochs: range,
    val: Source | None = None,
    grad_clip: float | None = None,
    bfloat16: bool = False,
    seed_epoch: Callable[[int], object] | None = None,
    on_step: Callable[[int, int, int], object] | None = None,
) -> Iterator[list[EpochResult]]:
    """Train epoch by epoch; the results of all lanes are yielded with the model as it then is.

    Args:
        model: Maps what `source` loads to an `Output`.
        trained: The part of each lane that changes: it alone is put into train mode, all else
            stays in eval.
        source: Training images.
        plan: Which of them form a batch.
        objective: What to minimise: a scalar, or one value per lane.
        optimizer: Holds the parameters of `trained`, one group per lane, at its peak learning rate.
        schedule: Factor on that rate over time.
        epochs: Which epochs to run; starts above 0 where a run is resumed.
        val: Images to score after each epoch; None for none.
        grad_clip: Largest L2 norm of the gradient; None for no limit.
        bfloat16: Compute the forward pass in bfloat16.
        seed_epoch: Called with the epoch before it starts, to seed dropout.
        on_step: Called with the steps done, the steps of the epoch, and the images of the batch.
    """
    peaks = [lane["lr"] for lane in optimizer.param_groups]
    for epoch in epochs:
        if seed_epoch is not None:
            seed_epoch(epoch)
        for part in trained:
            part.train()
        batches = plan(epoch)
        stats: list[StepStats] = []
        factors: list[float] = []
        for step, (images, labels) in enumerate(source.load(batches, epoch)):
            # The middle of the step: a warm-up's first step moves, a milestone falls between two.
            factors.append(schedule(epoch + (step + 0.5) / len(batches)))
            for lane, peak in zip(optimizer.param_groups, peaks, strict=True):
                lane["lr"] = peak * factors[-1]
            stats.append(
                train_step(
                    model, objective, optimizer, images, labels,
                    grad_clip=grad_clip, bfloat16=bfloat16,
                )
            )  # fmt: skip
            if on_step is not None:
                on_step(step + 1, len(batches), labels.shape[-1])
        for part in trained:
            part.eval()
        scores: Sequence[Scores | None] = [None] * len(trained)
        if val is not None:
            size = batches[0].shape[-1]
            scores = evaluate(model, val, objective, bfloat16=bfloat16, batch_size=size)
        first_bad = _first_not_finite(stats, trained)
        yield [
            EpochResult(
                epoch, peak * factors[0], train, val_scores,
                None if bad is None else _diverged(epoch, bad, peak * factors[bad]),
            )
            for peak, train, val_scores, bad in zip(
                peaks, _mean(stats), scores, first_bad, strict=True
            )
        ]  # fmt: skip
    for lane, peak in zip(optimizer.param_groups, peaks, strict=True):
        lane["lr"] = peak


@torch.inference_mode()
def evaluate(
    model: Callable[[Tensor], Output],
    source: Source,
    objective: Objective,
    *,
    bfloat16: bool = False,
    batch_size: int = 128,
) -> list[Scores]:
    """Score images in eval mode; one result per lane.

    They are mixed, the same way each time, for a loss that compares the images of a batch would
    say little about batches of one class.

    Args:
        model: Maps what `source` loads to an `Output`; already in eval mode.
        source: The images.
        objective: The loss to report.
        bfloat16: Compute in bfloat16.
        batch_size: Images at a time; a loss that sums over a batch grows with it.
    """
    mixed = np.random.default_rng(0).permutation(len(source))
    batches = [mixed[rows] for rows in in_order(len(source), batch_size)]
    stats: list[StepStats] = []
    for images, labels in source.load(batches, None):
        output = forward(model, images, bfloat16=bfloat16)
        stats.append(_stats(output, objective(output, labels), labels))
    return _mean(stats)


def _stats(output: Output, loss: Tensor, labels: Tensor) -> StepStats:
    num_images = labels.shape[-1]
    return StepStats(
        loss * num_images, (output.logits.argmax(dim=-1) == labels).sum(dim=-1), num_images
    )


def _mean(stats: Sequence[StepStats]) -> list[Scores]:
    num_images = sum(s.num_images for s in stats)
    losses = torch.stack([s.loss_sum for s in stats]).double().sum(dim=0) / num_images
    correct = torch.stack([s.num_correct for s in stats]).sum(dim=0)
    lanes = zip(losses.reshape(-1).tolist(), correct.reshape(-1).tolist(), strict=True)
    return [Scores(loss, count / num_images) for loss, count in lanes]


def _first_not_finite(stats: Sequence[StepStats], trained: Sequence[nn.Module]) -> list[int | None]:
    """Return, per lane, the first step of the epoch that went wrong, or None."""
    finite = torch.stack([s.loss_sum for s in stats]).isfinite().reshape(len(stats), -1)
    steps: list[int | None] = []
    for part, lane in zip(trained, finite.T.tolist(), strict=True):
        # The last step of an epoch can break the weights without showing in any loss yet.
        sound = all(bool(p.isfinite().all()) for p in part.parameters())
        steps.append(lane.index(False) if not all(lane) else None if sound else len(lane) - 1)
    return steps


def _diverged(epoch: int, step: int, lr: float) -> str:
    return (
        f"the loss stopped being finite in epoch {epoch}, step {step}, at learning rate {lr:g}; "
        "lower it (--lr) or limit the gradient (--set optim.grad_clip=1)"
    )
