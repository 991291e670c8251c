"""What the name of a model says: whose it is, what it joins, its size. Known without torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from smallset.errors import ConfigError
from smallset.own_code import is_function

if TYPE_CHECKING:
    from smallset.models.parts import Classifier


def _plain(num_classes: int, image_size: int) -> "Classifier":
    from smallset.models.plain import plain

    return plain(num_classes, image_size=image_size)


def _residual(num_classes: int, _: int) -> "Classifier":
    from smallset.models.residual import residual

    return residual(num_classes)


def _bottleneck(num_classes: int, _: int) -> "Classifier":
    from smallset.models.residual import bottleneck

    return bottleneck(num_classes)


MODELS: dict[str, Callable[[int, int], "Classifier"]] = {
    "plain": _plain,
    "residual": _residual,
    "bottleneck": _bottleneck,
}
"""Our own models, from scratch. To add one: write the function, add it here."""


def is_own(name: str) -> bool:
    """Whether a model is one of ours or the user's, which is trained from scratch.

    Args:
        name: As in `RunConfig.model`.
    """
    return name in MODELS or is_function(name)


def default_image_size(name: str) -> int:
    """Return the side in px that a model takes where none is set.

    112 for our own; for one of torchvision or timm what its weights were trained or tested with.

    Args:
        name: As in `RunConfig.model`.
    """
    if is_own(name):
        return 112
    if "+" in name:
        return max(default_image_size(each) for each, _ in members(name, "auto"))
    from smallset.models.packages import PACKAGED
    from smallset.models.pretrained import timm_size, torchvision_size

    if name in PACKAGED:
        return timm_size(PACKAGED[name].timm)
    return timm_size(name[5:]) if name.startswith("timm:") else torchvision_size(name)


def members(name: str, setting: str) -> list[tuple[str, str]]:
    """Return the networks of "a+b", each with its setting of weights.

    Args:
        name: As in `RunConfig.model`.
        setting: As in `RunConfig.weights`: one for all, or one for each, joined by "+".

    Raises:
        ConfigError: If one is named twice or is our own, or the settings are another number.
    """
    names, settings = name.split("+"), setting.split("+")
    if len(set(names)) < len(names) or not all(names):
        raise ConfigError(f"{name!r} must join different networks by '+'")
    for each in names:
        if is_own(each):
            raise ConfigError(f"{name!r}: only networks of torchvision and timm can be joined")
    if len(settings) == 1:
        settings *= len(names)
    if len(settings) != len(names):
        raise ConfigError(
            f"the model {name!r} joins {len(names)} networks, and the weights {setting!r} are "
            f"{len(settings)}; give one for each, joined by '+', such as auto+{names[-1]}.pth"
        )
    return list(zip(names, settings, strict=True))
