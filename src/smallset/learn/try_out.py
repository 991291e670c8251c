"""One batch through a network and a loss of the user's own, before anything trains for hours."""

import contextlib

import torch

from smallset.config import RunConfig
from smallset.errors import ConfigError
from smallset.learn.objectives import own_loss
from smallset.models.parts import Classifier, Output
from smallset.models.registry import build_model
from smallset.own_code import is_function, running

BATCH = 6


def try_own_code(config: RunConfig, num_classes: int) -> None:
    """Pass random images forwards and backwards, where the model or the loss is the user's own.

    Args:
        config: Its image size resolved.
        num_classes: 2 or more.

    Raises:
        ConfigError: If the code raises, or what it gives is no logits, no loss or not finite.
    """
    own_model, own = is_function(config.model), is_function(config.loss)
    if not (own_model or own):
        return
    with torch.random.fork_rng():
        _try(config, num_classes, own_model=own_model, own_loss_too=own)


def _try(config: RunConfig, num_classes: int, *, own_model: bool, own_loss_too: bool) -> None:
    assert config.image_size is not None
    drawn = torch.Generator().manual_seed(0)
    size = config.image_size
    images = torch.randn(BATCH, 3, size, size, generator=drawn)
    labels = torch.arange(BATCH) % num_classes
    if own_model:
        model = build_model(config.model, num_classes, image_size=size, weights="none", seed=0)
        try_model(model, config, num_classes)
        with running(config.model):
            output = model.train()(images)
        if output.logits.shape != (BATCH, num_classes) or not output.logits.isfinite().all():
            raise ConfigError(
                f"{config.model} gives logits {tuple(output.logits.shape)} for a batch of {BATCH} "
                f"images, or none that are finite; ({BATCH}, {num_classes}) are wanted"
            )
        if not output.logits.requires_grad:
            raise ConfigError(f"{config.model} has nothing to train: no parameter has a gradient")
    else:
        logits = torch.randn(BATCH, num_classes, generator=drawn, requires_grad=True)
        output = Output(logits, logits)
    name = config.loss if own_loss_too else config.model
    loss = own_loss(name)(output, labels) if own_loss_too else output.logits.sum()
    with running(name):
        loss.backward()
    if not loss.isfinite():
        raise ConfigError(f"{name} gives {loss.item()} for a random batch; a loss must be finite")


def try_model(model: Classifier, config: RunConfig, num_classes: int) -> None:
    """Pass one image through a network.

    Raises:
        ConfigError: If it cannot take images of this size, or gives other logits than it must.
    """
    size = config.image_size
    assert size is not None
    guard = running(config.model) if is_function(config.model) else contextlib.nullcontext()
    try:
        with torch.no_grad(), guard:
            logits = model.eval()(torch.zeros(1, 3, size, size)).logits
        if logits.shape != (1, num_classes):
            raise ConfigError(
                f"{config.model} gives {tuple(logits.shape)} logits for one image of {num_classes} "
                f"classes; it must give (1, {num_classes})"
            )
    except ConfigError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(f"this model cannot take images of {size} px: {error}") from None
