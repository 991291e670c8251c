"""Runs on classes of uneven sizes: what they weigh by, and that steps and probes do it."""

import numpy as np
import pytest
import torch
from support import same_numbers

from smallset.config import override
from smallset.data.balance import class_weights, log_prior
from smallset.data.feed import Batch
from smallset.data.prepare import DataSource
from smallset.learn.losses import cross_entropy_loss
from smallset.learn.plan import Planner, shares_backbone, stages_of
from smallset.learn.run import build_run, train_run, train_runs
from smallset.models.parts import Output
from smallset.progress import Reporter

UNEVEN = {"data.imbalance": 4}  # 8, 5, 3 and 2 images in the order of a hash


@pytest.mark.parametrize("balance", ["none", "weights", "logits"])
@pytest.mark.parametrize("loss", ["cross-entropy", "triplet-cosine"])
def test_steps_count_classes_by_the_labels_that_are_trained_on(split_folders, tiny, balance, loss):
    config = tiny(loss=loss, balance=balance, **UNEVEN, **{"data.noise_rate": 0.3})
    plan = Planner(DataSource(split_folders)).plan(config)
    given = plan.data.given_labels[plan.data.of("train")]
    sizes = np.bincount(given, minlength=4)
    assert sizes.tolist() != list(plan.data.images.counts("train"))
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    objective = stages_of(plan.config, plan.data)[-1].objective
    assert objective is not None
    batch = Batch(torch.zeros(6, 3, 2, 2), labels, np.arange(6))
    outcome = objective(lambda _: Output(logits, logits), batch)
    own = {
        "none": {},
        "weights": {"class_weights": torch.from_numpy(class_weights(sizes))},
        "logits": {"log_prior": torch.from_numpy(log_prior(sizes))},
    }[balance]
    torch.testing.assert_close(outcome.loss, cross_entropy_loss(logits, labels, **own))
    assert outcome.output.logits is logits  # what counts as predicted is not moved


def test_balanced_batches_reach_the_run_and_epochs_keep_their_length(split_folders, tiny, tmp_path):
    drawn = {}
    for balance in (False, True):
        config = tiny(**UNEVEN, **{"batches.balance": balance, "batches.size": 6})
        plan = Planner(DataSource(split_folders)).plan(config)
        run = build_run(plan, tmp_path / str(balance), Reporter())
        given = plan.data.given_labels[plan.data.of("train")]
        drawn[balance] = np.bincount(given[np.concatenate(run.inputs.batches(0, 0))], minlength=4)
    assert sorted(drawn[False]) == [2, 3, 5, 8]
    assert sorted(drawn[True]) == [4, 4, 5, 5]


def test_each_way_of_balancing_steps_gives_other_numbers(split_folders, tiny, tmp_path):
    losses = {}
    for name, settings in {
        "none": {},
        "weights": {"balance": "weights"},
        "logits": {"balance": "logits"},
        "batches": {"batches.balance": True},
    }.items():
        config = tiny(**{"data.imbalance": 8, "data.classes": "ant,dog", "epochs": 1, "lr": 1e-4},
                      **settings)  # fmt: skip
        record = train_run(split_folders, config, tmp_path / name)
        losses[name] = record.history[0]["train_loss"]
        assert record.config["config"]["balance"] == settings.get("balance", "none")
    assert len(set(losses.values())) == 4


def test_a_probe_of_a_run_is_balanced_by_the_given_labels(
    split_folders, tiny, squeeze_file, tmp_path
):
    head = {
        "model": "squeezenet1_1", "weights": str(squeeze_file), "recipe": "head", "image_size": 64,
        "epochs": 20, "batches.size": 32, "penalty": 0.1, "data.noise_rate": 0.3,
        "compute.precision": "float32",
    }  # fmt: skip
    records = {
        balance: train_run(
            split_folders, tiny(**head, **UNEVEN, balance=balance), tmp_path / balance
        )
        for balance in ("none", "logits")
    }
    known = records["none"].predictions
    sizes = np.bincount(known.given_labels[known.splits == "train"], minlength=4)
    moved = np.log(records["none"].predictions.probs) - log_prior(sizes)
    probs = np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(records["logits"].predictions.probs, probs, atol=1e-4)


def test_balanced_classifiers_side_by_side_are_those_trained_alone(
    split_folders, tiny, squeeze_file, tmp_path
):
    config = tiny(
        model="squeezenet1_1", weights=str(squeeze_file), head="sgd", trains="classifier",
        **UNEVEN, image_size=64, balance="weights",
    )  # fmt: skip
    source = DataSource(split_folders)
    configs = [override(config, {"seed": seed}) for seed in (0, 1)]
    plans = [Planner(source).plan(each) for each in configs]
    assert shares_backbone(plans[0]) == shares_backbone(plans[1]) is not None
    together = train_runs(source, [(p, tmp_path / f"t{n}") for n, p in enumerate(plans)])
    alone = train_run(split_folders, configs[1], tmp_path / "alone")
    same_numbers(together[1], alone)
