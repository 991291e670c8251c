"""One run from settings to record: the only place where names become objects."""

import contextlib
import copy
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from smallset.compute import torch_as_it_was
from smallset.config import RunConfig, differences
from smallset.errors import ConfigError, RunError
from smallset.files import make_folder, write_atomic, write_json
from smallset.learn.plan import Plan, Planner, check_batches
from smallset.learn.stages import CHECKPOINT, Run, train_together
from smallset.models.parts import Classifier
from smallset.models.pretrained import draw_last_layer
from smallset.models.registry import build_model
from smallset.progress import Reporter
from smallset.record.predictions import Predictions, write_predictions
from smallset.record.record import Record, write_embeddings
from smallset.seeds import torch_seed


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
    [outcome] = train_runs(data, [(config, folder)], resume=resume, reporter=reporter)
    if isinstance(outcome, RunError):
        raise outcome
    return outcome


def train_runs(
    data: str | Path,
    jobs: Sequence[tuple[RunConfig, Path]],
    *,
    resume: bool | None = False,
    reporter: Reporter | None = None,
) -> list[Record | RunError]:
    """Train runs that may share one frozen backbone, and leave their records (without figures).

    Several runs must differ in seed, rate and numbers of the optimizer alone, and train one Linear
    layer on frozen features (`shares_backbone` tells); each gets the numbers it would get alone.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        jobs: Settings and folder of each run.
        resume: Continue those that were stopped; None begins those that are not there yet.
        reporter: Told of progress; None says nothing.

    Returns:
        The record of each run, or why its loss stopped being finite.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If the data is not fit for training.
        RunError: If a record cannot be written, or cannot be resumed.
    """
    began = time.perf_counter()
    notes: list[str] = []
    listening = _Noting(reporter or Reporter(), notes)
    records = [Record(folder) for _, folder in jobs]
    for record in records:
        _refuse_overwriting(record, resume)
    threads = jobs[0][0].compute.threads
    with contextlib.closing(listening), torch_as_it_was(threads), contextlib.ExitStack() as stack:
        planner = Planner(data, listening)
        plans = [planner.plan(config) for config, _ in jobs]
        to_train: list[tuple[Plan, Record]] = []
        for plan, record in zip(plans, records, strict=True):
            if resume is not False and record.has_begun and _is_finished(plan, record):
                listening.note(f"{record.folder} is finished; nothing to resume")
            else:
                to_train.append((plan, record))
        runs: list[Run] = []
        for plan, record in to_train:
            model = _other_head(runs[0].model, plan) if runs else _build(plan, listening)
            folder = make_folder(record.folder)
            write_json(folder / "config.json", plan.described)
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".features-", dir=folder)
            )
            features = runs[0].features if runs else {}
            runs.append(Run(plan, model, folder, listening, Path(scratch), features))
        for _ in train_together(runs, resume=resume is not False):
            pass
        for run in runs:
            if run.error is None:
                _write_record(run, notes, began)
        errors = {run.folder: run.error for run in runs if run.error is not None}
    return [errors.get(record.folder, record) for record in records]


def build_run(plan: Plan, folder: Path, reporter: Reporter, scratch: Path) -> Run:
    """Return a run that has not begun; nothing is written.

    Args:
        plan: What it will be.
        folder: Where its epochs and checkpoints go.
        reporter: Told of progress.
        scratch: Folder for features of weights that only this run has.

    Raises:
        ConfigError: If the model cannot take the images, or the batches do not fit the loss.
    """
    return Run(plan, _build(plan, reporter), folder, reporter, scratch, {})


def _build(plan: Plan, reporter: Reporter) -> Classifier:
    config = plan.config
    assert config.image_size is not None
    model = build_model(
        config.model, len(plan.data.images.classes), image_size=config.image_size,
        weights="none" if plan.start else config.weights,
        seed=torch_seed(config.seed, "weights"),
    )  # fmt: skip
    if plan.start is not None:
        model.load_state_dict(load_file(plan.start))
    _try_model(model, plan)
    check_batches(plan, reporter)
    return model


def _other_head(model: Classifier, plan: Plan) -> Classifier:
    """Return the model another seed would have: the same backbone, a last layer of its own."""
    head = copy.deepcopy(model.classifier)
    draw_last_layer(head, torch_seed(plan.config.seed, "weights"))
    return Classifier(model.features, head, mean=model.mean, std=model.std)


def _is_finished(plan: Plan, record: Record) -> bool:
    """Refuse to mix two runs, clear what a killed one left, and see whether all is done."""
    _refuse_other_run(record, plan.described)
    _clear_leftovers(record.folder)
    if record.is_complete:
        (record.folder / CHECKPOINT).unlink(missing_ok=True)
    return record.is_complete


def _write_record(run: Run, notes: list[str], began: float) -> None:
    run.keep_best()
    predictions, embeddings = run.predict()
    write_predictions(run.folder, predictions)
    write_embeddings(run.folder, embeddings)
    _write_model(run, run.data.images.classes)
    write_json(run.folder / "result.json", _result(run, predictions, notes, began))
    (run.folder / CHECKPOINT).unlink(missing_ok=True)


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


def _try_model(model: Classifier, plan: Plan) -> None:
    size = plan.config.image_size
    assert size is not None
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(f"this model cannot take images of {size} px: {error}") from None


def _refuse_overwriting(record: Record, resume: bool | None) -> None:
    there = record.has_begun
    if not there:
        _clear_leftovers(record.folder)  # of one that was killed before its settings were whole
    if there and resume is False:
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
    places = {"figures", "start_from"}
    changed = differences(
        # Settings that came after it have their defaults in it.
        RunConfig.model_validate(old["config"]).model_dump(mode="json", exclude=places),
        {k: v for k, v in new["config"].items() if k not in places},
    )
    if old["data"]["fingerprint"] != new["data"]["fingerprint"]:
        changed += differences(old["data"], new["data"], "data.")
    others = ("weights", "start", "training_rules")
    changed += differences({k: old.get(k) for k in others}, {k: new[k] for k in others})
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
        "epoch": run.kept_epoch(len(run.stages) - 1),
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
