"""What a training minimises: objectives, and the losses that the command line knows by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor, nn

from smallset.data.balance import class_weights, log_prior
from smallset.data.feed import Batch
from smallset.errors import ConfigError, suggest
from smallset.groups import Balance, LossConfig, Parts
from smallset.learn.losses import (
    cross_entropy_loss,
    gce_loss,
    mse_loss,
    squared_loss,
    triplet_cosine_loss,
    triplet_euclidean_loss,
)
from smallset.models.parts import Output
from smallset.own_code import load_object, running

Forward = Callable[[Tensor], Output]
"""The network as it is now: one pass, in the precision of the run."""


class Outcome(NamedTuple):
    """What an objective made of a batch."""

    loss: Tensor
    """The scalar to minimise; one per lane where runs train side by side."""
    output: Output
    """The pass whose predictions count as those of the batch."""


Objective = Callable[[Forward, Batch], Outcome]
"""Passes a batch through the network, as often and as changed as it likes, and says the loss."""


@dataclass(frozen=True)
class OnePass:
    """The objective of an ordinary loss: one pass, and a function of its output and the labels."""

    loss: Callable[[Output, Tensor], Tensor]

    def __call__(self, forward: Forward, batch: Batch) -> Outcome:
        """Pass the batch through the network once."""
        output = forward(batch.images)
        return Outcome(self.loss(output, batch.labels), output)


def own_loss(name: str) -> Callable[[Output, Tensor], Tensor]:
    """Return a loss of the user's own, whose every value is looked at.

    It is called with logits (batch, classes) and labels (batch,); one whose first parameter is
    called "output" gets the whole `Output` instead, embeddings and all.

    Args:
        name: "module:object", a function or a class that is called without arguments for one.

    Raises:
        ConfigError: If it cannot be imported; and later, if it raises or returns no loss.
    """
    loss: Any = load_object(name)
    with running(name):
        loss = loss() if inspect.isclass(loss) else loss
        called = loss.forward if isinstance(loss, nn.Module) else loss
        wants_output = next(iter(inspect.signature(called).parameters), "") == "output"

    def checked(output: Output, labels: Tensor) -> Tensor:
        with running(name):
            value = loss(output if wants_output else output.logits, labels)
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:80]
            raise ConfigError(f"{name} must return the loss, a Tensor of one float, got {got}")
        if torch.is_grad_enabled() and not value.requires_grad:
            raise ConfigError(f"{name} must compute the loss from the network's output by torch")
        return value

    return checked


class Stage(NamedTuple):
    """One part of a training."""

    name: str
    objective: Objective | None
    """None where the last layer is fitted as a probe, not by steps."""
    trains: Parts
    collapsed_loss: float | None = None
    """Where the loss stands when all embeddings are equal; None for a loss that does not compare
    the images of a batch. Of one that does, anchors without a second image of their class are
    lost."""


PROBE = Stage("probe", None, "classifier")
"""The last layer, fitted to convergence on the features of the network as it is."""


class Loss(NamedTuple):
    """A loss by name."""

    function: Callable[..., Tensor]
    """Of logits or embeddings, of labels, and of the numbers it reads, by their names."""
    of: Literal["logits", "embeddings"]
    """What it looks at. A loss of embeddings trains the feature part in a stage of its own, and
    cross-entropy the classifier part in the next."""
    reads: tuple[str, ...] = ()
    """Names in `LossConfig`."""
    balances: bool = False
    """Whether it takes what `balancing` returns."""


LOSSES: dict[str, Loss] = {
    "cross-entropy": Loss(
        cross_entropy_loss, of="logits", reads=("label_smoothing",), balances=True
    ),
    "triplet-cosine": Loss(triplet_cosine_loss, of="embeddings", reads=("margin", "soft_margin")),
    "triplet-euclidean": Loss(
        triplet_euclidean_loss, of="embeddings", reads=("margin", "soft_margin")
    ),
    "squared": Loss(squared_loss, of="logits"),
    "mse": Loss(mse_loss, of="logits"),
    "gce": Loss(gce_loss, of="logits", reads=("gce_q",)),
}
"""Every loss the command line knows. To add one: write the function, add it here."""


def balancing(
    how: Balance, sizes: Int[ndarray, " classes"], *, device: str
) -> Mapping[str, Tensor]:
    """Return what makes classes of uneven sizes count the same in a loss that balances.

    Args:
        sizes: Training images of each class.
    """
    make = {"weights": ("class_weights", class_weights), "logits": ("log_prior", log_prior)}
    if how == "none":
        return {}
    name, of = make[how]
    return {name: torch.from_numpy(of(sizes)).to(device)}


def balances(name: str) -> bool:
    """Whether the last stage of a loss can make classes of uneven sizes count the same.

    Args:
        name: As in `RunConfig.loss`.
    """
    return name in LOSSES and LOSSES[_in_order(name)[-1]].balances


def build_stages(
    name: str, config: LossConfig, balanced: Mapping[str, Tensor] | None = None
) -> list[Stage]:
    """Return the stages of the loss called `name`.

    Args:
        name: A key of `LOSSES`.
        balanced: As `balancing` returns it; None where classes count by their sizes.

    Raises:
        ConfigError: If there is no such loss, or `config` has a number that it does not read.
    """
    if name not in LOSSES:
        raise ConfigError(f"no loss named {name!r}; {suggest(name, LOSSES)}")
    names = _in_order(name)
    refuse_unread(name, config, numbers_read(name))
    parts: Sequence[Parts] = ("all",) if len(names) == 1 else ("features", "classifier")
    return [
        _stage(each, config, part, balanced or {}) for each, part in zip(names, parts, strict=True)
    ]


def numbers_read(name: str) -> set[str]:
    """Return the names in `LossConfig` that a loss reads; none for a loss of the user's.

    Args:
        name: As in `RunConfig.loss`.
    """
    names = _in_order(name) if name in LOSSES else []
    return {number for each in names for number in LOSSES[each].reads}


def _in_order(name: str) -> list[str]:
    """Return the losses of the stages: one of embeddings leaves the classifier to cross-entropy."""
    return [name] if LOSSES[name].of == "logits" else [name, "cross-entropy"]


def refuse_unread(name: str, config: LossConfig, read: set[str]) -> None:
    """Refuse numbers that a loss does not read.

    Raises:
        ConfigError: If another one has been changed.
    """
    for number, default in LossConfig().model_dump().items():
        if number not in read and getattr(config, number) != default:
            readers = [key for key, loss in LOSSES.items() if number in loss.reads]
            raise ConfigError(
                f"loss_args.{number} belongs to {', '.join(readers)}; the loss {name} does not "
                "read it"
            )


def _stage(name: str, config: LossConfig, trains: Parts, balanced: Mapping[str, Tensor]) -> Stage:
    function, of, reads, balances = LOSSES[name]
    numbers = {number: getattr(config, number) for number in reads}
    loss = partial(function, **numbers, **(balanced if balances else {}))
    objective = OnePass(lambda output, labels: loss(getattr(output, of), labels))
    if of == "logits":
        return Stage(name, objective, trains)
    collapsed = loss(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))
    return Stage(name, objective, trains, float(collapsed))


def per_lane(objective: OnePass) -> OnePass:
    """Return an objective that gives one loss per lane."""

    def losses(output: Output, labels: Tensor) -> Tensor:
        lanes = zip(*output, labels.expand(output.logits.shape[:2]), strict=True)
        return torch.stack([objective.loss(Output(*given), own) for *given, own in lanes])

    return OnePass(losses)
