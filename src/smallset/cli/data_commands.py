"""Look at data: check it, find wrong labels, review them."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from smallset.cli.options import (
    ConfigFile,
    Data,
    Language,
    Quiet,
    Sets,
    SkipEmpty,
    SkipUnreadable,
    console,
    reporter_of,
    settings_of,
    skipped,
)
from smallset.memory import keep_memory


def check(
    data: Data,
    write_split: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the split down as a manifest."),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Find pictures that are nearly the same too: cut, turned."),
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    quiet: Quiet = False,
) -> None:
    """Print splits, classes and every problem found; exit status 1 if there is a problem."""
    from smallset import api
    from smallset.data.check import ways_out
    from smallset.data.manifest import manifest_text
    from smallset.files import write_new
    from smallset.show.terminal import data_table
    from smallset.words import counted

    keep_memory()
    shown = console()
    flags = skipped(unreadable=skip_unreadable, empty=skip_empty)
    images, problems = api.check(
        data, settings_of(config, sets, flags), deep=deep, reporter=reporter_of(quiet)
    )
    shown.print(data_table(images, f"{data}: {counted(len(images), 'image')}"))
    for note in images.notes:
        shown.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        text = f"{problem.kind}: {problem.message}"
        style = "dim" if problem.is_hint else "red"
        shown.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    if write_split is not None:
        write_new(write_split, manifest_text(images, write_split))
        shown.print(f"split written to {write_split}", markup=False, highlight=False)
    for line in ways_out(problems):
        shown.print(line, markup=False, highlight=False, soft_wrap=True)
    count = sum(not problem.is_hint for problem in problems)
    found = f"{counted(count, 'problem') if count else 'no problems'} found"
    hints = f", {counted(len(problems) - count, 'hint')}" if count < len(problems) else ""
    shown.print(found + hints, highlight=False)
    raise typer.Exit(1 if count else 0)


def clean(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="CLEAN", help="Folder that the labels go into.")],
    nets: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NET[=FILE],...|self",
            help="Pretrained networks that judge; or self, which needs none.",
        ),
    ] = "resnet18",
    splits: Annotated[
        str | None,
        typer.Option(
            help="Whose labels are judged, such as train+val.", show_default="all but test"
        ),
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Wrong labels to add, to try it out.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Chooses them.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    skip_unreadable: SkipUnreadable = False,
    skip_empty: SkipEmpty = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Find wrong labels; your files stay as they are. Status 1 if there are suspects.

    CLEAN is data that train and study take.
    """
    from smallset import api
    from smallset.clean.folder import tell
    from smallset.contents import Cleaning
    from smallset.data.cleaned import read_about

    keep_memory()
    flags = {
        "data.noise_rate": noise, "data.noise_seed": noise_seed,
        "figures.lang": lang, **skipped(unreadable=skip_unreadable, empty=skip_empty),
    }  # fmt: skip
    settings = settings_of(config, sets, flags)
    api.clean(
        data,
        out=out,
        nets=nets.split(","),
        splits=splits.split("+") if splits else None,
        config=settings,
        reporter=reporter_of(quiet),
    )
    about = read_about(out, Cleaning)
    print("\n".join(tell(about)))
    folder = shlex.quote(str(out))
    print(f"labels:   {out / 'labels.csv'}    (smallset train {folder} --out RUN)")
    if about["suspects"] or about["contradicted"]:
        print(f"review:   smallset review {folder}")
    if (out / "report.html").exists():
        print(f"page:     {out / 'report.html'}")
    raise typer.Exit(1 if about["suspects"] else 0)


def review(
    folder: Annotated[Path, typer.Argument(metavar="CLEAN", help="What `smallset clean` left.")],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the images are, if they have moved.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0: a free one.")] = 0,
    by: Annotated[
        str | None, typer.Option(help="Whose decisions; default: your user name.")
    ] = None,
    lang: Language = None,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Go through the suspects by keyboard, in the browser; each decision is on disk at once."""
    from smallset import api

    api.review(
        folder,
        data=data,
        port=port,
        by=by,
        lang=lang or "auto",
        open_browser=browser,
        on_line=lambda text: print(text, flush=True),
    )
