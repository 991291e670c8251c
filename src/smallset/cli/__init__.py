"""The command line: parse, call one function, print.

Heavy modules are imported inside the commands, so that help is quick.
"""

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from smallset import __version__
from smallset.cli.data_commands import check, clean, review
from smallset.cli.model_commands import models, weights_import, weights_list, weights_verify
from smallset.cli.study_commands import report, study
from smallset.cli.train_commands import best, demo, join, train, tune
from smallset.cli.use_commands import export, predict, serve
from smallset.errors import ConfigError, SmallsetError
from smallset.files import FULL, given_path


class Commands(TyperGroup):
    """All commands; an empty word among their arguments is a mistake."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty words before anything is read from them; show the way in if there are none.

        Raises:
            ConfigError: If there is one; a path that is empty would be the current folder.
        """
        for before, word in zip(["", *args], args, strict=False):
            name, equals, value = word.partition("=")
            if not word.strip() or (name.startswith("--") and equals and not value.strip()):
                where = name if equals else f"after {before}" if before else "the first"
                raise ConfigError(
                    f"an argument is empty ({where}): is a variable of the shell not set? '.' is "
                    "the current folder"
                )
        if not args:
            print(WAY_IN)
            raise typer.Exit
        return super().parse_args(ctx, args)


class Command(TyperCommand):
    """A command that says how what was given as an option, or without one, is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse options named like an argument ("--data x" of train), and words without a place.

        Raises:
            ConfigError: If there is one.
        """
        options = {name for each in self.params for name in each.opts}
        places = [str(p.name) for p in self.params if p.param_type_name == "argument"]
        shape = " ".join([f"smallset {self.name}", *(place.upper() for place in places)])
        for flag in (word.partition("=")[0] for word in args):
            if flag not in options and flag.removeprefix("--") in places and flag.startswith("--"):
                raise ConfigError(f"there is no {flag}; it is: {shape}")
        ctx.allow_extra_args = True
        if left := super().parse_args(ctx, args):
            if "--data" in options and ctx.params.get("data") is None:
                raise ConfigError(f"the data is an option; it is: {shape} --data {left[0]}")
            raise ConfigError(
                f"there is no place for {' '.join(left)}; it is: {shape} (quote a path with spaces)"
            )
        return left


def with_given_paths(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose folders and files lead where the user means, for all that it does.

    A shell leaves the ``~`` of --out=~/x to the command, which must print where its files lie.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        command(**{name: _as_given(value) for name, value in given.items()})

    return run


def _as_given(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_given(each) for each in value]
    return given_path(value) if isinstance(value, Path) else value


app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
)
WAY_IN = """\
smallset trains, compares, shows, cleans and uses image classifiers. The way in:

  smallset check PICTURES             what is wrong with the pictures, a folder for each class
  smallset best PICTURES              the best classifier that ten minutes give, in runs/
  smallset report RUN                 its page: how good it is, where it errs, what to do next
  smallset predict RUN NEW            what is on new pictures
  smallset serve RUN                  an API and a page for others; or take it away: export RUN

smallset --help lists all commands, smallset COMMAND --help their options; smallset demo needs no
pictures of yours. A RUN is the folder that best and train name at their end."""


def _say_version(asked: bool) -> bool:
    if asked:
        print(f"smallset {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def begin(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Train, compare, show, clean and use image classifiers with tens of images per class."""


for command in (
    best, train, join, demo, check, study, report, clean, review, predict, export, serve, tune,
    models,
):  # fmt: skip
    app.command(cls=Command)(with_given_paths(command))
weights = typer.Typer(help="Pretrained weights: list, import, verify.", no_args_is_help=True)
for command in (weights_list, weights_import, weights_verify):
    weights.command(command.__name__.removeprefix("weights_"))(with_given_paths(command))
app.add_typer(weights, name="weights")


def main() -> None:
    """Run the command line; errors a user can fix end it with one message and status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is escaped, not an end
            stream.reconfigure(errors="backslashreplace")
    # Pillow warns of large pictures by a line of its own source; smallset's own limit names them.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    try:
        app()
    except (SmallsetError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in FULL
        what = "; free some room on the disk that is full" if full else ""
        print(f"smallset: {error}{what}", file=sys.stderr)
        sys.exit(2)
