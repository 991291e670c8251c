"""What the command line does, for Python."""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from smallset.compare.execute import Way, default_workers, execute
from smallset.compare.study import Accountant, plan_study, run_study
from smallset.compare.summary import Summary, summarise
from smallset.compare.tune import Trial, Tuned
from smallset.compare.watch import Watch
from smallset.config import FigureConfig, RunConfig
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, find_problems
from smallset.data.listing import ImageSet
from smallset.data.read import read_data
from smallset.learn.progress import ConsoleReporter, Reporter
from smallset.learn.record import Record


def train(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier, and leave its record with figures.

    Args:
        data: A folder of class folders or of split folders, a .csv or .jsonl manifest,
            "torchvision:NAME" or "sample:shapes".
        config: Settings; None takes the defaults.
        out: Folder of the record; None takes "runs/<model>-<digest>".
        resume: Continue the run that `out` holds.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If settings do not fit.
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
    from smallset.show.figures import draw_run

    config = config or RunConfig()
    folder = Path(out or f"runs/{config.model.replace(':', '-')}-{config.digest()}").expanduser()
    reporter = reporter or Reporter()
    record = train_run(data, config, folder, resume=resume, reporter=reporter)
    for note in draw_run(record, config.figures):
        reporter.note(note)
    return record


def study(
    name: str,
    data: str | Path,
    *,
    out: str | Path,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    execute_by: Way = "processes",
    workers: int | None = None,
    address: str | None = None,
    without_missing: bool = False,
    all_pairs: bool = False,
    console: Any = None,
) -> Summary:
    """Run a study, or what of it is not done yet, and leave its tables and charts.

    Args:
        name: A study that comes with smallset, or a TOML file.
        data: As in `train`.
        out: Folder of the study; each run goes into ``<arm>/seed-<n>``.
        seeds: Runs per arm; None takes the study's own number.
        arms: Names of the arms wanted; empty for all.
        settings: Dotted settings laid over those of every arm.
        execute_by: "serial", "processes" or "ray"; the numbers are the same.
        workers: Processes at a time; None shares the processors out.
        address: Of the Ray cluster; None takes ``RAY_ADDRESS``, or the one that runs here.
        without_missing: Leave arms out whose pretrained weights cannot be had.
        all_pairs: Compare every arm with every other.
        console: A rich console to show progress on; None says nothing.

    Raises:
        ConfigError: If there is no such study, arm or setting.
        DataError: If the data is not fit for training, or weights are missing.
        RunError: If the study's folder cannot be written, or holds other runs.

    Example:
        >>> import smallset
        >>> found = smallset.study("losses", "pictures/", out="runs/losses")  # doctest: +SKIP
        >>> found.comparisons[0][3].verdict  # doctest: +SKIP
        'cannot tell'
    """
    from smallset.learn.compute import num_gpus
    from smallset.learn.plan import stages_of
    from smallset.show.study import draw_study

    planned = plan_study(
        name, data, Path(out), seeds=seeds, arms=arms, overrides=settings,
        without_missing=without_missing,
    )  # fmt: skip
    first = planned.jobs[0].config.compute
    threads, gpus = first.threads or 1, num_gpus(first)
    workers = workers or default_workers(threads, gpus)
    reporter = Reporter() if console is None else ConsoleReporter(console)
    accountant = Accountant(planned, reporter.note, reporter.counted)
    accountant.look(planned.all_jobs)
    reporter.close()
    way = partial(
        execute, way=execute_by, workers=workers, threads=threads, gpus=gpus, address=address
    )
    with contextlib.ExitStack() as stack:
        told = None
        if console is not None:
            stages = {job.arm: len(stages_of(job.config)) for job in planned.all_jobs}
            at_once = 1 if execute_by == "serial" else workers
            watch = Watch(planned, console, workers=at_once, stages=stages)
            told = stack.enter_context(watch).ended_run
        draw = draw_record if planned.spec.draw_runs else None
        run_study(planned, accountant, way, draw=draw, on_outcome=told)
    summary = summarise(planned.folder, all_pairs=all_pairs)
    draw_study(summary)
    return summary


def tune(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path,
    search: Mapping[str, str] | None = None,
    trials: int = 30,
    seeds: int = 2,
    console: Any = None,
) -> Tuned:
    """Search settings by their accuracy on val; test is never scored.

    Args:
        data: As in `train`; needs a val split.
        config: Where the search starts; None takes the defaults.
        out: Folder of the search. It gets trials.csv, best.toml (settings for `train`) and
            compare.toml (a study that compares the winner with the start).
        search: Where each setting is looked for: "low:high", "low:high:log" or "a,b,c" by dotted
            name; None takes learning rate x weight decay.
        trials: How many to make.
        seeds: Runs per trial.
        console: A rich console to show progress on; None says nothing.

    Raises:
        ConfigError: If Optuna is missing, or a setting does not fit.
        DataError: If the data is not fit for training, or has no val images.
        RunError: If the folder holds another search, or every trial diverged.
    """
    from smallset.compare.tune import DEFAULT_SEARCH
    from smallset.compare.tune import tune as run_search
    from smallset.show.study import draw_search

    search = search or DEFAULT_SEARCH
    reporter = Reporter() if console is None else ConsoleReporter(console)

    def told(trial: Trial) -> None:
        values = "  ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        score = "" if trial.val_accuracy is None else f"val {trial.val_accuracy:.1%}  "
        if console is not None:
            console.print(
                f"trial {trial.number + 1} of {trials}: {score}{trial.state} after "
                f"{trial.epochs} epochs  {values}", highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip

    tuned = run_search(
        data, config or RunConfig(), Path(out).expanduser(), search=search, trials=trials,
        seeds=seeds, on_trial=told, note=reporter.note,
    )  # fmt: skip
    draw_search(tuned, search)
    return tuned


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_record(record: Record, config: FigureConfig) -> None:
    """Draw the figures of a finished run, as its own process does in a study.

    Args:
        record: The run.
        config: What to draw.
    """
    from smallset.show.figures import draw_run

    draw_run(record, config)


def check(
    data: str | Path, config: RunConfig | None = None, *, reporter: Reporter | None = None
) -> tuple[ImageSet, list[Problem]]:
    """Read a data set, decode every image, and return the listing and every problem found.

    Args:
        data: As in `train`.
        config: Settings; its `data` group and image size are used.
        reporter: Told of progress; None says nothing.

    Raises:
        DataError: If there is no such data, or it is not laid out as smallset reads it.
    """
    config = config or RunConfig()
    reporter = reporter or Reporter()
    images = read_data(data, config.data)
    pixels = load_pixels(
        images,
        size=config.image_size or 112,
        policy=config.data.resize,
        max_megapixels=config.data.max_megapixels,
        progress=partial(reporter.counted, "decoding"),
    )
    reporter.close()
    return images, find_problems(images, pixels.ids, pixels.errors)
