"""The optimizer, its groups of parameters, and the learning rate as a function of time."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from smallset.groups import OptimConfig, ScheduleConfig
from smallset.models.blocks import blocks_of, own_parameters
from smallset.models.parts import Classifier

Schedule = Callable[[float], float]
"""From the time in epochs (2.5: the middle of the third) to the factor on the learning rate."""

Group = dict[str, Any]
"""Parameters with a rate and a decay of their own: "params", "lr", "weight_decay"."""

OPTIMIZERS: dict[str, Callable[[list[Group], OptimConfig], torch.optim.Optimizer]] = {
    "sgd": lambda groups, config: torch.optim.SGD(
        groups, momentum=config.momentum, nesterov=config.nesterov
    ),
    "adamw": lambda groups, _: torch.optim.AdamW(groups),
}
"""From groups of parameters and the settings to the optimizer."""

SCHEDULES: dict[str, Callable[[ScheduleConfig, float, int], float]] = {
    "multistep": lambda config, time, _: (
        config.gamma ** sum(time >= at for at in config.milestones)
    ),
    "cosine": lambda _, time, epochs: 0.5 * (1 + math.cos(math.pi * time / epochs)),
    "constant": lambda *_: 1.0,
}
"""From the settings, the time and the epochs in all to the factor, warm-up aside."""


def parameter_groups(
    model: Classifier, part: nn.Module, config: OptimConfig, lr: float
) -> list[Group]:
    """Return the parameters that a stage trains, each group with its peak rate and its decay.

    Where rates fall from block to block, the last block and the classifier part have the whole one.

    Args:
        part: What the stage trains: all of the model, or one of its parts.
    """
    decay = {"weight_decay": config.weight_decay}
    if part is model.classifier or (config.layer_decay == 1 and not config.frozen_share):
        return [{"params": list(part.parameters()), "lr": lr, **decay}]
    blocks = blocks_of(model.features)
    groups: list[Group] = []
    for number, block in enumerate(blocks):
        if number >= num_frozen(blocks, config):
            rate = lr * config.layer_decay ** (len(blocks) - 1 - number)
            groups.append({"params": list(block.parameters()), "lr": rate, **decay})
    if not num_frozen(blocks, config) and (first := own_parameters(model.features, blocks)):
        groups.insert(0, {"params": first, "lr": lr * config.layer_decay ** len(blocks), **decay})
    if part is model:
        groups.append({"params": list(model.classifier.parameters()), "lr": lr, **decay})
    return groups


def num_frozen(blocks: Sequence[nn.Module], config: OptimConfig) -> int:
    """Return how many of the first blocks stay as they are."""
    return int(config.frozen_share * len(blocks))


def still_modules(model: Classifier, config: OptimConfig) -> list[nn.Module]:
    """Return the modules that stay in eval mode while a model trains."""
    blocks = blocks_of(model.features)
    still: list[nn.Module] = [*blocks[: num_frozen(blocks, config)]]
    if config.batch_norm == "eval":
        norms = nn.modules.batchnorm._BatchNorm
        still += [module for module in model.modules() if isinstance(module, norms)]
    return still


def build_optimizer(groups: list[Group], config: OptimConfig) -> torch.optim.Optimizer:
    """Build the optimizer of one stage.

    Args:
        groups: As `parameter_groups` gives them.
    """
    return OPTIMIZERS[config.name](groups, config)


def side_by_side(optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """Return one optimizer with the groups of several, in order: one step is cheaper than many.

    The state of a parameter is one object in both, so each of `optimizers` can still be saved.
    """
    if len(optimizers) == 1:
        return optimizers[0]
    kind: Any = type(optimizers[0])
    together = kind([group for each in optimizers for group in each.param_groups])
    for each in optimizers:
        for parameter in (p for group in each.param_groups for p in group["params"]):
            each.state[parameter] = together.state[parameter] = each.state[parameter]
    return together


def build_schedule(config: ScheduleConfig, epochs: int) -> Schedule:
    """Build the schedule of one stage."""
    schedule = SCHEDULES[config.name]

    def factor(time: float) -> float:
        warmup = min(1.0, time / config.warmup_epochs) if config.warmup_epochs else 1.0
        return warmup * schedule(config, time, epochs)

    return factor
