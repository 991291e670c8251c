"""Any classification network of torchvision or timm, its last layer replaced."""

import urllib.error
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smallset.errors import ConfigError, DataError, MissingWeights, suggest
from smallset.files import given_path
from smallset.models.packages import timm_names
from smallset.models.parts import Classifier
from smallset.models.weights import WeightFile, check_tensors, imported, read_weights

HEADS = ("fc", "classifier", "heads", "head")
"""Names that torchvision's networks give to their classifier part."""

AUXILIARY = {
    "googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True},
    "inception_v3": {"aux_logits": False, "init_weights": False, "transform_input": True},
}
"""Networks with extra outputs for training, which smallset does not use, and with a normalisation
of their own, which they do themselves."""


@cache
def _zoo() -> Any:
    """Import torchvision when it is asked for: that takes longer than all of torch."""
    from torchvision import models

    return models


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    zoo = _zoo()
    return [name for name in zoo.list_models(module=zoo) if not name.startswith("quantized_")]


def pretrained(
    name: str, num_classes: int, *, image_size: int = 224, weights: WeightFile | None = None
) -> Classifier:
    """Build a torchvision network with a new last layer.

    The classifier part is everything behind the feature part in torchvision's own network, with its
    last Linear layer replaced (VGG16: three Linear layers). SqueezeNet has none: its 1x1
    convolution, ReLU and average become average and Linear layer, as for the ResNets.

    Args:
        name: One of `torchvision_names`.
        image_size: Side of the images, px; vision transformers are built for one size.
        weights: ImageNet weights in torchvision's layout; None starts from random ones.

    Raises:
        ConfigError: If there is no such network, or it cannot take the size.
        DataError: If the weights do not fit it.
    """
    _check_name(name)
    arguments: dict[str, Any] = dict(AUXILIARY.get(name, {}))
    if name.startswith("vit_"):
        arguments["image_size"] = image_size
    try:
        network = _zoo().get_model(name, weights=None, **arguments)
    except (AssertionError, ValueError) as error:
        raise ConfigError(f"{name} cannot take images of {image_size} px: {error}") from None
    head_name = next(head for head in HEADS if hasattr(network, head))
    head = getattr(network, head_name)
    last_name, last = _last_layer(head)
    if weights is not None:
        prefix = f"{head_name}.{last_name}." if last_name else f"{head_name}."
        tensors = check_tensors(
            weights,
            network.state_dict(),
            replaced={f"{prefix}weight", f"{prefix}bias"},
            ignored=("aux1.", "aux2.", "AuxLogits."),
        )
        network.load_state_dict(tensors, strict=False)  # all but the layer that is replaced
    setattr(network, head_name, nn.Identity())
    mean, std = _normalisation(name)
    if isinstance(last, nn.Conv2d):
        features: Any = network.features
        network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        head = nn.Linear(last.in_channels, num_classes)
    elif last_name:
        parent, _, child = last_name.rpartition(".")
        setattr(head.get_submodule(parent), child, nn.Linear(last.in_features, num_classes))
    else:
        head = nn.Linear(last.in_features, num_classes)
    return Classifier(network, head, mean=mean, std=std)


def find_weights(name: str, setting: str) -> Path | None:
    """Return the weight file a run asked for: the user's, an imported one, or torchvision's own.

    Args:
        setting: "none", "auto" or a file.

    Raises:
        DataError: If they are missing; the message says which file to put where.
    """
    if setting == "none":
        return None
    if setting != "auto":
        return weight_file(setting)
    stored = imported(name)
    if stored is not None:
        return stored
    official = _zoo().get_model_weights(name)["DEFAULT"].url
    place = download_place(name)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            prefix = place.stem.rsplit("-", 1)[-1]
            torch.hub.download_url_to_file(official, str(place), hash_prefix=prefix)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise MissingWeights(
                f"the ImageNet weights of {name} are not on this machine and could not be "
                f"downloaded ({error}); put {place.name} into {place.parent}, or import a file "
                f"(smallset weights import FILE --model {name})",
                name,
            ) from None
    return place


def download_place(name: str) -> Path:
    """Return where torchvision keeps the weights of a network once it has downloaded them."""
    official: str = _zoo().get_model_weights(name)["DEFAULT"].url
    return Path(torch.hub.get_dir()) / "checkpoints" / official.rsplit("/", 1)[-1]


def stated_licence(name: str) -> str | None:
    """Return the licence that torchvision names for the weights of a network; None: it names none.

    Those of SWAG are not for commercial use, whatever torchvision's own licence is.
    """
    stated: str | None = _zoo().get_model_weights(name)["DEFAULT"].meta.get("license")
    return "CC-BY-NC-4.0" if stated and "/SWAG/" in stated else stated


def timm_model(
    name: str, num_classes: int, *, image_size: int = 224, setting: str | Path = "auto"
) -> Classifier:
    """Build a timm network with a new last layer.

    Args:
        name: timm's name, without the "timm:".
        image_size: Side of the images, px; a network that is built for one size ignores it.
        setting: "none", "auto" (timm's own download) or a file, in timm's layout or that of
            efficientnet_pytorch.

    Raises:
        ConfigError: If timm is not installed or has no such network.
        DataError: If weights are missing or do not fit.
    """
    timm = _timm(name)
    try:
        network = timm.create_model(name, pretrained=setting == "auto", num_classes=0)
    # huggingface_hub raises many kinds; all of them are OSError or RuntimeError underneath.
    except (OSError, RuntimeError) as error:
        raise MissingWeights(
            f"the weights of timm:{name} could not be downloaded ({error})", f"timm:{name}"
        ) from None
    config: Any = network.pretrained_cfg
    if setting not in ("auto", "none"):
        file = read_weights(given_path(setting))
        file = replace(file, tensors=timm_names(file.tensors, network.state_dict()))
        head = str(config.get("classifier") or "head")
        network.load_state_dict(check_tensors(file, network.state_dict(), ignored=(f"{head}.",)))
    with torch.no_grad():
        side = (config.get("fixed_input_size") and config["input_size"][-1]) or image_size
        width = network.eval()(torch.zeros(1, 3, side, side)).shape[1]
    return Classifier(
        network, nn.Linear(width, num_classes), mean=config["mean"], std=config["std"]
    )


def torchvision_size(name: str) -> int:
    """Return the side in px that the weights of a torchvision network were tested with.

    Raises:
        ConfigError: If there is no such network.
    """
    _check_name(name)
    preset: Any = _zoo().get_model_weights(name)["DEFAULT"].transforms()
    return int(preset.crop_size[0])


def timm_size(name: str) -> int:
    """Return the side in px that the weights of a timm network were trained with.

    Args:
        name: timm's name, without the "timm:".

    Raises:
        ConfigError: If timm is not installed or has no such network.
    """
    config: Any = _timm(name).models.get_pretrained_cfg(name)
    return 224 if config is None else int(config.input_size[-1])


def weight_file(setting: str) -> Path:
    """Return the file that a user named.

    Raises:
        DataError: If it is not there.
    """
    path = given_path(setting)
    if not path.is_file():
        what = "it is no regular file" if path.exists() else "there is no such file"
        raise DataError(f"cannot read the weight file {path}: {what}")
    return path


def draw_last_layer(classifier: nn.Module, seed: int) -> None:
    """Give the last Linear layer of a classifier part new random weights; the caller keeps torch's
    global stream.

    Args:
        seed: The same seed gives the same weights, whatever was drawn for the rest.
    """
    torch.manual_seed(seed)
    _last_layer(classifier)[1].reset_parameters()


def _check_name(name: str) -> None:
    if name not in torchvision_names():
        raise ConfigError(
            f"no torchvision network named {name!r}; {suggest(name, torchvision_names())}"
        )


def _timm(name: str) -> Any:
    """Import timm, and see that it has a network."""
    try:
        import timm
    except ImportError:
        raise ConfigError("timm:... needs the extra: pip install 'smallset[timm]'") from None
    if not timm.is_model(name):
        raise ConfigError(
            f"timm has no network named {name!r}; {suggest(name, timm.list_models())}"
        )
    return timm


def _last_layer(head: nn.Module) -> tuple[str, Any]:
    layers = [(n, m) for n, m in head.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return layers[-1]


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    preset: Any = _zoo().get_model_weights(name)["DEFAULT"].transforms()
    return tuple(preset.mean), tuple(preset.std)
