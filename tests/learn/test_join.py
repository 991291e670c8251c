"""Finished runs joined into one network: their logits averaged, each over its temperature."""

import shutil
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from smallset import api
from smallset.clean import training_labels
from smallset.clean.decide import Cleaning, Judged
from smallset.clean.find import Found
from smallset.cli import main
from smallset.config import RunConfig, override
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import write_json
from smallset.learn.join import join_runs
from smallset.learn.run import train_run
from smallset.models.restore import restore
from smallset.reading import read_json
from smallset.record.doubt import read_temperature
from smallset.record.measures import temperature
from smallset.record.record import Record
from smallset.stats import Interval

HEADS = {
    "recipe": "head", "weights": "none", "trains": "classifier", "image_size": 64,
    "data.resize": "zoom", "compute.precision": "float32",  # what is compared is exact
}  # fmt: skip


@pytest.fixture(scope="module")
def members(split_folders, shared_cache, tmp_path_factory):
    """A network trained at 32 px, and a head on two frozen ones at 64 px with mirror."""
    folder = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(shared_cache))
        base = {"figures.tsne": False, "figures.report": False}
        quick = {"model": "residual", "image_size": 32, "epochs": 3, "batches.size": 8}
        quick |= {"data.resize": "zoom", "recipe": "course-report"}
        quick |= {"compute.precision": "float32"}
        two = {**HEADS, "model": "squeezenet1_1+shufflenet_v2_x0_5", "mirror": True}
        return [
            train_run(split_folders, override(RunConfig(), {**base, **settings}), folder / name)
            for name, settings in (("quick", quick), ("two", two))
        ]


@pytest.fixture(scope="module")
def joined(members, shared_cache, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(shared_cache))
        out = tmp_path_factory.mktemp("joined") / "run"
        record = join_runs([record.folder for record in members], out)
        assert record.joined is not None
        return record


def test_the_joined_probabilities_are_the_geometric_mean_of_the_tempered_ones(members, joined):
    val = joined.predictions.splits == "val"
    logs, labels = [], joined.predictions.labels[val]
    for record, member in zip(members, joined.joined["members"], strict=True):
        probs = record.predictions.probs
        # What the first gives without a mirror image, and at its own size, is nearly the same.
        assert member["temperature"] == pytest.approx(temperature(probs[val], labels), rel=0.15)
        logs.append(np.log(probs) / member["temperature"])
    mean = np.exp(np.mean(logs, axis=0))
    mean /= mean.sum(axis=1, keepdims=True)
    assert np.abs(mean - joined.predictions.probs).mean() < 0.02


def test_one_linear_layer_gives_the_mean_of_the_logits_over_their_temperatures(members, joined):
    net, preprocessing, classes = restore(joined)
    assert (preprocessing.size, net.mirror, classes) == (64, False, members[0].predictions.classes)
    pictures = torch.rand(2, 3, 64, 64)
    logits = []
    for record, member in zip(members, joined.joined["members"], strict=True):
        alone = restore(record).model  # the second averages the mirror image, here as there
        size = record.model["preprocessing"]["size"]
        seen = torch.nn.functional.interpolate(
            pictures, (size, size), mode="bilinear", antialias=True
        )
        with torch.no_grad():
            logits.append(alone(seen).logits / member["temperature"])
    with torch.no_grad():
        expected = torch.stack(logits).mean(dim=0)
        torch.testing.assert_close(net(pictures).logits, expected, atol=1e-4, rtol=1e-4)


def test_a_joined_record_predicts_what_stands_in_it(split_folders, joined):
    predictions = joined.predictions
    test = np.flatnonzero(predictions.splits == "test")
    files = [split_folders / predictions.paths[row] for row in test]
    answers = api.predict(joined.folder, files)
    assert answers.names == [predictions.classes[k] for k in predictions.predicted[test]]
    np.testing.assert_allclose(answers.probs, predictions.probs[test], atol=1e-5)
    assert joined.result["test_accuracy"] == predictions.accuracy("test") > 0.5
    assert joined.history == []
    assert read_temperature(joined.model).why_not == "each of the joined networks has its own"
    assert joined.embeddings("test").shape == (20, 128 + 512 + 1024)
    assert not (joined.folder / ".features").exists()


def head(**settings):
    """Settings of a network that ends in its one Linear layer: what it says is read as it is."""
    plain = {"model": "shufflenet_v2_x0_5", "figures.tsne": False, "figures.report": False}
    return override(RunConfig(), {**HEADS, **plain, **settings})


def of_images(record):
    """What a record says of its images, beside the probabilities, as predictions.csv has it."""
    lines = (record.folder / "predictions.csv").read_text(encoding="utf-8").splitlines()
    return [line.split(",")[:5] for line in lines]


def test_a_member_with_cleaned_labels_joins_in_any_place(split_folders, tmp_path, monkeypatch):
    settings = {"data.noise_rate": 0.25, "data.noise_seed": 3}
    plain = train_run(split_folders, head(**settings), tmp_path / "plain")
    oracle = head(**settings, **{"data.clean": "oracle"})
    dropped = train_run(split_folders, oracle, tmp_path / "dropped")

    def relabel(blocks, labels, *, num_classes, **_):
        changed = np.append((labels[:1] + 1) % num_classes, labels[1:])
        decisions = np.where(changed == labels, "keep", "relabel").astype(object)
        zero = Interval(0, 0, 0)
        chosen = Judged(Cleaning("posterior", decisions, changed), zero, zero, 0.0)
        return Mock(spec=Found, chosen=chosen, is_weak=False)

    monkeypatch.setattr(training_labels, "find_wrong_labels", relabel)
    own = head(**settings, **{"data.clean": "self"})
    relabelled = train_run(split_folders, own, tmp_path / "relabelled")
    assert len(of_images(dropped)) < len(of_images(plain)) == len(of_images(relabelled))
    assert of_images(relabelled) != of_images(plain)
    orders = [dropped, plain, relabelled], [relabelled, dropped, plain]
    for number, members in enumerate(orders):
        joined = join_runs([each.folder for each in members], tmp_path / str(number))
        assert of_images(joined) == of_images(plain)
        files = [split_folders / path for path in joined.predictions.paths]
        answers = api.predict(joined.folder, files)
        np.testing.assert_allclose(answers.probs, joined.predictions.probs, atol=1e-5)


def test_a_joined_record_names_the_pictures_as_they_are_called_now(split_folders, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(split_folders, data)
    first = train_run(data, head(), tmp_path / "first")
    for path in sorted(data.rglob("*.png")):
        path.rename(path.with_name(f"called-{path.name}"))
    second = train_run(data, head(seed=1), tmp_path / "second")
    joined = join_runs([first.folder, second.folder], tmp_path / "out")
    assert of_images(joined) == of_images(second) != of_images(first)


def test_a_joined_run_can_be_joined_again(members, joined, tmp_path):
    again = join_runs(
        [joined.folder, members[0].folder], tmp_path / "again", temperatures=[1.0, 2.0]
    )
    assert again.joined is not None
    assert [m["temperature"] for m in again.joined["members"]] == [1.0, 2.0]
    assert "--temperatures 1.0,2.0" in again.command()
    mean = joined.predictions.probs**0.5 * members[0].predictions.probs ** 0.25
    mean /= mean.sum(axis=1, keepdims=True)
    assert np.abs(mean - again.predictions.probs).mean() < 0.02
    assert again.config["digest"] != joined.config["digest"]


def test_the_command_leaves_a_page_that_says_what_it_is(members, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    words = ["join", *(r.folder for r in members), "--out", out, "--lang", "zh", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    said, err = capsys.readouterr()
    assert not stop.value.code, err
    record = Record(out)
    assert record.joined is not None
    value = record.joined["members"][1]["temperature"]
    assert f"member:   {members[1].folder}  (temperature {value:.3g})" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Nothing was trained here." in page
    assert "这里没有训练" in page
    command = record.command(out="again")
    assert command.split()[:4] == ["smallset", "join", *(str(r.folder) for r in members)]
    assert command.split()[-4] == "--data"
    assert not (out / "figures/curves.png").exists()
    with pytest.raises(RunError, match="already holds a run"):
        join_runs([r.folder for r in members], out)
    (out / "result.json").unlink()  # as a kill leaves it: it is joined again
    assert join_runs([r.folder for r in members], out).joined == record.joined


FOLDS = {"folds": 2, "accuracy": 0.5, "low": 0.4, "high": 0.6, "repeats": [0.5]}


def edited(record, folder, name, change):
    """A copy of a record with something else in one of its files."""
    folder.mkdir()
    for path in record.folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    content = read_json(folder / name)
    change(content)
    write_json(folder / name, content)
    return folder


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("config.json", lambda c: c["data"].update(fingerprint="f"), ConfigError, "same data"),
        ("config.json", lambda c: c["data"].update(classes=["a"]), ConfigError, "same classes"),
        ("config.json", lambda c: c["data"]["images"].update(val=0), DataError, "no val images"),
        ("result.json", lambda c: c.update(folds=FOLDS), DataError, "networks of folds"),
        (
            "model.json",
            lambda c: c["preprocessing"].update(resize="pad"),
            ConfigError,
            r"data\.resize \(zoom and pad\)",
        ),
        (
            "model.json",
            lambda c: c.update(members=[c | {"model": "os:x"}]),
            ConfigError,
            "--own-code",
        ),
    ],
)
def test_runs_that_cannot_be_joined_are_named_with_the_fix(
    members, tmp_path, name, change, error, message
):
    other = edited(members[1], tmp_path / "other", name, change)
    with pytest.raises(error, match=message) as raised:
        join_runs([members[0].folder, other], tmp_path / "out")
    assert str(other) in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_pair_of_runs_is_refused(members, split_folders, tmp_path, monkeypatch):
    first, second = (record.folder for record in members)
    with pytest.raises(ConfigError, match="name each once"):
        join_runs([first, first], tmp_path / "out")
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        join_runs([first, tmp_path / "none"], tmp_path / "out")
    with pytest.raises(ConfigError, match="2 runs need as many temperatures"):
        join_runs([first, second], tmp_path / "out", temperatures=[1.0])

    def change(content):
        content["data"]["fingerprint"] = "other"

    others = [edited(r, tmp_path / r.folder.name, "config.json", change) for r in members]
    with pytest.raises(DataError, match="have changed since"):
        join_runs(others, tmp_path / "out")
    monkeypatch.setattr("smallset.learn.join.last_linear", lambda _: None)
    with pytest.raises(ConfigError, match="does not end in a Linear layer"):
        join_runs([first, second], tmp_path / "out", data=str(split_folders))
