"""The command line: parse, call one function, print.

Heavy modules are imported inside the commands, so that help is quick.
"""

import sys

import typer

from smallset.cli.data_commands import check, clean, review
from smallset.cli.model_commands import models, weights_import, weights_list, weights_verify
from smallset.cli.study_commands import report, study
from smallset.cli.train_commands import best, demo, join, train, tune
from smallset.cli.use_commands import export, predict, serve
from smallset.errors import SmallsetError

app = typer.Typer(
    help="Train, compare, show, clean and use image classifiers with tens of images per class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    best, train, join, demo, check, study, report, clean, review, predict, export, serve, tune,
    models,
):  # fmt: skip
    app.command()(command)
weights = typer.Typer(help="Pretrained weights: list, import, verify.", no_args_is_help=True)
for command in (weights_list, weights_import, weights_verify):
    weights.command(command.__name__.removeprefix("weights_"))(command)
app.add_typer(weights, name="weights")


def main() -> None:
    """Run the command line; errors a user can fix end it with one message and status 2."""
    try:
        app()
    except SmallsetError as error:
        print(f"smallset: {error}", file=sys.stderr)
        sys.exit(2)
