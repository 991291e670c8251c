"""The state of a run's training: its network, how far it is, and what it leaves behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smallset.config import RunConfig
from smallset.errors import RunError
from smallset.learn.checkpoint import (
    kept_weights,
    load_checkpoint,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from smallset.learn.keep import KEEP, KeptWeights
from smallset.learn.objectives import Stage
from smallset.learn.optim import build_optimizer, parameter_groups, still_modules
from smallset.learn.train import EpochResult, Lane
from smallset.models.parts import Classifier
from smallset.record.record import CHECKPOINT, write_history
from smallset.seeds import torch_seed


class Training:
    """What a run has learnt so far."""

    def __init__(
        self, config: RunConfig, stages: Sequence[Stage], model: Classifier, folder: Path
    ) -> None:
        self.config = config
        self.stages = stages
        self.model = model
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        """The lines of epochs.jsonl."""
        self.error: RunError | None = None
        """Why the run could not be finished."""
        self.kept = KeptWeights(model)
        self._restored: dict[str, Tensor] = {}

    @property
    def has_fixed_features(self) -> bool:
        """Whether no stage changes the feature part."""
        return all(stage.trains == "classifier" for stage in self.stages)

    @property
    def caches_own_features(self) -> bool:
        """Whether a classifier part is trained on features that this run alone has."""
        trained = [stage.trains for stage in self.stages]
        changed = next((i for i, part in enumerate(trained) if part != "classifier"), len(trained))
        return "classifier" in trained[changed:]

    @property
    def changed(self) -> nn.Module:
        """Return the smallest part that holds everything this run changes."""
        return self.model.classifier if self.has_fixed_features else self.model

    def num_epochs(self, stage: int) -> int:
        """Return the epochs of a stage; a probe, which takes no steps, counts as one."""
        return 1 if self.stages[stage].objective is None else self.config.epochs

    def part(self, stage: int) -> nn.Module:
        """Return what a stage trains."""
        parts = {"all": self.model, **dict(self.model.named_children())}
        return parts[self.stages[stage].trains]

    def restore(self) -> tuple[int, int]:
        """Take up the checkpoint, if there is one.

        Returns:
            The stage and the epoch to go on with.

        Raises:
            RunError: If the checkpoint is damaged.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return 0, 0
        self._restored, progress = load_checkpoint(path)
        restore_model(self.changed, self._restored)
        self.history = progress["history"]
        stage, epoch = progress["stage"], progress["epoch"] + 1
        if epoch < self.num_epochs(stage):
            return stage, epoch
        self.kept = self._rule(stage)
        return stage + 1, 0

    def begin_stage(self, number: int, start: int) -> tuple[Lane, torch.optim.Optimizer]:
        """Unfreeze what a stage trains, and build its optimizer, restored if need be.

        Args:
            start: Its first epoch; above 0 where the run is resumed.
        """
        part = self.part(number)
        self.model.requires_grad_(False)
        groups = parameter_groups(self.model, part, self.config.optim, self.config.lr)
        # What comes before the first of them leaves no graph.
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        optimizer = build_optimizer(groups, self.config.optim)
        if start:
            restore_optimizer(optimizer, self._restored)
        self.kept = self._rule(number)
        self._restored = {}
        still = (
            [] if part is self.model.classifier else still_modules(self.model, self.config.optim)
        )
        return Lane(part, optimizer.param_groups, self.kept, still), optimizer

    def dropout_seed(self, stage: int, epoch: int) -> int:
        """Return the seed of the dropout of an epoch."""
        return torch_seed(self.config.seed, "dropout", stage, epoch)

    def after_epoch(
        self,
        number: int,
        result: EpochResult,
        optimizer: torch.optim.Optimizer | None,
        seconds: float,
        *,
        save: bool,
    ) -> None:
        """Write down what an epoch gave.

        Args:
            save: Write the files too, not the memory alone.

        Raises:
            RunError: If a file cannot be written.
        """
        val = result.val
        self.history.append(
            {
                "stage": number,
                "objective": self.stages[number].name,
                "collapsed_loss": self.stages[number].collapsed_loss,
                "epoch": result.epoch,
                "lr": result.lr,
                "train_loss": result.train.loss,
                "train_accuracy": result.train.accuracy,
                "val_loss": None if val is None else val.loss,
                "val_accuracy": None if val is None else val.accuracy,
                "seconds": round(seconds, 3),
            }
        )
        self.kept.after_epoch(self._lines(number))
        if save:
            write_history(self.folder, self.history)
            progress = {"stage": number, "epoch": result.epoch, "history": self.history}
            save_checkpoint(
                self.folder / CHECKPOINT, self.changed, optimizer, progress, kept=self.kept.weights
            )

    @property
    def kept_line(self) -> dict[str, Any]:
        """Return the epoch whose weights would stay if training ended now."""
        lines = self._lines(self.history[-1]["stage"])
        epoch = self.kept.epoch(lines)
        return next(line for line in lines if line["epoch"] == epoch)

    def _lines(self, stage: int) -> list[dict[str, Any]]:
        return [line for line in self.history if line["stage"] == stage]

    def _rule(self, stage: int) -> KeptWeights:
        """Return the rule of a stage, with what it kept before the run was stopped."""
        is_last = stage + 1 == len(self.stages)
        kept = KEEP[self.config.keep if is_last else "last"](self.changed)
        kept.weights = kept_weights(self._restored)
        return kept
