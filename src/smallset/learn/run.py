"""One run from settings to record: the only place where names become objects."""

import contextlib
import copy
import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Int
from numpy import ndarray

from smallset.compute import torch_as_it_was
from smallset.config import RunConfig
from smallset.data.prepare import DataSource, families_of
from smallset.errors import RunError
from smallset.files import clear_unfinished, holds_files, make_folder, write_json
from smallset.learn.folds import FOLDS, OutOfFold, deal, score_folds
from smallset.learn.inputs import Inputs
from smallset.learn.plan import Plan, Planner, check_batches, clean_labels, stages_of
from smallset.learn.score import predict
from smallset.learn.stages import Run, train_together
from smallset.learn.teacher import taught
from smallset.learn.training import Training
from smallset.learn.try_out import try_model
from smallset.models.forward import placed
from smallset.models.parts import Classifier
from smallset.models.pretrained import draw_last_layer
from smallset.models.registry import build_model, preprocessing_for
from smallset.models.restore import load_weights, write_network
from smallset.progress import Reporter
from smallset.record.doubt import Temperature, fit_temperature, held_out
from smallset.record.predictions import Predictions, write_predictions
from smallset.record.record import CHECKPOINT, Record, write_embeddings, write_result
from smallset.seeds import torch_seed
from smallset.settings import differences

SCRATCH = ".features"  # in the record, while it trains
Show = Callable[[Record], object]
"""Draws the figures of a finished record, and whatever else it is to have."""


def _show_nothing(_: Record) -> None: ...


def train_run(
    data: str | Path,
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    show: Show = _show_nothing,
) -> Record:
    """Train one classifier and leave its record.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        folder: Where the record goes; must not hold one already, unless it is resumed.
        resume: Continue a run that was stopped; the result is as if it had not been.
        reporter: Told of progress; None says nothing.
        show: As in `train_runs`.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If the data is not fit for training.
        RunError: If the run fails, or cannot be resumed.
    """
    reporter = reporter or Reporter()
    refuse_overwriting(Record(folder), resume)
    with contextlib.closing(reporter):
        source = DataSource(data, reporter)
        plan = Planner(source, usual_folds=True).plan(config)
        jobs = [(plan, folder)]
        [outcome] = train_runs(source, jobs, resume=resume, reporter=reporter, show=show)
    if isinstance(outcome, RunError):
        raise outcome
    return outcome


def train_runs(
    source: DataSource,
    jobs: Sequence[tuple[Plan, Path]],
    *,
    resume: bool | None = False,
    reporter: Reporter | None = None,
    show: Show = _show_nothing,
) -> list[Record | RunError]:
    """Train runs that may share one frozen backbone, and leave their records.

    Several runs must differ in seed, rate and numbers of the optimizer alone, and train one Linear
    layer on frozen features (`shares_backbone` tells); each gets the numbers it would get alone.

    Args:
        resume: Continue those that were stopped; None begins those that are not there yet.
        reporter: Told of progress; None says nothing.
        show: Called with each finished record. A run is not over before that, so what a kill keeps
            it from drawing is drawn when the run is resumed.

    Returns:
        The record of each run, or why its loss stopped being finite.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If the data is not fit for training.
        RunError: If a record cannot be written, or cannot be resumed.
    """
    reporter = reporter or Reporter()
    records = [Record(folder) for _, folder in jobs]
    for record in records:
        refuse_overwriting(record, resume)
    errors = _train(source, jobs, resume, reporter)
    reporter.close()
    for record in records:
        if record.folder not in errors:
            show(record)
            # Until here, the run is not over.
            shutil.rmtree(record.folder / FOLDS, ignore_errors=True)
            (record.folder / CHECKPOINT).unlink(missing_ok=True)
    return [errors.get(record.folder, record) for record in records]


def _train(
    source: DataSource,
    jobs: Sequence[tuple[Plan, Path]],
    resume: bool | None,
    inner: Reporter,
) -> dict[Path, RunError]:
    """Train the runs that are not finished; return the errors of those that cannot be."""
    began = time.perf_counter()
    notes: dict[str, None] = {}
    reporter = replace(inner, note=lambda text: (notes.setdefault(text), inner.note(text)))
    runs: list[Run] = []
    dealt: list[tuple[Run, Int[ndarray, "repeats n"]]] = []
    with torch_as_it_was(jobs[0][0].config.compute.threads), contextlib.ExitStack() as stack:
        for plan, folder in jobs:
            record = Record(folder)
            if resume is not False and record.has_begun and _is_finished(plan, record):
                inner.note(f"{folder} is finished; nothing to resume")
                continue
            plan = clean_labels(plan, source, reporter)
            run = build_run(plan, folder, reporter, beside=runs[0] if runs else None)
            if run.has_folds:  # before anything is written: there may be too few images
                known = families_of(plan.data, plan.config.data, reporter)
                run = replace(run, plan=replace(plan, families=known))
                dealt.append((run, deal(run.plan)))
            write_json(make_folder(folder) / "config.json", plan.described)
            stack.callback(shutil.rmtree, folder / SCRATCH, ignore_errors=True)
            runs.append(run)
        folds = [score_folds(run, each, build_run, reporter) for run, each in dealt]
        for _ in train_together(runs, resume=resume is not False):
            pass
        for run, held in itertools.zip_longest(runs, folds):
            if run.state.error is None:
                _write_record(run, [*run.plan.data.notes, *notes], began, held)
    return {run.state.folder: run.state.error for run in runs if run.state.error is not None}


def build_run(plan: Plan, folder: Path, reporter: Reporter, *, beside: Run | None = None) -> Run:
    """Return a run that has not begun; nothing is written.

    Args:
        beside: A run on the same frozen network, which this one shares with it.

    Raises:
        ConfigError: If the model cannot take the images, or the batches do not fit the loss.
    """
    config = plan.config
    stages = taught(stages_of(config, plan.data), plan.teacher, plan.data)
    if beside is None:
        model = _build(plan)
        check_batches(plan, stages, reporter)
    else:
        model = _other_head(beside.inputs.model, plan)
    state = Training(config, stages, placed(model, config.compute.device), folder)
    inputs = Inputs(
        config,
        plan.data,
        state.model,
        preprocessing_for(model, config),
        reporter=reporter,
        scratch=folder / SCRATCH if state.caches_own_features else None,
        features=None if beside is None else beside.inputs.features,
    )
    return Run(plan, inputs, state)


def _build(plan: Plan) -> Classifier:
    config = plan.config
    assert config.image_size is not None
    model = build_model(
        config.model,
        len(plan.data.images.classes),
        image_size=config.image_size,
        weights="none" if plan.start else config.weights,
        seed=torch_seed(config.seed, "weights"),
    )
    if plan.start is not None:
        load_weights(model, Record(plan.start.parent))
    try_model(model, config, len(plan.data.images.classes))
    model.mirror = config.mirror
    return model


def _other_head(model: Classifier, plan: Plan) -> Classifier:
    """Return the model another seed would have: the same backbone, a last layer of its own."""
    head = copy.deepcopy(model.classifier)
    draw_last_layer(head, torch_seed(plan.config.seed, "weights"))
    other = Classifier(model.features, head, mean=model.mean, std=model.std)
    other.mirror = model.mirror
    return other


def _is_finished(plan: Plan, record: Record) -> bool:
    """Refuse to mix two runs, clear what a killed one left, and see whether it is trained."""
    _refuse_other_run(record, plan.described)
    _clear_leftovers(record.folder)
    return record.is_complete


def _write_record(run: Run, notes: list[str], began: float, held: OutOfFold | None) -> None:
    run.state.kept.finish()
    folder = run.state.folder
    own, embeddings = predict(run.inputs, cached=run.is_cached(-1))
    predictions = own
    if held is not None:  # what counts is what runs said that had not learnt from the image
        predictions = held.predictions()
        embeddings["test"] = embeddings["train"][:0]
    write_predictions(folder, predictions)
    write_embeddings(folder, embeddings)
    _write_model(run, fit_temperature(held_out(predictions)))
    result = _result(run, predictions, notes, began) | {"train_accuracy": own.accuracy("train")}
    write_result(folder, result | ({} if held is None else held.described()))


def refuse_overwriting(record: Record, resume: bool | None) -> None:
    """Refuse a folder that holds something else than what may go on there.

    Args:
        resume: Whether a run that is there goes on; None goes on where there is one.

    Raises:
        RunError: If it does.
    """
    there = record.has_begun
    if not there:
        _clear_leftovers(record.folder)  # of one that was killed before its settings were whole
    if there and resume is False:
        raise RunError(
            f"{record.folder} already holds a run; give another --out, or --resume to continue it"
        )
    if not there and holds_files(record.folder):
        raise RunError(f"{record.folder} is not empty, and is not a run; give another --out")
    if resume and not there:
        raise RunError(f"{record.folder} has no run to resume; train without --resume")


def _clear_leftovers(folder: Path) -> None:
    """Remove what a killed run could not clear away itself."""
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    clear_unfinished(folder)


def _refuse_other_run(record: Record, new: dict[str, Any]) -> None:
    old = record.config
    places = {"figures", "start_from", "teacher"}
    changed = differences(
        {k: v for k, v in old["config"].items() if k not in places},
        {k: v for k, v in new["config"].items() if k not in places},
    )
    if old["data"]["fingerprint"] != new["data"]["fingerprint"]:
        changed += differences(old["data"], new["data"], "data.")
    others = ("weights", "start", "teacher", "cleaning", "training_rules", "own_code")
    changed += differences({k: old.get(k) for k in others}, {k: new.get(k) for k in others})
    if changed:
        raise RunError(
            f"{record.folder} was begun with other settings or data; resuming would mix them:\n  "
            + "\n  ".join(changed)
        )


def scored(predictions: Predictions) -> dict[str, Any]:
    """Return what result.json says of the predictions."""
    splits = ("train", "val", "test")
    shares = {f"{split}_accuracy": predictions.accuracy(split) for split in splits}
    return {**shares, "recall": predictions.recall("test")}


def _result(run: Run, predictions: Predictions, notes: list[str], began: float) -> dict[str, Any]:
    return {
        **scored(predictions),
        "epoch": run.state.kept_line["epoch"],
        # Those of the earlier parts of a resumed run are in its history.
        "seconds": round(
            max(time.perf_counter() - began, sum(e["seconds"] for e in run.state.history)), 1
        ),
        "findings": notes,
    }


def _write_model(run: Run, temperature: Temperature) -> None:
    folder, inputs = run.state.folder, run.inputs
    described = {
        "model": run.plan.config.model,
        "classes": list(run.plan.data.images.classes),
        "preprocessing": inputs.preprocessing.to_json(),
        "precision": run.plan.config.compute.precision,
        "mirror": run.plan.config.mirror,
        **temperature.to_json(),
    }
    write_network(folder, inputs.model, described)
