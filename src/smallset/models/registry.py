"""Models by name."""

import inspect
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from smallset.config import RunConfig
from smallset.data.preprocessing import Preprocessing, square_of
from smallset.errors import ConfigError, DataError, suggest
from smallset.models.by_name import MODELS, default_image_size, is_own, members
from smallset.models.packages import PACKAGED, packaged_file, require_package
from smallset.models.parts import Classifier, as_classifier
from smallset.models.pretrained import (
    download_place,
    draw_last_layer,
    find_weights,
    pretrained,
    stated_licence,
    timm_model,
    torchvision_names,
    weight_file,
)
from smallset.models.together import together
from smallset.models.weights import file_sha256, imported, read_weights
from smallset.own_code import is_function, load_object, running


@dataclass(frozen=True)
class Weights:
    """Where a model's pretrained weights are."""

    is_pretrained: bool
    files: tuple[Path, ...] = ()
    """One per network; none where there are none, or timm fetches them itself."""

    @property
    def sha256(self) -> str | None:
        """Return the hash of the file's content; of several files joined by "+"."""
        return "+".join(map(file_sha256, self.files)) or None


def resolve_weights(name: str, setting: str) -> Weights:
    """Find the pretrained weights of a model; nothing is built.

    Args:
        name: As in `RunConfig.model`.
        setting: As in `RunConfig.weights`.

    Raises:
        ConfigError: If there is no such model, or it takes no weights.
        DataError: If they are missing; the message says how to bring them.
    """
    if "+" in name:
        each = [resolve_weights(*one) for one in members(name, setting)]
        if len({one.is_pretrained for one in each}) > 1:
            raise ConfigError(f"{name}: either all networks have pretrained weights, or none")
        return Weights(each[0].is_pretrained, tuple(file for one in each for file in one.files))
    if is_own(name):
        if setting not in ("auto", "none"):
            raise ConfigError(f"model {name!r} is trained from scratch; it takes no --weights")
        return Weights(is_pretrained=False)
    if name.startswith("timm:"):
        files = () if setting in ("auto", "none") else (weight_file(setting),)
        return Weights(setting != "none", files)
    if name in PACKAGED:
        if setting == "none":
            return Weights(is_pretrained=False)
        if setting != "auto":
            return Weights(True, (weight_file(setting),))
        return Weights(True, (imported(name) or require_package(name),))
    if name not in torchvision_names():
        known = [*MODELS, *PACKAGED, *torchvision_names()]
        raise ConfigError(f"no model named {name!r}; {suggest(name, known)}")
    file = find_weights(name, setting)
    return Weights(file is not None, () if file is None else (file,))


class Source(NamedTuple):
    """Where the weights of a network are, or come from."""

    name: str
    state: Literal["here", "by pip", "by download"]
    place: str
    """The file, the command that brings it, or the name of what is downloaded."""
    licence: str


def weight_sources() -> list[Source]:
    """Return, for every pretrained network with a name, where its weights come from.

    torchvision names a licence of few of its weights, and says of all that the images they were
    trained on may set terms; nothing names that of an imported file. timm's networks are on a hub,
    each with its own licence.
    """
    sources: list[Source] = []
    for name in [*PACKAGED, *torchvision_names()]:
        file, licence = imported(name), None
        if file is None and name in PACKAGED:
            file, licence = packaged_file(name), PACKAGED[name].licence
        elif file is None:
            file, licence = download_place(name), stated_licence(name)
        lacks_timm = name in PACKAGED and find_spec("timm") is None
        if file is not None and file.exists() and not lacks_timm:
            state, place = "here", str(file)
        elif name in PACKAGED:
            state = "by pip"
            place = f"pip install {'timm ' * lacks_timm}{PACKAGED[name].package}"
        else:
            state, place = "by download", download_place(name).name
        sources.append(Source(name, state, place, licence or "not stated"))
    return sources


def stated_licences(name: str, setting: str) -> list[tuple[str, str | None]]:
    """Return, for each network of a model, the licence that is stated for its pretrained weights.

    Args:
        name: As in `RunConfig.model`.
        setting: As in `RunConfig.weights`; of a file nobody knows more than its owner.
    """
    found: list[tuple[str, str | None]] = []
    for each, own in members(name, setting) if "+" in name else [(name, setting)]:
        licence = None
        if own == "auto" and imported(each) is None:
            if each in PACKAGED:
                licence = PACKAGED[each].licence
            elif each in torchvision_names():
                licence = stated_licence(each)
        found.append((each, licence))
    return found


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
        if is_function(name):
            return _call(name, num_classes, image_size)
        if "+" in name:
            built = [
                (build_model(each, num_classes, image_size=size, weights=own, seed=seed), size)
                for each, own in members(name, weights)
                if (size := min(default_image_size(each), image_size))
            ]
            model = together(built, num_classes)
        elif name in PACKAGED:
            file = found.files[0] if found.files else "none"
            model = timm_model(
                PACKAGED[name].timm, num_classes, image_size=image_size, setting=file
            )
        elif name.startswith("timm:"):
            model = timm_model(name[5:], num_classes, image_size=image_size, setting=weights)
        else:
            file = read_weights(found.files[0]) if found.files else None
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


def _call(name: str, num_classes: int, image_size: int) -> Classifier:
    build = load_object(name)
    with running(name):
        wants_size = "image_size" in inspect.signature(build).parameters
        model = build(num_classes, **({"image_size": image_size} if wants_size else {}))
        if isinstance(model, nn.Module) and not isinstance(model, Classifier):
            model = as_classifier(model, image_size)
    if not isinstance(model, Classifier):
        raise ConfigError(
            f"{name} must return a network, a torch.nn.Module, got {type(model).__name__}"
        )
    return model
