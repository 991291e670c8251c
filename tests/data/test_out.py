"""What is written: outside of the data, by one command at a time, over no file of the user's."""

import json

import pytest

from smallset import api
from smallset.compare.spec import read_study
from smallset.config import RunConfig, override
from smallset.data.out import taken
from smallset.errors import ConfigError, RunError
from smallset.files import LOCK, given_path, write_new

COMMANDS = {
    "train": lambda data, out: api.train(data, out=out),
    "study": lambda data, out: api.study("momentum", data, out=out, execute="serial"),
    "best": lambda data, out: api.best(data, out=out),
    "tune": lambda data, out: api.tune(data, out=out),
    "clean": lambda data, out: api.clean(data, out=out, nets=["self"]),
}
every_command = pytest.mark.parametrize("command", COMMANDS)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def data(split_folders, tmp_path):
    """A folder of pictures that the tests may try to write into, at tmp_path / "data"."""
    place = tmp_path / "data"
    place.symlink_to(split_folders, target_is_directory=True)
    return place


@every_command
@pytest.mark.parametrize(
    "place", ["data", "data/run", "data/train/run", "data/train/../a/b", "link/x"]
)
def test_nothing_is_written_into_the_data(data, split_folders, tmp_path, command, place):
    (tmp_path / "link").symlink_to(data)
    before = contents(split_folders)
    with pytest.raises(RunError, match="lies in the data"):
        COMMANDS[command](data, tmp_path / place)
    assert contents(split_folders) == before
    assert not (split_folders / "run").exists()


def test_nothing_is_written_into_a_class_that_is_a_link(split_folders, tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    for name in ("ant", "bee"):
        (place / name).symlink_to(split_folders / "train" / name, target_is_directory=True)
    for out in (split_folders / "train/ant/run", place / "bee/run"):
        with pytest.raises(RunError, match="lies in the data"), taken(out, place):
            pass
        assert not out.exists()


def test_nothing_is_written_into_what_a_cleaned_set_was_made_from(data, tmp_path):
    clean = tmp_path / "clean"
    clean.mkdir()
    about = {"data": str(data), "noise": {"rate": 0.0, "seed": 0}}
    (clean / "clean.json").write_text(json.dumps(about))
    (clean / "labels.csv").write_text("path,id,given,suggested,probability,decision,by\n")
    for place in (data / "run", clean / "run"):
        with pytest.raises(RunError, match="lies in the data"), taken(place, clean):
            pass


def test_beside_the_data_and_beside_a_manifest_is_free(data, tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n")
    for place, source in ((tmp_path / "a", data), (tmp_path / "b", tmp_path / "m.csv"),
                          (tmp_path / "c", "sample:shapes")):  # fmt: skip
        with taken(place, source) as folder:
            (folder / "x").write_text("x")
        assert [path.name for path in place.iterdir()] == ["x"]


@every_command
def test_two_commands_do_not_write_into_one_folder(data, tmp_path, command):
    out = tmp_path / "out"
    with (
        taken(out, data),
        pytest.raises(RunError, match=r"another command is writing into .*out; wait"),
    ):
        COMMANDS[command](data, out)
    assert not out.exists()


def test_the_lock_of_a_killed_command_is_no_lock(data, tmp_path, tiny):
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).touch()
    api.train(data, tiny(model="residual", epochs=1), out=out)
    assert (out / "result.json").exists()
    assert not (out / LOCK).exists()


@pytest.mark.parametrize("command", ["train", "study", "clean"])  # searches keep what they asked
def test_a_command_that_fails_leaves_no_folder(tmp_path, command):
    with pytest.raises((ConfigError, RunError, ValueError), match="no data at"):
        COMMANDS[command](tmp_path / "nowhere", tmp_path / "a/b/out")
    assert not (tmp_path / "a").exists()


@every_command
@pytest.mark.parametrize("name", ["report.html", "summary.csv", "figures/arms.png", "best.toml"])
def test_a_folder_with_files_of_the_user_is_left_as_it_is(data, tmp_path, command, name):
    if command == "study" and name == "best.toml":
        return  # it is none of those that a study writes
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(RunError, match="give another --out"):
        COMMANDS[command](data, tmp_path / "out")
    assert contents(tmp_path / "out") == {file: b"mine"}


@every_command
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_word_is_not_the_current_folder(data, tmp_path, monkeypatch, command, empty):
    monkeypatch.chdir(tmp_path)
    for source, out in ((data, empty), (empty, "out")):
        with pytest.raises(ConfigError, match="a path is empty"):
            COMMANDS[command](source, out)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("~nobody-of-that-name/x", "no such home folder"),
        ("x" * 5000, "too long"),
        ("a/" * 3000, "too long"),
        ("a\0b", "null byte"),
    ],
)
def test_what_cannot_be_a_path_is_said(path, said):
    with pytest.raises(ConfigError, match=said):
        given_path(path)


def test_the_parent_of_a_link_is_that_of_its_target(tmp_path):
    (tmp_path / "far/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/inner")
    with taken(tmp_path / "link/../out", "sample:shapes") as folder:
        write_new(folder / "x.csv", "x")
    assert (tmp_path / "far/out/x.csv").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("there", ["file", "link", "dangling", "folder"])
def test_what_is_there_is_never_written_over(tmp_path, there):
    target, path = tmp_path / "mine.txt", tmp_path / "split.csv"
    if there != "dangling":
        target.write_text("mine")
    if there == "folder":
        path.mkdir()
    elif there == "file":
        path.write_text("mine")
    else:
        path.symlink_to(target)
    with pytest.raises(RunError, match=r"split.csv is there already, and is kept"):
        write_new(path, "path,label\n")
    assert not target.exists() or target.read_text() == "mine"
    if there == "file":
        write_new(path, "mine")  # the same again is no change


STUDY = """
title = "t"
about = "a"
baseline = "a"
[arms.a]
[arms.{arm}]
lr = 0.1
[[charts]]
name = {chart}
title = "t"
x = "lr"
curves.one = ["a"]
"""


@pytest.mark.parametrize("is_arm", [True, False])
@pytest.mark.parametrize(
    "name",
    ["../../x", "/tmp/x", "a/b", "..", ".", ".hidden", "", "a\\b", "C:x", "a\nb", "a\tb", "x" * 300]
)  # fmt: skip
def test_names_of_arms_and_charts_stay_in_their_folder(tmp_path, name, is_arm):
    quoted = json.dumps(name)
    arm, chart = (quoted, '"c"') if is_arm else ("b", quoted)
    (tmp_path / "s.toml").write_text(STUDY.format(arm=arm, chart=chart))
    with pytest.raises(ConfigError, match="is a folder's too" if is_arm else "is a file's too"):
        read_study(str(tmp_path / "s.toml"))


@pytest.mark.parametrize("milestones", [[-1], [0], [5, -3], "-2", "3,-1", [1.5]])
def test_milestones_are_epochs(milestones):
    with pytest.raises(ConfigError, match=r"schedule.milestones"):
        override(RunConfig(), {"schedule.milestones": milestones})
