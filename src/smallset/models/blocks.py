"""The blocks of a network's feature part, in the order that images pass them."""

import itertools
from collections.abc import Sequence

from torch import nn

MOST = 20
"""Blocks at most: in a deeper network neighbours are taken together, so that a rate that falls
from block to block falls about as far in every network."""


def blocks_of(features: nn.Module) -> list[nn.ModuleList]:
    """Return the blocks of a feature part that hold all its modules with parameters.

    Containers, and whatever holds most of the parameters, are opened: so a block of a ResNet, a
    MobileNet, a vision transformer or a ConvNeXt is what its authors call one.

    Args:
        features: Its modules were made in the order they are used, as those of torchvision and
            timm are.
    """
    total = _size(features)
    if not total:
        return []
    blocks = _opened(features, total)
    count = min(len(blocks), MOST)
    edges = [round(n * len(blocks) / count) for n in range(count + 1)]
    return [nn.ModuleList(blocks[a:b]) for a, b in itertools.pairwise(edges)]


def own_parameters(features: nn.Module, blocks: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters that no block holds, such as position embeddings: those come first."""
    held = {id(parameter) for block in blocks for parameter in block.parameters()}
    return [parameter for parameter in features.parameters() if id(parameter) not in held]


def has_attention(features: nn.Module) -> bool:
    """Whether a network is a transformer, of which fine-tuning wants smaller steps."""
    return any("attention" in type(module).__name__.lower() for module in features.modules())


def _opened(module: nn.Module, total: int) -> list[nn.Module]:
    is_container = type(module) in (nn.Sequential, nn.ModuleList)
    children = list(module.children())
    if not children or not (is_container or 2 * _size(module) > total):
        return [module]
    return [block for child in children if _size(child) for block in _opened(child, total)]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
