"""Studies, and the pages of whatever was done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from smallset.cli.options import (
    Address,
    Folds,
    Language,
    Log,
    OwnCode,
    Quiet,
    Sets,
    SkipEmpty,
    SkipUnreadable,
    Workers,
    assignments,
    console,
    print_logs,
    print_page,
    reporter_of,
    skipped,
)
from smallset.cli.places import say_place, study_place
from smallset.errors import ConfigError, RunError
from smallset.memory import keep_memory


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FILE", help="See --list; or a TOML file.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="As for train.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="Folder of the study.", show_default="runs/<study>"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per arm.")] = None,
    arms: Annotated[str | None, typer.Option(help="Only these, joined by commas.")] = None,
    folds: Folds = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=FILE]", help="In place of the pretrained networks that the arms name."
        ),
    ] = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    execute: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
    workers: Workers = None,
    address: Address = None,
    without_missing: Annotated[
        bool, typer.Option("--without-missing", help="Leave out arms whose weights are missing.")
    ] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare every arm with every other.")
    ] = False,
    log: Log = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the built-in studies, or say what NAME is.")
    ] = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Train arms x seeds, compare them pair by pair, and say what can be told; status 1 if a run
    failed.

    The same command goes on where a stopped study was.
    """
    only = [arm.strip() for arm in arms.split(",")] if arms else []
    skips = skipped(unreadable=skip_unreadable, empty=skip_empty)
    settings = _settings(sets, {"figures.lang": lang, "data.folds": folds, **skips})
    if show_list:
        return _list_studies(name, seeds, only, settings)
    from smallset import api

    if name is None or data is None:
        raise ConfigError("a study needs a name and --data DATA; smallset study --list lists them")
    if execute == "serial":
        keep_memory()
    reporter, folder = reporter_of(quiet), out
    if folder is None:
        say_place(folder := study_place(name, data, network or ""), data, reporter)
    try:
        summary = api.study(
            name,
            data,
            out=folder,
            seeds=seeds,
            arms=only,
            settings=settings,
            network=network or "",
            execute=execute,
            workers=workers,
            address=address,
            without_missing=without_missing,
            all_pairs=all_pairs,
            log=log or (),
            reporter=reporter,
        )
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on after the last finished epochs") from None
    print_summary(summary)
    print_logs(log, folder)
    raise typer.Exit(1 if summary.failed else 0)


def _settings(sets: list[str] | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    return assignments(sets) | {k: v for k, v in flags.items() if v is not None}


def _list_studies(
    name: str | None, seeds: int | None, arms: Sequence[str], settings: Mapping[str, Any]
) -> None:
    from smallset.compare.spec import built_in_studies, read_study
    from smallset.show.terminal import studies_table, study_lines

    if name is None:
        console().print(studies_table(built_in_studies(), seeds))
        print("smallset study NAME --list says more of one; NAME --data DATA runs it")
        return
    _, spec = read_study(name)
    for line in study_lines(name, spec.only(arms) if arms else spec, seeds, settings):
        console().print(line, markup=False, highlight=False)


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN|STUDY|CLEAN", help="Folder of a run, a study or a cleaning."),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the images are, if they have moved.")
    ] = None,
    lang: Language = None,
    budget: Annotated[
        float, typer.Option(metavar="MB", min=6, help="Largest size of a page.")
    ] = 15,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="Leave the images out.")
    ] = False,
    grad_cam: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Explain this image too, as predictions.csv names it."),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Of a study: the pages of its runs too.")
    ] = False,
    own_code: OwnCode = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html: one page with everything inside, of a run, a study or a cleaning."""
    from smallset import api

    written = api.report(
        folder,
        data=data,
        lang=lang or "auto",
        budget_mb=budget,
        without_images=without_images,
        grad_cam=grad_cam or (),
        runs=runs,
        own_code=own_code,
        reporter=reporter_of(quiet),
    )
    for path in written:
        print(f"page:     {path}    ({path.stat().st_size / 1e6:.1f} MB)")


def print_summary(summary: Any) -> None:
    """Print the tables of a study, and name its files."""
    from smallset.findings.headline import headline
    from smallset.findings.in_words import study_notes
    from smallset.show.terminal import arms_table, comparisons_table

    shown = console()
    shown.print(arms_table(summary))
    if summary.comparisons:
        shown.print(comparisons_table(summary))
    for note in study_notes(summary):
        said = f"note: {note.say('en')}"
        shown.print(said, style="yellow", markup=False, highlight=False)
    for answer in headline(summary):
        shown.print(answer.say("en"), markup=False, highlight=False)
    for file in ("summary.csv", "comparisons.csv"):
        print(f"table:    {summary.folder / file}")
    for figure in sorted((summary.folder / "figures").glob("*.png")):
        print(f"figure:   {figure}")
    print_page(summary.folder)
