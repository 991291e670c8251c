"""Whole runs on tiny pictures: what they leave, how they stop, how they go on."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from statsmodels.stats.proportion import proportion_confint
from support import Listening, picture, same_numbers

import smallset
from smallset.data import cache
from smallset.data.prepare import DataSource
from smallset.data.preprocessing import Square
from smallset.errors import ConfigError, DataError, RunError
from smallset.findings import finders
from smallset.findings.facts import Finding
from smallset.learn import describe, inputs, stages, training
from smallset.learn.checkpoint import load_checkpoint
from smallset.learn.plan import Planner
from smallset.learn.run import train_run, train_runs
from smallset.models.parts import Classifier
from smallset.models.registry import build_model
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.use import pages
from smallset.words import text


def test_a_record_holds_exactly_the_files_of_the_design(split_folders, tmp_path, tiny):
    record = smallset.train(split_folders, tiny(**{"figures.tsne": True}), out=tmp_path / "run")
    assert sorted(p.name for p in record.folder.iterdir()) == [
        "config.json", "embeddings.npz", "epochs.jsonl", "figures", "model.json",
        "model.safetensors", "predictions.csv", "result.json",
    ]  # fmt: skip
    figures = sorted(p.name for p in (record.folder / "figures").iterdir())
    assert figures == [
        "confusion-test.png", "confusion-train.png", "curves.png", "pca.png", "tsne.png",
    ]  # fmt: skip
    assert set(record.config) >= {"config", "versions", "commit", "device", "data", "digest"}
    assert record.config["config"]["seed"] == 0
    assert record.config["config"]["compute"]["device"] in ("cpu", "cuda", "mps")
    assert set(record.result["recall"]) == {"ant", "bee", "cat", "dog"}
    assert [line["epoch"] for line in record.history] == [0, 1]


def test_it_learns_and_its_accuracy_is_that_of_its_predictions(split_folders, tmp_path, tiny):
    record = train_run(split_folders, tiny(epochs=15, lr=0.05), tmp_path / "run")
    with (tmp_path / "run/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split, count in {"train": 32, "val": 12, "test": 20}.items():
        right = [row["label"] == row["predicted"] for row in rows if row["split"] == split]
        assert len(right) == count
        assert record.result[f"{split}_accuracy"] == sum(right) / count
    assert record.result["test_accuracy"] > 0.6  # chance is 0.25
    for row in rows:
        probs = {name: float(row[f"p_{name}"]) for name in ("ant", "bee", "cat", "dog")}
        assert sum(probs.values()) == pytest.approx(1, abs=1e-5)
        assert max(probs, key=lambda name: probs[name]) == row["predicted"]


def test_a_record_shows_itself_in_a_notebook(split_folders, tmp_path, tiny):
    record = train_run(split_folders, tiny(epochs=1), tmp_path / "<run>")
    html = record._repr_html_()
    right = round(20 * record.result["test_accuracy"])
    low, high = (100 * end for end in proportion_confint(right, 20, method="wilson"))
    assert f"<td>{5 * right:.1f}% ({low:.1f}% to {high:.1f}%)</td>" in html
    assert "<th>test (95% interval)</th>" in html
    assert "&lt;run&gt;" in html
    assert "<td>plain</td><td>cross-entropy</td>" in html
    (record.folder / "result.json").unlink()
    assert "begun, not finished" in Record(record.folder)._repr_html_()
    assert "no run" in Record(tmp_path)._repr_html_()


def test_the_saved_model_gives_the_saved_predictions(split_folders, tmp_path, tiny):
    config = tiny(**{"compute.precision": "float32"})
    record = train_run(split_folders, config, tmp_path / "run")
    described = json.loads((record.folder / "model.json").read_text())
    spec = described["preprocessing"]
    model = build_model(described["model"], 4, image_size=spec["size"], weights="none", seed=9)
    model.load_state_dict(load_file(record.folder / "model.safetensors"))
    predictions = record.predictions
    row = int(np.flatnonzero(predictions.splits == "test")[3])
    with Image.open(split_folders / predictions.paths[row]) as picture:
        image = picture.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    assert (spec["size"], spec["resize"], spec["max_megapixels"]) == (32, "squash", 80.0)
    pixels = torch.from_numpy(np.asarray(image) / 255).float()
    normal = (pixels - torch.tensor(spec["mean"])) / torch.tensor(spec["std"])
    probs = model.eval()(normal.permute(2, 0, 1)[None]).logits.softmax(1)[0].detach()
    np.testing.assert_allclose(probs, predictions.probs[row], atol=1e-5)


def test_the_same_settings_give_the_same_numbers_and_another_seed_others(
    split_folders, tmp_path, tiny
):
    settings = {"augment.flip": True, "augment.crop_fraction": 0.1, "optim.momentum": 0.9}
    first, again, other = (
        train_run(split_folders, tiny(seed=seed, **settings), tmp_path / name)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    same_numbers(first, again)
    assert first.config["digest"] == again.config["digest"] != other.config["digest"]
    assert first.history != other.history


@pytest.mark.parametrize("loss", ["triplet-cosine", "triplet-euclidean"])
def test_triplet_losses_train_the_features_first_and_then_the_classifier(
    split_folders, tmp_path, tiny, loss, monkeypatch
):
    states = []
    original = stages._train_stage

    def spying(runs, *args):
        parts = runs[0].state.model.features, runs[0].state.model.classifier
        states.append([{k: v.clone() for k, v in p.state_dict().items()} for p in parts])
        yield from original(runs, *args)
        states.append([{k: v.clone() for k, v in p.state_dict().items()} for p in parts])

    monkeypatch.setattr(stages, "_train_stage", spying)
    listening = Listening()
    record = train_run(split_folders, tiny(loss=loss), tmp_path / "run", reporter=listening)

    def moved(before, after):
        return [
            any(not torch.equal(b[k], a[k]) for k in b) for b, a in zip(before, after, strict=True)
        ]

    assert moved(states[0], states[1]) == [True, False]
    assert moved(states[2], states[3]) == [False, True]
    assert [(line["stage"], line["epoch"]) for line in record.history] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert any("have no other image of their class" in note for note in listening.notes)
    assert listening.notes[-1] in record.result["findings"]
    # Features of the second stage are this run's alone and leave no file behind.
    assert not list(record.folder.glob(".*"))


def test_pk_batches_give_every_anchor_a_positive_and_no_warning(split_folders, tmp_path, tiny):
    listening = Listening()
    settings = {"batches.kind": "pk", "batches.classes_per_batch": 4, "batches.images_per_class": 2}
    config = tiny(loss="triplet-cosine", epochs=1, **settings)
    train_run(split_folders, config, tmp_path / "run", reporter=listening)
    assert listening.notes == []


def own_loss(output, labels):
    return torch.nn.functional.cross_entropy(output.logits, labels)


@pytest.mark.parametrize("loss", ["squared", "mse", "gce", f"{__name__}:own_loss"])
def test_every_other_loss_and_a_users_own_run(split_folders, tmp_path, tiny, loss):
    record = train_run(split_folders, tiny(loss=loss, epochs=1), tmp_path / "run")
    assert record.is_complete


def test_a_frozen_backbone_runs_once_over_each_image(
    split_folders, tmp_path, tiny, squeeze_file, monkeypatch
):
    # A test before this one may have left the features of these very pictures.
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    seen = []
    original = Classifier.forward

    monkeypatch.setattr(
        Classifier,
        "forward",
        lambda self, images: seen.append(len(images)) or original(self, images),
    )
    settings = {
        "model": "squeezenet1_1",
        "weights": str(squeeze_file),
        "image_size": 64,
        "epochs": 5,
    }
    first, second = Listening(), Listening()
    record = train_run(split_folders, tiny(**settings), tmp_path / "a", reporter=first)
    assert record.config["config"]["trains"] == "classifier"
    assert seen == [1]  # the try-out image alone went through the whole net
    assert {k: v for k, v in first.counts.items() if "features" in k} == {
        "features of train": 32, "features of val": 12, "features of test": 20,
    }  # fmt: skip
    again = train_run(split_folders, tiny(**settings), tmp_path / "b", reporter=second)
    assert not [what for what in second.counts if "features" in what]
    same_numbers(record, again)
    # Another rate uses the same features; another image size cannot.
    third = Listening()
    train_run(split_folders, tiny(**{**settings, "lr": 0.1}), tmp_path / "c", reporter=third)
    assert not [what for what in third.counts if "features" in what]


def test_cached_features_give_what_the_whole_network_gives(
    split_folders, tmp_path, tiny, squeeze_file
):
    settings = {"model": "squeezenet1_1", "weights": str(squeeze_file), "image_size": 64}
    settings |= {"compute.precision": "float32"}
    record = train_run(split_folders, tiny(**settings), tmp_path / "run")
    model = build_model("squeezenet1_1", 4, image_size=64, weights=str(squeeze_file), seed=0)
    model.load_state_dict(load_file(record.folder / "model.safetensors"))
    predictions = record.predictions
    from smallset.data.cache import load_pixels
    from smallset.data.read import read_data

    images = read_data(split_folders)
    pixels = load_pixels(images, Square(size=64))
    rows = [pixels.ids.index(name) for name in predictions.ids[:6]]
    inputs = torch.from_numpy(pixels.array[rows]).float() / 255
    inputs = (inputs - torch.tensor(model.mean)) / torch.tensor(model.std)
    probs = model.eval()(inputs.permute(0, 3, 1, 2)).logits.softmax(1).detach()
    np.testing.assert_allclose(probs, predictions.probs[:6], atol=1e-4)


def test_a_pretrained_network_can_be_trained_whole_by_choice(
    split_folders, tmp_path, tiny, squeeze_file
):
    config = tiny(
        model="squeezenet1_1", weights=str(squeeze_file), image_size=64, trains="all", epochs=1
    )
    record = train_run(split_folders, config, tmp_path / "run")
    trained = load_file(record.folder / "model.safetensors")["features.0.0.weight"]
    assert not torch.equal(trained, torch.load(squeeze_file)["features.0.weight"])


def test_with_augmentation_a_frozen_part_sees_the_changed_images(
    split_folders, tmp_path, tiny, squeeze_file
):
    settings = {
        "model": "squeezenet1_1",
        "weights": str(squeeze_file),
        "image_size": 64,
        "augment.flip": True,
    }
    listening = Listening()
    train_run(split_folders, tiny(**settings), tmp_path / "run", reporter=listening)
    assert not [what for what in listening.counts if "features" in what]


def test_the_test_split_is_read_once_and_last(split_folders, tmp_path, tiny, monkeypatch):
    order = []
    source, epoch = inputs.Inputs.feed, training.Training.after_epoch
    monkeypatch.setattr(
        inputs.Inputs,
        "feed",
        lambda self, split, **k: order.append(split) or source(self, split, **k),
    )
    monkeypatch.setattr(
        training.Training,
        "after_epoch",
        lambda self, *a, **k: order.append("epoch") or epoch(self, *a, **k),
    )
    train_run(split_folders, tiny(), tmp_path / "run")
    assert order.count("test") == 1
    assert order[-1] == "test"


def test_wrong_labels_are_the_same_for_every_model_and_seed_and_the_truth_is_kept(
    split_folders, tmp_path, tiny
):
    records = [
        train_run(
            split_folders,
            tiny(model=model, seed=seed, epochs=1, **{"data.noise_rate": 0.25}),
            tmp_path / model,
        )
        for model, seed in (("plain", 0), ("residual", 5))
    ]
    wrong = []
    for record in records:
        p = record.predictions
        changed = p.given_labels != p.labels
        assert changed.sum() == 8  # a quarter of 32
        assert set(p.splits[changed]) == {"train"}
        wrong.append({(p.ids[i], int(p.given_labels[i])) for i in np.flatnonzero(changed)})
        assert all(p.classes[p.labels[i]] in p.paths[i] for i in range(len(p.ids)))
    assert wrong[0] == wrong[1]
    assert records[0].config["data"]["wrong_labels"] == 8


def test_a_whole_run_in_bfloat16_learns_and_says_so(split_folders, tmp_path, tiny):
    settings = {"compute.precision": "bfloat16", "compute.device": "cpu"}
    record = train_run(split_folders, tiny(epochs=9, lr=0.05, **settings), tmp_path / "run")
    assert record.config["config"]["compute"]["precision"] == "bfloat16"
    assert record.result["test_accuracy"] > 0.6  # chance is 0.25


def test_classes_and_splits_can_be_chosen(split_folders, tmp_path, tiny):
    config = tiny(epochs=1, **{"data.classes": "1-2", "data.train_on": "train+val+extra"})
    record = train_run(split_folders, config, tmp_path / "run")
    p = record.predictions
    assert p.classes == ("ant", "bee")
    assert [(p.splits == s).sum() for s in ("train", "val", "test")] == [26, 0, 10]
    assert record.result["val_accuracy"] is None
    assert record.history[0]["val_loss"] is None


KILL = """
import os, signal, sys
from pathlib import Path
from smallset.config import read_config
from smallset.learn.run import train_run
from smallset.progress import Reporter
data, config, out, kill_at = sys.argv[1:]
ended = []
steps = iter(range(2))
def step(*_):
    # In the middle of the epoch after, some batches later.
    if len(ended) == int(kill_at) and next(steps, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
reporter = Reporter(step=step, epoch=ended.append)
train_run(data, read_config(Path(config)), Path(out), reporter=reporter)
"""


@pytest.mark.parametrize(("loss", "kill_at"), [("cross-entropy", 2), ("triplet-cosine", 4)])
def test_a_run_killed_and_resumed_gives_the_numbers_of_one_that_was_not(
    split_folders, tmp_path, tiny, loss, kill_at
):
    settings = {
        "loss": loss, "epochs": 3, "optim.momentum": 0.9, "augment.flip": loss == "cross-entropy",
    }  # fmt: skip
    (tmp_path / "config.toml").write_text(
        f'recipe = "course-report"\nloss = "{loss}"\n'
        "epochs = 3\nimage_size = 32\n[optim]\nmomentum = 0.9\n"
        "[batches]\nsize = 8\n"
        f"[augment]\nflip = {str(loss == 'cross-entropy').lower()}\n[figures]\ntsne = false\n"
    )
    command = [
        sys.executable,
        "-c",
        KILL,
        split_folders,
        tmp_path / "config.toml",
        tmp_path / "b",
        str(kill_at),
    ]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "b/result.json").exists()
    whole = train_run(split_folders, tiny(**settings), tmp_path / "a")
    listening = Listening()
    resumed = train_run(
        split_folders, tiny(**settings), tmp_path / "b", resume=True, reporter=listening
    )
    assert listening.stages[0] == (
        (loss, kill_at) if kill_at < 3 else ("cross-entropy", kill_at - 3)
    )
    same_numbers(whole, resumed)
    left = {p.name for p in resumed.folder.iterdir()}
    assert left == {p.name for p in whole.folder.iterdir()}
    assert not [name for name in left if name.startswith((".", "checkpoint"))]


def test_adamw_resumes_exactly_too(split_folders, tmp_path, tiny, monkeypatch):
    config = tiny(epochs=3, **{"optim.name": "adamw", "schedule.name": "cosine"})
    whole = train_run(split_folders, config, tmp_path / "a")
    original = training.Training.after_epoch

    def stop(self, *args, **options):
        original(self, *args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(split_folders, config, tmp_path / "b")
    assert not list((tmp_path / "b").glob(".features*"))
    same_numbers(whole, train_run(split_folders, config, tmp_path / "b", resume=True))


@pytest.fixture
def stopped(split_folders, tmp_path, tiny):
    """A copy of the data, and a run on it that was stopped after an epoch."""
    shutil.copytree(split_folders, tmp_path / "set")

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(tmp_path / "set", tiny(), tmp_path / "run", reporter=Reporter(epoch=stop))
    return tmp_path


def test_resuming_with_other_settings_says_which(stopped, tiny):
    with pytest.raises(
        RunError, match=r"(?s)resuming would mix them:.*lr: 0.01 -> 0.02.*optim.momentum"
    ):
        train_run(
            stopped / "set", tiny(lr=0.02, **{"optim.momentum": 0.5}), stopped / "run", resume=True
        )


def test_a_run_of_other_training_rules_is_not_gone_on_with(
    split_folders, tmp_path, tiny, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(describe, "TRAINING_RULES", 1)
        old = train_run(split_folders, tiny(), tmp_path / "old")
    with pytest.raises(RunError, match=r"training_rules: 1 -> 3"):
        train_run(split_folders, tiny(), tmp_path / "old", resume=True)
    new = train_run(split_folders, tiny(), tmp_path / "new")
    assert new.config["digest"] != old.config["digest"]


def test_resuming_with_changed_data_says_so(stopped, tiny):
    picture(1, 99).save(stopped / "set/train/ant/0.png")
    with pytest.raises(RunError, match=r"(?s)other settings or data.*data.fingerprint"):
        train_run(stopped / "set", tiny(), stopped / "run", resume=True)


def test_only_figures_may_differ_when_a_run_is_resumed(stopped, tiny):
    config = tiny(**{"figures.classes": "1-2"})
    assert train_run(stopped / "set", config, stopped / "run", resume=True).is_complete


def test_a_damaged_checkpoint_is_named(stopped, tiny):
    path = stopped / "run/checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"checkpoint .* is damaged"):
        train_run(stopped / "set", tiny(), stopped / "run", resume=True)


def test_a_record_is_never_overwritten(split_folders, tmp_path, tiny):
    train_run(split_folders, tiny(epochs=1), tmp_path / "run")
    before = (tmp_path / "run/result.json").read_bytes()
    with pytest.raises(RunError, match="already holds a run; give another --out, or --resume"):
        train_run(split_folders, tiny(epochs=1), tmp_path / "run")
    # Killed right after the result was written: what was left goes, the result stays.
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"left")
    listening = Listening()
    train_run(split_folders, tiny(epochs=1), tmp_path / "run", resume=True, reporter=listening)
    assert not (tmp_path / "run/checkpoint.safetensors").exists()
    assert "nothing to resume" in listening.notes[-1]
    assert (tmp_path / "run/result.json").read_bytes() == before
    with pytest.raises(RunError, match="is not empty, and is not a run"):
        train_run(split_folders, tiny(), split_folders)
    with pytest.raises(RunError, match="has no run to resume"):
        train_run(split_folders, tiny(), tmp_path / "nothing", resume=True)


def test_a_run_killed_before_its_settings_were_whole_is_begun_again(split_folders, tmp_path, tiny):
    # What a process leaves that dies between writing config.json aside and renaming it.
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.writing-k1x2").write_text('{"config": {"mod')
    source = DataSource(split_folders)
    plan = Planner(source).plan(tiny(epochs=1))
    [record] = train_runs(source, [(plan, tmp_path / "run")], resume=None)
    assert not isinstance(record, RunError)
    assert record.is_complete
    assert not list((tmp_path / "run").glob(".writing-*"))
    # A folder with anything else in it is somebody's.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.writing-k1x2").write_text("")
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty, and is not a run"):
        train_run(split_folders, tiny(epochs=1), tmp_path / "other")
    assert (tmp_path / "other/notes.txt").read_text() == "mine"


def test_a_full_disk_keeps_the_last_good_checkpoint(split_folders, tmp_path, tiny):
    """The kernel refuses to let the file grow, as a full disk would."""
    original = training.save_checkpoint
    calls = []

    def filling(path, *args, **kwargs):
        calls.append(1)
        if len(calls) < 2:
            return original(path, *args, **kwargs)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            return original(path, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    config = tiny(epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "save_checkpoint", filling)
        with pytest.raises(RunError, match=r"cannot write .*checkpoint.*already there is kept"):
            train_run(split_folders, config, tmp_path / "b")
    assert not [p for p in (tmp_path / "b").iterdir() if p.name.startswith(".")]
    whole = train_run(split_folders, config, tmp_path / "a")
    same_numbers(whole, train_run(split_folders, config, tmp_path / "b", resume=True))


def test_a_loss_that_explodes_leaves_the_last_good_checkpoint(split_folders, tmp_path, tiny):
    """The first epoch is gentle; the second, at a rate of 1e30, is not."""

    def late(schedule, epochs):
        return lambda time: 1e-33 if time < 1 else 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "build_schedule", late)
        with pytest.raises(RunError, match=r"in epoch 1, step \d+, at learning rate 1e\+30"):
            train_run(split_folders, tiny(epochs=3, lr=1e30), tmp_path / "run")
    assert not (tmp_path / "run/result.json").exists()
    tensors, progress = load_checkpoint(tmp_path / "run/checkpoint.safetensors")
    assert progress["epoch"] == 0
    assert all(value.isfinite().all() for value in tensors.values())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_output_folder_is_named(split_folders, tmp_path, tiny):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="cannot write into the folder"):
        train_run(split_folders, tiny(), tmp_path / "locked/run")


def test_an_output_folder_that_cannot_be_is_named(split_folders, tmp_path, tiny):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write into the folder"):
        train_run(split_folders, tiny(), tmp_path / "file" / "run")


def test_unreadable_files_stop_the_run_or_are_counted(split_folders, tmp_path, tiny):
    shutil.copytree(split_folders, tmp_path / "set")
    (tmp_path / "set/train/ant/0.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"(?s)1 unreadable.*train/ant/0.png: the file is empty.*--skip-unreadable"
    ):
        train_run(tmp_path / "set", tiny(), tmp_path / "run")
    config = tiny(epochs=1, **{"data.skip_unreadable": True})
    record = train_run(tmp_path / "set", config, tmp_path / "run")
    assert record.config["data"]["skipped"] == ["train/ant/0.png: the file is empty"]
    assert record.config["data"]["images"]["train"] == 31


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"data.classes": "1"}, DataError, "two classes or more"),
        ({"loss": "triplet"}, ConfigError, "no loss named 'triplet'"),
        ({"loss_args.margin": 0.5}, ConfigError, "loss_args.margin belongs to triplet-cosine, tri"),
        ({"loss": "squared", "loss_args.gce_q": 0.5}, ConfigError, "gce_q belongs to gce; the los"),
        (
            {"loss": f"{__name__}:own_loss", "loss_args.label_smoothing": 0.1},
            ConfigError,
            "label_smoothing belongs to cross-entropy",
        ),
        ({"model": "plane"}, ConfigError, "did you mean 'plain'"),
        ({"batches.kind": "pk"}, ConfigError, "classes_per_batch is 8, the data has 4"),
        (
            {"model": "vit_b_16", "weights": "none", "image_size": 50},
            ConfigError,
            "cannot take images of 50 px",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    split_folders, tmp_path, tiny, settings, error, message
):
    with pytest.raises(error, match=message):
        train_run(split_folders, tiny(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_split_or_an_empty_class_is_named(tmp_path, tiny):
    for n in range(6):
        for name in ("train/a", "train/b", "test/a", "test/c"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            picture(n % 5, hash(name) % 1000 + n).save(tmp_path / "set" / name / f"{n}.png")
    with pytest.raises(
        DataError, match=r"no training image of c; add training images, .* --skip-empty"
    ):
        train_run(tmp_path / "set", tiny(), tmp_path / "run")
    shutil.rmtree(tmp_path / "set/test")
    with pytest.raises(DataError, match=r"no test images; add a test split, .* --folds 5"):
        train_run(tmp_path / "set", tiny(**{"data.folds": 0}), tmp_path / "run")
    (tmp_path / "set/train").rename(tmp_path / "set/val")
    with pytest.raises(DataError, match=r"no train images; data.train_on names train: add such a"):
        train_run(tmp_path / "set", tiny(), tmp_path / "run")


def test_the_users_files_are_never_touched(split_folders, tmp_path, tiny):
    shutil.copytree(split_folders, tmp_path / "set")
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "set").rglob("*.png")}
    smallset.train(tmp_path / "set", tiny(epochs=1), out=tmp_path / "run")
    assert {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "set").rglob("*.*")
    } == before


def test_findings_are_looked_for_once_and_no_file_is_read_twice(
    split_folders, tmp_path, tiny, monkeypatch
):
    looked, read, told = [], [], []
    one = Finding("leak", "hint", text("{why}", why="w"), text("{why}", why="w"), None, ())
    monkeypatch.setattr(finders, "find", lambda facts: looked.append(facts) or [one])
    monkeypatch.setattr("smallset.show.report.run_page.find", None)
    shutil.copytree(split_folders, tmp_path / "set")
    for path in (tmp_path / "set").rglob("*.png"):
        os.utime(path, (1, 1))
    monkeypatch.setattr(cache, "SETTLED_SECONDS", -1.0)
    original = cache.read_file
    monkeypatch.setattr(cache, "read_file", lambda path: read.append(path) or original(path))
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    config = tiny(**{"figures.report": True})
    with monkeypatch.context() as patch:
        patch.setattr(pages, "write_run_page", lambda *a, **k: told.append(k["findings"]) or Path())
        smallset.train(
            tmp_path / "set", config, out=tmp_path / "run", reporter=Reporter(found=told.append)
        )
    assert len(looked) == 1
    assert told == [[one], one]
    # Once for its hash, and once to decode it, at both sizes that it is wanted in.
    assert {read.count(path) for path in read} == {2}


def test_a_run_is_over_when_its_figures_are_drawn(split_folders, tmp_path, tiny):
    def killed(record):
        assert record.is_complete
        assert not record.is_over
        raise KeyboardInterrupt

    config, out, shown = tiny(epochs=1), tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        train_run(split_folders, config, out, show=killed)
    (out / ".folds").mkdir()  # killed while it was cleared away
    record = train_run(split_folders, config, out, resume=True, show=shown.append)
    assert shown == [record]
    assert record.is_over
    assert not [path for path in out.iterdir() if path.name[0] == "."]
