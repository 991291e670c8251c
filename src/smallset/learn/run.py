"""One run from settings to record: the only place where names become objects."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors.torch import save
from torch import Tensor, nn

from smallset.config import Parts, RunConfig, differences
from smallset.data.augment import Augmenter
from smallset.data.batches import Rows, pk_batches, random_batches, share_without_positive
from smallset.errors import ConfigError, DataError, RunError
from smallset.learn.checkpoint import (
    load_checkpoint,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from smallset.learn.compute import resolve
from smallset.learn.describe import describe
from smallset.learn.features import compute_features
from smallset.learn.objectives import Stage, build_stages
from smallset.learn.optim import build_optimizer, build_schedule
from smallset.learn.prepare import Prepared, prepare
from smallset.learn.progress import Reporter
from smallset.learn.record import (
    Predictions,
    Record,
    write_embeddings,
    write_history,
    write_json,
    write_predictions,
)
from smallset.learn.sources import FeatureSource, PixelSource, Selection
from smallset.learn.train import EpochResult, fit, forward, in_order
from smallset.models.parts import Classifier, Output
from smallset.models.registry import Built, build_model, default_image_size, load_object
from smallset.paths import make_folder, write_atomic
from smallset.seeds import stream, torch_seed

CHECKPOINT = "checkpoint.safetensors"


class Run:
    """A training on prepared data: holds what its stages share.

    Args:
        config: Resolved settings.
        data: The images.
        built: The model.
        folder: The record to be.
        reporter: Told of progress.
        scratch: Folder for features of weights that only this run has.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Prepared,
        built: Built,
        folder: Path,
        reporter: Reporter,
        scratch: Path,
    ) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.reporter = reporter
        self.scratch = scratch
        self.device = config.compute.device
        self.bfloat16 = config.compute.precision == "bfloat16"
        self.model = built.model.eval().to(self.device).to(memory_format=torch.channels_last)
        self.stages = _stages(config)
        if config.trains == "classifier":
            self.stages = [stage._replace(trains="classifier") for stage in self.stages]
        self.history: list[dict[str, Any]] = []

    def train(self, *, resume: bool) -> None:
        """Run every stage, with a checkpoint after each epoch.

        Args:
            resume: Continue from the checkpoint, if there is one.

        Raises:
            RunError: If the loss stops being finite or a checkpoint cannot be written.
        """
        path = self.folder / CHECKPOINT
        tensors: dict[str, Tensor] = {}
        first_stage, first_epoch = 0, 0
        if resume and path.exists():
            tensors, progress = load_checkpoint(path)
            restore_model(self._saved(), tensors)
            self.history = progress["history"]
            first_stage, first_epoch = progress["stage"], progress["epoch"] + 1
        for number, stage in enumerate(self.stages[first_stage:], start=first_stage):
            start = first_epoch if number == first_stage else 0
            self._stage(number, stage, start, tensors if start else {})

    def _stage(self, number: int, stage: Stage, start: int, tensors: dict[str, Tensor]) -> None:
        config, epochs = self.config, self.config.epochs
        part = _part(self.model, stage.trains)
        self.model.requires_grad_(False)
        part.requires_grad_(True)
        optimizer = build_optimizer(part.parameters(), config.optim, config.lr)
        restore_optimizer(optimizer, tensors)
        cached = stage.trains == "classifier" and not config.augment.is_on
        model: Callable[[Tensor], Output] = self.model.classify if cached else self.model
        val = self.source("val", cached=cached) if len(self.data.of("val")) else None
        source = self.source("train", cached=cached, stage=number)
        self.reporter.start_stage(stage.name, first=start, epochs=epochs)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            began = time.perf_counter()
            for result in fit(
                model, part, source, partial(self._plan, number), stage.objective, optimizer,
                build_schedule(config.schedule, epochs),
                epochs=range(start, epochs), val=val,
                grad_clip=config.optim.grad_clip, bfloat16=self.bfloat16,
                seed_epoch=partial(self._seed_dropout, number),
                on_step=self.reporter.step,
            ):  # fmt: skip
                seconds = time.perf_counter() - began
                self._after_epoch(number, stage, result, optimizer, seconds)
                began = time.perf_counter()

    def _seed_dropout(self, stage: int, epoch: int) -> None:
        # Dropout draws from torch's global stream, so each epoch starts one of its own.
        torch.manual_seed(torch_seed(self.config.seed, "dropout", stage, epoch))

    def _after_epoch(
        self,
        number: int,
        stage: Stage,
        result: EpochResult,
        optimizer: torch.optim.Optimizer,
        seconds: float,
    ) -> None:
        val = result.val
        line = {
            "stage": number,
            "objective": stage.name,
            "epoch": result.epoch,
            "lr": result.lr,
            "train_loss": result.train.loss,
            "train_accuracy": result.train.accuracy,
            "val_loss": None if val is None else val.loss,
            "val_accuracy": None if val is None else val.accuracy,
            "seconds": round(seconds, 3),
        }
        self.history.append(line)
        write_history(self.folder, self.history)
        progress = {"stage": number, "epoch": result.epoch, "history": self.history}
        save_checkpoint(self.folder / CHECKPOINT, self._saved(), optimizer, progress)
        self.reporter.epoch(result, seconds)

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
        features = compute_features(
            self.model, pixels,
            ids=self.data.ids(split), spec=json.dumps(self.preprocessing()),
            bfloat16=self.bfloat16,
            folder=None if self._features_are_fixed() else self.scratch,
            progress=partial(self.reporter.counted, f"features of {split}"),
        )  # fmt: skip
        return FeatureSource(features, labels, device=self.device)

    def _plan(self, stage: int, epoch: int) -> Sequence[Rows]:
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


def train_run(
    data: str | Path,
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier and leave its record (without figures).

    Args:
        data: As `smallset.data.read.read_data` takes it.
        config: Settings.
        folder: Where the record goes; must not hold one already, unless it is resumed.
        resume: Continue a run that was stopped; the result is as if it had not been.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If the data is not fit for training.
        RunError: If the run fails, or cannot be resumed.
    """
    began = time.perf_counter()
    reporter = reporter or Reporter()
    findings: list[str] = []
    listening = _Noting(reporter, findings)
    record = Record(folder)
    _refuse_overwriting(record, resume)

    size = config.image_size or default_image_size(config.model)
    config = config.model_copy(update={"image_size": size, "compute": resolve(config.compute)})
    _stages(config)  # an unknown loss should not wait for the data
    with contextlib.closing(listening):
        prepared = prepare(data, config, listening)
        built = build_model(
            config.model, len(prepared.images.classes),
            image_size=size, weights=config.weights, seed=torch_seed(config.seed, "weights"),
        )  # fmt: skip
        if config.trains == "auto":
            trains = "classifier" if built.is_pretrained else "all"
            config = config.model_copy(update={"trains": trains})
        described = describe(data, config, prepared, built)
        if resume:
            _refuse_other_run(record, described)
            _clear_leftovers(folder)
            if record.is_complete:
                (folder / CHECKPOINT).unlink(missing_ok=True)
                listening.note(f"{folder} is finished; nothing to resume")
                return record
        _try_model(built.model, size)
        _check_batches(config, prepared, listening)
        make_folder(folder)
        write_json(folder / "config.json", described)
        with tempfile.TemporaryDirectory(prefix=".features-", dir=folder) as scratch:
            run = Run(config, prepared, built, folder, listening, Path(scratch))
            run.train(resume=resume)
            predictions, embeddings = run.predict()
        write_predictions(folder, predictions)
        write_embeddings(folder, embeddings)
        _write_model(run, prepared.images.classes)
        write_json(folder / "result.json", _result(run, predictions, findings, began))
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


class _Noting(Reporter):
    """Passes everything on, and keeps the notes for the record."""

    def __init__(self, inner: Reporter, notes: list[str]) -> None:
        self.inner = inner
        self.notes = notes
        self.counted, self.start_stage = inner.counted, inner.start_stage
        self.step, self.epoch, self.close = inner.step, inner.epoch, inner.close

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.inner.note(text)


def _stages(config: RunConfig) -> list[Stage]:
    if ":" in config.loss:
        return [Stage(config.loss, load_object(config.loss), "all")]
    return build_stages(config.loss, config.loss_args)


def _part(model: Classifier, trains: Parts) -> nn.Module:
    return {"all": model, "features": model.features, "classifier": model.classifier}[trains]


def _try_model(model: Classifier, size: int) -> None:
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(f"this model cannot take images of {size} px: {error}") from None


def _check_batches(config: RunConfig, data: Prepared, reporter: Reporter) -> None:
    train = data.given_labels[data.of("train")]
    if len(train) < 2:
        raise DataError("training needs two images or more: BatchNorm cannot train on one")
    batches = config.batches
    if batches.kind == "pk" and len(data.images.classes) < batches.classes_per_batch:
        raise ConfigError(
            f"batches.classes_per_batch is {batches.classes_per_batch}, "
            f"the data has {len(data.images.classes)} classes; lower it"
        )
    if any(stage.wants_positives for stage in _stages(config)):
        if config.trains == "classifier":
            raise ConfigError(
                f"{config.loss} trains the feature part first, which is frozen; "
                "use --set trains=all, or another loss"
            )
        share = share_without_positive(train, batches.size)
        if batches.kind == "random" and share > 0.01:
            reporter.note(
                f"in random batches of {batches.size}, {share:.0%} of the anchors have no other "
                "image of their class and are left out of the triplet loss; "
                "--set batches.kind=pk gives every anchor one"
            )


def _refuse_overwriting(record: Record, resume: bool) -> None:
    there = (record.folder / "config.json").exists()
    if there and not resume:
        raise RunError(
            f"{record.folder} already holds a run; give another --out, or --resume to continue it"
        )
    if record.folder.is_dir() and not there and any(record.folder.iterdir()):
        raise RunError(f"{record.folder} holds files that are no run; give another --out")
    if resume and not there:
        raise RunError(f"{record.folder} holds no run to resume; train without --resume")


def _clear_leftovers(folder: Path) -> None:
    """Remove what a killed run could not clear away itself."""
    for left in (*folder.glob(".features-*"), *folder.glob(".writing-*")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _refuse_other_run(record: Record, new: dict[str, Any]) -> None:
    old = record.config
    changed = differences(
        {k: v for k, v in old["config"].items() if k != "figures"},
        {k: v for k, v in new["config"].items() if k != "figures"},
    )
    if old["data"]["fingerprint"] != new["data"]["fingerprint"]:
        changed += differences(old["data"], new["data"], "data.")
    changed += differences({"weights": old["weights"]}, {"weights": new["weights"]})
    if changed:
        raise RunError(
            f"{record.folder} was begun with other settings or data; resuming would mix them:\n  "
            + "\n  ".join(changed)
        )


def _result(
    run: Run, predictions: Predictions, findings: list[str], began: float
) -> dict[str, Any]:
    return {
        **{f"{split}_accuracy": predictions.accuracy(split) for split in ("train", "val", "test")},
        "recall": predictions.recall("test"),
        # Those of the earlier parts of a resumed run are in its history.
        "seconds": round(
            max(time.perf_counter() - began, sum(e["seconds"] for e in run.history)), 1
        ),
        "findings": findings,
    }


def _write_model(run: Run, classes: Sequence[str]) -> None:
    tensors = {k: v.cpu().contiguous() for k, v in run.model.state_dict().items()}
    write_atomic(run.folder / "model.safetensors", save(tensors))
    described = {
        "model": run.config.model,
        "classes": list(classes),
        "preprocessing": run.preprocessing(),
        "precision": run.config.compute.precision,
    }
    write_json(run.folder / "model.json", described)
