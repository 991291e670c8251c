"""Losses against slow references written from their formulas, and against a well-known library."""

import math

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

from smallset.learn.losses import (
    cross_entropy_loss,
    gce_loss,
    mse_loss,
    squared_loss,
    triplet_cosine_loss,
    triplet_euclidean_loss,
)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4])  # class 3 has no positive


def cosine_distance(a, b):
    return -float(a @ b / (a.norm() * b.norm()))


def euclidean_distance(a, b):
    return float((a - b).norm())


def batch_hard_by_loops(embeddings, labels, margin, distance, soft):
    found = []
    for i, anchor in enumerate(embeddings):
        d = [distance(anchor, other) for other in embeddings]
        positives = [d[j] for j in range(len(d)) if j != i and labels[j] == labels[i]]
        negatives = [d[j] for j in range(len(d)) if labels[j] != labels[i]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            found.append(math.log1p(math.exp(gap)) if soft else max(0.0, gap + margin))
    return sum(found) / len(found)


PAIRS = [(triplet_cosine_loss, cosine_distance), (triplet_euclidean_loss, euclidean_distance)]


@pytest.mark.parametrize(("loss", "distance"), PAIRS)
@pytest.mark.parametrize("margin", [0.0, 0.25, 5.0])
@pytest.mark.parametrize("soft", [False, True])
def test_triplet_losses_equal_the_formula_written_as_loops(loss, distance, margin, soft):
    embeddings = draw(12, 4)
    expected = batch_hard_by_loops(embeddings, LABELS, margin, distance, soft)
    actual = loss(embeddings, LABELS, margin=margin, soft_margin=soft)
    torch.testing.assert_close(actual, torch.tensor(expected))


@pytest.mark.parametrize(
    ("loss", "distance"),
    [
        (triplet_cosine_loss, distances.CosineSimilarity()),
        (triplet_euclidean_loss, distances.LpDistance(normalize_embeddings=False)),
    ],
)
@pytest.mark.parametrize("margin", [0.25, 3.0])
def test_triplet_losses_equal_pytorch_metric_learning(loss, distance, margin):
    """With its reducer set to the plain mean, and for the Euclidean loss no normalisation."""
    embeddings, labels = draw(40, 16), torch.arange(40) % 7
    triplets = miners.BatchHardMiner(distance=distance)(embeddings, labels)
    theirs = losses.TripletMarginLoss(
        margin=margin, distance=distance, reducer=reducers.MeanReducer()
    )
    expected = theirs(embeddings, labels, triplets)
    torch.testing.assert_close(loss(embeddings, labels, margin=margin), expected)


@pytest.mark.parametrize("loss", [triplet_cosine_loss, triplet_euclidean_loss])
@pytest.mark.parametrize("soft", [False, True])
def test_triplet_gradients_match_finite_differences(loss, soft):
    embeddings = draw(6, 3, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda e: loss(e, labels, margin=9.0, soft_margin=soft), embeddings
    )


def test_near_duplicates_keep_their_distance_in_a_large_batch():
    """Above 25 rows cdist's default form errs by 1e-3 on unit vectors."""
    anchor = torch.nn.functional.normalize(torch.ones(1, 128), dim=1)
    near = anchor + 1e-4 * draw(1, 128)
    far = -anchor.expand(62, -1)
    labels = torch.tensor([0, 0, *range(1, 63)])  # of the far ones, none has a positive
    actual = triplet_euclidean_loss(torch.cat([anchor, near, far]), labels, margin=3.0)
    negatives = (anchor - far[0]).norm() + (near - far[0]).norm()
    expected = 3.0 + (anchor - near).norm() - negatives / 2
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_identical_images_give_a_finite_gradient():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    triplet_euclidean_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=3.0).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("loss", [triplet_cosine_loss, triplet_euclidean_loss])
@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.long), torch.arange(3)])
def test_a_batch_without_a_whole_anchor_costs_nothing(loss, labels):
    embeddings = draw(3, 2).requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    assert value == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("loss", [triplet_cosine_loss, triplet_euclidean_loss])
def test_the_order_of_the_batch_does_not_matter(loss):
    embeddings, order = draw(12, 4), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(embeddings[order], LABELS[order]), loss(embeddings, LABELS))


def test_collapsed_embeddings_stand_at_the_margin():
    point = torch.ones(12, 4)
    assert float(triplet_euclidean_loss(point, LABELS, margin=0.25)) == 0.25
    assert float(triplet_cosine_loss(point, LABELS, margin=0.25)) == pytest.approx(0.25)


def softmax_by_hand(row):
    powers = [math.exp(v) for v in row.tolist()]
    return [p / sum(powers) for p in powers]


def test_squared_and_mse_equal_their_formulas():
    logits, labels = draw(5, 3), torch.tensor([0, 2, 1, 1, 0])
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        for k, p in enumerate(softmax_by_hand(row)):
            total += (p - (k == int(label))) ** 2
    assert float(squared_loss(logits, labels)) == pytest.approx(total, rel=1e-6)
    assert float(mse_loss(logits, labels)) == pytest.approx(total / 15, rel=1e-6)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_equals_its_formula(q):
    logits, labels = draw(5, 3), torch.tensor([0, 2, 1, 1, 0])
    probs = [softmax_by_hand(row)[label] for row, label in zip(logits, labels, strict=True)]
    expected = sum((1 - p**q) / q for p in probs) / 5
    assert float(gce_loss(logits, labels, gce_q=q)) == pytest.approx(expected, rel=1e-5)


def test_gce_of_a_hopeless_image_has_a_finite_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    gce_loss(logits, torch.tensor([1])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [squared_loss, mse_loss, gce_loss])
def test_gradients_match_finite_differences(loss):
    logits = draw(4, 3, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda values: loss(values, labels), logits)


def test_mse_starts_with_hundreds_of_times_smaller_gradients_than_cross_entropy():
    """EVIDENCE, section 3: 616 times, at 35 classes and batches of 32."""
    logits = (0.1 * draw(32, 35)).requires_grad_()
    labels = torch.arange(32)
    norms = []
    for loss in (torch.nn.functional.cross_entropy, mse_loss):
        (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
        norms.append(gradient.norm())
    assert 500 < norms[0] / norms[1] < 700


def test_cross_entropy_with_weights_and_a_prior_equals_its_formula():
    logits, labels = draw(6, 3), torch.tensor([0, 0, 1, 2, 2, 2])
    weights, prior = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([0.6, 0.3, 0.1])
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        probs = softmax_by_hand(row + prior.log())
        targets = [0.1 / 3 + 0.9 * (k == int(label)) for k in range(3)]
        cost = -sum(t * math.log(p) for t, p in zip(targets, probs, strict=True))
        expected += float(weights[label]) * cost / 6
    actual = cross_entropy_loss(
        logits, labels, label_smoothing=0.1, class_weights=weights, log_prior=prior.log()
    )
    torch.testing.assert_close(actual, torch.tensor(expected))
