"""Probes as heads, and fine-tuning after them: what is trained, what stays, what is recorded."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import Listening, same_numbers

from smallset.config import override
from smallset.data.feed import Normalise
from smallset.errors import ConfigError
from smallset.learn import stages, training
from smallset.learn.run import train_run
from smallset.models.blocks import blocks_of
from smallset.models.registry import build_model
from smallset.models.restore import restore
from smallset.recipes import steps_at_default

NET = {"model": "squeezenet1_1", "image_size": 64}


@pytest.fixture
def head(tiny, squeeze_file):
    """Settings of a head on a frozen network: head(mirror=True)."""

    def build(**settings):
        own = {**NET, "weights": str(squeeze_file), "recipe": "head", "data.resize": "squash"}
        # What steps read stays open.
        own |= {"epochs": 20, "batches.size": 32}
        return tiny(**{**own, **settings})

    return build


@pytest.fixture
def finetune(head):
    def build(**settings):
        tuned = {"recipe": "finetune", "epochs": 2, "batches.size": 8}
        return head(**{**tuned, **settings})

    return build


def test_a_probe_is_one_line_of_history_and_an_ordinary_record(split_folders, head, tmp_path):
    listening = Listening()
    record = train_run(split_folders, head(), tmp_path / "run", reporter=listening)
    [line] = record.history
    assert (line["objective"], line["epoch"]) == ("probe", 0)
    assert line["train_accuracy"] == record.result["train_accuracy"] > 0.8
    assert line["val_accuracy"] == record.result["val_accuracy"]
    assert listening.stages == [("probe", 0)]
    assert record.config["config"]["recipe"] == "head"
    assert record.command().endswith("--image-size 64 --set data.resize=squash --out NEW")
    assert "--recipe head --model squeezenet1_1" in record.command()
    tuned = record.command({"recipe": "finetune"})  # what a finding on a probe recommends
    words = f"--recipe finetune --model squeezenet1_1 --weights {head().weights} --out NEW"
    assert tuned.endswith(words)
    vars(record)["settings"] = override(record.settings, {"mirror": True})  # asked for: it is kept
    assert " mirror=true " in record.command({"recipe": "finetune"})
    again = train_run(split_folders, head(), tmp_path / "again")
    same_numbers(record, again)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_network_of_a_record_predicts_what_the_record_says(
    split_folders, head, tmp_path, mirror
):
    record = train_run(split_folders, head(mirror=mirror), tmp_path / "run")
    assert json.loads((record.folder / "model.json").read_text())["mirror"] is mirror
    net, preprocessing, _ = restore(record)
    rows = [0, 9, 40, 55]
    files = [(split_folders / record.predictions.paths[row]).read_bytes() for row in rows]
    shown = np.stack([preprocessing.read(file)[0] for file in files])
    images = Normalise(preprocessing)(torch.from_numpy(shown).permute(0, 3, 1, 2).float())
    net.mirror = False
    with torch.no_grad():
        looks = [net(images).logits] + ([net(images.flip(-1)).logits] if mirror else [])
    probs = torch.stack(looks).mean(dim=0).softmax(dim=1).numpy()
    np.testing.assert_allclose(probs, record.predictions.probs[rows], atol=1e-4)


def test_a_mirrored_network_without_a_linear_head_averages_logits(split_folders, tiny, tmp_path):
    record = train_run(split_folders, tiny(mirror=True), tmp_path / "run")
    net, preprocessing, _ = restore(record)
    file = (split_folders / record.predictions.paths[3]).read_bytes()
    shown = torch.from_numpy(preprocessing.read(file)[0].copy()).permute(2, 0, 1)[None].float()
    images = Normalise(preprocessing)(shown)
    net.mirror = False
    with torch.no_grad():
        logits = (net(images).logits + net(images.flip(-1)).logits) / 2
    np.testing.assert_allclose(logits.softmax(dim=1)[0], record.predictions.probs[3], atol=1e-4)


def test_a_probe_fits_the_last_of_several_layers(split_folders, head, tmp_path):
    config = head(model="mobilenet_v3_small", weights="none", trains="classifier")
    record = train_run(split_folders, config, tmp_path / "run")
    before = build_model("mobilenet_v3_small", 4, image_size=64, weights="none", seed=0)
    after = load_file(record.folder / "model.safetensors")
    assert record.result["train_accuracy"] == record.history[0]["train_accuracy"]
    assert " --set trains=classifier " in record.command()  # else --recipe head is refused
    assert after["classifier.3.weight"].shape == before.state_dict()["classifier.3.weight"].shape


def test_a_network_that_does_not_end_in_a_linear_layer_is_named(split_folders, head, tmp_path):
    config = head(model="test_finetune:odd", weights="none", trains="classifier")
    with pytest.raises(ConfigError, match=r"ends in a Linear layer.*head=sgd"):
        train_run(split_folders, config, tmp_path / "run")


def odd(num_classes, image_size):
    from smallset.models.parts import Classifier

    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    layers.append(torch.nn.Flatten())
    head = torch.nn.Sequential(torch.nn.Linear(4, num_classes), torch.nn.LogSoftmax(dim=1))
    return Classifier(layers, head)


def test_fine_tuning_starts_from_the_probe_and_leaves_the_first_blocks(
    split_folders, finetune, head, tmp_path, squeeze_file
):
    probed = train_run(split_folders, head(penalty=0.03), tmp_path / "head")
    listening = Listening()
    record = train_run(split_folders, finetune(), tmp_path / "run", reporter=listening)
    head = record.command({**steps_at_default(), "recipe": "head"})  # of a fall below the probe
    assert "--recipe head --model squeezenet1_1 --weights" in head
    assert "batch" not in head
    assert listening.stages == [("probe", 0), ("cross-entropy", 0)]
    assert [line["stage"] for line in record.history] == [0, 1, 1]
    assert record.history[0]["train_accuracy"] == probed.history[0]["train_accuracy"]
    before = build_model("squeezenet1_1", 4, image_size=64, weights=str(squeeze_file), seed=0)
    after = restore(record).model
    pairs = zip(blocks_of(before.features), blocks_of(after.features), strict=True)
    changed = [
        any(not torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in pairs
    ]
    assert changed == [False] * 3 + [True] * 6


def test_frozen_blocks_leave_no_graph_and_batch_norm_stands_still(
    split_folders, finetune, tmp_path, monkeypatch
):
    graphs, kept = [], {}
    original = stages.fit

    def spying(setup, lanes, *args, **options):
        model = lanes[0].part
        blocks = blocks_of(model.features)
        for number, block in enumerate(blocks):

            def see(module, given, out: Any, n=number):
                if model.training:
                    graphs.append((n, out.requires_grad))

            block[0].register_forward_hook(see)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        kept["norms"] = [(m, m.state_dict()["running_mean"].clone()) for m in norms]
        yield from original(setup, lanes, *args, **options)

    monkeypatch.setattr(stages, "fit", spying)
    config = finetune(model="mobilenet_v2", weights="none", trains="all", epochs=1)
    train_run(split_folders, config, tmp_path / "run")
    assert {graph for number, graph in graphs if number < 7} == {False}
    assert {graph for number, graph in graphs if number >= 7} == {True}
    assert len(kept["norms"]) == 52
    assert all(torch.equal(m.state_dict()["running_mean"], mean) for m, mean in kept["norms"])


def test_fine_tuning_stopped_after_any_epoch_goes_on_exactly(
    split_folders, finetune, tmp_path, monkeypatch
):
    whole = train_run(split_folders, finetune(), tmp_path / "whole")
    original = training.Training.after_epoch
    for stop_after in (1, 2):
        count = [0]

        def stop(self, *args, _count=count, _at=stop_after, **options):
            original(self, *args, **options)
            _count[0] += 1
            if _count[0] == _at:
                raise KeyboardInterrupt

        folder = tmp_path / f"stopped-{stop_after}"
        with monkeypatch.context() as patch:
            patch.setattr(training.Training, "after_epoch", stop)
            with pytest.raises(KeyboardInterrupt):
                train_run(split_folders, finetune(), folder)
        same_numbers(whole, train_run(split_folders, finetune(), folder, resume=True))


def test_a_run_goes_on_from_a_record_with_the_recipe_of_that_record(split_folders, tiny, tmp_path):
    first = train_run(split_folders, tiny(lr=0.05), tmp_path / "first")
    open_config = override(tiny().__class__(), {"start_from": str(first.folder), "epochs": 1})
    second = train_run(split_folders, open_config, tmp_path / "second")
    settings = second.config["config"]
    assert (settings["recipe"], settings["image_size"]) == ("course-report", 32)
