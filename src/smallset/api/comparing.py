"""Run a study, and write the page of anything."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smallset.compare.account import Accountant, run_study
from smallset.compare.execute import (
    Resources,
    default_workers,
    find_execution,
    refuse_unread,
)
from smallset.compare.study import Study, plan_study
from smallset.compare.summary import Summary, summarise
from smallset.compare.watch import watched
from smallset.data.cleaned import is_cleaned
from smallset.data.out import taken
from smallset.files import given_path
from smallset.groups import FigureConfig
from smallset.progress import Reporter, usual_reporter
from smallset.record.record import Record
from smallset.show.loggers import check_loggers, logged_study
from smallset.words import language


def study(
    name: str,
    data: str | Path,
    *,
    out: str | Path,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    network: str = "",
    settings: Mapping[str, Any] | None = None,
    execute: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    without_missing: bool = False,
    all_pairs: bool = False,
    log: str | Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Summary:
    """Run a study, or what of it is not done yet, and leave its tables and charts.

    Args:
        name: A study that comes with smallset, or a TOML file.
        data: As in `train`.
        out: Folder of the study; each run goes into ``<arm>/seed-<n>``.
        seeds: Runs per arm; None takes the study's own number.
        arms: Names of the arms wanted; empty for all.
        network: "NAME" or "NAME=FILE", in place of the pretrained networks that the arms name.
        settings: Dotted settings laid over those of every arm.
        execute: "serial", "processes" or "ray"; the numbers are the same.
        workers: Processes at a time; None shares the processors out.
        address: Of the Ray cluster; None takes ``RAY_ADDRESS``, or the one that runs here.
        without_missing: Leave arms out whose pretrained weights are missing.
        log: "mlflow", "tensorboard" or both, which keep their files beside `out`; each run is
            logged when it has ended.
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If there is no such study, arm or setting, it takes no such network, or a
            logger is not installed.
        DataError: If the data is not fit for training, or weights are missing.
        RunError: If the study's folder cannot be written, or holds other runs.

    Example:
        >>> import smallset
        >>> found = smallset.study("losses", "pictures/", out="runs/losses")  # doctest: +SKIP
        >>> found.comparisons[0].result.verdict  # doctest: +SKIP
        'cannot tell'
    """
    from smallset.compute import num_gpus

    reporter, execution = reporter or usual_reporter(), find_execution(execute)
    refuse_unread(execute, workers, address)
    check_loggers(log)
    with taken(out, data) as folder:
        planned = plan_study(
            name, data, folder, seeds=seeds, arms=arms, network=network, overrides=settings,
            without_missing=without_missing,
        )  # fmt: skip
        first = planned.jobs[0].config
        threads, gpus = first.compute.threads or 1, num_gpus(first.compute)
        workers = workers or default_workers(threads, gpus)
        accountant = Accountant(planned, reporter)
        accountant.look(planned.all_jobs)
        accountant.look_at_kept()
        reporter.close()
        resources = Resources(workers, threads, gpus, address)
        at_once = 1 if execute == "serial" else workers
        stages = _num_stages(planned, accountant)
        with logged_study(log, planned.folder, reporter.note) as logs:
            with watched(planned, reporter.console, workers=at_once, stages=stages) as shown:
                run_study(
                    planned,
                    accountant,
                    lambda tasks: execution(tasks, resources),
                    draw=draw_record if planned.spec.draw_runs else None,
                    on_outcome=lambda job: (logs.ended(job.folder, job.error), shown(job)),
                )
            summary = summarise(planned.folder, all_pairs=all_pairs)
            _show(summary, first.figures, str(data), reporter)
            logs.finish(summary)
    return summary


def _show(summary: Summary, figures: FigureConfig, data: str, reporter: Reporter) -> None:
    """Draw the figures of a study, and write its page."""
    from smallset.show.study_figures import draw_study

    lang = language(figures.lang)
    draw_study(summary, lang=lang)
    if figures.report:
        from smallset.use.pages import Page, write_study

        write_study(summary, Page(lang, data, reporter=reporter))


def _num_stages(planned: Study, accountant: Accountant) -> dict[str, int]:
    """Return how many stages the runs of each arm have."""
    from smallset.learn.plan import stages_of

    settled = {place: plan.config for place, plan in accountant.plans.items()}
    return {
        job.arm: len(stages_of(settled.get(job.folder, job.config))) for job in planned.all_jobs
    }


def report(
    folder: str | Path,
    *,
    data: str | None = None,
    lang: str = "auto",
    budget_mb: float = 15.0,
    without_images: bool = False,
    grad_cam: Sequence[str] = (),
    runs: bool = False,
    own_code: bool = False,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Write the page of a run, a study or a cleaning: one HTML file with everything inside.

    Args:
        folder: A record, or the folder of a study, or one that `clean` left.
        data: Where the data is now; None takes the place where it was.
        lang: "en" or "zh", the language the page opens in; "auto" takes that of the locale.
        budget_mb: The file stays under this, in 10^6 bytes.
        without_images: Write the page without the images, such as where they are gone.
        grad_cam: Paths in predictions.csv of images to explain, beside the worst mistakes.
        runs: Of a study: write the page of each finished run as well.
        own_code: Let records import the functions that build their networks, for Grad-CAM; trust
            them first.
        reporter: Told of progress; None tells a terminal or notebook.

    Returns:
        The pages; that of the folder itself is the last.

    Raises:
        ConfigError: If an image of `grad_cam` is not in the record.
        DataError: If there is no finished run or study, or its images are gone or have changed.
        RunError: If a page cannot be written.
    """
    from smallset.use.pages import Page, write_cleaning, write_run, write_study

    folder = given_path(folder)
    reporter = reporter or usual_reporter()
    page = Page(language(lang), data, budget_mb, without_images, own_code, reporter)
    if is_cleaned(folder):
        return [write_cleaning(folder, page)]
    if not (folder / "study.json").exists():
        return [write_run(Record(folder), page, grad_cam=grad_cam)]
    summary = summarise(folder)
    written: list[Path] = []
    if runs:
        done = [record for arm in summary.arms for record in arm.records]
        for number, record in enumerate(done, start=1):
            written.append(write_run(record, replace(page, reporter=Reporter())))
            page.reporter.counted("drawing", number, len(done), "pages of runs")
    return [*written, write_study(summary, page)]


def draw_record(record: Record, config: FigureConfig) -> None:
    """Draw the figures of a finished run, as its own process does in a study."""
    from smallset.show.run_figures import draw_run

    draw_run(record, config)
