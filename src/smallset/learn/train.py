"""The training loop: one step, one epoch, one evaluation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smallset.data.batches import Rows
from smallset.errors import RunError
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

    loss_sum: Float[Tensor, ""]
    num_correct: Int[Tensor, ""]
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


def train_step(
    model: Callable[[Tensor], Output],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Int[Tensor, " batch"],
    *,
    grad_clip: float | None = None,
    bfloat16: bool = False,
) -> StepStats:
    """Update `model` once on one batch.

    Expects train mode to be set and inputs already on the model's device. The learning rate is
    whatever the optimizer holds; schedules are applied by the caller.

    Args:
        model: Maps inputs to an `Output`.
        objective: The scalar to minimise.
        optimizer: Holds the parameters to change.
        images: Normalised images, or features where `model` starts from them.
        labels: Class indices in [0, classes).
        grad_clip: Largest allowed L2 norm of the whole gradient; None for no limit.
        bfloat16: Run the forward pass in bfloat16; weights, loss and optimizer stay in float32.

    Returns:
        The batch's loss times its size, number of correct predictions and number of images.
    """
    output = forward(model, images, bfloat16=bfloat16)
    loss = objective(output, labels)

    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if grad_clip is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, grad_clip)
    optimizer.step()

    num_correct = (output.logits.argmax(dim=1) == labels).sum()
    return StepStats(loss.detach() * len(labels), num_correct, len(labels))


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
    trained: nn.Module,
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
) -> Iterator[EpochResult]:
    """Train epoch by epoch; each result is yielded with the model as it is after that epoch.

    Args:
        model: Maps what `source` loads to an `Output`.
        trained: The part that changes: it alone is put into train mode, all else stays in eval.
        source: Training images.
        plan: Which of them form a batch.
        objective: The scalar to minimise.
        optimizer: Holds the parameters of `trained`, at the peak learning rate.
        schedule: Factor on that rate over time.
        epochs: Which epochs to run; starts above 0 where a run is resumed.
        val: Images to score after each epoch; None for none.
        grad_clip: Largest L2 norm of the gradient; None for no limit.
        bfloat16: Compute the forward pass in bfloat16.
        seed_epoch: Called with the epoch before it starts, to seed dropout.
        on_step: Called with the steps done, the steps of the epoch, and the images of the batch.

    Raises:
        RunError: If the loss stops being finite; names epoch, step and learning rate.
    """
    peak = optimizer.param_groups[0]["lr"]
    for epoch in epochs:
        if seed_epoch is not None:
            seed_epoch(epoch)
        trained.train()
        batches = plan(epoch)
        stats: list[StepStats] = []
        rates: list[float] = []
        for step, (images, labels) in enumerate(source.load(batches, epoch)):
            # The middle of the step: a warm-up's first step moves, a milestone falls between two.
            rates.append(peak * schedule(epoch + (step + 0.5) / len(batches)))
            for group in optimizer.param_groups:
                group["lr"] = rates[-1]
            stats.append(
                train_step(
                    model, objective, optimizer, images, labels,
                    grad_clip=grad_clip, bfloat16=bfloat16,
                )
            )  # fmt: skip
            if on_step is not None:
                on_step(step + 1, len(batches), len(labels))
        trained.eval()
        _require_finite(stats, rates, epoch, trained)
        scores = None
        if val is not None:
            size = len(batches[0])
            scores = evaluate(model, val, objective, bfloat16=bfloat16, batch_size=size)
        yield EpochResult(epoch, rates[0], _mean(stats), scores)
    for group in optimizer.param_groups:
        group["lr"] = peak


@torch.inference_mode()
def evaluate(
    model: Callable[[Tensor], Output],
    source: Source,
    objective: Objective,
    *,
    bfloat16: bool = False,
    batch_size: int = 128,
) -> Scores:
    """Score images in eval mode.

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
        loss = objective(output, labels) * len(labels)
        stats.append(StepStats(loss, (output.logits.argmax(1) == labels).sum(), len(labels)))
    return _mean(stats)


def in_order(num_images: int, batch_size: int) -> list[Rows]:
    """Return all rows in batches, in order.

    Args:
        num_images: Number of rows.
        batch_size: Rows per batch.
    """
    return np.split(np.arange(num_images), range(batch_size, num_images, batch_size))


def _mean(stats: Sequence[StepStats]) -> Scores:
    num_images = sum(s.num_images for s in stats)
    loss = torch.stack([s.loss_sum for s in stats]).double().sum().item() / num_images
    correct = torch.stack([s.num_correct for s in stats]).sum().item()
    return Scores(loss, correct / num_images)


def _require_finite(
    stats: Sequence[StepStats], rates: Sequence[float], epoch: int, trained: nn.Module
) -> None:
    finite = torch.stack([s.loss_sum for s in stats]).isfinite().tolist()
    # The last step of an epoch can break the weights without showing in any loss yet.
    finite.append(all(bool(p.isfinite().all()) for p in trained.parameters()))
    if not all(finite):
        step = min(finite.index(False), len(rates) - 1)
        raise RunError(
            f"the loss stopped being finite in epoch {epoch}, step {step}, at learning rate "
            f"{rates[step]:g}; lower it (--lr) or limit the gradient (--set optim.grad_clip=1)"
        )
