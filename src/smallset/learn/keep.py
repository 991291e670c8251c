"""Which of the weights that a training passes through are those that stay."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Line = Mapping[str, Any]
"""An epoch, as epochs.jsonl says it."""


class KeptWeights:
    """The last epoch's weights stay; the base of the other rules."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.weights: dict[str, Tensor] = {}
        """Those that stay, if they are not the ones that `module` has; part of a checkpoint."""

    def epoch(self, lines: Sequence[Line]) -> int:
        """Return the epoch whose weights would stay if the stage ended now.

        Args:
            lines: The epochs of the stage so far.
        """
        return lines[-1]["epoch"]

    def after_step(self) -> None:
        """Called after each step of the optimizer."""

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Give `module` the weights that val is to score, and take them back afterwards."""
        yield

    def after_epoch(self, lines: Sequence[Line]) -> None:
        """Called with the epochs of the stage so far."""

    def finish(self) -> None:
        """Give `module` the weights that stay."""
        if self.weights:
            self.module.load_state_dict(self.weights)


class BestOnVal(KeptWeights):
    """The weights with the best accuracy on val stay, the first of equals: early stopping."""

    def epoch(self, lines: Sequence[Line]) -> int:
        """Return the best epoch on val."""
        return max(lines, key=lambda line: line["val_accuracy"])["epoch"]

    def after_epoch(self, lines: Sequence[Line]) -> None:
        """Copy the weights of the best epoch so far."""
        if self.epoch(lines) == lines[-1]["epoch"]:
            state = self.module.state_dict()
            self.weights = {name: value.detach().clone() for name, value in state.items()}


KEEP: dict[str, Callable[[nn.Module], KeptWeights]] = {"last": KeptWeights, "best-val": BestOnVal}
"""The rules by name. To add one: write the class, add it here and to `RunConfig.keep`."""
