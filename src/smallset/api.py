"""What the command line does, for Python."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from smallset.choose.tune import Trial, Tuned
from smallset.compare.execute import Resources, default_workers, find_execution
from smallset.compare.study import Accountant, plan_study, run_study
from smallset.compare.summary import Summary, summarise
from smallset.compare.watch import watched
from smallset.config import FigureConfig, RunConfig
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, find_problems
from smallset.data.cleaned import is_cleaned
from smallset.data.listing import ImageSet
from smallset.data.preprocessing import square_of
from smallset.data.read import read_data
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.words import language


def train(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier, and leave its record with figures and a page.

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
    from smallset.findings.facts import read_facts
    from smallset.findings.finders import find
    from smallset.learn.run import train_run
    from smallset.show.run_figures import draw_run

    config = config or RunConfig()
    folder = Path(out or f"runs/{config.model.replace(':', '-')}-{config.digest()}").expanduser()
    reporter = reporter or Reporter()
    record = train_run(data, config, folder, resume=resume, reporter=reporter)
    for note in draw_run(record, config.figures):
        reporter.note(note)
    findings = find(read_facts(record))
    if config.figures.report:
        from smallset.use.pages import Page, write_run

        page = Page(language(config.figures.lang), str(data), reporter=reporter)
        write_run(record, page, findings=findings)
    for finding in findings:
        reporter.found(finding)
    return record


def study(
    name: str,
    data: str | Path,
    *,
    out: str | Path,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    execute: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    without_missing: bool = False,
    all_pairs: bool = False,
    reporter: Reporter | None = None,
) -> Summary:
    """Run a study, or what of it is not done yet, and leave its tables and charts.

    Args:
        name: A study that comes with smallset, or a TOML file.
        data: As in `train`.
        out: Folder of the study; each run goes into ``<arm>/seed-<n>``.
        seeds: Runs per arm; None takes the study's own number.
        arms: Names of the arms wanted; empty for all.
        settings: Dotted settings laid over those of every arm.
        execute: "serial", "processes" or "ray"; the numbers are the same.
        workers: Processes at a time; None shares the processors out.
        address: Of the Ray cluster; None takes ``RAY_ADDRESS``, or the one that runs here.
        without_missing: Leave arms out whose pretrained weights are missing.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If there is no such study, arm or setting.
        DataError: If the data is not fit for training, or weights are missing.
        RunError: If the study's folder cannot be written, or holds other runs.

    Example:
        >>> import smallset
        >>> found = smallset.study("losses", "pictures/", out="runs/losses")  # doctest: +SKIP
        >>> found.comparisons[0].result.verdict  # doctest: +SKIP
        'cannot tell'
    """
    from smallset.compute import num_gpus
    from smallset.learn.plan import stages_of
    from smallset.show.study_figures import draw_study

    reporter, execution = reporter or Reporter(), find_execution(execute)
    planned = plan_study(
        name,
        data,
        Path(out),
        seeds=seeds,
        arms=arms,
        overrides=settings,
        without_missing=without_missing,
    )
    first = planned.jobs[0].config
    threads, gpus = first.compute.threads or 1, num_gpus(first.compute)
    workers = workers or default_workers(threads, gpus)
    accountant = Accountant(planned, reporter)
    accountant.look(planned.all_jobs)
    reporter.close()
    resources = Resources(workers, threads, gpus, address)
    settled = {place: plan.config for place, plan in accountant.plans.items()}
    stages = {
        job.arm: len(stages_of(settled.get(job.folder, job.config))) for job in planned.all_jobs
    }
    at_once = 1 if execute == "serial" else workers
    with watched(planned, reporter.console, workers=at_once, stages=stages) as on_outcome:
        run_study(
            planned,
            accountant,
            lambda tasks: execution(tasks, resources),
            draw=draw_record if planned.spec.draw_runs else None,
            on_outcome=on_outcome,
        )
    summary = summarise(planned.folder, all_pairs=all_pairs)
    lang = language(first.figures.lang)
    draw_study(summary, lang=lang)
    if first.figures.report:
        from smallset.use.pages import Page, write_study

        write_study(summary, Page(lang, str(data), reporter=reporter))
    return summary


def report(
    folder: str | Path,
    *,
    data: str | None = None,
    lang: str = "auto",
    budget_mb: float = 15.0,
    without_images: bool = False,
    grad_cam: Sequence[str] = (),
    runs: bool = False,
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
        reporter: Told of progress; None says nothing.

    Returns:
        The pages; that of the folder itself is the last.

    Raises:
        ConfigError: If an image of `grad_cam` is not in the record.
        DataError: If there is no finished run or study, or its images are gone or have changed.
        RunError: If a page cannot be written.
    """
    from smallset.use.pages import Page, write_cleaning, write_run, write_study

    folder = Path(folder).expanduser()
    page = Page(language(lang), data, budget_mb, without_images, reporter or Reporter())
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
            page.reporter.counted("pages of runs", number, len(done))
    return [*written, write_study(summary, page)]


def clean(
    data: str | Path,
    *,
    out: str | Path,
    nets: Sequence[str],
    splits: Sequence[str] | None = None,
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
) -> Any:
    """Find wrong labels, and decide what to do about them.

    Args:
        data: As in `train`; its files are never changed.
        out: The folder to write; `train` and `study` take it like any data.
        nets: What judges: pretrained networks as "NAME" or "NAME=WEIGHT FILE", or "self".
        splits: Whose labels are judged; None for all but test, whose labels say what every test
            accuracy means.
        config: Its `data` group chooses classes, and may add noise to try cleaning out.
        reporter: Told of progress; None says nothing.

    Returns:
        A `smallset.clean.find.Found`.

    Raises:
        ConfigError: If a network is unknown, not pretrained, or named twice, or there is no such
            split.
        DataError: If the data is not fit, or weights are missing.
        RunError: If the folder cannot be written, or holds files.
    """
    from smallset.clean.folder import clean_folder

    reporter = reporter or Reporter()
    folder, config = Path(out).expanduser(), config or RunConfig()
    found = clean_folder(data, nets, folder, splits=splits, config=config, reporter=reporter)
    if config.figures.report:
        from smallset.use.pages import Page, write_cleaning

        write_cleaning(folder, Page(language(config.figures.lang), str(data), reporter=reporter))
    reporter.close()
    return found


def review(
    folder: str | Path,
    *,
    data: str | None = None,
    port: int = 0,
    by: str | None = None,
    lang: str = "auto",
    open_browser: bool = False,
    on_line: Callable[[str], object] = print,
) -> None:
    """Serve the page on which a cleaned set's suspects are decided on, until interrupted.

    It answers on 127.0.0.1 alone, to the address that `on_line` gets. Every decision is in
    labels.csv before the next image shows.

    Args:
        folder: What `clean` left.
        data: Where the data is now; None takes the place where it was.
        port: Of 127.0.0.1; 0 takes a free one.
        by: Whose decisions these are; None takes the user's name.
        lang: "en" or "zh", the language the page opens in; "auto" takes that of the locale.
        on_line: Told the address, and at the end what was decided.

    Raises:
        ConfigError: If the extra `web` is not installed.
        DataError: If the folder is no cleaned set, or its images are gone.
        RunError: If the port is taken, or another review of the folder runs.
    """
    from smallset.use.review_server import serve_review

    serve_review(
        Path(folder).expanduser(),
        data=data,
        port=port,
        by=by,
        lang=language(lang),
        open_browser=open_browser,
        on_line=on_line,
    )


def tune(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path,
    search: Mapping[str, str] | None = None,
    trials: int = 30,
    seeds: int = 2,
    reporter: Reporter | None = None,
) -> Tuned:
    """Search settings by their accuracy on val; test is never scored.

    Args:
        data: As in `train`; needs a val split.
        config: Where the search starts; None takes the defaults.
        out: Folder of the search. It gets trials.csv, best.toml (settings for `train`) and
            compare.toml (a study that compares the winner with the start).
        search: Where each setting is looked for: "low:high", "low:high:log" or "a,b,c" by dotted
            name; None takes learning rate x weight decay.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If Optuna is missing, or a setting does not fit.
        DataError: If the data is not fit for training, or has no val images.
        RunError: If the folder holds another search, or every trial diverged.
    """
    from smallset.choose.tune import DEFAULT_SEARCH
    from smallset.choose.tune import tune as run_search
    from smallset.show.study_figures import draw_search

    search, reporter = search or DEFAULT_SEARCH, reporter or Reporter()

    def on_trial(trial: Trial) -> None:
        values = "  ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        score = "" if trial.val_accuracy is None else f"val {trial.val_accuracy:.1%}  "
        reporter.line(
            f"trial {trial.number + 1} of {trials}: {score}{trial.state} after {trial.epochs} "
            f"epochs  {values}"
        )

    tuned = run_search(
        data,
        config or RunConfig(),
        Path(out).expanduser(),
        search=search,
        trials=trials,
        seeds=seeds,
        on_trial=on_trial,
        reporter=Reporter(note=reporter.note),
    )
    draw_search(tuned, search)
    return tuned


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_record(record: Record, config: FigureConfig) -> None:
    """Draw the figures of a finished run, as its own process does in a study."""
    from smallset.show.run_figures import draw_run

    draw_run(record, config)


def check(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    deep: bool = False,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, list[Problem]]:
    """Read a data set, decode every image, and return the listing and every problem found.

    Args:
        data: As in `train`.
        config: Settings; its `data` group and image size are used.
        deep: Look for pictures that are nearly the same too: resized, cut, mirrored, brightened.
        reporter: Told of progress; None says nothing.

    Raises:
        DataError: If there is no such data, or it is not laid out as smallset reads it.
    """
    from smallset.models.registry import default_image_size

    config, reporter = config or RunConfig(), reporter or Reporter()
    images = read_data(data, config.data)
    size = config.image_size or default_image_size(config.model)
    square = square_of(config.model_copy(update={"image_size": size}))
    pixels = load_pixels(images, square, progress=partial(reporter.counted, "decoding"))
    problems = find_problems(images, pixels.ids, pixels.errors)
    if deep:
        from smallset.clean.duplicates import find_nearly_same

        problems += find_nearly_same(images, config.data, pixels.ids, on_progress=reporter.counted)
    reporter.close()
    return images, problems


def best(
    data: str | Path,
    *,
    out: str | Path,
    minutes: float = 10.0,
    networks: Sequence[str] = (),
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
) -> tuple[Record, dict[str, Any]]:
    """Find the best classifier that the data gives in some minutes; test chooses nothing.

    Args:
        data: As in `train`.
        out: Folder of the record of the winner. It gets best.json, every candidate with its score,
            and best.png beside what every run leaves.
        minutes: Wall time in all. The same call goes on after a stop.
        networks: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are on this machine.
        config: Its data, compute and figures groups are used, and its seed.
        reporter: Told of progress; None says nothing.

    Returns:
        The record, and the content of best.json.

    Raises:
        ConfigError: If a network is unknown, or settings do not fit.
        DataError: If the data is not fit for training, or weights are missing.
        RunError: If `out` holds something else, or another search.
    """
    from smallset.choose.best import Search
    from smallset.findings.facts import read_facts
    from smallset.findings.finders import find
    from smallset.show.best_figure import draw_best
    from smallset.show.run_figures import draw_run

    config, reporter = config or RunConfig(), reporter or Reporter()
    folder = Path(out).expanduser()
    search = Search(
        data, folder, minutes=minutes, networks=networks, config=config, reporter=reporter
    )
    record, story = search.run()
    draw_run(record, config.figures)
    draw_best(story, folder, language(config.figures.lang))
    if config.figures.report:
        from smallset.use.pages import Page, write_run

        page = Page(language(config.figures.lang), str(data), reporter=reporter)
        write_run(record, page, findings=find(read_facts(record)))
    return record, story
