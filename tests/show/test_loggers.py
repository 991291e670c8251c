"""Records in other tools' stores: the same record, each epoch once, whatever was stopped."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from support import same_numbers
from typer.testing import CliRunner

import smallset
from smallset.cli import app
from smallset.errors import ConfigError, RunError
from smallset.files import write_json
from smallset.progress import Reporter
from smallset.record.record import Record, write_history
from smallset.show import loggers
from smallset.show.log_tensorboard import EVENTS, TensorBoard
from smallset.show.logged import Logged

STUDY = """
title = "Rates"
about = "Two rates."
seeds = 1
baseline = "slow"
[base]
recipe = "course-report"
image_size = 32
epochs = 2
batches.size = 8
figures.tsne = false
figures.report = false
[arms.slow]
lr = 0.001
[arms.fast]
lr = 0.05
"""


class Metric(NamedTuple):
    key: str
    value: float
    at: int
    step: int


class FakeClient:
    """What MLflow keeps, as far as it is asked here; and what its database refuses."""

    kept = SimpleNamespace(runs={}, artifacts=[], experiments=[], uris=[])

    def __init__(self, tracking_uri):
        self.kept.uris.append(tracking_uri)

    def get_experiment_by_name(self, name):
        return next((each for each in self.kept.experiments if each.name == name), None)

    def create_experiment(self, name, artifact_location, tags):
        new = SimpleNamespace(name=name, experiment_id="1", artifact_location=artifact_location)
        new.lifecycle_stage = "active"
        self.kept.experiments.append(new)
        return "1"

    def create_run(self, experiment_id, start_time, tags, run_name):
        info = SimpleNamespace(run_id=f"r{len(self.kept.runs)}", status="RUNNING", name=run_name)
        data = SimpleNamespace(params={}, history=[], tags=dict(tags), metrics={})
        self.kept.runs[info.run_id] = SimpleNamespace(info=info, data=data, start=start_time)
        return self.kept.runs[info.run_id]

    def get_run(self, run_id):
        return self.kept.runs[run_id]

    def search_runs(self, experiments, filter_string, order_by):
        tag, value = filter_string.removeprefix("tags.`").split("` = ")
        found = [r for r in self.kept.runs.values() if f"'{r.data.tags.get(tag)}'" == value]
        return found[::-1]

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        data = self.kept.runs[run_id].data
        assert len(params) <= 100
        assert len(metrics) <= 1000
        for key, value in params:
            assert data.params.setdefault(key, value) == value
        for key, value, at, step in metrics:
            assert isinstance(at, int)
            data.history.append((key, value, step))
            data.metrics[key] = value

    def get_metric_history(self, run_id, key):
        history = self.kept.runs[run_id].data.history
        return [SimpleNamespace(value=v, step=s) for k, v, s in history if k == key]

    def log_artifact(self, run_id, path, inside):
        self.kept.artifacts.append((run_id, path, inside))

    def set_tag(self, run_id, key, value):
        self.kept.runs[run_id].data.tags[key] = value

    def update_run(self, run_id, status):
        self.kept.runs[run_id].info.status = status

    def set_terminated(self, run_id, status, end_time=None):
        self.kept.runs[run_id].info.status = status


@pytest.fixture
def mlflow(monkeypatch):
    """A package of that name, in which `FakeClient` keeps what it is given."""
    kept = SimpleNamespace(runs={}, artifacts=[], experiments=[], uris=[])
    monkeypatch.setattr(FakeClient, "kept", kept)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    vars(package)["MlflowClient"] = FakeClient
    vars(entities).update(Metric=Metric, Param=lambda *of: of)
    for module in (package, entities, ModuleType("flask")):
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return kept


def named(mlflow):
    return {run.info.name: run for run in mlflow.runs.values()}


def steps(run, key):
    return [step for name, _, step in run.data.history if name == key]


def scalars(folder):
    reader = import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: {each.step: each.value for each in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
        if len(events.Scalars(tag)) == len({each.step for each in events.Scalars(tag)})
    }


def test_a_logged_run_is_the_same_and_both_stores_hold_it(mlflow, split_folders, tmp_path, tiny):
    plain = smallset.train(split_folders, tiny(), out=tmp_path / "plain")
    names = ["mlflow", "tensorboard"]
    record = smallset.train(split_folders, tiny(), out=tmp_path / "runs/first", log=names)
    same_numbers(plain, record)
    listed = [
        sorted(path.relative_to(each.folder) for path in each.folder.rglob("*"))
        for each in (plain, record)
    ]
    assert listed[0] == listed[1]
    [run] = mlflow.runs.values()
    assert mlflow.uris == [f"sqlite:///{tmp_path}/runs/mlflow.db"]
    assert mlflow.experiments[0].artifact_location == (tmp_path / "runs/mlflow-artifacts").as_uri()
    assert (run.info.name, run.info.status) == ("first", "FINISHED")
    assert (run.data.params["optim.momentum"], run.data.params["batches.size"]) == ("0.0", "8")
    told = [value for name, value, _ in run.data.history if name == "train_loss"]
    assert told == [line["train_loss"] for line in record.history]
    assert steps(run, "val_accuracy") == [0, 1]
    assert run.data.metrics["test_accuracy"] == record.result["test_accuracy"]
    assert steps(run, "test_accuracy") == [1]
    files = {(path, inside) for _, path, inside in mlflow.artifacts}
    assert (str(record.folder / "config.json"), None) in files
    assert (str(record.folder / "figures/curves.png"), "figures") in files
    kept = scalars(tmp_path / "runs/tensorboard/first")
    assert kept["train_loss"] == pytest.approx(dict(enumerate(told)))
    assert kept["test_accuracy"] == pytest.approx({1: record.result["test_accuracy"]})
    store, logged = TensorBoard(tmp_path), Logged("first", record)
    store.log_run(logged)
    written = list((tmp_path / "tensorboard/first").glob(EVENTS))
    store.log_run(logged)  # as a study does at its end
    assert list((tmp_path / "tensorboard/first").glob(EVENTS)) == written


def test_a_resumed_run_goes_on_in_the_same_entry(mlflow, split_folders, tmp_path, tiny):
    def stop(line):
        if line["epoch"] == 1:
            raise KeyboardInterrupt

    names, config = ["mlflow", "tensorboard"], tiny(epochs=3)
    options = {"out": tmp_path / "first", "log": names}
    with pytest.raises(KeyboardInterrupt):
        smallset.train(split_folders, config, **options, reporter=Reporter(epoch=stop))
    [run] = mlflow.runs.values()
    assert (run.info.status, steps(run, "train_loss")) == ("KILLED", [0, 1])
    smallset.train(split_folders, config, **options, resume=True)
    smallset.train(split_folders, config, **options, resume=True)  # nothing is left to do
    assert list(mlflow.runs.values()) == [run]
    assert (run.info.status, steps(run, "train_loss")) == ("FINISHED", [0, 1, 2])
    assert steps(run, "test_accuracy") == [2]
    kept = scalars(tmp_path / "tensorboard/first")
    assert sorted(kept["train_loss"]) == [0, 1, 2]
    assert len(list((tmp_path / "tensorboard/first").glob(EVENTS))) == 1
    # What was logged of another run at the same place is left as it is.
    run.data.history[:] = [(k, v + 1, s) for k, v, s in run.data.history]
    smallset.train(split_folders, config, **options, resume=True)
    assert len(mlflow.runs) == 2


def test_a_study_is_a_parent_of_its_runs_and_is_logged_once(mlflow, split_folders, tmp_path):
    (tmp_path / "rates.toml").write_text(STUDY)
    words = ["study", str(tmp_path / "rates.toml"), "--data", str(split_folders), "--quiet"]
    words += ["--out", str(tmp_path / "runs/rates"), "--log", "mlflow", "--log", "tensorboard"]
    words += ["--execute", "serial"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/runs/mlflow.db" in done.output
    assert f"tensorboard --logdir {tmp_path}/runs/tensorboard" in done.output
    found = named(mlflow)
    assert set(found) == {"rates", "slow/seed-0", "fast/seed-0"}
    parent = found["rates"]
    tags = found["fast/seed-0"].data.tags
    assert tags["mlflow.parentRunId"] == parent.info.run_id
    assert (tags["arm"], tags["seed"]) == ("fast", "0")
    assert found["fast/seed-0"].data.params["lr"] == "0.05"
    assert "| fast | slow | " in parent.data.tags["mlflow.note.content"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    files = {path.split("/runs/rates/")[1] for run, path, _ in mlflow.artifacts if run == "r0"}
    assert {"study.json", "summary.csv", "figures/arms.png"} <= files
    assert scalars(tmp_path / "runs/tensorboard/rates/fast/seed-0")["train_loss"].keys() == {0, 1}
    before = [len(run.data.history) for run in mlflow.runs.values()]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert [len(run.data.history) for run in mlflow.runs.values()] == before


def test_steps_go_on_through_the_stages(tmp_path):
    line = {"objective": "x", "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.5,
            "val_loss": None, "val_accuracy": None, "seconds": 2.0}  # fmt: skip
    lines = [{"stage": stage, "epoch": epoch, **line} for stage in (0, 1) for epoch in (0, 1)]
    write_json(tmp_path / "config.json", {})
    write_history(tmp_path, lines)
    run = Logged("first", Record(tmp_path))
    assert [each.get("stage", 0) for each in run.epochs] == [0, 0, 1, 1]
    assert all("val_loss" not in each for each in run.epochs)
    # `--resume` writes the settings anew, so times are counted back from the last epoch.
    os.utime(tmp_path / "epochs.jsonl", (1000, 1000))
    assert [run.began, run.at(0), run.at(3)] == [992, 994, 1000]


def test_a_run_of_folds_has_no_test_accuracy():
    shares = {"train_accuracy": 1.0, "val_accuracy": None, "test_accuracy": 0.75}
    folds = {"accuracy": 0.75, "low": 0.5, "high": 0.9}
    record = Mock(spec=Record, result=shares | {"folds": folds})
    assert Logged("first", record).result == {"final_train_accuracy": 1.0} | {
        f"folds_{name}": value for name, value in folds.items()
    }


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_missing_package_is_said_before_anything_is_done(name, tmp_path, monkeypatch, tiny):
    monkeypatch.setattr("smallset.errors.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"--log {name} .* 'smallset\[{name}\]'"):
        smallset.train("gone", tiny(), out=tmp_path / "runs/first", log=name)
    with pytest.raises(ConfigError, match=rf"--log {name} .* 'smallset\[{name}\]'"):
        smallset.study("losses", "gone", out=tmp_path / "runs/losses", log=name)
    assert list(tmp_path.iterdir()) == []


def test_a_logger_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"--log mlfow: .* did you mean 'mlflow'"):
        loggers.check_loggers("mlfow")


def test_a_place_that_no_address_can_hold_is_said(mlflow, tmp_path, tiny):
    with pytest.raises(ConfigError, match=r"100%/runs.* holds '%'"):
        smallset.train("gone", tiny(), out=tmp_path / "100%/runs/first", log="mlflow")
    assert mlflow.uris == []


def test_a_store_that_fails_stops_no_training(mlflow, split_folders, tmp_path, tiny, monkeypatch):
    notes, log_batch = [], FakeClient.log_batch

    def fail(*_, **__):
        raise OSError("database is locked")

    monkeypatch.setattr(FakeClient, "log_batch", fail)
    options = {"out": tmp_path / "first", "log": ["mlflow", "tensorboard"]}
    with pytest.raises(RunError, match=r"first is whole, .*database is locked.* --resume"):
        smallset.train(split_folders, tiny(), **options, reporter=Reporter(note=notes.append))
    assert Record(tmp_path / "first").is_complete
    assert sum("cannot be logged for now" in note for note in notes) == 1
    assert scalars(tmp_path / "tensorboard/first")["train_loss"].keys() == {0, 1}
    monkeypatch.setattr(FakeClient, "log_batch", log_batch)
    smallset.train(split_folders, tiny(), **options, resume=True)
    assert [steps(run, "train_loss") for run in mlflow.runs.values()][-1] == [0, 1]
    assert [run.data.params["optim.momentum"] for run in mlflow.runs.values()][-1] == "0.0"


def test_a_run_stopped_while_its_page_is_drawn_is_finished_later(
    mlflow, split_folders, tmp_path, tiny
):
    finished = smallset.train(split_folders, tiny(epochs=1), out=tmp_path / "first")
    result = tmp_path / "first/result.json"
    result.rename(tmp_path / "aside")

    def stop():
        with loggers.logged_run("mlflow", finished.folder, Reporter()) as reporter:
            reporter.epoch(finished.history[-1])
            (tmp_path / "aside").rename(result)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    [run] = mlflow.runs.values()
    assert (run.info.status, "test_accuracy" in run.data.metrics) == ("KILLED", False)
    with loggers.logged_run("mlflow", finished.folder, Reporter()):
        pass
    assert (run.info.status, "test_accuracy" in run.data.metrics) == ("FINISHED", True)


def test_a_store_that_cannot_take_a_study_is_said(mlflow, tmp_path, monkeypatch):
    def begin():
        with loggers.logged_study("mlflow", tmp_path / "runs/rates", print):
            pass

    begin()
    mlflow.experiments[0].lifecycle_stage = "deleted"
    with pytest.raises(ConfigError, match=r"was deleted; restore it .* -x 1\)"):
        begin()
    mlflow.experiments[0].lifecycle_stage = "active"
    mlflow.experiments[0].artifact_location = "file:///elsewhere/mlflow-artifacts"
    with pytest.raises(ConfigError, match=r"was moved, .*\(file:///elsewhere"):
        begin()
    mlflow.experiments.clear()
    mlflow.runs.clear()
    monkeypatch.setattr(FakeClient, "create_run", Mock(side_effect=OSError("locked")))
    with pytest.raises(ConfigError, match=r"the store cannot take the study \(locked\)"):
        begin()


def test_nothing_is_imported_unless_asked():
    code = "import smallset.show.loggers, smallset.cli, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"mlflow", "tensorboard", "torch"} & set(loaded.stdout.split())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_mlflow_takes_it(split_folders, tmp_path, tiny):
    # Its installation would cost the checks a minute: docs/log.md says how to run this.
    mlflow = pytest.importorskip("mlflow")
    record = smallset.train(split_folders, tiny(), out=tmp_path / "a b#/first", log="mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/a b#/mlflow.db")
    experiment = client.get_experiment_by_name("smallset")
    [run] = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [each.value for each in history] == [line["train_loss"] for line in record.history]
    assert run.data.metrics["test_accuracy"] == record.result["test_accuracy"]
    assert run.data.params["optim.momentum"] == "0.0"
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"config.json", "result.json", "figures"} <= names
