"""Compare a run of smallset with what a peer said of the same test images, paired.

    python benchmarks/peers/compare.py RUN PEER.csv [RUN PEER.csv ...]

PEER.csv has path, label and predicted for every test image. Each pair is one seed.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from smallset.paired import compare_all
from smallset.record.record import Record
from smallset.stats import luck_of_arms


def main():
    """Print accuracies, the difference with its interval, and the verdict."""
    runs, peers = sys.argv[1::2], sys.argv[2::2]
    if not runs or len(runs) != len(peers):
        raise SystemExit(__doc__)
    right = [both_right(Path(run), Path(peer)) for run, peer in zip(runs, peers, strict=True)]
    own, other = (np.stack([pair[side] for pair in right]) for side in (0, 1))
    own_luck, other_luck = luck_of_arms([own, other])
    [found] = compare_all([(own, other)], [(own_luck, other_luck)])
    gain, low, high = (100 * value for value in found.difference)
    print(
        f"smallset {own.mean():.2%}, peer {other.mean():.2%} on {own.shape[1]} images, "
        f"trainings of each: {len(own)}. {gain:+.2f} points ({low:+.2f} to {high:+.2f}), "
        f"p = {found.p:.3g}: {found.verdict}"
    )


def both_right(run, peer):
    """Return which test images a run and a peer are right about, in one order."""
    predictions = Record(run).predictions
    test = np.flatnonzero(predictions.splits == "test")
    with peer.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    paths = [predictions.paths[n] for n in test]
    if set(paths) != set(rows):
        raise SystemExit(f"{run} and {peer} were scored on different test images")
    labels = [predictions.classes[predictions.labels[n]] for n in test]
    if labels != [rows[path]["label"] for path in paths]:
        raise SystemExit(f"{run} and {peer} have different labels of the same images")
    own = (predictions.predicted == predictions.labels)[test]
    other = [rows[path]["label"] == rows[path]["predicted"] for path in paths]
    return own.astype(float), np.array(other, dtype=float)


if __name__ == "__main__":
    main()
