"""Every command and flag that the README shows exists."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from smallset.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SHOWN = sorted(set(re.findall(r"\bsmallset ((?:weights )?[a-z]+)((?: [^`#\n]*)?)", README)))


@pytest.mark.parametrize(("name", "arguments"), SHOWN)
def test_a_command_of_the_readme_exists_with_its_flags(name, arguments):
    command = get_command(app)
    for word in name.split():
        commands = getattr(command, "commands", {})
        assert word in commands
        command = commands[word]
    known = {flag for parameter in command.params for flag in (*parameter.opts, "--help")}
    assert set(re.findall(r"--[a-z-]+", arguments)) <= known


def test_the_readme_shows_every_command():
    assert {name.split()[0] for name, _ in SHOWN} == set(getattr(get_command(app), "commands", {}))
