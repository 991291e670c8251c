"""Many last layers on one frozen backbone, trained side by side in one product."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smallset.models.parts import Output


def is_stackable(classifier: nn.Module) -> bool:
    """Whether a classifier part is one Linear layer, behind dropout at most."""
    *before, last = _layers(classifier)
    return isinstance(last, nn.Linear) and all(
        isinstance(layer, nn.Dropout | nn.Identity) for layer in before
    )


class StackedHead(nn.Module):
    """Classifier parts of equal shape; lane i of the input goes through head i alone.

    A lane gives the same numbers, bit for bit on the CPU, whatever other lanes there are (a test
    holds this), so runs may be trained together or apart.

    Args:
        heads: Classifier parts that `is_stackable` says yes to.
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.linear: list[Any] = [_layers(head)[-1] for head in heads]
        dropouts = [layer for layer in _layers(heads[0]) if isinstance(layer, nn.Dropout)]
        self.keep = 1.0
        for layer in dropouts:
            self.keep *= 1 - layer.p
        self.streams: list[torch.Generator] = []

    def seed(self, seeds: Sequence[int]) -> None:
        """Start the dropout streams of an epoch."""
        device = self.linear[0].weight.device
        self.streams = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def forward(self, features: Tensor) -> Output:
        """Return logits (lanes, batch, classes) and embeddings (lanes, batch, dim).

        Args:
            features: (lanes, batch, dim), or (batch, dim) where all lanes see the same.
        """
        embeddings = features.expand(len(self.heads), *features.shape[-2:])
        inputs = embeddings
        if self.heads[0].training and self.keep < 1:
            kept = [
                torch.empty_like(lane).bernoulli_(self.keep, generator=stream)
                for lane, stream in zip(embeddings, self.streams, strict=True)
            ]
            inputs = embeddings * torch.stack(kept) / self.keep
        weight = torch.stack([layer.weight for layer in self.linear])
        bias = torch.stack([layer.bias for layer in self.linear])
        logits = torch.baddbmm(bias[:, None], inputs, weight.transpose(1, 2))
        return Output(logits, embeddings)


def _layers(classifier: nn.Module) -> list[nn.Module]:
    return list(classifier) if isinstance(classifier, nn.Sequential) else [classifier]
