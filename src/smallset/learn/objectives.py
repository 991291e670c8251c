"""Losses by name: each is a list of stages, a stage an objective and the part it trains."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from smallset.config import LossConfig, Parts
from smallset.errors import ConfigError, suggest
from smallset.learn.losses import (
    gce_loss,
    mse_loss,
    squared_loss,
    triplet_cosine_loss,
    triplet_euclidean_loss,
)
from smallset.models.parts import Output

Objective = Callable[[Output, Tensor], Tensor]
"""From the model's output and the labels (batch,) to the scalar to minimise."""


class Stage(NamedTuple):
    """One part of a training."""

    name: str
    objective: Objective
    trains: Parts
    wants_positives: bool = False
    """Whether an anchor without a second image of its class in the batch is lost."""


def _cross_entropy(config: LossConfig) -> Objective:
    smoothing = config.label_smoothing
    return lambda output, labels: F.cross_entropy(output.logits, labels, label_smoothing=smoothing)


def _one(name: str, objective: Objective) -> list[Stage]:
    return [Stage(name, objective, "all")]


def _then_cross_entropy(name: str, objective: Objective, config: LossConfig) -> list[Stage]:
    return [
        Stage(name, objective, "features", wants_positives=True),
        Stage("cross-entropy", _cross_entropy(config), "classifier"),
    ]


def _triplet_cosine(config: LossConfig) -> list[Stage]:
    def objective(output: Output, labels: Tensor) -> Tensor:
        return triplet_cosine_loss(
            output.embeddings, labels, margin=config.margin, soft_margin=config.soft_margin
        )

    return _then_cross_entropy("triplet-cosine", objective, config)


def _triplet_euclidean(config: LossConfig) -> list[Stage]:
    def objective(output: Output, labels: Tensor) -> Tensor:
        return triplet_euclidean_loss(
            output.embeddings, labels, margin=config.margin, soft_margin=config.soft_margin
        )

    return _then_cross_entropy("triplet-euclidean", objective, config)


LOSSES: dict[str, Callable[[LossConfig], list[Stage]]] = {
    "cross-entropy": lambda config: _one("cross-entropy", _cross_entropy(config)),
    "triplet-cosine": _triplet_cosine,
    "triplet-euclidean": _triplet_euclidean,
    "squared": lambda _: _one("squared", lambda output, y: squared_loss(output.logits, y)),
    "mse": lambda _: _one("mse", lambda output, y: mse_loss(output.logits, y)),
    "gce": lambda config: _one("gce", lambda output, y: gce_loss(output.logits, y, q=config.gce_q)),
}
"""Every loss the command line knows. To add one: write the function, add it here."""


def build_stages(loss: str, config: LossConfig) -> list[Stage]:
    """Return the stages of the loss called `loss`.

    Args:
        loss: A key of `LOSSES`.
        config: Numbers inside the losses.

    Raises:
        ConfigError: If there is no such loss.
    """
    if loss not in LOSSES:
        raise ConfigError(f"no loss named {loss!r}; {suggest(loss, LOSSES)}")
    return LOSSES[loss](config)
