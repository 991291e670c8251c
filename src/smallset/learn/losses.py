"""Losses as pure functions of tensors. Nothing is normalised unless the formula says so."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Embeddings = Float[Tensor, "batch dim"]
Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]
PerClass = Float[Tensor, " classes"]
Scalar = Float[Tensor, ""]


def cross_entropy_loss(
    logits: Logits,
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    class_weights: PerClass | None = None,
    log_prior: PerClass | None = None,
) -> Scalar:
    """Cross-entropy, mean over the batch: mean of -w_y sum_k t_k log p_k, p = softmax(z + log q).

    The target t is 1 - s + s / K for the label y and s / K for the other classes.

    Args:
        logits: Raw outputs; the softmax is taken here.
        labels: Class index of each image.
        label_smoothing: s, in [0, 1).
        class_weights: w; None for 1. Their sum over the batch is not divided by, which would make
            an image's weight depend on its neighbours.
        log_prior: log q, added to the logits z where the loss is taken, and nowhere else; None for
            0. With q the classes' shares of the images, z learns to say all of them equally often.

    Example:
        >>> round(cross_entropy_loss(torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)  # ln 4
        1.3863

    Source:
        Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567 (the smoothing); Menon et
        al. 2021, equation 10, https://arxiv.org/abs/2007.07314 (q).
    """
    if log_prior is not None:
        logits = logits + log_prior
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    each = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return (class_weights[labels] * each).mean()


def triplet_cosine_loss(
    embeddings: Embeddings, labels: Labels, *, margin: float = 0.25, soft_margin: bool = False
) -> Scalar:
    """Triplet loss on cosine similarity, with the hardest positive and negative of every anchor.

    With s the similarity of rows scaled to length 1::

        loss_i = max(0, max_{y_j != y_i} s(i, j) - min_{j != i, y_j == y_i} s(i, j) + margin)

    The mean is over the anchors that have a positive and a negative in the batch; the others are
    left out. A batch without any such anchor has loss 0 and gradient 0.

    Args:
        embeddings: One vector per image, of any length but 0.
        labels: Class index of each image.
        margin: Wanted gap, in units of s, which is in [-1, 1].
        soft_margin: Use log(1 + exp(x)) in place of max(0, margin + x); `margin` is not used.

    Example:
        >>> right = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> triplet_cosine_loss(right, labels).item()  # s = 1 within, 0 between
        0.0
        >>> triplet_cosine_loss(torch.ones(4, 2), labels).item()  # all equal
        0.25

    Source:
        Mining as in Hermans et al. 2017, section 2, https://arxiv.org/abs/1703.07737.
    """
    unit = F.normalize(embeddings, dim=1)
    return _batch_hard(-unit @ unit.T, labels, margin=margin, soft_margin=soft_margin)


def triplet_euclidean_loss(
    embeddings: Embeddings, labels: Labels, *, margin: float = 0.25, soft_margin: bool = False
) -> Scalar:
    """Triplet loss on Euclidean distance, with the hardest positive and negative of every anchor.

    With d the distance between rows, which are not normalised::

        loss_i = max(0, max_{j != i, y_j == y_i} d(i, j) - min_{y_j != y_i} d(i, j) + margin)

    Anchors are averaged and left out as in `triplet_cosine_loss`. Between identical rows d is 0,
    and so is its gradient.

    Args:
        labels: Class index of each image.
        margin: Wanted gap, in units of d.
        soft_margin: Use log(1 + exp(x)) in place of max(0, margin + x); `margin` is not used.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> triplet_euclidean_loss(torch.ones(4, 2), labels, margin=0.5).item()  # all equal
        0.5

    Source:
        Hermans et al. 2017, "In Defense of the Triplet Loss for Person Re-Identification", the
        "Batch Hard" loss of section 2, https://arxiv.org/abs/1703.07737.
    """
    # cdist's default above 25 rows goes through a matmul and errs by 1e-3 on unit vectors.
    distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    return _batch_hard(distances, labels, margin=margin, soft_margin=soft_margin)


def _batch_hard(
    distances: Float[Tensor, "batch batch"], labels: Labels, *, margin: float, soft_margin: bool
) -> Scalar:
    same: Bool[Tensor, "batch batch"] = labels[:, None] == labels[None, :]
    is_self = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    hardest_positive = distances.masked_fill(~same | is_self, -torch.inf).amax(dim=1)
    hardest_negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    valid = hardest_positive.isfinite() & hardest_negative.isfinite()
    if not valid.any():
        return distances.sum() * 0  # still part of the graph, so backward runs and gives zeros
    gap = hardest_positive[valid] - hardest_negative[valid]
    return (F.softplus(gap) if soft_margin else F.relu(gap + margin)).mean()


def squared_loss(logits: Logits, labels: Labels) -> Scalar:
    """Squared error between softmax outputs and one-hot labels, summed over classes and batch.

    Args:
        logits: Raw outputs; the softmax is taken here.
        labels: Class index of each image.
    Example:
        >>> squared_loss(torch.zeros(2, 2), torch.tensor([0, 1])).item()  # 4 x 0.5^2
        1.0
    """
    return (logits.softmax(dim=1) - _one_hot(logits, labels)).square().sum()


def mse_loss(logits: Logits, labels: Labels) -> Scalar:
    """Squared error between softmax outputs and one-hot labels, mean over all elements.

    With 35 classes its gradient is several hundred times smaller than cross entropy's, so at the
    same rate it hardly learns.

    Args:
        logits: Raw outputs; the softmax is taken here.
        labels: Class index of each image.
    Example:
        >>> mse_loss(torch.zeros(2, 2), torch.tensor([0, 1])).item()
        0.25
    """
    return (logits.softmax(dim=1) - _one_hot(logits, labels)).square().mean()


def gce_loss(logits: Logits, labels: Labels, *, gce_q: float = 0.7) -> Scalar:
    """Generalised cross entropy, which heeds wrong labels less: mean of (1 - p_label^q) / q.

    Args:
        logits: Raw outputs; the softmax is taken here.
        labels: Class index of each image.
        gce_q: q, in (0, 1]; towards 0 it is cross-entropy, at 1 the mean absolute error.

    Example:
        >>> round(gce_loss(torch.zeros(1, 2), torch.tensor([0]), gce_q=1.0).item(), 4)
        0.5

    Source:
        Zhang & Sabuncu 2018, section 3.1, https://arxiv.org/abs/1805.07836.
    """
    log_probs = logits.log_softmax(dim=1).gather(1, labels[:, None])
    return ((1 - (gce_q * log_probs).exp()) / gce_q).mean()


def _one_hot(logits: Logits, labels: Labels) -> Logits:
    return F.one_hot(labels, num_classes=logits.shape[1]).to(logits.dtype)
