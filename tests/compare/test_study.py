"""Studies on tiny pictures: planned, run in three ways, stopped, gone on with, summed up."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from dying import (
    Counted,
    Writing,
    work_dying_always,
    work_dying_idle,
    work_dying_once,
    work_dying_unread,
    work_telling_gpu,
)
from rich.console import Console
from safetensors.torch import load_file
from support import Listening, picture
from typer.testing import CliRunner

import smallset
from smallset import api
from smallset.cli import app
from smallset.compare import execute as execute_module
from smallset.compare.account import Accountant
from smallset.compare.execute import Resources, Todo, Trainings, find_execution, gpu_names
from smallset.compare.spec import built_in_studies, read_study
from smallset.compare.study import plan_study
from smallset.compare.summary import summarise
from smallset.compare.watch import Watch
from smallset.compute import commit
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import write_json
from smallset.findings.in_words import study_notes
from smallset.learn.plan import Planner
from smallset.progress import Reporter, console_reporter
from smallset.reading import read_json
from smallset.record.looks import runs_beside
from smallset.record.record import CHECKPOINT, Record
from smallset.show.terminal import arms_table

STUDY = """
title = "Rates"
about = "Two rates."
seeds = 2
baseline = "slow"
[base]
recipe = "course-report"
image_size = 32
epochs = 2
batches.size = 8
figures.tsne = false
[arms.slow]
lr = 0.001
[arms.fast]
lr = 0.05
[[charts]]
name = "rate"
title = "Accuracy against the rate"
x = "lr"
log = true
[charts.curves]
plain = ["slow", "fast"]
"""


@pytest.fixture
def rates(tmp_path):
    path = tmp_path / "rates.toml"
    path.write_text(STUDY)
    return str(path)


def tables(folder):
    return [(folder / name).read_bytes() for name in ("summary.csv", "comparisons.csv")]


def notes_of(summary):
    return [note.say("en") for note in study_notes(summary)]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_study_leaves_tables_charts_and_a_record_per_arm_and_seed(split_folders, tmp_path, rates):
    found = smallset.study(rates, split_folders, out=tmp_path / "out", execute="serial")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "comparisons.csv", "fast", "figures", "report.html", "slow", "study.json", "summary.csv",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "out/fast").iterdir()) == ["seed-0", "seed-1"]
    figures = {p.name for p in (tmp_path / "out/figures").iterdir()}
    assert figures == {"arms.png", "forest.png", "curves.png", "rate.png"}
    settings = [
        Record(tmp_path / f"out/{arm}/seed-{seed}").config["config"]
        for arm in ("slow", "fast") for seed in (0, 1)
    ]  # fmt: skip
    assert [(s["lr"], s["seed"], s["data"]["noise_seed"]) for s in settings] == [
        (0.001, 0, 0), (0.001, 1, 1), (0.05, 0, 0), (0.05, 1, 1),
    ]  # fmt: skip
    for row, arm in zip(rows(tmp_path / "out/summary.csv"), found.arms, strict=True):
        tests = [r.result["test_accuracy"] for r in arm.records]
        assert float(row["test_accuracy"]) == pytest.approx(np.mean(tests), abs=1e-6)
        assert row["seeds"] == "2"
        assert float(row["test_low"]) <= float(row["test_accuracy"]) <= float(row["test_high"])
    assert found["fast"].verdict == found.comparisons[0].result.verdict
    with pytest.raises(ConfigError, match="'slow', which is what others are compared with"):
        found["slow"]
    with pytest.raises(ConfigError, match=r"'fats', which is not among them; did you mean 'fast'"):
        found["fats"]
    html = found._repr_html_()
    assert html.count("<tr>") == 3
    assert f"<td>fast</td><td>2</td><td>{found.arms[1].accuracy.value:.1%}</td>" in html
    assert f"<td>{found.comparisons[0].result.verdict} (slow)</td>" in html
    [row] = rows(tmp_path / "out/comparisons.csv")
    assert (row["arm"], row["compared_with"]) == ("fast", "slow")
    assert float(row["difference"]) == pytest.approx(
        found.arms[1].accuracy.value - found.arms[0].accuracy.value, abs=1e-6
    )
    [(_, _, _, result)] = found.comparisons
    assert float(row["p_corrected"]) == pytest.approx(result.p_corrected, abs=1e-6)
    assert float(row["degrees_of_freedom"]) == pytest.approx(result.freedom, abs=1e-6)
    assert float(row["luck"]) == pytest.approx(result.luck, abs=1e-6)
    assert (row["looks"], row["equal_within"]) == ("1", "")


def test_the_way_and_the_order_change_no_byte_of_the_summary(
    split_folders, tmp_path, rates, monkeypatch
):
    # In two folders: a study beside it with the same runs would be taken over, not trained again.
    serial, processes = tmp_path / "one/serial", tmp_path / "two/processes"
    planned, plan = [], Planner.plan
    monkeypatch.setattr(
        Planner, "plan", lambda self, config: planned.append(config) or plan(self, config)
    )
    smallset.study(rates, split_folders, out=serial, execute="serial")
    smallset.study(
        rates,
        split_folders,
        out=processes,
        execute="processes",
        workers=2,
        arms=["fast", "slow"],
    )
    assert len(planned) == 8  # each run once in each way
    assert tables(serial) == tables(processes)
    for run in ("slow/seed-1", "fast/seed-0"):
        for name in ("predictions.csv", "model.safetensors"):
            assert (serial / run / name).read_bytes() == (processes / run / name).read_bytes()


def test_finished_runs_are_not_repeated_and_more_seeds_add_to_them(split_folders, tmp_path, rates):
    out = tmp_path / "out"
    smallset.study(rates, split_folders, out=out, seeds=1, execute="serial")
    before = {p: p.stat().st_mtime_ns for p in out.glob("*/*/result.json")}
    found = smallset.study(rates, split_folders, out=out, seeds=3, execute="serial")
    assert len(before) == 2
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert [arm.seeds for arm in found.arms] == [(0, 1, 2)] * 2


def test_what_is_compared_is_decided_once_and_only_grows(split_folders, tmp_path, rates):
    """A page made anew, or a command with fewer arms, makes no claim of a study stronger."""
    Path(rates).write_text(STUDY + "[arms.third]\nlr = 0.02\n")
    out, how = tmp_path / "out", "serial"
    pairs = lambda found: [each[:2] for each in found.comparisons]  # noqa: E731
    found = smallset.study(rates, split_folders, out=out, arms=["slow", "fast"], execute=how)
    assert pairs(found) == [("fast", "slow")]
    found = smallset.study(rates, split_folders, out=out, all_pairs=True, execute=how)
    every = [("fast", "slow"), ("third", "slow"), ("fast", "third")]
    assert pairs(found) == every
    corrected = [each.result.p_corrected for each in found.comparisons]
    assert corrected == pytest.approx([min(1, 3 * each.result.p) for each in found.comparisons])
    before = (out / "study.json").read_bytes()
    api.report(out, without_images=True)
    assert (out / "study.json").read_bytes() == before
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/*/result.json")}
    found = smallset.study(rates, split_folders, out=out, arms=["fast"], seeds=1, execute=how)
    assert pairs(found) == every
    assert [each.result.p_corrected for each in found.comparisons] == corrected
    assert [len(arm.seeds) for arm in found.arms] == [2, 2, 2]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    Path(rates).write_text(STUDY)  # its file has the third arm no more
    found = smallset.study(rates, split_folders, out=out, execute=how)
    assert pairs(found) == every
    Path(rates).write_text(STUDY + "[arms.new]\nlr = 0.01\n")
    with pytest.raises(RunError, match=r"(?s)slow/seed-0 holds a run with other settings.*epochs"):
        smallset.study(
            rates, split_folders, out=out, arms=["new"], settings={"epochs": 3}, execute=how
        )
    shutil.copy(rates, tmp_path / "another.toml")
    with pytest.raises(RunError, match="holds the study rates, and this is another"):
        smallset.study(str(tmp_path / "another.toml"), split_folders, out=out, execute=how)


def test_more_seeds_after_a_look_are_counted(split_folders, tmp_path, rates):
    looks = []
    for seeds in (1, 2, 3, 3, 2):
        found = smallset.study(
            rates, split_folders, out=tmp_path / "out", seeds=seeds, execute="serial"
        )
        [compared] = found.comparisons
        looks.append(compared.result.looks)
        expected = min(1, compared.result.p * compared.result.looks**2)
        assert compared.result.p_corrected == pytest.approx(expected)
    assert looks == [1, 1, 2, 2, 2]
    [kept] = json.loads((tmp_path / "out/study.json").read_text())["comparisons"]
    assert kept == {"arm": "fast", "against": "slow", "looked_at": [2, 3]}
    assert any(
        note.startswith("Looked at 2 times (with 2 and 3 seeds)") for note in notes_of(found)
    )


def test_looks_at_the_test_images_are_counted_over_runs_and_studies(
    split_folders, tmp_path, rates, tiny, monkeypatch
):
    smallset.study(rates, split_folders, out=tmp_path / "runs/study", seeds=1, execute="serial")
    alone = smallset.train(split_folders, tiny(epochs=1), out=tmp_path / "runs/alone")
    shutil.copytree(split_folders, tmp_path / "data")
    picture(0, 999).save(tmp_path / "data/test/ant/new.png")
    smallset.train(tmp_path / "data", tiny(epochs=1), out=tmp_path / "runs/other")
    (tmp_path / "runs/begun").mkdir()
    monkeypatch.chdir(tmp_path / "runs/study/slow")
    alike = {"alone": alone, "slow": Record(Path("seed-0"))}
    assert {name: len(runs_beside(record)) for name, record in alike.items()} == dict.fromkeys(
        alike, 2
    )
    page = api.report(alone.folder, without_images=True)[-1].read_text(encoding="utf-8")
    assert "have been looked at by 3 runs in this folder." in page
    assert "已有 3 次运行看过" in page
    assert not runs_beside(Record(tmp_path / "runs/other"))


def test_a_folder_with_other_settings_is_refused_and_the_difference_named(
    split_folders, tmp_path, rates
):
    smallset.study(rates, split_folders, out=tmp_path / "out", seeds=1, execute="serial")
    with pytest.raises(RunError, match=r"(?s)other settings or data.*config.epochs: 2 -> 3"):
        smallset.study(
            rates, split_folders, out=tmp_path / "out", seeds=1, settings={"epochs": 3},
            execute="serial",
        )  # fmt: skip


KILL = """
import sys
import smallset
if __name__ == "__main__":
    study, data, out = sys.argv[1:]
    smallset.study(study, data, out=out, workers=2)
"""


def test_a_study_killed_in_the_middle_goes_on_and_repeats_no_finished_run(
    split_folders, tmp_path, rates
):
    out = tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(KILL)
    Path(rates).write_text(STUDY.replace("epochs = 2", "epochs = 6"))
    process = subprocess.Popen([sys.executable, script, rates, split_folders, out])
    deadline = time.time() + 120
    while not list(out.glob("*/*/result.json")) and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its workers notice that it is gone
    (out / ".writing-abc").touch()  # as a kill in the middle of writing study.json leaves it
    done = {p: p.stat().st_mtime_ns for p in out.glob("*/*/result.json")}
    sizes = {p: p.stat().st_size for p in out.glob("*/*/epochs.jsonl")}
    assert 1 <= len(done) < 4
    time.sleep(0.5)
    assert {p: p.stat().st_size for p in out.glob("*/*/epochs.jsonl")} == sizes
    smallset.study(rates, split_folders, out=out, execute="serial")
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    smallset.study(rates, split_folders, out=tmp_path / "other/whole", execute="serial")
    assert tables(out) == tables(tmp_path / "other/whole")
    assert not [p for p in out.rglob("*") if p.name.startswith((".", "checkpoint"))]


def test_a_failed_run_is_told_and_stops_no_other(split_folders, tmp_path, rates):
    Path(rates).write_text(STUDY.replace("lr = 0.05", "lr = 1e30"))
    console = Console(file=open(tmp_path / "said", "w"), width=200)  # noqa: PTH123, SIM115
    found = smallset.study(
        rates,
        split_folders,
        out=tmp_path / "out",
        execute="serial",
        reporter=console_reporter(console),
    )
    console.file.close()
    assert [name for name, _ in found.failed] == ["fast/seed-0", "fast/seed-1"]
    assert "learning rate 1e+30" in found.failed[0][1]
    assert [arm.name for arm in found.arms] == ["slow"]
    assert "failed  fast/seed-0: the loss stopped being finite" in (tmp_path / "said").read_text()
    assert any("Run fast/seed-1 failed" in note for note in notes_of(found))


@pytest.mark.parametrize(
    ("worker", "error"), [(work_dying_once, None), (work_dying_always, "memory")]
)
def test_a_worker_that_dies_is_replaced_and_its_task_tried_again(
    split_folders, tmp_path, tiny, monkeypatch, worker, error
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setattr(execute_module, "_work", worker)
    task = Trainings(str(split_folders), ((Todo(tiny(epochs=1), tmp_path / "0/run", None),),))
    [[outcome]] = find_execution("processes")([task], Resources(workers=2))
    assert (error is None) == (outcome.error is None)
    assert error is None or error in str(outcome.error)
    assert Record(outcome.folder).is_complete == (error is None)
    assert (tmp_path / "died").exists() == (error is None)


@pytest.mark.parametrize(
    ("told", "count", "names"),
    [
        (None, 2, ["0", "1"]),
        (None, 0, []),
        ("2,3", 2, ["2", "3"]),
        (" 3 , 1", 2, ["3", "1"]),
        ("5", 1, ["5"]),
        ("1,-1,2", 1, ["1"]),  # CUDA reads up to the first that is not there
        ("", 0, []),
        ("GPU-8932f937,GPU-4711", 2, ["GPU-8932f937", "GPU-4711"]),
        ("MIG-GPU-8932f937/1/2", 1, ["MIG-GPU-8932f937/1/2"]),
    ],
)
def test_workers_share_the_gpus_that_the_user_left_to_them(monkeypatch, told, count, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert gpu_names(count) == names


def test_each_worker_gets_a_gpu_by_the_name_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,7,9")
    monkeypatch.setattr(execute_module, "_work", work_telling_gpu)
    tasks = [Counted(n) for n in range(3)]
    outcomes = find_execution("processes")(tasks, Resources(workers=3, gpus=2))
    assert sorted(map(str, outcomes)) == ["['7']", "['GPU-a']", "['GPU-a']"]


@pytest.mark.parametrize("worker", [work_dying_unread, work_dying_idle])
def test_a_worker_that_dies_without_a_task_is_replaced_too(tmp_path, monkeypatch, worker):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setattr(execute_module, "_work", worker)
    outcomes = list(find_execution("processes")([Counted(0), Counted(1)], Resources(workers=2)))
    assert sorted(str(outcome.folder) for [outcome] in outcomes) == ["0", "1"]
    assert (tmp_path / "died").exists()


def test_a_worker_that_is_ended_leaves_no_file_half_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    tasks = [Writing(tmp_path, is_long=True), Writing(tmp_path, is_long=False)]
    outcomes = find_execution("processes")(tasks, Resources(workers=2))
    assert isinstance(outcomes, Generator)
    assert next(outcomes) == []
    assert [path.name[:18] for path in tmp_path.iterdir()] == [".writing-long.json"]
    outcomes.close()  # as Ctrl-C or a full disk does
    assert list(tmp_path.iterdir()) == []


def test_frozen_arms_share_one_pass_and_train_side_by_side(
    split_folders, tmp_path, rates, squeeze_file, monkeypatch
):
    text = STUDY.replace("image_size = 32", f'image_size = 64\nmodel = "squeezenet1_1"\n'
                         f'weights = "{squeeze_file}"')  # fmt: skip
    Path(rates).write_text(text + "[arms.short]\nlr = 0.05\nepochs = 1\n")
    study = plan_study(rates, split_folders, tmp_path / "out")
    accountant = Accountant(study, Reporter())
    accountant.look(study.jobs)
    [task] = accountant.tasks(study.jobs, None)
    assert isinstance(task, Trainings)
    assert sorted(len(group) for group in task.groups) == [2, 4]

    from smallset.models import features

    passes = []
    original = features._write
    monkeypatch.setattr(
        features, "_write", lambda *a: passes.append(len(a[1].labels)) or original(*a)
    )
    smallset.study(rates, split_folders, out=tmp_path / "out", execute="serial")
    assert sorted(passes) in ([], [12, 20, 32])  # val, test, train: once; or cached before


def test_missing_weights_are_named_before_anything_trains(split_folders, tmp_path, rates):
    absent = 'model = "squeezenet1_1"\nweights = "absent.pth"\n'
    Path(rates).write_text(f'{STUDY}[arms.auto]\nmodel = "resnet18"\n[arms.file]\n{absent}')
    with pytest.raises(
        DataError, match=r"(?s)auto: .*weights import FILE --model resnet18.*--without-missing"
    ):
        smallset.study(rates, split_folders, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    found = smallset.study(
        rates, split_folders, out=tmp_path / "out", execute="serial", without_missing=True,
        arms=["slow", "fast", "auto"], seeds=1,
    )  # fmt: skip
    assert [arm.name for arm in found.arms] == ["slow", "fast"]
    assert any(
        note.startswith("Arm auto was left out: the ImageNet weights") for note in notes_of(found)
    )
    assert json.loads((tmp_path / "out/study.json").read_text())["missing"].keys() == {"auto"}
    assert found.called[-3:] == ("--arms", "slow,fast,auto", "--without-missing")


def test_the_command_of_a_study_is_the_study_again(split_folders, tmp_path, rates):
    settings = {"epochs": 1, "schedule.milestones": [1, 2], "augment.flip": True}
    found = smallset.study(
        rates, split_folders, out=tmp_path / "out", execute="serial", seeds=1, settings=settings
    )
    command = found.command(seeds=1, out=str(tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*/result.json")}
    assert len(before) == 2
    told = CliRunner().invoke(app, [*shlex.split(command)[1:], "--execute", "serial"])
    assert told.exit_code == 0, told.output
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_arms_start_from_the_runs_of_another_study_of_the_same_seed(split_folders, tmp_path):
    settings = {"image_size": 32, "epochs": 1, "batches.size": 8, "figures.tsne": False}
    smallset.study(
        "momentum", split_folders, out=tmp_path / "momentum", seeds=2, settings=settings,
        execute="serial",
    )  # fmt: skip
    for seed in (0, 1):
        before = Record(tmp_path / f"models/plain/seed-{seed}")
        after = Record(tmp_path / f"momentum/momentum-0.9/seed-{seed}")
        assert before.is_complete
        assert after.config["config"]["seed"] == before.config["config"]["seed"] == seed
        assert after.config["start"] is not None
        assert after.config["data"]["images"]["train"] == 32 + 12 + 8
        # It begins where the other ended, and not anew.
        assert after.history[0]["train_loss"] < before.history[0]["train_loss"]
    # Another study of the same runs takes them over.
    found = smallset.study(
        "best", split_folders, out=tmp_path / "best", seeds=2, settings=settings,
        execute="serial",
    )  # fmt: skip
    first, second = (tmp_path / f"{s}/seed-1" for s in ("momentum/momentum-0.9", "best/best"))
    assert (first / "result.json").read_bytes() == (second / "result.json").read_bytes()
    assert (second / "figures/curves.png").exists()
    assert found.spec.draw_runs


def test_starting_from_a_run_of_another_size_is_refused(split_folders, tmp_path, tiny):
    smallset.train(split_folders, tiny(epochs=1), out=tmp_path / "a")
    config = tiny(epochs=1, image_size=48, start_from=str(tmp_path / "a"))
    with pytest.raises(ConfigError, match=r"the image size of .* is 32, this run's is 48"):
        smallset.train(split_folders, config, out=tmp_path / "b")
    with pytest.raises(DataError, match=r"is not the record of a finished run"):
        smallset.train(split_folders, tiny(start_from=str(tmp_path)), out=tmp_path / "b")


def test_a_run_that_starts_from_a_frozen_one_needs_no_weights_and_stays_frozen(
    split_folders, tmp_path, tiny, squeeze_file
):
    base = {"model": "squeezenet1_1", "image_size": 64, "epochs": 1}
    first = smallset.train(
        split_folders, tiny(weights=str(squeeze_file), **base), out=tmp_path / "a"
    )
    second = smallset.train(
        split_folders, tiny(start_from=str(first.folder), **base), out=tmp_path / "b"
    )
    assert second.config["config"]["trains"] == "classifier"
    before, after = (load_file(r.folder / "model.safetensors") for r in (first, second))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_the_noise_studys_arms_have_the_same_wrong_labels(split_folders, tmp_path):
    settings = {"image_size": 32, "epochs": 1, "batches.size": 8, "figures.tsne": False}
    smallset.study(
        "noise", split_folders, out=tmp_path / "noise", seeds=2, settings=settings,
        execute="serial",
    )  # fmt: skip
    wrong = {}
    for rate, count in ((10, 3), (30, 10), (50, 16)):
        for seed in (0, 1):
            draws = []
            for arm in ("nothing", "augment", "gce"):
                p = Record(tmp_path / f"noise/{arm}-{rate}/seed-{seed}").predictions
                changed = np.flatnonzero(p.given_labels != p.labels)
                draws.append({(p.ids[i], int(p.given_labels[i])) for i in changed})
            assert draws[0] == draws[1] == draws[2]
            assert len(draws[0]) == count
            wrong[rate, seed] = draws[0]
    assert wrong[30, 0] != wrong[30, 1]
    assert wrong[10, 0] < wrong[30, 0] < wrong[50, 0]


def test_data_limits_say_what_more_images_would_give(split_folders, tmp_path):
    found = smallset.study(
        "data-limits", split_folders, out=tmp_path / "out", seeds=2, execute="serial",
        settings={"image_size": 32, "epochs": 1, "batches.size": 8, "figures.tsne": False},
    )  # fmt: skip
    assert [arm.train_images for arm in found.arms] == [4, 8, 16, 32]
    assert found.power_law is not None
    assert set(found.power_law.expected) == {64, 128}
    assert any(" 64: " in note for note in notes_of(found))
    assert "power_law" in json.loads((tmp_path / "out/study.json").read_text())


def test_arms_scored_on_other_test_images_are_not_compared(split_folders, tmp_path, rates):
    shutil.copytree(split_folders, tmp_path / "set")
    smallset.study(
        rates, tmp_path / "set", out=tmp_path / "out", arms=["slow"], execute="serial", seeds=1
    )
    picture(0, 999).save(tmp_path / "set/test/ant/new.png")
    smallset.study(
        rates, tmp_path / "set", out=tmp_path / "other", arms=["fast"], execute="serial", seeds=1
    )
    shutil.copytree(tmp_path / "other/fast", tmp_path / "out/fast")
    study, other = (read_json(tmp_path / name / "study.json") for name in ("out", "other"))
    study["spec"]["arms"] |= other["spec"]["arms"]
    study["runs"] += other["runs"]
    write_json(tmp_path / "out/study.json", study)
    with pytest.raises(DataError, match=r"arms slow and fast of .* different test images"):
        summarise(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = 2", "seeds = 0"), "seeds: input should be greater than or equal to 1, got 0"),
        (('baseline = "slow"', 'baseline = "slo"'), "no arm named 'slo'; did you mean 'slow'"),
        (("lr = 0.001", "lrr = 0.001"), "arm slow: no setting named 'lrr'; did you mean 'lr'"),
        (("title", "titel"), "no setting named 'titel'; did you mean 'title'"),
        (('["slow", "fast"]', '["slow", "fats"]'), "no arm named 'fats'; did you mean 'fast'"),
        (("[arms.slow]", "[arms.'a/b']\n[arms.slow]"), "an arm's name is a folder's too"),
        (("seeds = 2", "seeds = "), "is not a TOML file"),
    ],
)  # fmt: skip
def test_a_study_file_with_a_mistake_is_refused(rates, change, message):
    Path(rates).write_text(STUDY.replace(*change))
    with pytest.raises(ConfigError, match=r"rates\.toml(:| is not)") as error:
        read_study(rates)
    assert message in str(error.value)


def test_unknown_studies_and_arms_are_named(split_folders, tmp_path, rates):
    with pytest.raises(ConfigError, match="no study named 'loses'; did you mean 'losses'"):
        read_study("loses")
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        read_study("nowhere.toml")
    with pytest.raises(ConfigError, match="no arm named 'slwo'; did you mean 'slow'"):
        smallset.study(rates, split_folders, out=tmp_path / "out", arms=["slwo"])
    with pytest.raises(ConfigError, match="arm slow: no setting named 'lrr'"):
        smallset.study(rates, split_folders, out=tmp_path / "out", settings={"lrr": 1})


def test_every_experiment_of_the_report_is_a_study_with_its_settings():
    studies = built_in_studies()
    of_the_report = {
        "models", "features", "losses", "learning-rate", "momentum", "best", "data-limits", "noise",
        "cleaning",
    }  # fmt: skip
    assert set(studies) == of_the_report | {"recipes", "backbones", "imbalance"}
    for name, spec in studies.items():
        assert spec.about
        assert spec.takes or spec.epoch_seconds
        for arm in spec.arms if name in of_the_report else ():
            config = spec.config(arm, 0, {})
            assert config.recipe == "course-report"
            assert config.batches.size == 32
            assert config.optim.name == "sgd"
    losses = {a: studies["losses"].config(a, 0, {}) for a in studies["losses"].arms}
    assert {(c.model, c.loss) for c in losses.values()} == {
        (model, loss) for model in ("plain", "residual")
        for loss in ("cross-entropy", "triplet-cosine", "triplet-euclidean", "squared", "mse")
    }  # fmt: skip
    assert all(
        (c.lr, c.epochs, c.schedule.milestones) == (0.01, 20, (15,)) for c in losses.values()
    )
    rates = {a: studies["learning-rate"].config(a, 0, {}) for a in studies["learning-rate"].arms}
    assert {(c.model, c.lr) for c in rates.values()} == {
        (model, lr) for model in ("plain", "residual") for lr in (0.001, 0.005, 0.01)
    }  # fmt: skip
    assert all(c.data.train_on == "train+val+extra" for c in rates.values())
    assert all(c.start_from == f"models/{c.model}" for c in rates.values())
    noise = studies["noise"].config("augment-30", 2, {})
    assert (noise.epochs, noise.schedule.milestones) == (30, (15, 25))
    assert (noise.optim.weight_decay, noise.data.noise_rate) == (0.001, 0.3)
    assert (noise.seed, noise.data.noise_seed) == (2, 2)
    assert studies["best"].config("best", 0, {}).optim.momentum == 0.9


def test_the_live_table_shows_what_is_on_disk(split_folders, tmp_path, rates):
    smallset.study(
        rates, split_folders, out=tmp_path / "out", arms=["slow"], seeds=1, execute="serial"
    )
    study = plan_study(rates, split_folders, tmp_path / "out", seeds=1)
    accountant = Accountant(study, Reporter())
    accountant.look(study.jobs)
    begun = tmp_path / "out/fast/seed-0"
    begun.mkdir(parents=True)
    line = {
        "stage": 0, "objective": "cross-entropy", "epoch": 0, "lr": 0.1, "train_loss": 1.0,
        "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 10.0,
    }  # fmt: skip
    (begun / "epochs.jsonl").write_text(json.dumps(line) + "\n")
    with (tmp_path / "said").open("w") as file:
        console = Console(file=file, width=100)
        watch = Watch(study, console, workers=1, stages={})
        console.print(watch.table())
        console.print(watch.plan())
    said = (tmp_path / "said").read_text()
    assert "1/2" in said
    assert "50.0%" in said
    assert "test" not in said, "test is not looked at before the end"
    assert "2 runs: 1 done, 0 begun, 1 to begin" in said
    # The epoch that is left, and what the finished run took beside its epochs.
    config = tmp_path / "out/slow/seed-0/config.json"
    for path in (tmp_path / "out/slow/seed-0").rglob("*.*"):
        os.utime(path, (1000, 1000))
    os.utime(config, (970, 970))
    lines = (tmp_path / "out/slow/seed-0/epochs.jsonl").read_text().splitlines()
    took = sum(json.loads(line)["seconds"] for line in lines)
    assert watch.seconds_left() == pytest.approx(10 + 30 - took, abs=0.01)


def test_a_study_plans_each_run_once(split_folders, tmp_path, rates, monkeypatch):
    planned, commits = [], []
    original, run = Planner.plan, subprocess.run
    monkeypatch.setattr(
        Planner, "plan", lambda self, config: planned.append(config) or original(self, config)
    )
    monkeypatch.setattr(
        "smallset.compute.subprocess.run", lambda *a, **k: commits.append(a) or run(*a, **k)
    )
    commit.cache_clear()
    smallset.study(rates, split_folders, out=tmp_path / "out", execute="serial")
    assert len(planned) == 4
    assert len(commits) == 1
    digests = {Record(p.parent).config["digest"] for p in tmp_path.rglob("result.json")}
    monkeypatch.undo()
    assert digests == {Planner(DataSource(split_folders)).plan(c).digest for c in planned}


def test_figures_that_a_kill_kept_from_being_drawn_are_drawn(split_folders, tmp_path, rates):
    folder = tmp_path / "rates"
    Path(rates).write_text(f"draw_runs = true\n{STUDY}")
    api.study(rates, split_folders, out=folder, seeds=1, execute="serial")
    drawn = folder / "slow/seed-0/figures"
    whole = {path.name: path.read_bytes() for path in drawn.iterdir()}
    shutil.rmtree(drawn)
    drawn.mkdir()
    (drawn / ".writing-pca.png-x").touch()
    (drawn.parent / CHECKPOINT).touch()  # it goes when all is drawn
    before = (folder / "summary.csv").read_bytes()
    api.study(rates, split_folders, out=folder, seeds=1, execute="serial")
    assert {path.name: path.read_bytes() for path in drawn.iterdir()} == whole
    assert (folder / "summary.csv").read_bytes() == before
    assert Record(drawn.parent).is_over


def test_what_was_half_taken_over_is_taken_over_again(split_folders, tmp_path, rates):
    first, second = tmp_path / "one/rates", tmp_path / "one/again"
    api.study(rates, split_folders, out=first, seeds=1, execute="serial", arms=["slow"])
    half = second / "slow/.taken-seed-0"
    half.mkdir(parents=True)
    (half / "config.json").touch()
    api.study(rates, split_folders, out=second, seeds=1, execute="serial", arms=["slow"])
    same = "slow/seed-0/model.safetensors"
    assert (second / same).read_bytes() == (first / same).read_bytes()
    assert not half.exists()


def test_uneven_classes_have_their_balanced_accuracy_in_the_table(split_folders, rates, tmp_path):
    def shown(folder, **settings):
        study = {"execute": "serial", "seeds": 1, "settings": settings}
        summary = api.study(rates, str(split_folders), out=tmp_path / folder, **study)
        table = arms_table(summary)
        return summary, {column.header: list(column.cells) for column in table.columns}

    summary, table = shown("uneven", **{"data.imbalance": 4})
    shares = []
    for arm in summary.arms:
        [record] = arm.records
        recalls = [share for share in record.result["recall"].values() if share is not None]
        shares.append(f"{np.mean(recalls):.1%}")
    assert table["balanced"] == shares
    written = rows(tmp_path / "uneven/summary.csv")
    assert [f"{float(row['test_balanced_accuracy']):.1%}" for row in written] == shares
    assert "<th>balanced</th>" in summary._repr_html_()
    summary, table = shown("even")
    assert "balanced" not in table
    assert "balanced" not in summary._repr_html_()


@pytest.mark.parametrize("damage", ["config.json", "later", "result.json", "predictions.csv"])
def test_a_damaged_run_of_another_study_stops_no_study(split_folders, tmp_path, rates, damage):
    api.study(rates, split_folders, out=tmp_path / "one/rates", seeds=1, execute="serial")
    other = tmp_path / "one/rates/slow/seed-0"
    if damage == "later":
        content = json.loads((other / "config.json").read_text(encoding="utf-8"))
        content["written"]["format"] += 1
        (other / "config.json").write_text(json.dumps(content), encoding="utf-8")
    else:
        (other / damage).write_bytes((other / damage).read_bytes()[:-40])
    listening = Listening()
    found = api.study(
        rates, split_folders, out=tmp_path / "one/again", seeds=1, execute="serial",
        reporter=listening,
    )  # fmt: skip
    assert not found.failed
    file = other / damage.replace("later", "config.json")
    [said] = [note for note in listening.notes if str(file) in note]
    assert "1 run of studies beside" in said or "slow/seed-0 is not taken over" in said
    fast = "fast/seed-0/model.safetensors"  # which is whole, and taken over
    assert (tmp_path / "one/rates" / fast).samefile(tmp_path / "one/again" / fast)
