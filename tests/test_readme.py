"""Every command and flag that the README shows exists."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from typer.main import get_command

from smallset.cli import app
from smallset.compare.spec import StudySpec
from smallset.config import build_config
from smallset.learn.settle import settle

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/smallset"
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Commands stand in code blocks and between backticks; prose may name the tool as it likes.
CODE = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", README, flags=re.DOTALL))
SHOWN = sorted(set(re.findall(r"\bsmallset ((?:weights )?[a-z]+)((?: [^`#\n]*)?)", CODE)))


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


def test_the_readme_names_every_file_of_the_source_once():
    source = README[README.index("## The source") :]
    named = Counter(re.findall(r"[\w/]*?(\w+\.py)\b", source))
    files = [p.name for p in SRC.rglob("*.py") if not p.name.startswith("__")]
    assert {name: named[name] for name in files if named[name] != 1} == {}
    assert sorted(set(named) - set(files)) == []


def test_the_pictures_and_pages_that_the_docs_link_to_are_there():
    for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/results.md"):
        page = ROOT / name
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], name


def test_the_settings_of_the_readme_are_settings():
    for block in re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL):
        content = tomllib.loads(block)
        if "arms" in content:
            spec = StudySpec.model_validate(content)
            configs = [spec.config(arm, 0, {}) for arm in spec.arms]
        else:
            configs = [build_config(content)]
        for config in configs:
            settle(config, is_pretrained=False)
