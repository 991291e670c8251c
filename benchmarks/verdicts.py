"""Which verdicts of finished studies are others than the method until 2026-11-26 would have given?

    python benchmarks/verdicts.py STUDY [STUDY ...]

STUDY is a folder that `smallset study` left, with two seeds or more. Both methods judge the same
runs; the tables are in Markdown.
"""

import sys
from pathlib import Path

import numpy as np
from claims import before, before_claims

from smallset.compare.summary import Summary, summarise


def main():
    """Print a table per study."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for folder in sys.argv[1:]:
        table(summarise(Path(folder)))


def table(found: Summary):
    """Print the comparisons of a study, and what would have been said of them before."""
    arms = {arm.name: arm for arm in found.arms}
    print(f"\n{found.name}: {found.num_images} test images\n")
    print("| arm | accuracy % | sd over seeds | luck, pooled |\n|---|---|---|---|")
    for arm in found.arms:
        spread, luck = 100 * (arm.spread or 0), arm.luck
        pooled = "-" if luck is None else f"{100 * np.sqrt(luck.variance):.1f}"
        print(f"| {arm.name} | {100 * arm.accuracy.value:.1f} | {spread:.1f} | {pooled} |")
    olds = []
    for pair in found.comparisons:
        shared = [seed for seed in arms[pair.arm].seeds if seed in arms[pair.against].seeds]
        rows = [
            arms[name].correct[[arms[name].seeds.index(seed) for seed in shared]]
            for name in (pair.arm, pair.against)
        ]
        olds.append(before(rows[0] - rows[1]))
    print("\n| arm | against | seeds | points | before | now | |\n|---|---|---|---|---|---|---|")
    for pair, old, claimed in zip(found.comparisons, olds, before_claims(olds), strict=True):
        now = pair.result.difference
        word = "cannot tell" if not claimed else "better" if old[0] > 0 else "worse"
        changed = "" if word == pair.verdict else "another verdict"
        print(
            f"| {pair.arm} | {pair.against} | {pair.seeds} | {100 * now.value:+.1f} "
            f"| {100 * old[0]:+.1f} to {100 * old[1]:+.1f}, {word} "
            f"| {100 * now.low:+.1f} to {100 * now.high:+.1f}, {pair.verdict} | {changed} |"
        )


if __name__ == "__main__":
    main()
