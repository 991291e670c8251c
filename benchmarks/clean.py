"""Find wrong labels, beside cleanlab on the same probabilities: how well, and how fast.

    python benchmarks/clean.py DATA --with mobilenet_v2,squeezenet1_1 [--draws 5]
    python benchmarks/clean.py --images 20000

Wrong labels are added to the training images of DATA, or to those of --splits: a share evenly, or
("pairs", 0.2) between classes that look alike. The tool is told nothing of them. The probe that
scores a cleaning has the strength of its penalty chosen on the clean val images, where they are not
judged themselves, and is scored on test. With --images, as
many random features in 35 clusters are judged instead, for the time it takes.
"""

import argparse
import hashlib
import platform
import statistics
import time
import warnings

import cleanlab
import numpy as np
import torch
from cleanlab.filter import find_label_issues
from sklearn.metrics import roc_auc_score

from smallset.clean.find import find_wrong_labels
from smallset.clean.judges import features_of, plan_judges
from smallset.clean.outoffold import PENALTIES, reduce_features
from smallset.config import RunConfig, override
from smallset.data.noise import flip_labels
from smallset.data.prepare import DataSource
from smallset.models.probe import out_of_fold, probe, probe_probs
from smallset.progress import Reporter

PENALTY = 3e-4


def look_alikes(features, labels, num_classes):
    """Return the partner of each class: pairs that a probe confuses most, greedily; -1 for none."""
    [probs] = out_of_fold(
        features, labels, num_classes=num_classes, penalties=[PENALTY], repeats=1, seed=0
    )
    mixed = np.stack([probs[labels == k].mean(axis=0) for k in range(num_classes)])
    mixed = mixed + mixed.T
    np.fill_diagonal(mixed, -1)
    partner = np.full(num_classes, -1)
    for _ in range(num_classes // 2):
        a, b = np.unravel_index(mixed.argmax(), mixed.shape)
        partner[a], partner[b] = b, a
        mixed[[a, b]] = mixed[:, [a, b]] = -1
    return partner


def swap(ids, labels, partner, rate, seed):
    """Return labels of which a share is that of the look-alike class."""
    given = labels.copy()
    able = [row for row in range(len(labels)) if partner[labels[row]] >= 0]
    able.sort(key=lambda row: hashlib.sha256(f"{seed}/{ids[row]}".encode()).digest())
    rows = able[: round(rate * len(labels))]
    given[rows] = partner[labels[rows]]
    return given


def f1(suspects, wrong):
    """Return the F1 of suspects; 1 where there is nothing to find and nothing is said."""
    total = suspects.sum() + wrong.sum()
    return 2 * (suspects & wrong).sum() / total if total else 1.0


def time_clusters(num_images, num_classes=35, dim=1792):
    """Print how long the judgement of that many images takes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(num_classes, size=num_images)
    centres = rng.normal(size=(num_classes, dim)).astype(np.float32) * 0.12
    features = centres[truth] + rng.normal(size=(num_images, dim)).astype(np.float32)
    given = np.where(
        rng.random(num_images) < 0.2, rng.integers(num_classes, size=num_images), truth
    )
    began = time.perf_counter()
    found = find_wrong_labels([features], given, num_classes=num_classes)
    seconds = time.perf_counter() - began
    score = f1(found.posterior.of_given(given) < 0.5, given != truth)
    print(
        f"{num_images} images x {dim} features: {seconds:.1f} s, F1 {score:.3f}, rate "
        f"{found.posterior.rate.value:.3f} (true {(given != truth).mean():.3f})"
    )


def main():
    """Print a line per draw and a summary per kind of noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--images", type=int)
    parser.add_argument("--with", dest="nets", default="self")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--kinds", default="0,0.1,0.3,0.5,pairs")
    parser.add_argument("--splits", default="train", help="judged together, such as train+val")
    parser.add_argument("--leave-out", default="", help="paths whose own label is known as wrong")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, cleanlab {cleanlab.__version__}; {arguments.nets}"
    )
    if arguments.images:
        time_clusters(arguments.images)
        return
    config = override(RunConfig(), {"data.train_on": arguments.splits})
    source = DataSource(arguments.data)
    judges = plan_judges(arguments.nets.split(","), config)
    data = source.prepared(judges[0].config)
    num_classes = len(data.images.classes)
    truth, val_truth, test_truth = (
        data.images.labels[data.of(split)] for split in ("train", "val", "test")
    )
    ids = data.ids("train")
    paths = [data.images.paths[row] for row in data.of("train")]
    scored = ~np.isin(paths, arguments.leave_out.split(","))
    began = time.perf_counter()
    blocks = [features_of(judge, source, Reporter()) for judge in judges]
    seconds = time.perf_counter() - began
    print(f"features of {len(truth)} images of {arguments.splits}: {seconds:.1f} s")
    others = [
        [features_of(judge, source, Reporter(), split=split) for judge in judges]
        if len(data.of(split))
        else [block[:0] for block in blocks]
        for split in ("val", "test")
    ]
    parts = [np.concatenate(each) for each in zip(blocks, *others, strict=True)]
    ends = np.cumsum([len(blocks[0]), len(others[0][0])])
    train, val, test = np.split(reduce_features(parts), ends)
    partner = look_alikes(train, truth, num_classes)

    def accuracy(labels, kept):
        used = np.tile(kept, (len(PENALTIES), 1))
        weights = probe(train, labels, used, num_classes=num_classes, penalty=np.array(PENALTIES))
        on_val, on_test = (
            (probe_probs(features, weights).argmax(axis=2) == known).mean(axis=1)
            for features, known in ((val, val_truth), (test, test_truth))
        )
        # Where val is judged too, nothing is left to choose a penalty on.
        chosen = on_val.argmax() if len(val) else PENALTIES.index(PENALTY)
        return float(on_test[chosen])

    every = np.ones(len(truth), dtype=bool)
    clean = accuracy(truth, every)
    print(f"probe on clean labels: {clean:.2%}")
    for kind in arguments.kinds.split(","):
        lines = []
        for draw in range(arguments.draws if kind != "0" else 1):
            if kind == "pairs":
                given = swap(ids, truth, partner, 0.2, draw)
            else:
                given = flip_labels(ids, truth, float(kind), num_classes=num_classes, seed=draw)
            wrong = given != truth
            began = time.perf_counter()
            found = find_wrong_labels(blocks, given, num_classes=num_classes)
            seconds = time.perf_counter() - began
            [probs] = out_of_fold(
                found.features, given, num_classes=num_classes, penalties=[found.penalty],
                repeats=3, seed=0,
            )  # fmt: skip
            right = found.posterior.of_given(given)
            theirs = find_label_issues(given, probs)
            cleaning = found.chosen and found.chosen.cleaning
            rate = found.posterior.rate
            line = {
                "AUROC": roc_auc_score(wrong[scored], -right[scored]) if wrong.any() else np.nan,
                "F1": f1(right < 0.5, wrong),
                "cleanlab": f1(theirs, wrong),
                "rate": rate.value,
                "rate off": abs(rate.value - wrong.mean()),
                "inside": float(rate.low <= wrong.mean() <= rate.high),
                "noisy": accuracy(given, every),
                "cleaned": accuracy(cleaning.labels, cleaning.kept) if cleaning else np.nan,
                "changed": (cleaning.decisions != "keep").sum() if cleaning else 0,
                "seconds": seconds,
            }
            lines.append(line)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in line.items())
            print(
                f"{kind} draw {draw}: {shown}  {found.posterior.noise}, penalty {found.penalty:g}, "
                f"{cleaning.name if cleaning else 'nothing'}", flush=True,
            )  # fmt: skip
        mean = {name: statistics.fmean(line[name] for line in lines) for name in lines[0]}
        ratio = statistics.fmean((1 - x["F1"]) / max(1 - x["cleanlab"], 1e-9) for x in lines)
        print(
            f"{kind}: AUROC {mean['AUROC']:.4f}, F1 {mean['F1']:.3f} (cleanlab "
            f"{mean['cleanlab']:.3f}, misses x {ratio:.2f}), rate off by {mean['rate off']:.4f}, "
            f"probe {mean['noisy']:.2%} -> {mean['cleaned']:.2%} = {mean['cleaned'] / clean:.1%} "
            f"of clean, median {statistics.median(x['seconds'] for x in lines):.1f} s", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
