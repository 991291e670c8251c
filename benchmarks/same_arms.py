"""How often studies of identical arms claim a difference, on real trainings.

    python benchmarks/same_arms.py DATA --out FOLDER [--seeds 240] [--model NAME --weights FILE]

One arm is trained with many seeds (the last layer of a frozen network, by steps, side by side; or a
network from scratch with --scratch). The runs are dealt into disjoint studies of two arms, which
differ in nothing but their seeds: every claim is false. Beside it, the method until 2026-11-26.
"""

import argparse
from pathlib import Path

import numpy as np
from claims import before, before_claims

from smallset import api
from smallset.paired import compare_all
from smallset.stats import luck_of_arms

STUDY = """
title = "Identical arms"
about = "One arm, many seeds."
baseline = "arm"
[base]
recipe = "{recipe}"
figures.report = false
figures.tsne = false
{more}
[arms.arm]
"""


def main():
    """Train, deal the runs, and print the share of studies that claim a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=240)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--scratch", type=int, help="side of `plain` in px")
    parser.add_argument("--epochs", type=int, help="10 of a head, 5 from scratch")
    parser.add_argument("--classes", default="", help="some of the classes, such as 1-12")
    options = parser.parse_args()
    frozen = f'model = "{options.model}"\nweights = "{options.weights}"\nhead = "sgd"'
    scratch = f'model = "plain"\nimage_size = {options.scratch}'
    more = scratch if options.scratch else frozen
    more += f"\nepochs = {options.epochs or (5 if options.scratch else 10)}"
    more += f'\ndata.classes = "{options.classes}"'
    text = STUDY.format(recipe="course-report", more=more)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "same.toml").write_text(text)
    found = api.study(
        str(options.out / "same.toml"), options.data, out=options.out / "study",
        seeds=options.seeds, workers=2,
    )  # fmt: skip
    [arm] = found.arms
    accuracies = arm.correct.mean(axis=1)
    print(
        f"{len(arm.seeds)} runs, test accuracy {accuracies.mean():.1%}, sd of a training "
        f"{100 * accuracies.std(ddof=1):.2f} points, {arm.correct.shape[1]} images"
    )
    for seeds in (1, 2, 3, 5):
        print(f"{seeds} seeds an arm: {said(arm.correct, seeds)}")


def said(correct, seeds):
    """Deal runs into disjoint studies, ten times anew, and count claims."""
    claims, olds, held, studies = 0, 0, 0, 0
    for deal in range(10):
        order = np.random.default_rng(deal).permutation(len(correct))
        for start in range(0, len(order) - 2 * seeds + 1, 2 * seeds):
            one, other = np.split(correct[order[start : start + 2 * seeds]], 2)
            one_luck, other_luck = luck_of_arms([one, other])
            [result] = compare_all([(one, other)], [(one_luck, other_luck)])
            claims += result.verdict != "cannot tell"
            held += result.difference.low <= 0 <= result.difference.high
            olds += seeds > 1 and before_claims([before(one - other)])[0]
            studies += 1
    old = f", before {olds / studies:.1%}" if seeds > 1 else ""
    return f"{claims / studies:.1%} of {studies} ({studies // 10} disjoint at a time) claim{old}"


if __name__ == "__main__":
    main()
