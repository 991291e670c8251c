"""What the answers of a frozen network are worth: temperature, sets, unknown classes.

    smallset train DATA --out RUN --model mobilenet_v2 --weights FILE
    python benchmarks/doubt.py RUN [--draws 20] [--unknown 7]

Nothing is decoded: the embeddings and predictions of the record are all it needs. The number of
images that a temperature needs is asked of val alone, one part against the rest. Sets are tried on
`draws` splits of the val and test images. Of each draw of unknown classes a head is fitted
to the others, limits are chosen on their val images, and test is what they are tried on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from smallset.models.probe import fit_head
from smallset.record.doubt import fit_sets, held_out
from smallset.record.measures import log_losses, temperature, tempered
from smallset.record.record import Record
from smallset.record.strange import Space, choose_limits
from smallset.stats import share_interval


def main():
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--unknown", type=int, default=7, help="classes held out of training")
    options = parser.parse_args()
    record = Record(options.run)
    rng = np.random.default_rng(0)
    print(f"{record.model['model']}: test {record.predictions.accuracy('test'):.4f}")
    temperatures(record, rng)
    sets(record, rng, options.draws)
    unknown(record, rng, options.draws, options.unknown)


def temperatures(record, rng):
    """Fit on some val images, and score on the others: by what does the loss change?"""
    found = record.predictions
    val = found.splits == "val"
    probs, labels = found.probs[val], found.labels[val]
    print("| val images | sd of log T | worse than T = 1 | mean change of the loss | worst |")
    for size in (20, 35, 50, 75, 100, 150, 200):
        if size > 0.8 * len(labels):
            continue
        logs, changes = [], []
        for _ in range(400):
            chosen = rng.permutation(len(labels))
            fit, rest = chosen[:size], chosen[size:]
            if (probs[fit].argmax(axis=1) == labels[fit]).all():
                continue
            t = temperature(probs[fit], labels[fit])
            before, after = (
                log_losses(tempered(probs[rest], x), labels[rest]).mean() for x in (1.0, t)
            )
            logs.append(np.log(t))
            changes.append(after - before)
        print(
            f"| {size} | {np.std(logs):.2f} | {np.mean(np.array(changes) > 0):.0%} | "
            f"{np.mean(changes):+.4f} | {np.max(changes):+.3f} |"
        )


def sets(record, rng, draws):
    """Choose the limits of sets on as many images as val has, and count on the rest."""
    found = record.predictions
    pool = np.flatnonzero(np.isin(found.splits, ("val", "test")))
    size = int((found.splits == "val").sum())
    for level in (0.9, 0.95):
        hits = total = classes = 0
        for _ in range(draws):
            splits = np.full(len(found.splits), "train")
            splits[pool] = "test"
            splits[rng.choice(pool, size, replace=False)] = "val"
            dealt = replace(found, splits=splits)
            rest = splits == "test"
            probs = found.probs[rest]
            t = temperature(found.probs[splits == "val"], found.labels[splits == "val"])
            inside = fit_sets(held_out(dealt), t, level).of(np.exp(tempered(probs, t)))
            hits += int(inside[np.arange(rest.sum()), found.labels[rest]].sum())
            classes += int(inside.sum())
            total += int(rest.sum())
        share = share_interval(hits / draws, total / draws)
        print(
            f"sets {level}: {hits / total:.1%} over {draws} splits ({share.low:.1%} to "
            f"{share.high:.1%} for one), {classes / total:.2f} classes"
        )


def unknown(record, rng, draws, count):
    """Hold classes out of training, and look for them in val (to choose) and test (to report)."""
    found = record.predictions
    vectors = {s: record.embeddings(s).astype(np.float32) for s in ("train", "val", "test")}
    labels = {s: found.labels[found.splits == s] for s in vectors}
    lines = {"val": [], "test": []}
    for _ in range(draws):
        out = rng.choice(len(found.classes), count, replace=False)
        known = {s: ~np.isin(labels[s], out) for s in vectors}
        kept = np.setdiff1d(np.arange(len(found.classes)), out)
        learnt = vectors["train"][known["train"]]
        given = np.searchsorted(kept, labels["train"][known["train"]])
        head = fit_head(learnt, given, num_classes=len(kept), seed=0)
        space = Space(learnt)
        sure, apart, right = {}, {}, {}
        for s in ("val", "test"):
            logits = torch.from_numpy(vectors[s]) @ head.weight.T + head.bias
            probs = logits.softmax(dim=1).numpy()
            sure[s], apart[s] = probs.max(axis=1), space.distances(vectors[s])
            right[s] = kept[probs.argmax(axis=1)] == labels[s]
        least, farthest = choose_limits(sure["val"][known["val"]], apart["val"][known["val"]], 0.05)
        for s, line in lines.items():
            strange = np.minimum(
                rank(sure["val"][known["val"]], sure[s]),
                rank(-apart["val"][known["val"]], -apart[s]),
            )
            refused = (sure[s] < least) | (apart[s] > farthest)
            is_new = ~known[s]
            line.append([
                roc_auc_score(is_new, -sure[s]), roc_auc_score(is_new, apart[s]),
                roc_auc_score(is_new, -strange), refused[known[s]].mean(), refused[is_new].mean(),
                right[s][known[s]].mean(), right[s][known[s] & ~refused].mean(),
            ])  # fmt: skip
    heads = ("AUROC by probability", "by distance", "by both", "known refused", "unknown refused",
             "known right", "of those kept")  # fmt: skip
    print(f"| {count} unknown classes, {draws} draws | val | test |")
    for at, name in enumerate(heads):
        cells = [np.array(lines[s])[:, at] for s in ("val", "test")]
        said = " | ".join(f"{c.mean():.3f} ({c.min():.3f} to {c.max():.3f})" for c in cells)
        print(f"| {name} | {said} |")


def rank(reference, values):
    """Return the share of reference values that are as small as each value, or smaller."""
    return np.searchsorted(np.sort(reference), values, side="right") / len(reference)


if __name__ == "__main__":
    main()
