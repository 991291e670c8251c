"""What every model is: a feature part, a classifier part, and what they return."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smallset.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD


class Output(NamedTuple):
    """What every model returns."""

    logits: Float[Tensor, "batch classes"]
    embeddings: Float[Tensor, "batch dim"]
    """The input of the classifier part, flattened."""


def last_linear(classifier: nn.Module) -> tuple[str, nn.Linear] | None:
    """Return the name and the layer that a classifier part ends in; None if that is not Linear.

    Args:
        classifier: Its modules were made in the order they are used.
    """
    leaves = [(name, m) for name, m in classifier.named_modules() if not list(m.children())]
    name, last = leaves[-1]
    return (name, last) if isinstance(last, nn.Linear) else None


class Classifier(nn.Module):
    """A feature part and a classifier part, which can be trained apart.

    Args:
        features: Maps normalised images (batch, 3, side, side) to feature maps or vectors.
        classifier: Maps what `features` gives to logits (batch, classes).
        mean: Mean colour that images are normalised with, in [0, 1].
    """

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Module,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.mirror = False
        """Whether a picture and its mirror image are averaged, except while the network trains."""

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Output:
        """Return logits and embeddings of normalised images."""
        if self.training:
            maps = self.features(images)
            return Output(self.classifier(maps), maps.flatten(1))
        return self.classify(self.look(images))

    def look(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch ..."]:
        """Return what the feature part makes of images; with `mirror` of both views, on axis 1."""
        if not self.mirror:
            return self.features(images)
        return torch.stack([self.features(images), self.features(images.flip(-1))], dim=1)

    def classify(self, maps: Float[Tensor, "batch ..."]) -> Output:
        """Return logits and embeddings of what was looked at earlier.

        Args:
            maps: Output of `look`.
        """
        if not self.mirror:
            return Output(self.classifier(maps), maps.flatten(1))
        logits = self.classifier(maps.flatten(0, 1)).unflatten(0, (-1, 2))
        return Output(logits.mean(dim=1), maps.mean(dim=1).flatten(1))


def as_classifier(network: nn.Module, image_size: int) -> Classifier:
    """Return an ordinary network in two parts: all of it but its last Linear layer, and that layer.

    Where the network does not end in it, all of it is the feature part, and its logits are the
    embeddings.

    Args:
        network: Maps normalised images (batch, 3, side, side) to logits (batch, classes).
        image_size: Side of the images, px.
    """
    found = last_linear(network)
    if found is None:
        return Classifier(network, nn.Identity())
    name, head = found
    images = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    was = network.training
    parent, _, last = name.rpartition(".")
    with torch.no_grad():
        whole = network.eval()(images)
        body = copy.deepcopy(network)
        setattr(body.get_submodule(parent), last, nn.Identity())
        try:
            parts_agree = torch.equal(head(body(images)), whole)
        except (AttributeError, RuntimeError):  # it uses more of that layer than its answer
            parts_agree = False
    network.train(was)
    if not parts_agree:
        return Classifier(network, nn.Identity())
    setattr(network.get_submodule(parent), last, nn.Identity())
    return Classifier(network, head)
