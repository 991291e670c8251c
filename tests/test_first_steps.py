"""The first ten minutes: what a newcomer types, and where it goes."""

import re
import shlex

import pytest
from test_cli import TINY, call
from typer.main import get_command

import smallset
from smallset.cli import WAY_IN, app
from smallset.cli.places import best_place, data_name, place, study_place, train_place
from smallset.config import RunConfig
from smallset.errors import ConfigError, RunError
from smallset.files import write_json
from smallset.models.registry import resolve_weights

STEPS = re.findall(r"^  smallset ((?:\S+ )+) ", WAY_IN, flags=re.MULTILINE)


def test_smallset_alone_shows_the_way_in_and_its_version_is_asked_for(capsys, monkeypatch):
    status, out, _ = call(capsys, monkeypatch)
    assert (status, out.strip()) == (0, WAY_IN)
    assert [step.split()[0] for step in STEPS] == ["check", "best", "report", "predict", "serve"]
    assert max(map(len, WAY_IN.splitlines())) <= 100
    assert call(capsys, monkeypatch, "--version")[:2] == (0, f"smallset {smallset.__version__}\n")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_way_in_is_a_command_with_all_it_needs(step):
    name, *arguments = shlex.split(step)
    command = getattr(get_command(app), "commands", {})[name]
    assert command.make_context(name, arguments).params


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("pictures/birds/", "birds"),
        ("birds.v2.csv", "birds.v2"),
        ("sample:shapes,seed=3", "shapes"),
        ("torchvision:Flowers102", "Flowers102"),
        ("..", "."),
        ("/", "data"),
    ],
)
def test_a_place_is_called_after_the_data(data, name, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert data_name(data) == (tmp_path.name if name == "." else name)
    with pytest.raises(ConfigError, match="knows no such home folder"):
        data_name("~nosuchuser/x")


def test_a_place_is_behind_the_last_one_and_never_one_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(place("a")) == "runs/a-1"
    for name in ("a-1", "a-7", "a-10x", "a-b-20", "a-007"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(place("a")) == "runs/a-8"
    assert str(place("a", lambda folder: folder.name == "a-1")) == "runs/a-1"


def test_train_resumes_its_own_last_run_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no runs/a-<n> with a run to resume"):
        train_place("a", resume=True)
    for number, names in {1: ["config.json"], 2: ["config.json", "best.json"], 3: []}.items():
        folder = tmp_path / f"runs/a-{number}"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("{}")
    assert str(train_place("a", resume=True)) == "runs/a-1"
    assert str(train_place("a", resume=False)) == "runs/a-4"
    write_json_in(tmp_path / "runs/a-4/config.json", {})
    (tmp_path / "runs/a-4/result.json").write_text("{}")
    assert str(train_place("a", resume=True)) == "runs/a-1"  # the one that is not finished
    (tmp_path / "runs/a-1/result.json").write_text("{}")
    assert str(train_place("a", resume=True)) == "runs/a-4"


def test_best_goes_on_with_a_stopped_search_for_the_same_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"minutes": 3.0, "networks": ["x"], "data": "a", "settings": {}}
    write_json_in(tmp_path / "runs/a-1/.search/search.json", {"asked": asked, "spent": 0.0})
    (tmp_path / "runs/a-2").mkdir()
    assert str(best_place("a", 3.0, ["x"], RunConfig())) == "runs/a-1"
    assert str(best_place("a", 4.0, ["x"], RunConfig())) == "runs/a-3"
    write_json_in(tmp_path / "runs/a-2/.search/search.json", {"cut": 1})  # damaged
    assert str(best_place("a", 3.0, ["x"], RunConfig())) == "runs/a-1"
    (tmp_path / "runs/a-1/best.json").write_text("{}")  # it is at its end
    assert str(best_place("a", 3.0, ["x"], RunConfig())) == "runs/a-3"


def test_a_study_goes_on_where_its_data_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    content = {"study": "losses", "called": [], "seeds": 1, "missing": {}, "spec": {}, "runs": []}
    held = content | {"data": str(tmp_path / "a"), "network": "x=FILE", "overrides": {}}
    assert str(study_place("losses", "a", "")) == "runs/losses"
    write_json_in(tmp_path / "runs/losses/study.json", held | {"comparisons": []})
    assert str(study_place("losses", "a", "x")) == "runs/losses"
    assert str(study_place("losses", "a", "y")) == "runs/losses-2"
    assert str(study_place("losses", "b", "x")) == "runs/losses-2"


def write_json_in(path, content):
    path.parent.mkdir(parents=True)
    write_json(path, content)


def test_without_out_a_run_is_said_to_go_somewhere_and_goes_there(
    capsys, monkeypatch, split_folders, tmp_path
):
    monkeypatch.chdir(tmp_path)
    name = split_folders.name
    settings = [*TINY, "--set", "figures.report=false"]
    status, out, _ = call(capsys, monkeypatch, "train", split_folders, *settings)
    assert status == 0
    assert f"no --out was given: this goes into runs/{name}-1\n" in out
    assert (tmp_path / f"runs/{name}-1/result.json").exists()
    _, out, _ = call(capsys, monkeypatch, "train", split_folders, *settings, "--resume")
    assert f"this goes on in runs/{name}-1\n" in out


@pytest.mark.parametrize(
    ("begun", "meant"), [("resnet", "resnet18"), ("vgg", "vgg11"), ("mobilenet_v", "mobilenet_v2")]
)
def test_the_start_of_a_network_s_name_suggests_the_first_of_its_kind(begun, meant):
    with pytest.raises(ConfigError, match=f"no model named '{begun}'; did you mean '{meant}'"):
        resolve_weights(begun, "none")
