"""Choose settings, or the best classifier of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smallset.choose.tune import Trial, Tuned
from smallset.config import RunConfig, given_config
from smallset.data.out import taken
from smallset.progress import Reporter, usual_reporter
from smallset.record.record import Record
from smallset.words import language


def tune(
    data: str | Path,
    config: RunConfig | Mapping[str, Any] | None = None,
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
        reporter: Told of progress; None tells a terminal or notebook.

    Raises:
        ConfigError: If Optuna is missing, or a setting does not fit.
        DataError: If the data is not fit for training, or has no val images.
        RunError: If the folder holds another search, or every trial diverged.
    """
    from smallset.choose.tune import DEFAULT_SEARCH
    from smallset.choose.tune import tune as run_search
    from smallset.models.at_hand import TUNE, saying_what_is_here
    from smallset.show.study_figures import draw_search

    search, reporter = search or DEFAULT_SEARCH, reporter or usual_reporter()

    def on_trial(trial: Trial) -> None:
        values = "  ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        score = "" if trial.val_accuracy is None else f"val {trial.val_accuracy:.1%}  "
        reporter.line(
            f"trial {trial.number + 1} of {trials}: {score}{trial.state} after {trial.epochs} "
            f"epochs  {values}"
        )

    with saying_what_is_here(TUNE), taken(out, data) as folder:
        tuned = run_search(
            data,
            given_config(config),
            folder,
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


def best(
    data: str | Path,
    *,
    out: str | Path,
    minutes: float = 10.0,
    networks: Sequence[str] = (),
    config: RunConfig | Mapping[str, Any] | None = None,
    execute: str = "serial",
    workers: int | None = None,
    address: str | None = None,
    reporter: Reporter | None = None,
) -> tuple[Record, dict[str, Any]]:
    """Find the best classifier that the data gives in some minutes; test chooses nothing.

    Args:
        data: As in `train`.
        out: Folder of the record of the winner. It gets best.json, every candidate with its score,
            and best.png beside what every run leaves.
        minutes: Wall time in all. The same call goes on after a stop.
        networks: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are on this machine.
        config: Its data, compute and figures groups are used, and its seed, balance and image
            size; any other setting, `data.train_on` and `data.clean` are refused: best chooses
            those itself.
        execute: How networks are judged: "serial", "processes" or "ray"; all else is done here.
        workers: Processes at a time; None shares the processors out. Also of networks that are
            trained from scratch, whichever way is asked for.
        address: Of the Ray cluster; None takes ``RAY_ADDRESS`` or the one running here.
        reporter: Told of progress; None tells a terminal or notebook.

    Returns:
        The record, and the content of best.json.

    Raises:
        ConfigError: If a network is unknown, or settings do not fit or are not read.
        DataError: If the data is not fit for training, or weights are missing.
        RunError: If `out` holds something else, or another search.
    """
    from smallset.choose.best import Search
    from smallset.choose.spread import spread_by
    from smallset.compare.execute import Resources, default_workers, refuse_unread
    from smallset.compute import num_gpus, resolve
    from smallset.findings.facts import read_facts
    from smallset.findings.finders import find
    from smallset.models.at_hand import SEARCH, saying_what_is_here
    from smallset.show.best_figure import draw_best
    from smallset.show.run_figures import draw_run

    config, reporter = given_config(config), reporter or usual_reporter()
    refuse_unread(execute, workers, address)
    threads, gpus = config.compute.threads or 1, num_gpus(resolve(config.compute))
    resources = Resources(workers or default_workers(threads, gpus), threads, gpus, address)
    with saying_what_is_here(SEARCH), taken(out, data) as folder:
        search = Search(
            data, folder, minutes=minutes, networks=networks, config=config, reporter=reporter,
            spread=None if execute == "serial" else spread_by(execute, resources), workers=workers,
        )  # fmt: skip
        record, story = search.run()
        draw_run(record, config.figures)
        draw_best(story, folder, language(config.figures.lang))
        if config.figures.report:
            from smallset.use.pages import Page, write_run

            page = Page(language(config.figures.lang), str(data), reporter=reporter)
            write_run(record, page, findings=find(read_facts(record)))
    return record, story
