import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smallset.cli import app, main, weights, with_given_paths


def call(capsys, monkeypatch, *arguments):
    """Run the command line in this process; return exit status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


TINY = [
    "--image-size", "32", "--epochs", "1", "--batch-size", "8", "--set", "figures.tsne=false",
]  # fmt: skip


def test_train_leaves_a_record_and_names_its_figures(capsys, monkeypatch, split_folders, tmp_path):
    run = tmp_path / "run"
    status, out, _ = call(
        capsys, monkeypatch, "train", split_folders, "--out", run, *TINY, "--lr", "0.02",
        "--classes", "1-3", "--noise", "0.25", "--set", "optim.momentum=0.9",
    )  # fmt: skip
    assert status == 0
    settings = json.loads((run / "config.json").read_text())["config"]
    assert (settings["lr"], settings["optim"]["momentum"]) == (0.02, 0.9)
    assert (settings["data"]["classes"], settings["data"]["noise_rate"]) == ("1-3", 0.25)
    assert re.search(r"epoch +0 .* train loss .* val loss .* images/s", out)
    assert "accuracy: train" in out
    for name in ("curves", "confusion-train", "confusion-test", "pca"):
        assert f"figure:   {run}/figures/{name}.png" in out
        assert (run / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch, split_folders, tmp_path):
    from smallset.progress import _Console

    def interrupt(*args):
        raise KeyboardInterrupt

    command = ["train", split_folders, "--out", tmp_path / "run", *TINY, "--epochs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(_Console, "epoch", interrupt)
        status, _, err = call(capsys, monkeypatch, *command)
    assert status == 2
    assert "the same command with --resume goes on" in err
    assert call(capsys, monkeypatch, *command, "--resume")[0] == 0


def test_quiet_prints_the_result_only(capsys, monkeypatch, split_folders, tmp_path):
    _, out, _ = call(
        capsys, monkeypatch, "train", split_folders, "--out", tmp_path / "run", *TINY, "--quiet"
    )
    said = {line.split(":")[0] for line in out.splitlines()}
    assert said == {"accuracy", "record", "finding", "figure", "page"}


def test_a_settings_file_and_flags_on_top_of_it(capsys, monkeypatch, split_folders, tmp_path):
    (tmp_path / "c.toml").write_text('model = "residual"\nlr = 0.5\n')
    status, _, _ = call(
        capsys, monkeypatch, "train", split_folders, "--out", tmp_path / "run", *TINY,
        "--config", tmp_path / "c.toml", "--lr", "0.03",
    )  # fmt: skip
    settings = json.loads((tmp_path / "run/config.json").read_text())["config"]
    assert (status, settings["model"], settings["lr"]) == (0, "residual", 0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim.lrr=1"], "no setting named 'optim.lrr'"),
        (["--set", "momentum"], "--set takes KEY=VALUE, got 'momentum'"),
        (["--model", "plian"], "did you mean 'plain'"),
        (["--loss", "triplet"], "no loss named 'triplet'"),
        (["--image-size", "16"], "image_size"),
        (["--batch-size", "1"], "batches.size"),
        (["--device", "tpu"], "device"),
        (["--resume"], "has no run to resume"),
        (["--config", "nowhere.toml"], "cannot read the settings file nowhere.toml"),
    ],
)
def test_what_the_user_can_fix_is_one_message_and_status_2(
    capsys, monkeypatch, split_folders, tmp_path, arguments, message
):
    command = ["train", split_folders, "--out", tmp_path / "run", *arguments]
    status, _, err = call(capsys, monkeypatch, *command)
    assert status == 2
    assert err.startswith("smallset: ")
    assert message in err
    assert "Traceback" not in err


def test_check_prints_the_table_and_tells_by_its_status(
    capsys, monkeypatch, split_folders, tmp_path
):
    status, out, _ = call(capsys, monkeypatch, "check", split_folders, "--quiet")
    assert status == 0
    assert "no problems found" in out
    assert re.search(r"3 +│ cat +│ +8 │ +3 │ +5 │ +2", out)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.jpg").write_text("I am text")
    status, out, _ = call(capsys, monkeypatch, "check", tmp_path, "--quiet")
    assert status == 1
    assert "unreadable: a/0.jpg: not an image" in out


def test_check_writes_a_split_that_can_be_used_in_place_of_the_folder(
    capsys, monkeypatch, split_folders, tmp_path
):
    classes = split_folders / "train"
    target = split_folders / "split.csv"
    try:
        status, _, _ = call(
            capsys, monkeypatch, "check", classes, "--write-split", target, "--quiet"
        )
        assert status == 0
        assert call(capsys, monkeypatch, "check", target, "--quiet")[0] == 0
    finally:
        target.unlink()


def test_brackets_in_names_are_shown_as_they_are(capsys, monkeypatch, tmp_path):
    from support import picture

    for name in ("[red]", "[bold]"):
        (tmp_path / name).mkdir()
        for n in range(4):
            picture(0, len(name) * 10 + n).save(tmp_path / name / f"{n}.png")
    _, out, _ = call(capsys, monkeypatch, "check", tmp_path, "--quiet")
    assert "[red]" in out
    assert "[bold]" in out


def test_models_prints_each_layer_with_shape_and_count(capsys, monkeypatch):
    status, out, _ = call(capsys, monkeypatch, "models", "plain")
    assert status == 0
    assert re.search(r"features.0 +│ Conv2d +│ 32 x 112 x 112 +│ +864", out)
    assert re.search(r"all +│ +│ 35 classes +│ +3,609,923", out)
    _, out, _ = call(capsys, monkeypatch, "models", "resnet18")
    assert re.search(r"all +│ +│ 35 classes +│ +11,194,467", out)
    _, out, _ = call(capsys, monkeypatch, "models", "vgg16")
    assert re.search(r"all +│ +│ 35 classes +│ +134,403,939", out)


def test_every_command_has_help():
    done = subprocess.run(
        [sys.executable, "-m", "smallset", "--help"], capture_output=True, text=True, check=True
    )
    names = {getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert names == {
        "best",
        "train",
        "join",
        "demo",
        "check",
        "study",
        "report",
        "clean",
        "review",
        "predict",
        "export",
        "serve",
        "tune",
        "models",
    }
    assert all(name in done.stdout for name in names)


def test_study_prints_tables_and_verdicts_and_its_status_tells_of_failed_runs(
    capsys, monkeypatch, split_folders, tmp_path
):
    (tmp_path / "rates.toml").write_text(
        'title = "Rates"\nabout = "Two."\nseeds = 2\nbaseline = "[slow]"\n'
        "base = { image_size = 32, epochs = 1, batches = { size = 8 } }\n"
        '[arms]\n"[slow]" = { lr = 0.001 }\nfast = { lr = 0.05 }\n'
    )
    command = [
        "study", tmp_path / "rates.toml", "--data", split_folders, "--out", tmp_path / "out",
        "--execute", "serial",
    ]  # fmt: skip
    status, out, _ = call(capsys, monkeypatch, *command)
    assert status == 0
    assert "[slow]" in out
    assert re.search(r"against \[slow\] .*\(", out)
    assert any(word in out for word in ("better", "worse", "cannot tell"))
    assert f"table:    {tmp_path}/out/comparisons.csv" in out
    command[5] = tmp_path / "other"
    status, out, _ = call(capsys, monkeypatch, *command, "--set", "lr=1e30", "--seeds", "1")
    assert status == 1
    assert "Run fast/seed-0 failed: the loss stopped being finite" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study"], "a study needs a name and --data DATA"),
        (
            ["study", "losses", "--data", "sample:shapes", "--execute", "cloud"],
            "no way of execution named",
        ),
        (
            ["study", "losses", "--data", "sample:shapes", "--address", "auto"],
            "it goes with --execute ray",
        ),
        (
            ["best", "sample:shapes", "--execute", "processes", "--address", "auto"],
            "it goes with --execute ray",
        ),
        (
            ["study", "losses", "--data", "sample:shapes", "--execute", "serial", "--workers", "3"],
            "goes with --execute processes or ray",
        ),
        (["study", "losses", "x/"], "the data is an option; it is: smallset study NAME --data x/"),
        (
            ["study", "losses", "y", "--data", "x"],
            "there is no place for y; it is: smallset study NAME",
        ),
        (["train", "--data", "x"], "there is no --data; it is: smallset train DATA"),
        (["predict", "--run=r", "y"], "there is no --run; it is: smallset predict RUN IMAGES"),
        (["predict", "x", "y", "--lang", "fr"], "the language is en, zh, or auto for that of the"),
        (["report", "x", "--lang", "fr"], "got 'fr'"),
        (["study", "loses", "--data", "x"], "did you mean 'losses'"),
        (["tune", "sample:shapes", "--out", "x", "--search", "lr"], "--search takes KEY=VALUE"),
    ],
)
def test_what_is_wrong_with_a_study_is_one_message(capsys, monkeypatch, arguments, message):
    status, _, err = call(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in err


def test_every_folder_and_file_of_every_command_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    got = {}
    given = {"out": Path("~/x y"), "runs": [Path("~/a"), Path("b")], "sets": ["~"], "page": None}
    with_given_paths(lambda **given: got.update(given))(**given)
    runs = [tmp_path / "a", Path("b")]
    assert got == {"out": tmp_path / "x y", "runs": runs, "sets": ["~"], "page": None}
    commands = [*app.registered_commands, *weights.registered_commands]
    assert len(commands) == 17
    assert all(hasattr(each.callback, "__wrapped__") for each in commands)


def test_what_is_named_at_the_end_lies_where_the_tilde_leads(
    capsys, monkeypatch, split_folders, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    out, table = tmp_path / "a run", tmp_path / "table.csv"
    words = ["train", split_folders, "--out=~/a run", *TINY, "--quiet"]
    status, said, err = call(capsys, monkeypatch, *words)
    assert (status, f"page:     {out / 'report.html'}" in said) == (0, True), err
    words = ["clean", split_folders, "--out=~/some labels", "--with", "self", "--quiet"]
    status, said, err = call(capsys, monkeypatch, *words)
    assert status in (0, 1), err
    assert f"(smallset train '{tmp_path / 'some labels'}' --out RUN)" in said
    words = ["predict", "~/a run", split_folders / "test", "--out=~/table.csv", "--quiet"]
    status, said, err = call(capsys, monkeypatch, *words)
    assert (status, table.exists(), f"table:    {table}" in said) == (0, True, True), err


def test_the_list_of_studies_says_what_each_shows(capsys, monkeypatch):
    status, out, _ = call(capsys, monkeypatch, "study", "--list")
    assert status == 0
    assert "Cross entropy against two batch-hard triplet losses" in out
    assert len(out.splitlines()) <= 24  # a line each: one screen
    for name in ("losses", "noise", "data-limits", "learning-rate"):
        assert name in out
    assert len(out.splitlines()) <= 24  # a terminal has no more
    status, out, _ = call(capsys, monkeypatch, "study", "noise", "--list")
    assert (status, "generalised cross" in out, "gce-30" in out) == (0, True, True)
    status, _, err = call(capsys, monkeypatch, "study", "nois", "--list")
    assert (status, "'noise'" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "picturs"], "no data at picturs; did you mean pictures? Or give"),
        (["best", "picturs"], "no data at picturs"),
        (["study", "losses", "--data", "picturs"], "no data at picturs"),
        (["study", "loses", "--data", "pictures"],
         "no study named 'loses'; did you mean 'losses'? Or give a .toml file\n"),
        (["study", "qqq", "--data", "pictures"], "; or give a .toml file\n"),
    ],
)  # fmt: skip
def test_nothing_is_said_or_made_where_the_data_or_the_study_is_not_there(
    capsys, monkeypatch, tmp_path, words, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    status, out, err = call(capsys, monkeypatch, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
