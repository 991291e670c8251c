"""Train: one run, runs joined, the demo, a search for settings."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from smallset.cli.options import (
    Address,
    ConfigFile,
    Data,
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
    flags_of,
    free_folder,
    print_logs,
    print_page,
    reporter_of,
    settings_of,
    skipped,
)
from smallset.cli.places import best_place, say_place, train_place
from smallset.cli.study_commands import print_summary
from smallset.errors import ConfigError, RunError
from smallset.memory import keep_memory


def train(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Folder of the record.", show_default="runs/<data>-<n>"),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="auto, quick, strong, head, finetune or course-report.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name; see `smallset models`.")] = None,
    loss: Annotated[str | None, typer.Option(help="Such as cross-entropy, triplet-cosine.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images per stage.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per batch.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images, px.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, or a weight file.")] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="RUN", help="Also learn what it said out of fold.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help='Such as "1-5" or "cat,dog".')] = None,
    train_on: Annotated[str | None, typer.Option(help="Such as train+val+extra.")] = None,
    noise: Annotated[float | None, typer.Option(help="Share of wrong training labels.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Chooses the wrong labels.")] = None,
    folds: Folds = None,
    repeats: Annotated[int | None, typer.Option(help="How often to deal the folds.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    lang: Language = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    log: Log = None,
    quiet: Quiet = False,
) -> None:
    """Train one classifier, and leave a record with figures and a page."""
    flags = flags_of(
        recipe=recipe,
        model=model,
        loss=loss,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        weights=weights,
        teacher=teacher,
        classes=classes,
        train_on=train_on,
        noise=noise,
        noise_seed=noise_seed,
        folds=folds,
        repeats=repeats,
    )
    flags |= {"compute.device": device, "figures.lang": lang}
    flags |= skipped(unreadable=skip_unreadable, empty=skip_empty)
    settings = settings_of(config, sets, flags)
    if out is None:
        say_place(out := train_place(data, resume=resume), data, reporter_of(quiet))
    _train(data, settings, out, resume=resume, log=log, quiet=quiet)


def best(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Of the winner's record.", show_default="runs/<data>-<n>"),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Wall time in all.")] = 10.0,
    networks: Annotated[
        str | None,
        typer.Option(
            metavar="A,B=FILE",
            help="Pretrained networks, some with a weight file; default: all that are here.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    classes: Annotated[str | None, typer.Option(help='Such as "1-5" or "cat,dog".')] = None,
    folds: Folds = None,
    execute: Annotated[
        str, typer.Option(help="How networks are judged: serial, processes or ray.")
    ] = "serial",
    workers: Workers = None,
    address: Address = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Find the best classifier that some minutes give, without a look at test, and keep its record.

    The same command goes on where a stopped search was.
    """
    from smallset import api

    keep_memory()
    flags = {
        "seed": seed, "data.classes": classes, "data.folds": folds, "compute.device": device,
        "figures.lang": lang, **skipped(unreadable=skip_unreadable, empty=skip_empty),
    }  # fmt: skip
    settings = settings_of(None, None, flags)
    named = [each.strip() for each in networks.split(",")] if networks else []
    reporter = reporter_of(quiet)
    if out is None:
        say_place(out := best_place(data, minutes, named, settings), data, reporter)
    try:
        record, story = api.best(
            data,
            out=out,
            minutes=minutes,
            networks=named,
            config=settings,
            execute=execute,
            workers=workers,
            address=address,
            reporter=reporter,
        )
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on with what was found so far") from None
    _print_search(record, story)


def _print_search(record: Any, story: Any) -> None:
    print(f"chosen:   {story['chosen']}  (in {story['seconds'] / 60:.1f} minutes)")
    if story["estimate"]:
        estimate = story["estimate"]
        less = f": {story['naive']:.1%} out of fold, less the price of choosing"
        print(
            f"expected: {estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%}) "
            f"for {story['estimate_of']}{less if estimate['value'] < story['naive'] else ''}"
        )
        if story["chosen"] != story["estimate_of"]:
            print("          that head alone; what was chosen was first measured on test")
    elif "folds" in record.result:
        print(_folds(record.result["folds"]))
    if story["test"] is not None:
        print(f"test:     {story['test']:.1%}, read once, after the choice")
    _print_balanced(record)
    if story["plain"] and story["plain"].get("is_chosen"):
        print(f"plain:    the search chose what needs no search, a head on {story['chosen']}")
    elif story["plain"]:
        against = story["against_plain"]
        alone, gave = f"a head on {story['plain']['name']}", "the search"
        if "members" in story:
            alone, gave = "the first network alone", "joining"
        print(
            f"plain:    {story['plain']['test']:.1%} with {alone}; {gave} gave "
            f"{100 * against['difference']:+.1f} points ({100 * against['low']:+.1f} to "
            f"{100 * against['high']:+.1f}): {against['verdict']}"
        )
        if against["high"] < 0:
            print(f"          here the search lost; this trains it: {story['plain']['command']}")
    print(f"record:   {record.folder}")
    for figure in sorted((record.folder / "figures").iterdir()):
        print(f"figure:   {figure}")
    print_page(record.folder)


def join(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Finished records.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder that the record goes into.")],
    temperatures: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Fitted before, one per run; default: fit on val."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the images are, if they have moved.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    own_code: OwnCode = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Join finished runs into one network: their logits averaged, each over its temperature."""
    from smallset import api
    from smallset.groups import FigureConfig

    keep_memory()
    findings: list[Any] = []
    reporter = replace(reporter_of(quiet), found=findings.append)
    figures = settings_of(None, None, {"figures.lang": lang}).figures
    assert isinstance(figures, FigureConfig)
    try:
        record = api.join(
            runs,
            out=out,
            data=data,
            temperatures=_numbers(temperatures) if temperatures else None,
            device=device,
            own_code=own_code,
            figures=figures,
            reporter=reporter,
        )
    except KeyboardInterrupt:
        raise RunError("stopped; the same command begins again") from None
    assert record.joined is not None
    for member in record.joined["members"]:
        print(f"member:   {member['folder']}  (temperature {member['temperature']:.3g})")
    _print_record(record, out, findings)


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--temperatures takes numbers between commas, such as 0.9,1.2, got {text!r}"
        ) from None


def demo(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the record.")] = Path(
        "runs/demo"
    ),
    quiet: Quiet = False,
) -> None:
    """Train on generated pictures, offline, in two minutes, and name the figures it made."""
    from smallset.config import RunConfig

    _train(
        "sample:shapes",
        RunConfig(recipe="quick", epochs=8),
        free_folder(out),
        quiet=quiet,
    )


def tune(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="TUNE", help="Folder of the search.")],
    model: Annotated[str | None, typer.Option(help="Name; see `smallset models`.")] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=SPACE",
            help="Such as lr=1e-3:0.3:log or batches.size=16,32; default: rate x weight decay.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="How many.")] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per trial.")] = 2,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    compare: Annotated[
        bool, typer.Option(help="At the end, compare the winner with the start, 5 seeds each.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Search settings on val, write the winner, and compare it with the start on test.

    The same command goes on where a stopped search was.
    """
    from smallset import api

    keep_memory()
    flags = {"model": model, **skipped(unreadable=skip_unreadable, empty=skip_empty)}
    settings, reporter = settings_of(config, sets, flags), reporter_of(quiet)
    try:
        tuned = api.tune(
            data,
            settings,
            out=out,
            search=assignments(search, "--search"),
            trials=trials,
            seeds=seeds,
            reporter=reporter,
        )
        values = ", ".join(f"{name} = {value}" for name, value in tuned.best.settings.items())
        print(f"best on val: {tuned.best.val_accuracy:.1%} with {values}")
        print(f"settings: {out / 'best.toml'}    (smallset train DATA --config ... --out RUN)")
        for figure in sorted((out / "figures").glob("*.png")):
            print(f"figure:   {figure}")
        if not compare:
            print(f"study:    {out / 'compare.toml'}    (smallset study ... --data DATA)")
            return
        file = str(out / "compare.toml")
        summary = api.study(file, data, out=out / "compare", reporter=reporter)
    except KeyboardInterrupt:
        raise RunError("stopped; the same command goes on after the last finished trial") from None
    print_summary(summary)


def _folds(folds: dict[str, Any]) -> str:
    share, low, high = (f"{folds[key]:.1%}" for key in ("accuracy", "low", "high"))
    return (
        f"folds:    {share} ({low} to {high}), each of {folds['folds']} scored by a network of the "
        "others; the model learnt from all"
    )


def _train(
    data: str,
    settings: Any,
    out: Path,
    *,
    quiet: bool,
    resume: bool = False,
    log: list[str] | None = None,
) -> None:
    from smallset import api

    keep_memory()
    findings: list[Any] = []
    reporter = replace(reporter_of(quiet), found=findings.append)
    try:
        record = api.train(data, settings, out=out, resume=resume, log=log or (), reporter=reporter)
    except KeyboardInterrupt:
        raise RunError(
            "stopped; once an epoch was finished, the same command with --resume goes on after it"
        ) from None
    _print_record(record, out, findings)
    print_logs(log, out)


def _print_record(record: Any, out: Path, findings: list[Any]) -> None:
    """Print what a finished run says, and name its files."""
    from smallset.words import language

    result = record.result
    splits = ("train", "val") if "folds" in result else ("train", "val", "test")
    known = [split for split in splits if result[f"{split}_accuracy"] is not None]
    print("accuracy: " + ", ".join(f"{split} {result[f'{split}_accuracy']:.1%}" for split in known))
    if "folds" in result:
        print(_folds(result["folds"]))
    _print_balanced(record)
    print(f"record:   {out}")
    lang = language(record.config["config"]["figures"]["lang"])
    for finding in findings:
        style = "yellow" if finding.level == "problem" else ""
        said = f"finding:  {finding.sentence.say(lang)}"
        console().print(said, style=style, markup=False, highlight=False, soft_wrap=True)
    for figure in sorted((out / "figures").iterdir()):
        print(f"figure:   {figure}")
    print_page(out)


def _print_balanced(record: Any) -> None:
    """Print the accuracy where every class counts the same, if classes are uneven."""
    from smallset.record.measures import balanced

    if even := balanced(record.predictions):
        scored = "folds" if "folds" in record.result else "test"
        print(
            f"balanced: {scored} {even.accuracy:.1%}, where every class counts the same (they have "
            f"{even.smallest} to {even.largest} training images)"
        )
