"""How often a study of equal arms claims a difference, and how often it misses one of three points.

    python benchmarks/claims.py [--studies 2000] [--looks | --leader]

Each cell is simulated studies of five arms. Images differ in difficulty, the same for all arms; a
trained network errs on an image by its difficulty, its own noise, and its luck, which is the same
on all images. Luck is given as the standard deviation, in points, that it adds to the accuracy of a
training; unequal luck differs from arm to arm by a factor exp(0.5 normal). Every network is right
about 85 % of all images. The first arm is compared with the second: `before` by the method that
smallset had until then (normal law, own seeds only), `2 arms` as if there were no others, `5 arms`
with the luck of all five. Printed is the share of studies that claim a difference where there is
none, the share of intervals that hold the true one, and the share that finds three points.

--looks: somebody adds seeds to two equal arms until a difference is claimed, by what p is
multiplied with at the k-th look. --leader: how much too high the best of several equal arms looks.
"""

import argparse
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from smallset.compare.leader import find_leader
from smallset.paired import compare_all
from smallset.stats import luck_of_arms

ACCURACY, DIFFERENCE, EASE, ARMS = 0.85, 0.03, 1.5, 5
METHODS = ("before", "2 arms", "5 arms")


def main() -> None:
    """Print the table, and the worst cell of each method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000, help="per cell, and a quarter more")
    parser.add_argument("--looks", action="store_true")
    parser.add_argument("--leader", action="store_true")
    options = parser.parse_args()
    studies = options.studies
    if options.looks or options.leader:
        looks(studies) if options.looks else leader(studies)
        return
    print("| luck | images | seeds | " + " | ".join(METHODS) + " |\n" + "|---" * 6 + "|")
    cells = []
    for luck, unequal in ((0.0, False), (1.0, False), (2.0, False), (2.0, True)):
        for images, seeds in itertools.product((750, 1400, 5000), (2, 3, 5)):
            cell = measure(studies, images=images, seeds=seeds, luck=luck, unequal=unequal)
            cells.append(cell)
            said = [f"{false:.1f} / {held:.1f} / {found:.0f}" for false, held, found in cell]
            name = f"{luck:g}{', unequal' if unequal else ''}"
            print(f"| {name} | {images:,} | {seeds} | {' | '.join(said)} |", flush=True)
    table = np.array(cells)
    error = 100 * math.sqrt(0.05 * 0.95 / studies)
    print(f"a share of 5 % is known to {1.96 * error:.1f} points")
    for number, method in enumerate(METHODS):
        false, held, found = table[:, number].T
        print(
            f"{method}: false {false.mean():.1f} %, at most {false.max():.1f}; intervals hold "
            f"{held.mean():.1f} %, at least {held.min():.1f}; found {found.mean():.0f} %"
        )


def measure(studies: int, *, images: int, seeds: int, luck: float, unequal: bool) -> ndarray:
    """Return per method the share of false claims, of intervals that hold, of differences found.

    Args:
        luck: In points.

    Returns:
        (methods, 3), in percent.
    """
    false, held, found = np.zeros((3, len(METHODS)))
    powered = studies // 4
    for number in range(studies + powered):
        true = DIFFERENCE if number >= studies else 0.0
        rng = np.random.default_rng([number, images, seeds, int(10 * luck), unequal])
        arms = simulate(rng, images, seeds, luck / 100, unequal=unequal, difference=true)
        low, high, claims = np.array(judged(arms)).T
        held += (low <= true) & (true <= high)
        if true:
            found += (claims > 0) & (low > 0)
        else:
            false += claims
    return 100 * np.array([false / studies, held / (studies + powered), found / powered]).T


def looks(studies: int) -> None:
    """Print the share of studies of equal arms that claim something at one of several looks."""
    rules = {
        "1": lambda _: 1,
        "k": lambda k: k,
        "k (k + 1) / 2": lambda k: k * (k + 1) / 2,
        "k^2": lambda k: k**2,
        "the first look alone": lambda k: 1 if k == 1 else math.inf,
    }
    for luck, images in ((1.0, 1400), (2.0, 5000)):
        for plan in ((2, 3, 5, 10), (3, 5, 8), tuple(range(2, 9))):
            claimed = dict.fromkeys(rules, 0)
            for number in range(studies):
                rng = np.random.default_rng([number, images, int(10 * luck), 7])
                arms = simulate(rng, images, max(plan), luck / 100, unequal=False, difference=0.0)
                ps = []
                for seeds in plan:
                    some = [arm[:seeds] for arm in arms]
                    luck_of = luck_of_arms(some)
                    [result] = compare_all([(some[0], some[1])], [(luck_of[0], luck_of[1])])
                    ps.append(result.p)
                for name, factor in rules.items():
                    claimed[name] += any(p * factor(k) < 0.05 for k, p in enumerate(ps, 1))
            print(luck, images, plan, {n: f"{c / studies:.1%}" for n, c in claimed.items()})


def leader(studies: int) -> None:
    """Print by how many points the best of equal arms is too high, as seen and as corrected."""
    for count, luck in ((5, 0.0), (5, 1.5)):
        seen, said, held = [], [], []
        for number in range(studies):
            rng = np.random.default_rng([number, count, int(10 * luck), 8])
            arms = simulate(rng, 1000, 3, luck / 100, unequal=False, difference=0.0)
            value, low, high = find_leader(arms, luck_of_arms(arms)).expected
            seen.append(max(arm.mean() for arm in arms) - ACCURACY)
            said.append(value - ACCURACY)
            held.append(low <= ACCURACY <= high)
        print(f"{count} arms, luck {luck}: seen {100 * np.mean(seen):+.2f}, corrected "
              f"{100 * np.mean(said):+.2f}, interval holds {np.mean(held):.1%}")  # fmt: skip


def judged(arms: list[ndarray]) -> list[tuple[float, float, bool]]:
    """Return interval and claim of each method for the first arm against the second."""
    old = before(arms[0] - arms[1])
    [claims] = before_claims([old])
    found = [(*old[:2], claims)]
    for together in (arms[:2], arms):
        luck = luck_of_arms(together)
        [result] = compare_all([(arms[0], arms[1])], [(luck[0], luck[1])])
        claims = result.verdict != "cannot tell"
        found.append((result.difference.low, result.difference.high, claims))
    return found


def simulate(
    rng: np.random.Generator,
    images: int,
    seeds: int,
    luck: float,
    *,
    unequal: bool,
    difference: float,
) -> list[ndarray]:
    """Return `correct` (seeds, images) of five arms, the first better by `difference`."""
    lucks = np.full(ARMS, luck / norm.pdf(norm.ppf(ACCURACY)) * math.hypot(1, EASE))
    if unequal:
        lucks *= np.exp(0.5 * rng.standard_normal(ARMS) - 0.25)  # of the same mean square
    accuracies = ACCURACY + difference * (np.arange(ARMS) == 0)
    level = norm.ppf(accuracies) * np.sqrt(1 + EASE**2 + lucks**2)  # makes the mean exact
    ease = EASE * rng.standard_normal(images, dtype=np.float32)
    shift = level[:, None] + lucks[:, None] * rng.standard_normal((ARMS, seeds))
    noise = rng.standard_normal((ARMS, seeds, images), dtype=np.float32)
    return list((noise + ease > -shift[..., None].astype(np.float32)).astype(np.float64))


def before(differences: ndarray) -> tuple[float, float, float]:
    """Return the interval of the method until 2026-11-26, and its p value.

    A bootstrap of images and of all seeds but one; p by the normal law with the same variance. The
    draws over images are many enough to be normal, and those of the seeds are all gone through.
    """
    num_seeds, num_images = differences.shape
    value, by_seed = differences.mean(), differences.mean(axis=1)
    of_images = math.sqrt(differences.mean(axis=0).var(ddof=1) / num_images)
    drawn = np.array(list(itertools.product(by_seed, repeat=num_seeds - 1))).mean(axis=1)
    reach = 6 * of_images + np.ptp(by_seed)

    def quantile(share: float) -> float:
        rest: Any = lambda x: ndtr((x - drawn) / of_images).mean() - share  # noqa: E731
        found: Any = brentq(rest, value - reach, value + reach)
        return found

    low, high = quantile(0.025), quantile(0.975)
    error = math.hypot(of_images, by_seed.std(ddof=1) / math.sqrt(num_seeds))
    return low, high, float(2 * norm.sf(abs(value) / error))


def before_claims(found: Sequence[tuple[float, float, float]]) -> list[bool]:
    """Return which comparisons of a report that method claimed to differ: Holm, and clear of 0."""
    order = np.argsort([p for _, _, p in found])
    corrected, most = [0.0] * len(found), 0.0
    for rank, at in enumerate(order):
        most = max(most, (len(found) - rank) * found[at][2])
        corrected[at] = most
    return [
        p < 0.05 and (low > 0 or high < 0)
        for p, (low, high, _) in zip(corrected, found, strict=True)
    ]


if __name__ == "__main__":
    main()
