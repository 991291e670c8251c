"""Train the stages of a run, or of several runs on one frozen backbone at once."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from smallset.config import Parts
from smallset.data.augment import Augmenter
from smallset.data.batches import Rows, in_order, pk_batches, random_batches
from smallset.data.feed import FeatureSource, PixelSource, Selection
from smallset.errors import ConfigError, RunError
from smallset.learn.checkpoint import (
    best_weights,
    load_checkpoint,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from smallset.learn.optim import build_optimizer, build_schedule, side_by_side
from smallset.learn.plan import Plan, stages_of
from smallset.learn.stack import StackedHead, is_stackable, per_lane
from smallset.learn.train import EpochResult, fit, forward
from smallset.models.features import compute_features
from smallset.models.parts import Classifier, Output
from smallset.progress import Reporter
from smallset.record.predictions import Predictions
from smallset.record.record import write_history
from smallset.seeds import stream, torch_seed

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 10.0  # between checkpoints of runs that train together


class Run:
    """A training on prepared data, and what its stages share.

    Args:
        plan: Settings and images.
        model: The network; changed by the training.
        folder: The record to be.
        reporter: Told of progress.
        scratch: Folder for features of weights that only this run has.
        features: What the frozen feature part gave, by split; runs on one backbone share it.
    """

    def __init__(
        self,
        plan: Plan,
        model: Classifier,
        folder: Path,
        reporter: Reporter,
        scratch: Path,
        features: dict[str, FeatureSource],
    ) -> None:
        self.config = plan.config
        self.data = plan.data
        self.folder = folder
        self.reporter = reporter
        self.scratch = scratch
        self.features = features
        self.device = self.config.compute.device
        self.bfloat16 = self.config.compute.precision == "bfloat16"
        self.model = model.eval().to(self.device).to(memory_format=torch.channels_last)
        self.stages = stages_of(self.config)
        self.history: list[dict[str, Any]] = []
        self.error: RunError | None = None
        """Why the run could not be finished."""
        self.best: dict[str, Tensor] = {}
        """Weights of the best epoch on val so far, where these are to be kept."""
        self._restored: dict[str, Tensor] = {}

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
        restore_model(self._saved(), self._restored)
        self.best = best_weights(self._restored)
        self.history = progress["history"]
        stage, epoch = progress["stage"], progress["epoch"] + 1
        return (stage, epoch) if epoch < self.config.epochs else (stage + 1, 0)

    def begin_stage(self, number: int, start: int) -> torch.optim.Optimizer:
        """Unfreeze what a stage trains, and build its optimizer, restored if need be.

        Args:
            number: Which stage.
            start: Its first epoch; above 0 where the run is resumed.
        """
        part = _part(self.model, self.stages[number].trains)
        self.model.requires_grad_(False)
        part.requires_grad_(True)
        optimizer = build_optimizer(part.parameters(), self.config.optim, self.config.lr)
        if start:
            restore_optimizer(optimizer, self._restored)
        self._restored = {}
        return optimizer

    def dropout_seed(self, stage: int, epoch: int) -> int:
        """Return the seed of the dropout of an epoch.

        Args:
            stage: Which stage.
            epoch: Which epoch.
        """
        return torch_seed(self.config.seed, "dropout", stage, epoch)

    def after_epoch(
        self,
        number: int,
        result: EpochResult,
        optimizer: torch.optim.Optimizer,
        seconds: float,
        *,
        save: bool,
    ) -> None:
        """Write down what an epoch gave.

        Args:
            number: Which stage.
            result: The scores.
            optimizer: As it is now.
            seconds: How long the epoch took.
            save: Write the files too, not the memory alone.

        Raises:
            RunError: If a file cannot be written.
        """
        val = result.val
        line = {
            "stage": number,
            "objective": self.stages[number].name,
            "epoch": result.epoch,
            "lr": result.lr,
            "train_loss": result.train.loss,
            "train_accuracy": result.train.accuracy,
            "val_loss": None if val is None else val.loss,
            "val_accuracy": None if val is None else val.accuracy,
            "seconds": round(seconds, 3),
        }
        self.history.append(line)
        if self.kept_epoch(number) == result.epoch and self.config.keep == "best-val":
            self.best = {k: v.detach().clone() for k, v in self._saved().state_dict().items()}
        if save:
            write_history(self.folder, self.history)
            progress = {"stage": number, "epoch": result.epoch, "history": self.history}
            save_checkpoint(
                self.folder / CHECKPOINT, self._saved(), optimizer, progress, best=self.best
            )

    def kept_epoch(self, stage: int) -> int:
        """Return the epoch of a stage whose weights stay, among those that were run.

        Args:
            stage: Which stage.
        """
        lines = [line for line in self.history if line["stage"] == stage]
        if self.config.keep == "last" or stage + 1 < len(self.stages):
            return lines[-1]["epoch"]
        return max(lines, key=lambda line: line["val_accuracy"])["epoch"]

    @property
    def kept_val_accuracy(self) -> float:
        """Return the accuracy on val of the weights that would stay if training ended now."""
        stage = self.history[-1]["stage"]
        epoch = self.kept_epoch(stage)
        [line] = [e for e in self.history if (e["stage"], e["epoch"]) == (stage, epoch)]
        return line["val_accuracy"]

    def keep_best(self) -> None:
        """Give the network the weights that are to stay."""
        if self.best:
            self._saved().load_state_dict(self.best)

    def source(self, split: str, *, cached: bool, stage: int = 0) -> PixelSource | FeatureSource:
        """Return the images of a split, or what the frozen feature part gives for them.

        Args:
            split: "train", "val" or "test".
            cached: Give features, computed once.
            stage: Number of the stage, for the stream of augmentation.
        """
        config, at = self.config, self.data.of(split)
        labels = self.data.given_labels[at]
        augmenter = None
        if config.augment.is_on and split == "train" and not cached:
            augmenter = lambda epoch: Augmenter(  # noqa: E731
                config.augment, seed=config.seed, stage=stage, epoch=epoch, mean=self.model.mean
            )
        pixels = PixelSource(
            Selection(self.data.pixels.array, self.data.rows[at]), labels,
            mean=self.model.mean, std=self.model.std, device=self.device,
            augmenter=augmenter,
        )  # fmt: skip
        if not cached:
            return pixels
        if split in self.features:
            return self.features[split]
        features = compute_features(
            self.model, pixels,
            ids=self.data.ids(split), spec=json.dumps(self.preprocessing()),
            bfloat16=self.bfloat16,
            folder=None if self._features_are_fixed() else self.scratch,
            progress=partial(self.reporter.counted, f"features of {split}"),
        )  # fmt: skip
        self.features[split] = FeatureSource(features, labels, device=self.device)
        return self.features[split]

    def batches(self, stage: int, epoch: int) -> Sequence[Rows]:
        """Return the batches of an epoch.

        Args:
            stage: Which stage.
            epoch: Which epoch.
        """
        labels = self.data.given_labels[self.data.of("train")]
        batches, rng = self.config.batches, stream(self.config.seed, "order", stage, epoch)
        if batches.kind == "random":
            return random_batches(len(labels), batches.size, rng)
        return pk_batches(
            labels, classes=batches.classes_per_batch, per_class=batches.images_per_class, rng=rng
        )

    def preprocessing(self) -> dict[str, Any]:
        """Return how a picture becomes an input; the same at every later stage of its life."""
        return {
            "image_size": self.config.image_size,
            "resize": self.config.data.resize,
            "mean": self.model.mean,
            "std": self.model.std,
        }

    def _features_are_fixed(self) -> bool:
        return all(stage.trains == "classifier" for stage in self.stages)

    def _saved(self) -> nn.Module:
        """Return the smallest part that holds everything this run changes."""
        return self.model.classifier if self._features_are_fixed() else self.model

    @torch.inference_mode()
    def predict(self) -> tuple[Predictions, dict[str, ndarray]]:
        """Score train, val and test once, without augmentation; also return the embeddings.

        Returns:
            The predictions, and the embeddings of train and test.
        """
        cached = self.stages[-1].trains == "classifier" and not self.config.augment.is_on
        model = self.model.classify if cached else self.model
        order: list[ndarray] = []
        probs: list[ndarray] = []
        embeddings: dict[str, ndarray] = {}
        for split in ("train", "val", "test"):
            at = self.data.of(split)
            if not len(at):
                continue
            source = self.source(split, cached=cached)
            vectors: list[ndarray] = []
            for number, rows in enumerate(in_order(len(at), 64)):
                images, _ = next(iter(source.load([rows], None)))
                output = forward(model, images, bfloat16=self.bfloat16)
                probs.append(output.logits.softmax(dim=1).cpu().numpy())
                if split != "val":
                    vectors.append(output.embeddings.cpu().numpy())
                if not cached:
                    done = min(64 * (number + 1), len(at))
                    self.reporter.counted(f"scoring {split}", done, len(at))
            order.append(at)
            if vectors:
                embeddings[split] = np.concatenate(vectors)
        at = np.concatenate(order)
        images = self.data.images
        return Predictions(
            ids=tuple(self.data.pixels.ids[row] for row in self.data.rows[at]),
            paths=tuple(images.paths[row] for row in at),
            splits=images.splits[at],
            classes=images.classes,
            labels=images.labels[at],
            given_labels=self.data.given_labels[at],
            probs=np.concatenate(probs),
        ), embeddings


def train_together(runs: Sequence[Run], *, resume: bool) -> Iterator[list[Run]]:
    """Train runs of the same stages epoch by epoch; one that diverges gets its `error`.

    Args:
        runs: One, or several that `shares_backbone` says yes to.
        resume: Take up their checkpoints; those that stand at different epochs train apart.

    Yields:
        The runs that an epoch was just finished of.

    Raises:
        RunError: If a record cannot be written, or a checkpoint is damaged.
    """
    places: dict[tuple[int, int], list[Run]] = {}
    for run in runs:
        places.setdefault(run.restore() if resume else (0, 0), []).append(run)
    for (first_stage, first_epoch), group in places.items():
        for number in range(first_stage, len(group[0].stages)):
            start = first_epoch if number == first_stage else 0
            for _ in _train_stage(group, number, start):
                yield [run for run in group if run.error is None]


def _train_stage(runs: Sequence[Run], number: int, start: int) -> Iterator[None]:
    first = runs[0]
    config, epochs, stage = first.config, first.config.epochs, first.stages[number]
    optimizers = [run.begin_stage(number, start) for run in runs]
    optimizer = side_by_side(optimizers)
    trained: list[nn.Module] = [_part(run.model, stage.trains) for run in runs]
    cached = stage.trains == "classifier" and not config.augment.is_on
    source = first.source("train", cached=cached, stage=number)
    val = first.source("val", cached=cached) if len(first.data.of("val")) else None

    model: Callable[[Tensor], Output] = first.model.classify if cached else first.model
    objective, plan = stage.objective, partial(first.batches, number)
    # Dropout draws from torch's global stream, so each epoch starts one of its own.
    seed_epoch = lambda epoch: torch.manual_seed(first.dropout_seed(number, epoch))  # noqa: E731
    name = stage.name
    if isinstance(source, FeatureSource) and source.is_flat and is_stackable(trained[0]):
        model = heads = StackedHead(trained)
        objective = per_lane(objective)
        plan = lambda epoch: _stacked([r.batches(number, epoch) for r in runs])  # noqa: E731
        seed_epoch = lambda epoch: heads.seed(  # noqa: E731
            [run.dropout_seed(number, epoch) for run in runs]
        )
        name += f", {len(runs)} classifiers at once" if len(runs) > 1 else ""
    elif len(runs) > 1:
        raise ConfigError(f"the classifier part of {config.model} is not one Linear layer")
    first.reporter.start_stage(name, first=start, epochs=epochs)
    began = saved = time.perf_counter()
    for results in fit(
        model, trained, source, plan, objective, optimizer,
        build_schedule(config.schedule, epochs),
        epochs=range(start, epochs), val=val,
        grad_clip=config.optim.grad_clip, bfloat16=first.bfloat16,
        seed_epoch=seed_epoch, on_step=first.reporter.step,
    ):  # fmt: skip
        now = time.perf_counter()
        is_last = results[0].epoch + 1 == epochs
        save = len(runs) == 1 or is_last or now - saved > CHECKPOINT_SECONDS
        saved = now if save else saved
        for run, result, own in zip(runs, results, optimizers, strict=True):
            if result.broken and run.error is None:
                run.error = RunError(result.broken)
            if run.error is None:
                run.after_epoch(number, result, own, now - began, save=save)
        first.reporter.epoch(results[0], now - began)
        if all(run.error is not None for run in runs):
            return
        yield
        began = time.perf_counter()


def _stacked(plans: Sequence[Sequence[Rows]]) -> list[ndarray]:
    return [np.stack(batches) for batches in zip(*plans, strict=True)]


def _part(model: Classifier, trains: Parts) -> nn.Module:
    return {"all": model, "features": model.features, "classifier": model.classifier}[trains]
