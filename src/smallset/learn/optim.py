"""The optimizer, and the learning rate as a function of time."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from smallset.config import OptimConfig, ScheduleConfig

Schedule = Callable[[float], float]
"""From the time in epochs (2.5: the middle of the third) to the factor on the learning rate."""


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimConfig, lr: float
) -> torch.optim.Optimizer:
    """Build the optimizer of one stage.

    Args:
        parameters: What the stage trains.
        config: Which optimizer, and its numbers.
        lr: Peak learning rate.
    """
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def side_by_side(optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """Return one optimizer with the parameters of several, each with its own numbers as a group.

    The state of a parameter is one object in both, so each of `optimizers` can still be saved.

    Args:
        optimizers: Of one kind, with one group of parameters each.
    """
    if len(optimizers) == 1:
        return optimizers[0]
    kind: Any = type(optimizers[0])
    together = kind([group for each in optimizers for group in each.param_groups])
    for each in optimizers:
        for parameter in each.param_groups[0]["params"]:
            each.state[parameter] = together.state[parameter] = each.state[parameter]
    return together


def build_schedule(config: ScheduleConfig, epochs: int) -> Schedule:
    """Build the schedule of one stage.

    Args:
        config: Which schedule, and its numbers.
        epochs: Length of the stage.
    """

    def factor(time: float) -> float:
        warmup = min(1.0, time / config.warmup_epochs) if config.warmup_epochs else 1.0
        if config.name == "multistep":
            return warmup * config.gamma ** sum(time >= at for at in config.milestones)
        if config.name == "cosine":
            return warmup * 0.5 * (1 + math.cos(math.pi * time / epochs))
        return warmup

    return factor
