"""Models by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from smallset.config import RunConfig
from smallset.data.preprocessing import Preprocessing, square_of
from smallset.errors import ConfigError, DataError, suggest
from smallset.models.parts import Classifier
from smallset.models.plain import plain
from smallset.models.pretrained import (
    draw_last_layer,
    find_weights,
    pretrained,
    timm_model,
    torchvision_names,
    weight_file,
)
from smallset.models.residual import bottleneck, residual
from smallset.models.weights import file_sha256, read_weights
from smallset.own_code import load_object

MODELS: dict[str, Callable[[int, int], Classifier]] = {
    "plain": lambda num_classes, image_size: plain(num_classes, image_size=image_size),
    "residual": lambda num_classes, _: residual(num_classes),
    "bottleneck": lambda num_classes, _: bottleneck(num_classes),
}
"""Our own models, from scratch. To add one: write the function, add it here."""


@dataclass(frozen=True)
class Weights:
    """Where a model's pretrained weights are."""

    is_pretrained: bool
    file: Path | None = None
    """None where there are none, or timm fetches them itself."""

    @property
    def sha256(self) -> str | None:
        """Return the hash of the file's content."""
        return None if self.file is None else file_sha256(self.file)


def resolve_weights(name: str, setting: str) -> Weights:
    """Find the pretrained weights of a model; nothing is built.

    Args:
        name: As in `RunConfig.model`.
        setting: As in `RunConfig.weights`.

    Raises:
        ConfigError: If there is no such model, or it takes no weights.
        DataError: If they are missing; the message says how to bring them.
    """
    if name in MODELS or _is_function(name):
        if setting not in ("auto", "none"):
            raise ConfigError(f"model {name!r} is trained from scratch; it takes no --weights")
        return Weights(is_pretrained=False)
    if name.startswith("timm:"):
        file = None if setting in ("auto", "none") else weight_file(setting)
        return Weights(setting != "none", file)
    if name not in torchvision_names():
        known = [*MODELS, *torchvision_names()]
        raise ConfigError(f"no model named {name!r}; {suggest(name, known)}")
    file = find_weights(name, setting)
    return Weights(file is not None, file)


def default_image_size(name: str) -> int:
    """Return the side in px that a model takes where none is set: 112, or 224 if pretrained.

    Args:
        name: As in `RunConfig.model`.
    """
    return 112 if name in MODELS or _is_function(name) else 224


def build_model(
    name: str, num_classes: int, *, image_size: int, weights: str, seed: int
) -> Classifier:
    """Build the model called `name`; the same seed gives the same weights.

    Args:
        name: As in `RunConfig.model`.
        image_size: Side of the images, px.
        weights: As in `RunConfig.weights`.
        seed: Seed of the random weights; torch's global state is left as it was.

    Raises:
        ConfigError: If there is no such model, or it cannot take the setting.
        DataError: If weights are missing or do not fit.
    """
    found = resolve_weights(name, weights)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name in MODELS:
            return MODELS[name](num_classes, image_size)
        if _is_function(name):
            return _call(name, num_classes, image_size)
        if name.startswith("timm:"):
            model = timm_model(name[5:], num_classes, image_size=image_size, setting=weights)
        else:
            file = None if found.file is None else read_weights(found.file)
            model = pretrained(name, num_classes, image_size=image_size, weights=file)
        # From the seed alone, so that another seed can have its last layer on the same backbone.
        draw_last_layer(model.classifier, seed)
        return model


def preprocessing_for(model: Classifier, config: RunConfig) -> Preprocessing:
    """Return how pictures become inputs of a network.

    Args:
        model: The network, which says how colours are normalised.
        config: Settings of the run, its image size resolved.
    """
    return Preprocessing(**vars(square_of(config)), mean=model.mean, std=model.std)


def outline(name: str, num_classes: int, image_size: int) -> Classifier:
    """Build a model without the memory and time of its weights, to look at its layers.

    Args:
        name: As in `RunConfig.model`.
        image_size: Side of the images, px.

    Raises:
        ConfigError: If there is no such model.
    """
    build = partial(build_model, name, num_classes, image_size=image_size, weights="none", seed=0)
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # RegNet computes its widths with tensors, which "meta" has not
        return build()


def check_weights(name: str, file: str) -> Classifier:
    """Build a pretrained model from a file, to see whether it fits.

    Raises:
        ConfigError: If there is no such model, or it takes no weights.
        DataError: If the file does not fit.
    """
    if file in ("auto", "none"):
        raise DataError(f"{file!r} is not a weight file")
    size = default_image_size(name)
    return build_model(name, 2, image_size=size, weights=file, seed=0)


def _is_function(name: str) -> bool:
    return ":" in name and not name.startswith("timm:")


def _call(name: str, num_classes: int, image_size: int) -> Classifier:
    model = load_object(name)(num_classes, image_size=image_size)
    if not isinstance(model, Classifier):
        raise ConfigError(
            f"{name} must return a smallset.models.parts.Classifier, got {type(model).__name__}"
        )
    return model
