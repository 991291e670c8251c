"""Environments, settings and code of the user's own: one message, status 2, no traceback."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from smallset import api
from smallset.cli import main
from smallset.compare.spec import read_study
from smallset.config import RunConfig, override, read_config
from smallset.data.listing import parse_classes
from smallset.errors import ConfigError, SmallsetError
from smallset.files import cache_dir

DIGITS = "9" * 5000


def smallset(monkeypatch, *arguments, encoding="utf-8"):
    """Run the command line on a terminal of some encoding; return status, stdout and stderr."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, arguments)])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stop:
            main()
    for stream in streams:
        stream.flush()
    return stop.value.code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("lr", "epochs", "seed", "optim.momentum", "data.noise_rate",
                                "schedule.milestones", "image_size")
     for value in (DIGITS, f"-{DIGITS}", f"{DIGITS}.5", "[" * 9000, f"[{DIGITS}]", "{a={a={a=1}}}",
                   "1e400", "nan", "\x00", "\ud800", "1\nlr = 2")],
)  # fmt: skip
def test_no_text_as_a_setting_ends_in_a_traceback(name, value):
    with pytest.raises(ConfigError, match=name.rpartition(".")[2]) as error:
        override(RunConfig(), {name: value})
    assert len(str(error.value)) < 2000


TOML = {
    "digits": f"lr = {DIGITS}",
    "deep": "lr = " + "[" * 20_000,
    "deep tables": "[" + ".".join("a" * 5000) + "]",
    "cut": "lr = ",
    "twice": "lr = 1\nlr = 2",
    "not UTF-8": b"lr = 1 # \xff",
    "binary": bytes(range(256)),
    "huge": "#" * 2_000_000,
    "other": "hello = 1",
}


@pytest.mark.parametrize("kind", TOML)
@pytest.mark.parametrize("reader", [read_config, lambda path: read_study(str(path))])
def test_toml_of_any_kind_is_read_or_named(tmp_path, kind, reader):
    path, content = tmp_path / "x.toml", TOML[kind]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError):
        reader(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_files_are_read_as_settings_and_weights(tmp_path, monkeypatch, kind):
    path = tmp_path / "x.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for reader in (read_config, lambda path: read_study(str(path))):
        with pytest.raises(ConfigError, match="it is no regular file"):
            reader(path)
    for words in (["verify", path], ["import", path, "--model", "resnet18"]):
        status, _, err = smallset(monkeypatch, "weights", *words)
        assert status == 2
        assert "it is no regular file" in err


@pytest.mark.parametrize("text", [DIGITS, f"1-{DIGITS}", f"{DIGITS}-{DIGITS}"])
def test_classes_by_a_number_of_5000_digits(text):
    with pytest.raises(ConfigError, match="classes go from 1 to 2"):
        parse_classes(text, ["a", "b"])


@pytest.mark.parametrize(
    "words",
    [["check", ""], ["check", " "], ["train", "data", "--out", ""], ["train", "data", "--out="],
     ["predict", "", "x.png"], ["predict", "run", ""], ["report", ""], ["clean", "", "--out", "x"],
     ["export", ""], ["study", "losses", "--data", "", "--out", "x"],
     ["check", "--write-split=", "x"], ["weights", "import", "", "--model", "resnet18"]],
)  # fmt: skip
def test_an_empty_word_is_refused_everywhere(capsys, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["smallset", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "an argument is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_value_of_a_setting_is_one(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["smallset", "check", "nowhere", "--set", "data.classes="])
    with pytest.raises(SystemExit):
        main()
    assert "no data at nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "utf-8"])
def test_any_terminal_gets_a_table(split_folders, tmp_path, monkeypatch, encoding):
    place = tmp_path / "数据 é"
    place.mkdir()
    (place / "m.csv").write_text(
        "path,label\n" + "".join(f"{k}.png,{name}\n" for k, name in enumerate(["猫", "é", "x"])),
        encoding="utf-8",
    )
    for number in range(3):
        (place / f"{number}.png").write_bytes(
            (split_folders / f"val/ant/{number}.png").read_bytes()
        )
    status, out, err = smallset(monkeypatch, "check", place / "m.csv", encoding=encoding)
    assert (status, err) == (1, "")
    assert "has one training image only\n" in out
    assert out.endswith("with --classes A,B\n3 problems found\n")


@pytest.mark.parametrize("home", [None, "/proc/nowhere", ""])
def test_a_home_that_is_missing_or_read_only_is_no_traceback(split_folders, monkeypatch, home):
    for name in ("SMALLSET_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is None:  # the system's own list of users may know it
        monkeypatch.setattr("pathlib.Path.home", lambda: Path("/proc/nowhere"))
    else:
        monkeypatch.setenv("HOME", home)
    status, _, err = smallset(monkeypatch, "check", split_folders, "--quiet")
    assert status == 0 or (status == 2 and "SMALLSET_CACHE" in err and err.count("\n") == 1)


def test_a_home_that_nobody_knows_is_said(monkeypatch):
    for name in ("SMALLSET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(ConfigError, match="set SMALLSET_CACHE"):
        cache_dir()


OWN = {
    "syntax": ("def build(:", "cannot import 'broken:build': SyntaxError"),
    "raises": ("1 / 0", r"cannot import 'broken:build': ZeroDivisionError: .*broken.py:1"),
    "exits": ("import sys; sys.exit(3)", "cannot import 'broken:build': SystemExit: 3"),
    "needs": ("import no_such_module_at_all", "cannot import 'broken:build': No module named"),
    "absent": ("x = 1", "cannot import 'broken:build': 'build' of .* is not there"),
    "no function": ("build = 3", "is no function"),
    "null byte": ("x = '\0'", "cannot import 'broken:build'"),
}
MODEL = {
    "raises": ("raise KeyError('k')", r"broken:build raised KeyError: 'k' \(.*broken.py:\d+\)"),
    "returns None": ("return None", "must return a network, a torch.nn.Module, got NoneType"),
    "wrong arguments": ("return num_classes.x", "broken:build raised AttributeError"),
    "too few logits": (
        "return Classifier(nn.Flatten(), nn.Linear(3 * image_size**2, 1))",
        r"it must give \(1, 4\)",
    ),
    "cannot take images": (
        "return Classifier(nn.Flatten(), nn.Linear(7, num_classes))",
        "broken:build raised RuntimeError",
    ),
}  # fmt: skip
LOSS = {
    "raises": ("raise OSError('disk')", "broken:loss raised OSError: disk"),
    "number": ("return 0.5", "must return the loss, a Tensor of one float, got 0.5"),
    "vector": ("return output.logits.sum(1)", r"got shape \(6,\)"),
    "detached": ("return output.logits.sum().detach()", "by torch"),
    "shape": ("return output.logits + labels", "broken:loss raised RuntimeError"),
}  # fmt: skip


@pytest.fixture
def broken(tmp_path, monkeypatch):
    def write(content):
        (tmp_path / "broken.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("broken", None)

    yield write
    sys.modules.pop("broken", None)


def fails(split_folders, tmp_path, config, said):
    with pytest.raises(SmallsetError, match=said):
        api.train(split_folders, config, out=tmp_path / "run")


@pytest.mark.parametrize("kind", OWN)
def test_own_code_that_cannot_be_imported(split_folders, tmp_path, tiny, broken, kind):
    content, said = OWN[kind]
    broken(content)
    fails(split_folders, tmp_path, tiny(model="broken:build"), said)


@pytest.mark.parametrize("kind", MODEL)
def test_own_models_that_do_not_work(split_folders, tmp_path, tiny, broken, kind):
    body, said = MODEL[kind]
    head = "from torch import nn\nfrom smallset.models.parts import Classifier\n"
    broken(f"{head}def build(num_classes, *, image_size):\n    {body}\n")
    fails(split_folders, tmp_path, tiny(model="broken:build"), said)


@pytest.mark.parametrize("kind", LOSS)
def test_own_losses_that_do_not_work(split_folders, tmp_path, tiny, broken, kind):
    body, said = LOSS[kind]
    broken(f"def loss(output, labels):\n    {body}\n")
    fails(split_folders, tmp_path, tiny(model="residual", loss="broken:loss"), said)


def test_dollars_are_text_in_every_figure(split_folders, tmp_path, tiny):
    names = {"ant": "$\\frac$", "bee": "a$b", "cat": "$x$", "dog": "100 $ \\$"}
    rows = []
    for path in sorted(split_folders.glob("*/*/*.png")):
        split, name = path.parts[-3:-1]
        rows.append(
            {"path": str(path.relative_to(split_folders)), "label": names[name], "split": split}
        )
    manifest = split_folders / "dollars.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    try:
        record = api.train(manifest, tiny(model="residual", epochs=1), out=tmp_path / "run")
    finally:
        manifest.unlink()
    assert {path.name for path in (record.folder / "figures").iterdir()} >= {
        "curves.png",
        "pca.png",
    }
