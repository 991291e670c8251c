"""What each recipe reaches, and what it costs: the table of docs/results.md.

    python benchmarks/recipes.py DATA --out FOLDER --mobilenet FILE [--only NAME] [--seeds 3]

Every line is one command of the README, run as a process of its own; its CPU-seconds are those of
the process, decoding aside (the cache is filled first). Test is printed; nothing is chosen by it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

LITE = "efficientnet_lite0"
LINES = {
    "quick": [],
    "strong": ["--recipe", "strong"],
    "course-report": ["--recipe", "course-report"],
    "head-mobilenet": ["--model", "mobilenet_v2", "--weights", "MOBILENET"],
    "head-lite0": ["--model", LITE],
    "head-lite2": ["--model", "efficientnet_lite2"],
    "head-lite0-mirror": ["--model", LITE, "--set", "mirror=true"],
    "head-two": ["--model", f"mobilenet_v2+{LITE}", "--weights", "MOBILENET+auto"],
    "head-two-lite": ["--model", f"{LITE}+efficientnet_lite2"],
    "finetune-mobilenet": [
        "--model", "mobilenet_v2", "--weights", "MOBILENET", "--recipe", "finetune",
    ],
    "finetune-lite0": ["--model", LITE, "--recipe", "finetune"],
}  # fmt: skip


def main():
    """Run the lines, seed by seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mobilenet", default="auto", help="weight file")
    parser.add_argument("--only", default=",".join(LINES), help="some of the lines")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="of every run")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    found = {}
    for seed in range(options.seeds):
        for name in options.only.split(","):
            folder = options.out / f"{name}-{seed}"
            if not (folder / "cost.json").exists():
                run(options, name, seed, folder)
            result = json.loads((folder / "result.json").read_text())
            cost = json.loads((folder / "cost.json").read_text())
            found.setdefault(name, []).append((result, cost))
            shown = [result[f"{split}_accuracy"] for split in ("val", "test")]
            print(name, seed, *(f"{100 * s:.2f}" for s in shown), cost, flush=True)
    print("| line | val | test | CPU-s | s |")
    for name, runs in found.items():
        val, test = (
            np.array([100 * r[f"{split}_accuracy"] for r, _ in runs]) for split in ("val", "test")
        )
        cpu, wall = (np.median([c[what] for _, c in runs]) for what in ("cpu", "wall"))
        print(
            f"| {name} | {val.mean():.1f} | {test.mean():.1f} ({test.min():.1f} to "
            f"{test.max():.1f}) | {cpu:.0f} | {wall:.0f} |"
        )


def run(options, name, seed, folder):
    """Run one line, and write down what it took."""
    words = [word.replace("MOBILENET", options.mobilenet) for word in LINES[name]]
    words += [part for each in options.set for part in ("--set", each)]
    command = [
        sys.executable, "-m", "smallset", "train", options.data, "--out", folder, "--quiet",
        "--seed", seed, *words, "--set", "figures.report=false", "--set", "figures.tsne=false",
    ]  # fmt: skip
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cost = {"cpu": round(cpu, 1), "wall": round(time.perf_counter() - began, 1)}
    (folder / "cost.json").write_text(json.dumps(cost))


if __name__ == "__main__":
    main()
