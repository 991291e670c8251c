"""How probable is it that a given label is right? Fitted on the given labels alone.

q(k | x) = softmax(a log P_probe + b log P_neighbours) is what the image looks like, and T(k, given)
how labels are given. Noise is "even" where T = (1 - rho) I + rho / (K - 1) off the diagonal: with
probability rho, any other class. Noise "by class" has a free T, as where look-alike classes are
confused with each other. All numbers maximise the likelihood of the given labels; labels that a T
was not fitted on decide which kind of noise it is. The posterior of the true class k is q(k | x)
T(k, given) over its sum. Only probabilities that the label had no part in may be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.optimize import minimize

from smallset.models.probe import FOLDS, fold_of
from smallset.stats import Interval

DRAWS = 400
MAX_IMAGES_FITTED = 5000  # enough to fit two or three numbers on
TINY = 1e-12
SWEEPS, STEPS = 3, 8  # of the fit by class: of the exponents, and of T after each
PRIOR_IMAGES = 10.0  # per class, in the fit by class
MAX_RATE_WITHOUT_PROOF = 0.6  # of wrong labels
# Noise is not even where the confident joint sees so many times the one rate, and so much more.
JOINT_FACTOR, JOINT_GAP = 1.5, 0.02


@dataclass(frozen=True)
class Posterior:
    """What the images look like, and how many labels are wrong."""

    scale: Float[ndarray, " 2"]
    """(a, b)."""
    flips: Float[ndarray, "K K"]
    """T."""
    looks: Float[ndarray, "n K"]
    """q: probability of each class by the image alone."""
    probs: Float[ndarray, "n K"]
    """Probability that each class is the true one, the given label counted in."""
    rate: Interval
    """rho: share of wrong labels, with its 95 % interval."""
    likelihood: float
    """Mean log-likelihood of the given labels; by class, of those that T was not fitted on."""
    noise: Literal["even", "by class"]
    """Whether every wrong class is as probable as another."""

    def of_given(self, labels: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
        """Return the probability that each given label is right."""
        return self.probs[np.arange(len(labels)), labels]

    def of_others(
        self,
        probe: Float[ndarray, "m K"],
        neighbours: Float[ndarray, "m K"],
        labels: Int[ndarray, " m"],
    ) -> "Posterior":
        """Return the posterior of other images, or of other probabilities, as fitted here."""
        looks = _looks(_logs(probe, neighbours), self.scale)
        return replace(self, looks=looks, probs=_weighed(looks, self.flips, labels))

    def best_other(
        self, labels: Int[ndarray, " n"]
    ) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
        """Return the most probable class beside each given label, and its probability."""
        others = self.probs.copy()
        others[np.arange(len(labels)), labels] = -1
        return others.argmax(axis=1), others.max(axis=1)


def fit_posterior(
    probe: Float[ndarray, "n K"],
    neighbours: Float[ndarray, "n K"],
    labels: Int[ndarray, " n"],
    groups: Sequence[str] | None = None,
) -> Posterior:
    """Fit the posterior of the true class, with the noise model that held-out labels speak for.

    Args:
        groups: Images of one group are held out together; None where every image stands alone.
    """
    logs = _logs(probe, neighbours)
    even = fit_even(probe, neighbours, labels)
    start = _flows(even, labels)
    every = np.ones(len(labels), dtype=bool)
    fold = fold_of(labels, np.random.default_rng(0), groups=groups)
    held = np.empty(len(labels))
    for out in (fold == number for number in range(FOLDS)):
        scale, flips = _fit_by_class(logs, labels, ~out, start)
        held[out] = (_looks(logs[:, out], scale) * flips[:, labels[out]].T).sum(axis=1)
    held = np.log(np.maximum(held, TINY))
    gain = held - np.log(_given_even(even.looks, labels, even.rate.value))
    # Where classes are easy to tell, a probe can learn the noise itself, and neither is better:
    # what the confident joint sees and the one rate does not decides then.
    rate, more = even.rate.value, 1.96 * float(gain.std()) / len(gain) ** 0.5
    unseen = joint_rate(even.looks, labels) > max(JOINT_FACTOR * rate, rate + JOINT_GAP)
    if gain.mean() <= (-more if unseen else 0):
        return even
    scale, flips = _fit_by_class(logs, labels, every, start)
    looks = _looks(logs, scale)
    probs = _weighed(looks, flips, labels)
    wrong = 1 - probs[np.arange(len(labels)), labels]
    low, high = np.quantile(_resampled(len(wrong)) @ wrong / len(wrong), [0.025, 0.975])
    rate = Interval(float(wrong.mean()), float(low), float(high))
    return Posterior(scale, flips, looks, probs, rate, float(held.mean()), "by class")


class Hill(NamedTuple):
    """A place where the likelihood of one rate for all classes is highest around."""

    scale: Float[ndarray, " 2"]
    looks: Float[ndarray, "n K"]
    rate: float
    """rho."""


def fit_even(
    probe: Float[ndarray, "n K"], neighbours: Float[ndarray, "n K"], labels: Int[ndarray, " n"]
) -> Posterior:
    """Fit the posterior under one rate for all classes and pairs of classes."""
    logs = _logs(probe, neighbours)
    rows, others = np.arange(len(labels)), probe.shape[1] - 1

    def unpack(values: ndarray) -> tuple[ndarray, ndarray, float]:
        scale = _exp(values[:2])
        return scale, _looks(logs, scale), float(1 / (1 + _exp(-values[2])))

    some = _some(len(labels))
    columns, given = _columns(logs[:, some]), labels[some]

    def loss(values: ndarray) -> float:
        looks = _looks(columns, _exp(values[:2]), axis=0)
        rho = float(1 / (1 + _exp(-values[2])))
        return -float(np.log(_given_even(looks.T, given, rho)).mean(dtype=np.float64))

    # The likelihood may have two hills: all images alike within a class and no noise, or each sure
    # of its class and much noise. The second is taken unless the first is better beyond chance; or,
    # where most labels would be wrong, if it is itself better: features that say nothing of the
    # classes fit "sure, and every label wrong" as well as "no idea".
    starts = [np.array([0.5, -0.5, -3.0]), np.array([2.0, 1.0, -0.5])]
    options = {"maxiter": 500, "xatol": 1e-3, "fatol": 1e-7}
    hills = sorted(
        (
            Hill(*unpack(minimize(loss, start, method="Nelder-Mead", options=options).x))
            for start in starts
        ),
        key=lambda hill: hill.rate,
    )
    logs_of = [np.log(_given_even(hill.looks, labels, hill.rate)) for hill in hills]
    more = logs_of[1] - logs_of[0]
    spread = 1.96 * float(more.std()) / len(labels) ** 0.5
    is_believed = hills[1].rate <= MAX_RATE_WITHOUT_PROOF
    is_much = float(more.mean()) >= (-spread if is_believed else spread)
    (scale, looks, rho), likely = (hills[1], logs_of[1]) if is_much else (hills[0], logs_of[0])
    flips = np.full((others + 1, others + 1), rho / others)
    np.fill_diagonal(flips, 1 - rho)
    rate = Interval(rho, *_rate_interval(looks[rows, labels], others))
    likelihood = float(likely.mean())
    probs = _weighed(looks, flips, labels)
    return Posterior(scale, flips, looks, probs, rate, likelihood, "even")


def _weighed(
    looks: Float[ndarray, "n K"], flips: Float[ndarray, "K K"], labels: Int[ndarray, " n"]
) -> Float[ndarray, "n K"]:
    """Return the posterior: what an image looks like, times how its label would then be given."""
    probs = looks * flips[:, labels].T
    return probs / np.maximum(probs.sum(axis=1, keepdims=True), TINY)


def confident_joint(
    looks: Float[ndarray, "n K"], labels: Int[ndarray, " n"]
) -> Float[ndarray, "K K"]:
    """Return joint[i, j]: images given as i that look like j, scaled to the images of each class.

    An image looks like the most probable class among those it reaches the mean probability of.

    Args:
        looks: Probability of each class by the image alone.

    Source:
        Northcutt et al. 2021, "Confident Learning", equations 1 and 2.
    """
    num_classes = looks.shape[1]
    totals = np.bincount(labels, minlength=num_classes)
    means = np.array([
        looks[labels == k, k].mean() if totals[k] else 2.0 for k in range(num_classes)
    ])  # fmt: skip
    reached = np.where(looks >= means - 1e-9, looks, -1.0)
    counted = reached.max(axis=1) >= 0
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (labels[counted], reached.argmax(axis=1)[counted]), 1)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] += TINY
    np.fill_diagonal(joint, np.where(empty, 1.0, joint.diagonal()))
    return joint * (totals / joint.sum(axis=1))[:, None]


def _flows(even: Posterior, labels: Int[ndarray, " n"]) -> Float[ndarray, "K K"]:
    """Return a first T for noise by class: one rate sees nothing of two classes that mix."""
    flips = confident_joint(even.looks, labels).T + 1 / even.looks.shape[1]
    return flips / flips.sum(axis=1, keepdims=True)


def _fit_by_class(
    logs: Float[ndarray, "2 n K"],
    labels: Int[ndarray, " n"],
    part: Bool[ndarray, " n"],
    flips: Float[ndarray, "K K"],
) -> tuple[Float[ndarray, " 2"], Float[ndarray, "K K"]]:
    """Fit (a, b) and T, T[k, given], on some images by expectation and maximisation."""
    own, given = logs[:, part], labels[part]
    num_classes, some = len(flips), _some(len(given))
    columns = _columns(own[:, some])
    scale = np.exp(np.array([0.5, -0.5]))
    for _ in range(SWEEPS):
        seen = flips[:, given[some]].astype(np.float32)

        def loss(values: ndarray, seen: ndarray = seen) -> float:
            likely = (_looks(columns, _exp(values), axis=0) * seen).sum(axis=0)
            return -float(np.log(np.maximum(likely, TINY)).mean(dtype=np.float64))

        options = {"maxiter": 60, "xatol": 1e-2, "fatol": 1e-6}
        found = minimize(loss, np.log(scale), method="Nelder-Mead", options=options)
        scale = _exp(found.x)
        looks = _looks(own, scale)
        for _ in range(STEPS):
            share = _weighed(looks, flips, given)
            counts = np.zeros((num_classes, num_classes))
            np.add.at(counts.T, given, share)
            # As if a few more images of each class had noise of the mean rate, spread evenly.
            rate = 1 - counts.trace() / len(given)
            counts += (rate * PRIOR_IMAGES / (num_classes - 1) + 1e-3) * (1 - np.eye(num_classes))
            flips = counts / np.maximum(counts.sum(axis=1, keepdims=True), TINY)
    return scale, flips


def _given_even(
    looks: Float[ndarray, "n K"], labels: Int[ndarray, " n"], rho: float
) -> Float[ndarray, " n"]:
    own = looks[np.arange(len(labels)), labels]
    return np.maximum((1 - rho) * own + rho / (looks.shape[1] - 1) * (1 - own), TINY)


def joint_rate(looks: Float[ndarray, "n K"], labels: Int[ndarray, " n"]) -> float:
    """Return the share of wrong labels by the confident joint, whatever classes they mix.

    Args:
        looks: Probability of each class by the image alone.
    """
    joint = confident_joint(looks, labels)
    return 1 - float(joint.trace() / joint.sum())


def _some(count: int) -> ndarray:
    """Return the images that two or three numbers are fitted on: all, or enough of them."""
    if count <= MAX_IMAGES_FITTED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_IMAGES_FITTED, replace=False))


def _exp(values: Any) -> Any:
    return np.exp(np.clip(values, -15, 15))


def _logs(*probs: Float[ndarray, "n K"]) -> Float[ndarray, "2 n K"]:
    return np.log(np.maximum(np.stack(probs), TINY))


def _looks(
    logs: Float[ndarray, "2 n K"] | Float[ndarray, "2 K n"],
    scale: Float[ndarray, " 2"],
    axis: int = 1,
) -> Float[ndarray, "_ _"]:
    a, b = scale.astype(logs.dtype)
    logits = a * logs[0] + b * logs[1]
    shown = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return shown / shown.sum(axis=axis, keepdims=True)


def _columns(logs: Float[ndarray, "2 n K"]) -> Float[ndarray, "2 K n"]:
    """Return the layout that is quick to fit on: a few classes are summed over for many images."""
    return np.ascontiguousarray(logs.transpose(0, 2, 1), dtype=np.float32)


def _rate_interval(own: Float[ndarray, " n"], others: int) -> tuple[float, float]:
    """Return the middle 95 % of the rates that fit resampled images best."""
    rates = np.concatenate([np.linspace(0, 0.2, 201), np.linspace(0.2, 1, 321)[1:]])
    given = own[:, None] * (1 - rates) + (1 - own[:, None]) * rates / others
    each = np.log(np.maximum(given, TINY))
    low, high = np.quantile(rates[(_resampled(len(own)) @ each).argmax(axis=1)], [0.025, 0.975])
    return float(low), float(high)


def _resampled(count: int) -> Int[ndarray, "draws n"]:
    """Return how often each image is in each of many resamples."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
