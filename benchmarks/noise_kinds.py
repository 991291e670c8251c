"""Find wrong labels of four kinds, beside cleanlab's default and the vote of ten neighbours.

    python benchmarks/noise_kinds.py DATA --with mobilenet_v2=weights.pth [--draws 5] [--first 0]

Each draw takes some of the classes (--classes) from train, and makes a share (--rate) of their
labels wrong:

- even: any other class
- pairs: the class that a probe confuses it with most
- border: the images that lie nearest to another class get the label of that class
- open: pictures of the classes left out, under any label

The features are computed once and cached. The probe that scores a cleaning has its penalty chosen
on val and is scored on test, both with true labels; nothing else reads them.
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
from clean import f1, look_alikes, swap
from cleanlab.filter import find_label_issues
from sklearn.metrics import roc_auc_score

from smallset.clean.find import find_wrong_labels
from smallset.clean.judges import features_of, plan_judges
from smallset.clean.outoffold import PENALTIES, neighbour_probs, reduce_features
from smallset.config import RunConfig, override
from smallset.data.noise import flip_labels
from smallset.data.prepare import DataSource
from smallset.models.probe import out_of_fold, probe, probe_probs
from smallset.progress import Reporter

KINDS = ("none", "even", "pairs", "border", "open")
NEAREST = 3  # images of a class that say how near it is


class Pictures(NamedTuple):
    """Images of one split."""

    features: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def of(self, keep):
        """Return some of the images."""
        return Pictures(self.features[keep], self.labels[keep], self.ids[keep])


def at_the_border(features, labels, rate):
    """Give the images nearest to another class its label.

    How near a class is, is the mean cosine with the three images of it that are most alike.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    near = np.stack(
        [
            np.sort(likeness[:, labels == k], axis=1)[:, -NEAREST:].mean(axis=1)
            for k in range(labels.max() + 1)
        ],
        axis=1,
    )
    rows = np.arange(len(labels))
    own = near[rows, labels].copy()
    near[rows, labels] = -np.inf
    given = labels.copy()
    chosen = np.argsort(own - near.max(axis=1), kind="stable")[: round(rate * len(labels))]
    given[chosen] = near.argmax(axis=1)[chosen]
    return given


def with_foreign(some, others, rate, num_classes, rng):
    """Return images of which a share shows none of the classes (-1), and the given labels."""
    count = round(len(some.labels) * rate / (1 - rate))
    foreign = others.of(rng.permutation(len(others.labels))[:count])
    labels = np.concatenate([some.labels, np.full(len(foreign.labels), -1)])
    given = np.concatenate(
        [
            some.labels,
            rng.integers(num_classes, size=len(foreign.labels)),
        ]
    )
    features = np.concatenate([some.features, foreign.features])
    return Pictures(features, labels, np.concatenate([some.ids, foreign.ids])), given


def draw(splits, kind, *, rate, num_classes, seed):
    """Return the images that are judged, their given labels, and val and test of their classes."""
    total = max(part.labels.max() for part in splits.values()) + 1
    chosen = np.sort(np.random.default_rng([7, seed]).permutation(total)[:num_classes])

    def kept(part):
        some = part.of(np.isin(part.labels, chosen))
        return some._replace(labels=np.searchsorted(chosen, some.labels))

    train = kept(splits["train"])
    if kind == "none":
        given = train.labels.copy()
    elif kind == "even":
        given = flip_labels(train.ids, train.labels, rate, num_classes=num_classes, seed=seed)
    elif kind == "open":
        others = splits["train"].of(~np.isin(splits["train"].labels, chosen))
        rng = np.random.default_rng([8, seed])
        train, given = with_foreign(train, others, rate, num_classes, rng)
    else:
        reduced = reduce_features([train.features])
        if kind == "pairs":
            partner = look_alikes(reduced, train.labels, num_classes)
            given = swap(train.ids, train.labels, partner, rate, seed)
        else:
            given = at_the_border(reduced, train.labels, rate)
    return train, given, kept(splits["val"]), kept(splits["test"])


class Score:
    """What a probe that is trained on a cleaning is right on."""

    def __init__(self, train, val, test, num_classes):
        parts = [train, val, test]
        ends = np.cumsum([len(part.labels) for part in parts])[:2]
        reduced = reduce_features([np.concatenate([part.features for part in parts])])
        self.train, self.val, self.test = np.split(reduced, ends)
        self.known, self.num_classes = (val.labels, test.labels), num_classes

    def accuracy(self, labels, kept):
        """Return the accuracy on test, with the penalty that is best on val."""
        used = np.tile(kept, (len(PENALTIES), 1))
        weights = probe(
            self.train, labels, used, num_classes=self.num_classes, penalty=np.array(PENALTIES)
        )
        on_val, on_test = (
            (probe_probs(features, weights).argmax(axis=2) == known).mean(axis=1)
            for features, known in zip((self.val, self.test), self.known, strict=True)
        )
        return float(on_test[on_val.argmax()])


def judge_draw(splits, kind, *, rate, num_classes, seed, with_probe):
    """Return the numbers of one draw."""
    train, given, val, test = draw(splits, kind, rate=rate, num_classes=num_classes, seed=seed)
    wrong = given != train.labels
    began = time.perf_counter()
    found = find_wrong_labels([train.features], given, num_classes=num_classes)
    seconds = time.perf_counter() - began
    [probs] = out_of_fold(
        found.features, given, num_classes=num_classes, penalties=[found.penalty], repeats=1,
        seed=0,
    )  # fmt: skip
    vote = neighbour_probs(found.features, given, num_classes=num_classes).argmax(axis=1)
    right = found.posterior.of_given(given)
    cleaning = found.chosen and found.chosen.cleaning
    changed = cleaning.decisions != "keep" if cleaning else np.zeros(len(given), dtype=bool)
    suspects, rate = right < 0.5, found.posterior.rate
    line = {
        "AUROC": roc_auc_score(wrong, -right) if wrong.any() else np.nan,
        "F1": f1(suspects, wrong),
        "F1 doubted": f1(suspects | found.contradicted, wrong),
        "decided": f1(changed, wrong),
        "cleanlab": f1(find_label_issues(given, probs), wrong),
        "kNN": f1(vote != given, wrong),
        "low": rate.low,
        "most": found.most_wrong,
        "inside": float(rate.low <= wrong.mean() <= found.most_wrong),
        "said": found.expected_precision if suspects.any() else np.nan,
        "to": found.highest_precision if suspects.any() else np.nan,
        "true": float(wrong[suspects].mean()) if suspects.any() else np.nan,
        "nowhere": found.nowhere.sum(),
        "of them foreign": float((train.labels[found.nowhere] < 0).mean())
        if found.nowhere.any()
        else np.nan,
        "taken": float(bool(cleaning and cleaning.name == "contradicted")),
        "seconds": seconds,
    }
    if with_probe:
        score = Score(train, val, test, num_classes)
        every = np.ones(len(given), dtype=bool)
        line["given"] = score.accuracy(given, every)
        line["cleaned"] = (
            score.accuracy(cleaning.labels, cleaning.kept) if cleaning else line["given"]
        )
    return line


def main():
    """Print a line per draw and the means per kind of noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--with", dest="nets", default="self")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--classes", type=int, default=25)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--without-probe", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    source = DataSource(arguments.data)
    judges = plan_judges(arguments.nets.split(","), override(RunConfig(), {}))
    data = source.prepared(judges[0].config)
    splits = {
        split: Pictures(
            np.concatenate(
                [features_of(judge, source, Reporter(), split=split) for judge in judges], axis=1
            ),
            data.images.labels[data.of(split)],
            np.array(data.ids(split)),
        )
        for split in ("train", "val", "test")
    }
    for kind in arguments.kinds.split(","):
        lines = []
        for seed in range(arguments.first, arguments.first + arguments.draws):
            line = judge_draw(
                splits, kind, rate=arguments.rate, num_classes=arguments.classes, seed=seed,
                with_probe=not arguments.without_probe,
            )  # fmt: skip
            lines.append(line)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in line.items())
            print(f"{kind} draw {seed}: {shown}", flush=True)
        mean = {name: float(np.nanmean([line[name] for line in lines])) for name in lines[0]}
        shown = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
        print(f"{kind}: {shown}", flush=True)


if __name__ == "__main__":
    main()
