"""How probable is it that a given label is right? Fitted on the given labels alone.

q(k | x) = softmax(a log P_probe + b log P_neighbours) is what the image looks like; a label is
given by T = (1 - rho) I + rho / (K - 1) off the diagonal: with probability rho, any other class.
(a, b, rho) maximise the likelihood of the given labels, and the posterior of the true class k is
q(k | x) T(k, given) over its sum. Only probabilities that the label had no part in may be used.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import minimize

from smallset.compare.stats import Interval

DRAWS = 400


@dataclass(frozen=True)
class Posterior:
    """What the images look like, and how many labels are wrong."""

    looks: Float[ndarray, "n K"]
    """q: probability of each class by the image alone."""
    probs: Float[ndarray, "n K"]
    """Probability that each class is the true one, the given label counted in."""
    rate: Interval
    """rho: share of wrong labels, with its 95 % interval."""
    likelihood: float
    """Mean log-likelihood of the given labels."""

    def of_given(self, labels: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
        """Return the probability that each given label is right.

        Args:
            labels: As given.
        """
        return self.probs[np.arange(len(labels)), labels]


def fit_posterior(
    probe: Float[ndarray, "n K"], neighbours: Float[ndarray, "n K"], labels: Int[ndarray, " n"]
) -> Posterior:
    """Fit the posterior of the true class.

    Args:
        probe: Out-of-fold probabilities of the probe.
        neighbours: Those of the neighbours.
        labels: As given.
    """
    logs = [np.log(np.maximum(each, 1e-12)) for each in (probe, neighbours)]
    rows, others = np.arange(len(labels)), probe.shape[1] - 1

    def given(looks: ndarray, rho: float) -> ndarray:
        own = looks[rows, labels]
        return (1 - rho) * own + rho / others * (1 - own)

    def unpack(values: ndarray) -> tuple[ndarray, float]:
        a, b = np.exp(values[:2])
        return _softmax(a * logs[0] + b * logs[1]), float(1 / (1 + np.exp(-values[2])))

    def loss(values: ndarray) -> float:
        return -float(np.log(np.maximum(given(*unpack(values)), 1e-12)).mean())

    # The likelihood may have two hills, little noise and much of it: both are climbed.
    starts = [np.array([0.5, -0.5, start]) for start in (-3.0, -0.5)]
    options = {"maxiter": 500, "xatol": 1e-3, "fatol": 1e-7}
    fits = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(fits, key=lambda fit: fit.fun)
    looks, rho = unpack(best.x)
    probs = looks * rho / others
    probs[rows, labels] = (1 - rho) * looks[rows, labels]
    probs /= probs.sum(axis=1, keepdims=True)
    rate = Interval(rho, *_rate_interval(looks[rows, labels], others))
    return Posterior(looks, probs, rate, -float(best.fun))


def _rate_interval(own: Float[ndarray, " n"], others: int) -> tuple[float, float]:
    """Return the middle 95 % of the rates that fit resampled images best."""
    rates = np.concatenate([np.linspace(0, 0.2, 201), np.linspace(0.2, 1, 321)[1:]])
    each = np.log(np.maximum(
        own[:, None] * (1 - rates) + (1 - own[:, None]) * rates / others, 1e-12
    ))  # fmt: skip
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS)
    best = rates[(counts @ each).argmax(axis=1)]
    low, high = np.quantile(best, [0.025, 0.975])
    return float(low), float(high)


def _softmax(logits: ndarray) -> ndarray:
    shown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shown / shown.sum(axis=1, keepdims=True)
