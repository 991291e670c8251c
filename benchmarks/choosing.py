"""Is the price of choosing taken off rightly, and how much does the choice lose?

    python benchmarks/choosing.py
    python benchmarks/choosing.py --data DATA --networks NAME[=FILE],NAME[=FILE],...

The first simulates equal candidates, whose true accuracy is known: how far off are the best score
and the corrected one? The second deals all images of DATA anew into a pool and the rest, 10 times:
the pool is what `best` chooses a head on, out of fold, and every candidate, fitted to the pool, is
scored on the rest. Regret is what the choice lacks there against the best candidate in hindsight.
"""

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import norm

from smallset.choose.race import corrected_accuracy, race
from smallset.models.probe import FOLDS

SKILL, IMAGES = 0.9, 350  # of every candidate; as many images as butterflies35 has in val
SHARED = 0.5  # of what makes an image hard is the same for all candidates
NUM_CANDIDATES = (1, 3, 5, 10, 20)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--networks", default="", help="as `smallset best --networks` takes them")
    parser.add_argument("--classes", default="", help='such as "1-12"')
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=1000, help="of a simulation")
    options = parser.parse_args()
    if options.data:
        real(options)
    else:
        simulated(options.repetitions)


def simulated(repetitions):
    """Print the bias of both estimates, and how often the interval holds the truth."""
    print("| candidates | best score off by | corrected off by | interval holds the truth |")
    print("|---|---|---|---|")
    for count in NUM_CANDIDATES:
        off, covered = [], 0
        for number in range(repetitions):
            rng = np.random.default_rng([count, number])
            hard = rng.normal(size=IMAGES)
            own = rng.normal(size=(count, IMAGES))
            right = np.sqrt(SHARED) * hard + np.sqrt(1 - SHARED) * own < norm.ppf(SKILL)
            found = corrected_accuracy(right, np.ones(count), folds=FOLDS, seed=number)
            off.append([right.mean(axis=1).max() - SKILL, found.value - SKILL])
            covered += found.low <= SKILL <= found.high
        bias = 100 * np.mean(off, axis=0)
        error = 100 * np.std(off, axis=0, ddof=1) / repetitions**0.5
        shown = " | ".join(f"{b:+.2f} ± {1.96 * e:.2f}" for b, e in zip(bias, error, strict=True))
        print(f"| {count} | {shown} | {covered / repetitions:.1%} |", flush=True)


def real(options):
    """Print, split by split, what was chosen, what was expected, and what it lacks in hindsight."""
    blocks, labels = features(options.data, options.networks.split(","), options.classes)
    names = [each for n in range(1, len(blocks) + 1) for each in combinations(blocks, n)]
    rows = []
    for split in range(options.splits):
        began = time.perf_counter()
        pool = dealt(labels, np.random.default_rng(split))
        chosen, found, scores = choose(blocks, labels, pool, names, seed=split)
        best = max(scores, key=lambda name: scores[name])
        rows.append([scores[best] - scores[chosen], found[0], found[1], scores[chosen]])
        shown = ", ".join(f"{'+'.join(name)} {100 * s:.2f}" for name, s in scores.items())
        names_of = "chosen {}, best in hindsight {}".format(*map("+".join, (chosen, best)))
        print(f"{split}: {names_of}; {shown}; {time.perf_counter() - began:.0f} s", flush=True)
    regret, naive, corrected, reached = 100 * np.array(rows).T
    print("| what | mean | lowest to highest |\n|---|---|---|")
    for what, values in (
        ("regret", regret), ("best score less what was reached", naive - reached),
        ("corrected less what was reached", corrected - reached), ("reached", reached),
    ):  # fmt: skip
        print(f"| {what} | {values.mean():.2f} | {values.min():.2f} to {values.max():.2f} |")


def features(data, networks, classes):
    """Return the features of every image by network, as a head sees them, and the labels."""
    from smallset.choose.candidates import choose_networks
    from smallset.config import RunConfig, override
    from smallset.data.prepare import DataSource
    from smallset.learn.plan import Planner
    from smallset.learn.run import build_run
    from smallset.progress import Reporter

    planner, blocks, labels = Planner(DataSource(data, Reporter())), {}, np.empty(0)
    for name, weights in choose_networks(networks).items():
        settings = {
            "model": name, "weights": weights, "recipe": "head", "data.classes": classes,
            "data.train_on": "train+val+extra",
        }  # fmt: skip
        plan = planner.plan(override(RunConfig(), settings))
        run = build_run(plan, Path("nowhere"), Reporter())
        parts = ("train", "test")
        blocks[name] = np.concatenate([run.inputs.vectors(part) for part in parts])
        labels = np.concatenate([plan.data.given_labels[plan.data.of(part)] for part in parts])
        print(f"{name}: {blocks[name].shape[0]:,} images, {blocks[name].shape[1]:,} features")
    return blocks, labels


def dealt(labels, rng):
    """Return which images are the pool: 54 % of each class, as train + val are of butterflies35."""
    pool = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        pool[rows[: round(0.54 * len(rows))]] = True
    return pool


def choose(blocks, labels, pool, names, *, seed):
    """Choose as `best` does: among single networks, the best two, and the best three.

    Returns:
        What was chosen, its best and its corrected score out of fold, and the accuracy of every
        candidate on the rest, fitted to the pool.
    """
    import torch

    from smallset.models.probe import fit_head, held_out

    classes = int(labels.max()) + 1
    right, scores = {}, {}
    for name in names:
        parts = [blocks[part] for part in name]
        found = held_out(
            [part[pool] for part in parts], labels[pool], num_classes=classes, seed=seed
        )
        right[name] = found.probs.argmax(axis=1) == labels[pool]
        joined = np.concatenate(parts, axis=1)
        head = fit_head(
            joined[pool], labels[pool], num_classes=classes, seed=seed, penalties=[found.penalty]
        )
        logits = torch.from_numpy(joined[~pool]) @ head.weight.T + head.bias
        scores[name] = float((logits.argmax(dim=1).numpy() == labels[~pool]).mean())
    singles = sorted((n for n in names if len(n) == 1), key=lambda n: -right[n].mean())
    looked = list(singles)
    for few in (2, 3):
        joined = {part for single in singles[:few] for part in single}
        looked += [name for name in names if len(name) == few and set(name) == joined]
    stacked = np.stack([right[name] for name in looked])
    cost = np.array([float(len(name)) for name in looked])
    standing = race(stacked, cost, seed=seed)
    estimate = corrected_accuracy(stacked, cost, folds=FOLDS, seed=seed)
    return looked[standing.best], (standing.accuracy.max(), estimate.value), scores


if __name__ == "__main__":
    main()
