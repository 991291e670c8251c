"""Several networks on one picture, their features side by side: `model = "a+b"`; joined runs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smallset.errors import ConfigError
from smallset.models.parts import Classifier, last_linear


def together(members: Sequence[tuple[Classifier, int]], num_classes: int) -> Classifier:
    """Build a network whose features are those of several networks, and whose head is one Linear.

    It takes images as its first member wants them normalised, at the largest size; each member
    sees them at its own size and normalised its own way, and with their mirror images if it is to.

    Args:
        members: Networks, each with the side in px of the images it takes.

    Raises:
        ConfigError: If a network does not end in a Linear layer.
    """
    first, width = members[0][0], 0
    views: list[nn.Module] = []
    for member, size in members:
        behind, dim = _without_last(member.classifier)
        width += dim
        views.append(View(nn.Sequential(member.features, behind), size, member, seen_as=first))
    return Classifier(
        SideBySide(views), nn.Linear(width, num_classes), mean=first.mean, std=first.std
    )


def averaged(heads: Sequence[nn.Linear], temperatures: Sequence[float]) -> nn.Linear:
    """Return one layer that averages the logits of several, each divided by its temperature.

    Of features f_1, f_2, ... side by side it gives::

        logits = mean_i (W_i f_i + b_i) / T_i

    so its softmax is the geometric mean of the members' probabilities at those temperatures,
    normalised.

    Args:
        heads: Their number of classes is the same.
        temperatures: One per head, above 0.
    """
    shares = [1 / (each * len(heads)) for each in temperatures]
    whole = nn.Linear(sum(head.in_features for head in heads), heads[0].out_features)
    pairs = list(zip(heads, shares, strict=True))
    with torch.no_grad():
        whole.weight.copy_(torch.cat([head.weight * share for head, share in pairs], dim=1))
        whole.bias.zero_()
        for head, share in pairs:
            if head.bias is not None:  # a layer may have none, whatever its annotation says
                whole.bias.add_(head.bias * share)
    return whole


class SideBySide(nn.Module):
    """What several modules make of the same images, one after the other in a vector."""

    def __init__(self, views: Sequence[nn.Module]) -> None:
        super().__init__()
        self.views = nn.ModuleList(views)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch dim"]:
        """Return the vectors of all views, joined."""
        return torch.cat([view(images).flatten(1) for view in self.views], dim=1)


class View(nn.Module):
    """A network that sees images at its own size and normalisation, whichever they come in.

    Args:
        size: Side of its images, px; those that come in are as large or larger.
        own: Says how its images are normalised, and whether their mirror images are seen too.
        seen_as: Says how those that come in are.
    """

    def __init__(
        self, network: nn.Module, size: int, own: Classifier, *, seen_as: Classifier
    ) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.own_mean, self.own_std, self.mirror = own.mean, own.std, own.mirror
        pairs = zip(own.mean, own.std, seen_as.mean, seen_as.std, strict=True)
        scale, shift = zip(*((t / s, (n - m) / s) for m, s, n, t in pairs), strict=True)
        self.is_same = scale == (1.0,) * 3 and shift == (0.0,) * 3
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    @property
    def bare(self) -> nn.Module | None:
        """Return the feature part of the network, if what comes behind it changes nothing."""
        inner = self.network
        assert isinstance(inner, nn.Sequential)
        leaves = [each for each in inner[1].modules() if not list(each.children())]
        kinds = (nn.Identity, nn.Dropout, nn.Sequential)  # a Sequential without children
        return inner[0] if all(isinstance(each, kinds) for each in leaves) else None

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Tensor:
        """Return what the network makes of the images."""
        if images.shape[-1] != self.size:
            size = (self.size, self.size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        if not self.is_same:
            images = images * self.scale + self.shift
        if not self.mirror:
            return self.network(images)
        # The head is linear: that of the mean is the mean of both.
        views = [self.network(each).flatten(1) for each in (images, images.flip(-1))]
        return (views[0] + views[1]) / 2


def _without_last(classifier: nn.Module) -> tuple[nn.Module, int]:
    """Return a classifier part without its last layer, and the width of what that one saw."""
    found = last_linear(classifier)
    if found is None:
        raise ConfigError("only networks that end in a Linear layer can be joined by '+'")
    name, last = found
    if last is classifier:
        return nn.Identity(), last.in_features
    parent, _, child = name.rpartition(".")
    setattr(classifier.get_submodule(parent), child, nn.Identity())
    return classifier, last.in_features
