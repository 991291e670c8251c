"""The loop against hand-written training: steps, epochs, rates, validation."""

import contextlib
import re
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smallset.data.feed import Batch, FeatureFeed, PixelFeed
from smallset.data.preprocessing import Preprocessing
from smallset.groups import OptimConfig, ScheduleConfig
from smallset.learn.keep import KeptWeights
from smallset.learn.objectives import OnePass, Outcome
from smallset.learn.optim import build_optimizer, build_schedule, parameter_groups
from smallset.learn.train import Lane, Setup, evaluate, fit, train_step
from smallset.models.forward import forward
from smallset.models.parts import Classifier


def toy(dropout=0.0):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.ReLU(), nn.Dropout(dropout))
    return Classifier(features, nn.Linear(16, 4))


def cross_entropy(output, labels):
    return F.cross_entropy(output.logits, labels)


IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4
BATCH = Batch(IMAGES, LABELS, np.arange(16))


def lane(part, optimizer):
    return Lane(part, optimizer.param_groups, KeptWeights(part))


def step(model, loss, optimizer, *, bfloat16=False, **options):
    """One step on all the images; `loss` is of an output and labels."""
    one_pass = partial(forward, model, bfloat16=bfloat16)
    objective, lanes = OnePass(loss), [lane(model, optimizer)]
    return train_step(one_pass, objective, optimizer, lanes, BATCH, **options)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_memorises_sixteen_random_images(bfloat16):
    model = toy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps = [step(model, cross_entropy, optimizer, bfloat16=bfloat16) for _ in range(60)]
    assert steps[-1].num_correct == 16


def test_the_loss_sees_float32_when_the_forward_pass_is_bfloat16():
    seen = []

    def recording(output, labels):
        seen.extend([output.logits.dtype, output.embeddings.dtype])
        return cross_entropy(output, labels)

    model = toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, recording, optimizer, bfloat16=True)
    assert seen == [torch.float32, torch.float32]


def test_one_step_is_one_update():
    model, reference = toy(), toy()
    step(model, cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1))
    cross_entropy(reference(IMAGES), LABELS).backward()
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    torch.testing.assert_close(model.state_dict(), reference.state_dict())


def test_the_gradient_is_clipped_to_its_largest_norm():
    model = toy()
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step(model, cross_entropy, optimizer, grad_clip=1e-3)
    moved = nn.utils.parameters_to_vector(model.parameters()) - before
    assert float(moved.detach().norm()) == pytest.approx(1e-3, rel=1e-3)


def vectors():
    array = IMAGES.flatten(1).numpy().reshape(16, 3, 8, 8)
    return FeatureFeed(array, LABELS.numpy(), device="cpu")


def halves(epoch):
    return np.split(np.random.default_rng(epoch).permutation(16), 2)


def run(
    model, part, epochs=3, schedule=lambda time: 1.0, lr=0.1, objective=None, kept=None,
    groups=None, val=None, **options,
):  # fmt: skip
    part.requires_grad_(True)
    optimizer = torch.optim.SGD(groups or part.parameters(), lr=lr)
    objective = objective or OnePass(cross_entropy)
    setup = Setup("toy", model, objective, vectors(), val, halves, lambda epoch: None)
    lanes = [Lane(part, optimizer.param_groups, kept or KeptWeights(part))]
    epochs = fit(setup, lanes, optimizer, schedule, epochs=range(epochs), **options)
    return [result for [result] in epochs]


def test_golden_losses_of_ten_epochs():
    """Ten epochs of the toy by hand-written SGD, the slow and obvious way."""
    reference = toy()
    expected = []
    for epoch in range(10):
        total = 0.0
        for rows in halves(epoch):
            loss = cross_entropy(reference(IMAGES[rows]), LABELS[rows])
            gradients = torch.autograd.grad(loss, list(reference.parameters()))
            with torch.no_grad():
                for p, g in zip(reference.parameters(), gradients, strict=True):
                    p -= 0.1 * g
            total += loss.item() * len(rows)
        expected.append(total / 16)
    model = toy()
    losses = [result.train.loss for result in run(model, model, epochs=10)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] < losses[0] / 2


def test_the_frozen_part_does_not_move_and_stays_in_eval_mode():
    model = toy(dropout=0.5).eval().requires_grad_(False)
    before = {k: v.clone() for k, v in model.features.state_dict().items()}
    modes = []
    run(model, model.classifier, on_step=lambda *_: modes.append(
        (model.features.training, model.classifier.training)
    ))  # fmt: skip
    assert set(modes) == {(False, True)}
    torch.testing.assert_close(model.features.state_dict(), before, rtol=0, atol=0)


def test_scores_of_val_are_those_of_one_pass_over_all_its_images():
    model = toy().eval()
    [scores] = evaluate(model, OnePass(cross_entropy), vectors(), batch_size=5)
    output = model(IMAGES)
    assert scores.loss == pytest.approx(cross_entropy(output, LABELS).item(), rel=1e-5)
    assert scores.accuracy == (output.logits.argmax(1) == LABELS).float().mean().item()


def test_a_loss_that_explodes_names_epoch_step_and_rate():
    model = toy()
    broken = run(model, model, lr=1e30)[-1].broken
    assert broken is not None
    assert re.search(r"epoch \d+, step \d, at learning rate 1e\+30; lower it", broken)


def test_the_rate_follows_the_schedule_and_the_optimizer_gets_its_peak_back():
    model = toy()
    schedule = build_schedule(ScheduleConfig(milestones=(1, 2)), 3)
    rates = [result.lr for result in run(model, model, schedule=schedule)]
    assert rates == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.parametrize(
    ("config", "times", "factors"),
    [
        (ScheduleConfig(milestones=(15,)), [0, 14.99, 15, 19], [1, 1, 0.1, 0.1]),
        (ScheduleConfig(milestones=(15, 25), gamma=0.5), [14, 20, 26], [1, 0.5, 0.25]),
        (ScheduleConfig(name="cosine"), [0, 5, 10, 20], [1, 0.853553, 0.5, 0]),
        (ScheduleConfig(name="constant", warmup_epochs=2), [0, 0.5, 2, 9], [0, 0.25, 1, 1]),
    ],
)
def test_schedules_follow_their_formulas(config, times, factors):
    schedule = build_schedule(config, 20)
    assert [schedule(t) for t in times] == pytest.approx(factors, abs=1e-6)


def test_optimizers_are_torchs_own_with_the_settings_given():
    model = toy()
    config = OptimConfig(momentum=0.9, nesterov=True, weight_decay=0.1)
    sgd = build_optimizer(parameter_groups(model, model, config, 0.5), config)
    assert isinstance(sgd, torch.optim.SGD)
    [group] = sgd.param_groups
    assert {k: group[k] for k in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1,
    }  # fmt: skip
    assert len(group["params"]) == len(list(model.parameters()))
    adamw = build_optimizer(parameter_groups(model, model, config, 0.5), OptimConfig(name="adamw"))
    assert isinstance(adamw, torch.optim.AdamW)


def test_pixels_are_normalised_channels_last_and_exact():
    array = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    preprocessing = Preprocessing(size=8, mean=mean, std=std)
    feed = PixelFeed(array, np.arange(5), preprocessing, device="cpu")
    ((images, labels, rows),) = feed.load([np.array([3, 1])], None)
    expected = (array[[3, 1]] / 255 - mean) / std
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), expected, atol=1e-5)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == rows.tolist() == [3, 1]


def slope(parameter):
    assert parameter.grad is not None
    return parameter.grad


def test_a_group_of_parameters_keeps_a_rate_and_a_decay_of_its_own():
    model, reference = toy(), toy()
    groups = [
        {"params": list(model.features.parameters()), "lr": 0.02, "weight_decay": 0.1},
        {"params": list(model.classifier.parameters()), "lr": 0.2, "weight_decay": 0.0},
    ]
    schedule = lambda time: 1.0 if time < 1 else 0.5  # noqa: E731
    results = run(model, model, epochs=2, groups=groups, schedule=schedule)
    assert [result.lr for result in results] == pytest.approx([0.2, 0.1])  # the highest
    for epoch in range(2):
        for rows in halves(epoch):
            reference.zero_grad()
            cross_entropy(reference(IMAGES[rows]), LABELS[rows]).backward()
            with torch.no_grad():
                for p in reference.features.parameters():
                    p -= 0.02 * schedule(epoch) * (slope(p) + 0.1 * p)
                for p in reference.classifier.parameters():
                    p -= 0.2 * schedule(epoch) * slope(p)
    torch.testing.assert_close(model.state_dict(), reference.state_dict())


def test_an_objective_may_pass_a_batch_twice_and_change_it():
    """Consistency: two views of a batch should be answered alike."""

    def consistency(forward, batch):
        first, second = forward(batch.images), forward(batch.images.flip(3))
        apart = (first.logits - second.logits).square().mean()
        return Outcome(cross_entropy(first, batch.labels) + apart, first)

    model, reference = toy(), toy()
    [result] = run(model, model, epochs=1, objective=consistency, val=vectors())
    for rows in halves(0):
        reference.zero_grad()
        first, second = reference(IMAGES[rows]), reference(IMAGES[rows].flip(3))
        apart = (first.logits - second.logits).square().mean()
        (cross_entropy(first, LABELS[rows]) + apart).backward()
        with torch.no_grad():
            for p in reference.parameters():
                p -= 0.1 * slope(p)
    torch.testing.assert_close(model.state_dict(), reference.state_dict())
    assert result.val is not None
    assert result.val.accuracy == (model(IMAGES).logits.argmax(1) == LABELS).float().mean().item()


def test_kept_weights_are_told_of_every_step_and_shown_to_val():
    class Zeros(KeptWeights):
        """Counts steps; shows a network that says nothing."""

        steps = 0

        def after_step(self):
            self.steps += 1

        @contextlib.contextmanager
        def shown(self):
            state = {k: v.clone() for k, v in self.module.state_dict().items()}
            self.module.load_state_dict({k: torch.zeros_like(v) for k, v in state.items()})
            yield
            self.module.load_state_dict(state)

    model = toy()
    kept = Zeros(model)
    [first, second] = run(model, model, epochs=2, kept=kept, val=vectors())
    assert kept.steps == 2 * 2
    assert [r.val and r.val.loss for r in (first, second)] == pytest.approx([np.log(4)] * 2)
    assert first.train.loss != second.train.loss
