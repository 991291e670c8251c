"""Train a run, join several, and check the data before it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from smallset.config import RunConfig, given_config
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, find_problems, left, missing_splits, nearly_same
from smallset.data.listing import ImageSet
from smallset.data.out import taken
from smallset.data.preprocessing import square_of
from smallset.data.read import folds_for, read_data
from smallset.data.split import UsualFolds
from smallset.files import given_path
from smallset.groups import FigureConfig
from smallset.models.by_name import default_image_size
from smallset.progress import Reporter, usual_reporter
from smallset.record.record import Record
from smallset.show.loggers import check_loggers, logged_run
from smallset.words import language


def train(
    data: str | Path,
    config: RunConfig | Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    log: str | Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier, and leave its record with figures and a page.

    Args:
        data: A folder of class folders or of split folders, a .csv or .jsonl manifest,
            "torchvision:NAME" or "sample:shapes".
        config: Settings, or a dict of them; None takes the defaults.
        out: Folder of the record; None takes "runs/<model>-<digest>".
        resume: Continue the run that `out` holds.
        log: "mlflow", "tensorboard" or both, which keep their files beside `out`.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If settings do not fit, or a logger is not installed.
        DataError: If the data is not fit for training.
        RunError: If the run fails, or cannot be resumed, or `out` holds something else.

    Example:
        >>> import smallset
        >>> config = smallset.RunConfig(model="residual", epochs=30)
        >>> record = smallset.train("pictures/", config, out="runs/first")  # doctest: +SKIP
        >>> record.result["test_accuracy"]  # doctest: +SKIP
        0.81
    """
    from smallset.learn.run import train_run
    from smallset.models.at_hand import TRAIN, saying_what_is_here

    config = given_config(config)
    if out is None:
        out = f"runs/{re.sub(r'[:/]', '-', config.model)}-{config.digest()}"
    reporter = reporter or usual_reporter()
    check_loggers(log)
    naming = saying_what_is_here(TRAIN, tuple(config.data.judges))
    with naming, taken(out, data) as folder, logged_run(log, folder, reporter) as reporter:
        show = partial(
            _show, data=str(data), figures=config.figures, reporter=reporter,
            own_code=True,  # the caller named it
        )  # fmt: skip
        return train_run(data, config, folder, resume=resume, reporter=reporter, show=show)


def join(
    runs: Sequence[str | Path],
    *,
    out: str | Path,
    data: str | Path | None = None,
    temperatures: Sequence[float] | None = None,
    device: str = "auto",
    own_code: bool = False,
    figures: FigureConfig | None = None,
    reporter: Reporter | None = None,
) -> Record:
    """Average the logits of finished runs, each over its temperature, and leave one record.

    Args:
        runs: Two records or more, of the same data, splits, classes and resize policy.
        out: Folder of the record.
        data: Where the images are now; None takes the place where the first run had them.
        temperatures: One per run, fitted before; None fits them on val.
        device: Where it computes: "auto", "cpu", "cuda" or "mps".
        own_code: Let records import the functions that build their networks; trust them first.
        figures: Pictures of the record; None takes the defaults.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If runs do not fit together, or one does not end in a Linear layer.
        DataError: If one is no finished run, the images changed, or there is no val to fit on.
        RunError: If `out` holds something else.

    Example:
        >>> import smallset
        >>> smallset.join(["runs/head", "runs/tuned"], out="runs/both")  # doctest: +SKIP
    """
    from smallset.learn.join import join_runs

    figures, reporter = figures or FigureConfig(), reporter or usual_reporter()
    folders = [given_path(run) for run in runs]
    record = join_runs(
        folders, given_path(out), data=None if data is None else str(data),
        temperatures=temperatures, device=device, own_code=own_code, figures=figures,
        reporter=reporter,
    )  # fmt: skip
    _show(record, record.config["data"]["source"], figures, reporter, own_code=own_code)
    return record


def _show(
    record: Record, data: str, figures: FigureConfig, reporter: Reporter, *, own_code: bool
) -> None:
    """Draw the figures of a run, write its page, and tell what was found."""
    from smallset.findings.facts import read_facts
    from smallset.findings.finders import find
    from smallset.show.run_figures import draw_run

    for note in draw_run(record, figures):
        reporter.note(note)
    findings = find(read_facts(record))
    if figures.report:
        from smallset.use.pages import Page, write_run

        page = Page(language(figures.lang), data, own_code=own_code, reporter=reporter)
        write_run(record, page, findings=findings)
    for finding in findings:
        reporter.found(finding)


def check(
    data: str | Path,
    config: RunConfig | Mapping[str, Any] | None = None,
    *,
    deep: bool = False,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, list[Problem]]:
    """Read a data set, decode every image, and return the listing and every problem found.

    What the settings leave out (`data.skip_unreadable`, `data.skip_empty`) is not in the listing.

    Args:
        data: As in `train`.
        config: Settings; its `data` group and image size are used.
        deep: Look for pictures that are nearly the same too: resized, cut, turned, framed.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        DataError: If there is no such data, or it is not laid out as smallset reads it.
    """
    config, reporter = given_config(config), reporter or usual_reporter()
    size = config.image_size or default_image_size(config.model)
    square = square_of(config.model_copy(update={"image_size": size}))
    images = read_data(data, config.data, reporter, also=[square])
    usual = folds_for(data, config.data) if config.data.folds is None else UsualFolds()
    if usual.number:
        note = (
            f"train and best deal these images into {usual.number} folds, for {usual.why}; "
            f"{usual.otherwise}"
        )
        images = replace(images, notes=(*images.notes, note))
    decoding = partial(reporter.counted, "decoding")
    pixels = load_pixels(images, square, progress=decoding, note=reporter.note)
    problems = missing_splits(images, config.data, folds=config.data.folds or usual.number)
    problems += find_problems(images, pixels.ids, pixels.errors, config.data)
    if deep:
        from smallset.data.duplicates import find_nearly_same

        problems += nearly_same(images, find_nearly_same(images, config.data, reporter), pixels.ids)
    reporter.close()
    return left(images, pixels.readable, config.data), problems
