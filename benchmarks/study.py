"""A study of eight small runs in two ways, and many classifiers on one frozen backbone.

    python benchmarks/study.py DATA [--rounds 3] [--weights squeezenet1_1-....pth]

Each side is a whole study, from planning to charts, into a fresh folder:

- processes: as many runs at a time as there are processors, one thread each (the default)
- threads:   one run after the other in one process, with all the threads
- with --weights, instead: 24 classifiers (8 rates x 3 seeds) against one, on squeezenet1_1 at
  224 px, the decoded images cached, the features not; then again with the features cached

The sides take turns, round by round; ratios are of the medians, their spread that of the rounds.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

EIGHT = """
title = "Eight small runs"
about = "Four rates, two seeds."
seeds = 2
baseline = "a"
base = {{ image_size = 48, epochs = {epochs} }}
[arms]
a = {{ lr = 0.003 }}
b = {{ lr = 0.01 }}
c = {{ lr = 0.03 }}
d = {{ lr = 0.1 }}
"""


def timed_study(text: str, data: str, **options) -> float:
    import smallset

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.toml"
        file.write_text(text)
        began = time.perf_counter()
        found = smallset.study(str(file), data, out=Path(folder) / "out/study", **options)
        seconds = time.perf_counter() - began
        assert not found.failed
        return seconds


def frozen(weights: str, rates: list[float], seeds: int) -> str:
    arms = "\n".join(f'[arms."{rate}"]\nlr = {rate}' for rate in rates)
    return (
        f'title = "t"\nabout = "a"\nseeds = {seeds}\nbaseline = "{rates[0]}"\n'
        f'base = {{ model = "squeezenet1_1", weights = "{weights}" }}\n{arms}\n'
    )


def report(times: dict[str, list[float]], above: str, below: str) -> None:
    for name in (above, below):
        rounds = ", ".join(f"{s:.1f}" for s in times[name])
        print(f"  {name:<22} {statistics.median(times[name]):6.1f} s   ({rounds})")
    ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
    middle = statistics.median(times[above]) / statistics.median(times[below])
    print(f"  {above} / {below}: {middle:.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    from smallset.memory import keep_memory

    keep_memory()
    cores = os.cpu_count()
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {cores} processors, ")
    print(f"torch {torch.__version__}, {arguments.rounds} rounds")
    times: dict[str, list[float]] = {}
    eight = EIGHT.format(epochs=arguments.epochs)
    sides = {
        "threads": {"execute_by": "serial", "settings": {"compute.threads": cores}},
        "processes": {"execute_by": "processes"},
    }
    for number in range(0 if arguments.weights else arguments.rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            seconds = timed_study(eight, arguments.data, **sides[name])
            times.setdefault(name, []).append(seconds)
    if times:
        report(times, "threads", "processes")
    if arguments.weights:
        rates = [0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3]
        one, many = frozen(arguments.weights, rates[:1], 1), frozen(arguments.weights, rates, 3)
        with tempfile.TemporaryDirectory() as cache:  # the user's own keeps its features
            os.environ["SMALLSET_CACHE"] = cache
            timed_study(one, arguments.data, execute="serial")  # decodes
            for _ in range(arguments.rounds):
                for name, text in (("1 classifier", one), ("24 classifiers", many)):
                    shutil.rmtree(Path(cache) / "features")
                    for state in ("", ", cached"):
                        times.setdefault(name + state, []).append(
                            timed_study(text, arguments.data, execute="serial")
                        )
        report(times, "24 classifiers", "1 classifier")
        report(times, "24 classifiers, cached", "1 classifier, cached")


if __name__ == "__main__":
    main()
