"""Classifiers on one frozen backbone: together the same numbers as alone."""

import pytest
import torch
import torch.nn.functional as F
from support import same_numbers
from torch import nn

from smallset.config import override
from smallset.data.prepare import DataSource
from smallset.errors import RunError
from smallset.learn import stages, training
from smallset.learn.objectives import OnePass, per_lane
from smallset.learn.plan import Planner, shares_backbone
from smallset.learn.run import train_run, train_runs
from smallset.learn.stack import StackedHead, is_stackable
from smallset.models.parts import Output


def train_all(data, jobs, **options):
    source = DataSource(data)
    plans = [(Planner(source).plan(config), folder) for config, folder in jobs]
    return train_runs(source, plans, **options)


def heads(count, dropout=0.0):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Dropout(dropout), nn.Linear(512, 35)) for _ in range(count)]


def test_a_stack_is_its_heads_one_by_one():
    parts = heads(3)
    features = torch.randn(3, 32, 512)
    output = StackedHead(parts).eval()(features)
    for lane, head in enumerate(parts):
        torch.testing.assert_close(output.logits[lane], head.eval()(features[lane]))
    torch.testing.assert_close(StackedHead(parts)(features[0]).logits[2], parts[2](features[0]))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_lane_has_the_same_bits_whatever_lanes_there_are(dropout):
    """Forward and gradient, in batches large enough for every path of the matrix product."""
    parts = heads(24, dropout)
    features, labels = torch.randn(24, 32, 512), torch.randint(35, (24, 32))
    objective = per_lane(OnePass(lambda output, y: F.cross_entropy(output.logits, y)))

    def gradients(lanes):
        stack = StackedHead([parts[lane] for lane in lanes]).train()
        stack.zero_grad()
        stack.seed(list(lanes))
        losses = objective.loss(stack(features[list(lanes)]), labels[list(lanes)])
        losses.sum().backward()
        return losses.detach(), [layer.weight.grad.clone() for layer in stack.linear]

    losses, together = gradients(range(24))
    for lane in (0, 7, 23):
        loss, [alone] = gradients([lane])
        assert loss[0] == losses[lane]
        assert torch.equal(alone, together[lane])


def test_dropout_scales_what_it_keeps():
    stack = StackedHead(heads(1, dropout=0.25)).train()
    nn.init.eye_(stack.linear[0].weight)
    nn.init.zeros_(stack.linear[0].bias)
    stack.seed([0])
    values = stack(torch.ones(1, 4000, 512)).logits.unique().tolist()
    assert values == pytest.approx([0, 4 / 3])
    assert stack.eval()(torch.ones(1, 2, 512)).logits.unique().tolist() == [1]


def test_only_a_linear_layer_behind_dropout_can_be_stacked():
    assert is_stackable(nn.Linear(3, 2))
    assert is_stackable(nn.Sequential(nn.Dropout(), nn.Linear(3, 2)))
    assert not is_stackable(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)))


@pytest.fixture
def jobs(tmp_path, tiny, squeeze_file):
    base = tiny(model="squeezenet1_1", weights=str(squeeze_file), image_size=64, epochs=3)
    settings = [
        {"lr": 0.01, "seed": 0},
        {"lr": 0.1, "seed": 0, "optim.momentum": 0.9},
        {"lr": 0.01, "seed": 1, "optim.weight_decay": 0.01},
    ]
    return [(override(base, each), tmp_path / f"run{n}") for n, each in enumerate(settings)]


def test_runs_on_one_backbone_get_the_numbers_they_get_alone(split_folders, tmp_path, jobs):
    planner = Planner(DataSource(split_folders))
    plans = [planner.plan(config) for config, _ in jobs]
    assert len({shares_backbone(plan) for plan in plans} - {None}) == 1
    together = train_all(split_folders, jobs)
    for n, (config, _) in enumerate(jobs):
        alone = train_run(split_folders, config, tmp_path / f"alone{n}")
        same_numbers(together[n], alone)
        assert alone.config["digest"] == plans[n].digest


def test_runs_that_were_stopped_together_go_on_with_the_same_numbers(
    split_folders, tmp_path, jobs, monkeypatch
):
    original, saved = training.save_checkpoint, []

    def stop(*args, **kwargs):
        original(*args, **kwargs)
        saved.append(args)
        if len(saved) == 3 + 2:  # the first epoch of all three, the second of two of them
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "CHECKPOINT_SECONDS", 0)
        patch.setattr(training, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            train_all(split_folders, jobs)
    resumed = train_all(split_folders, jobs, resume=True)
    for n, (config, _) in enumerate(jobs):
        same_numbers(resumed[n], train_run(split_folders, config, tmp_path / f"alone{n}"))


def test_what_differs_in_more_than_rate_and_seed_trains_apart(split_folders, jobs, tiny):
    planner = Planner(DataSource(split_folders))
    (config, _), *_ = jobs
    first = planner.plan(config)
    for settings in (
        {"image_size": 32}, {"epochs": 4}, {"batches.size": 4}, {"data.noise_rate": 0.5},
        {"trains": "all"}, {"augment.flip": True}, {"optim.name": "adamw"},
    ):  # fmt: skip
        other = planner.plan(override(config, settings))
        assert shares_backbone(other) != shares_backbone(first), settings
    assert shares_backbone(planner.plan(tiny(model="plain"))) is None


def test_one_that_diverges_leaves_the_others_as_they_would_be(split_folders, tmp_path, jobs):
    bad = override(jobs[0][0], {"lr": 1e38})
    outcomes = train_all(split_folders, [jobs[0], (bad, tmp_path / "bad"), jobs[2]])
    assert isinstance(outcomes[1], RunError)
    assert "at learning rate 1e+38" in str(outcomes[1])
    assert not (tmp_path / "bad/result.json").exists()
    same_numbers(outcomes[0], train_run(split_folders, jobs[0][0], tmp_path / "alone"))
    assert getattr(outcomes[2], "is_complete", False)


def test_per_lane_gives_each_lane_its_own_loss():
    logits, labels = torch.randn(2, 5, 3), torch.randint(3, (2, 5))
    objective = per_lane(OnePass(lambda output, y: F.cross_entropy(output.logits, y)))
    losses = objective.loss(Output(logits, logits), labels)
    expected = [F.cross_entropy(logits[i], labels[i]) for i in range(2)]
    torch.testing.assert_close(losses, torch.stack(expected))
