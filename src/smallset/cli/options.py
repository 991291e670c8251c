"""Options that several commands share, and what becomes of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from smallset.errors import ConfigError
from smallset.record.command import FLAGS

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder, .csv or .jsonl manifest, torchvision:NAME, or sample:shapes.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as optim.momentum=0.9."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings.")
]
Language = Annotated[
    str | None, typer.Option("--lang", help="Of figures and page: en or zh; default: the locale's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result only.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes at a time.")]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster.")]
Log = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TOOL", help="Log to mlflow or tensorboard too, beside --out; may be given twice."
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(metavar="N", help="Cross-validation: N parts score each other; 0 for none."),
]
OwnCode = Annotated[
    bool, typer.Option("--own-code", help="Import the code that the record names; trust it first.")
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave unreadable files out, and count them.")
]
SkipEmpty = Annotated[
    bool,
    typer.Option("--skip-empty", help="Leave classes without training images out, and name them."),
]


def skipped(*, unreadable: bool, empty: bool) -> dict[str, Any]:
    """Return the settings of the flags that leave something out; None where one is not given."""
    return {"data.skip_unreadable": unreadable or None, "data.skip_empty": empty or None}


def settings_of(config: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> Any:
    """Return the settings that a command line asks for: a file, flags, and --set on top."""
    from smallset.config import RunConfig, override, read_config

    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    return override(read_config(config) if config else RunConfig(), given | assignments(sets))


def flags_of(**given: Any) -> dict[str, Any]:
    """Return the settings that have a flag of their own, by their names.

    Args:
        **given: The value of each flag in `FLAGS`, by the flag's name.
    """
    return {name: given[flag[2:].replace("-", "_")] for name, flag in FLAGS.items()}


def assignments(sets: list[str] | None, flag: str = "--set") -> dict[str, str]:
    """Read "KEY=VALUE" texts."""
    given: dict[str, str] = {}
    for text in sets or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{flag} takes KEY=VALUE, got {text!r}")
        given[key.strip()] = value.strip()
    return given


def free_folder(folder: Path) -> Path:
    """Return the folder, or the first of folder-2, folder-3, ... that is not there yet."""
    free, number = folder, 1
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def console() -> Any:
    """Return what tables and colours are printed on."""
    from rich.console import Console

    return Console()


def reporter_of(quiet: bool) -> Any:
    """Return who is told of progress."""
    from smallset.progress import Reporter, console_reporter

    return Reporter() if quiet else console_reporter(console())


def print_logs(log: list[str] | None, folder: Path) -> None:
    """Print the commands that show what was logged."""
    if log:
        from smallset.show.loggers import look

        for command in look(log, folder):
            print(f"log:      {command}")


def print_page(folder: Path) -> None:
    """Name the page in a folder, if one was written."""
    if (folder / "report.html").exists():
        print(f"page:     {folder / 'report.html'}")
