"""How fast `predict` is, beside the decode + forward limit, and how much memory it takes.

    python benchmarks/predict.py RUN IMAGES [--rounds 3] [--pictures 512] [--memory 2000,20000]

RUN is a record, IMAGES a folder. Four things are timed in turn, round by round, in this process,
over the same files, which are in the page cache:

- decode:  the files decoded by as many threads as there are processors, nothing else
- forward: the network on the decoded pictures, in batches, nothing else
- predict: both, as `smallset predict` does it, rows included
- command: `smallset predict --out` as a process of its own, from start to end

On a processor, decoding and network share the cores: the limit is the sum of both. On a GPU they
do not: the limit is the larger one. With --memory, as many links to the files are predicted by
processes of their own, and the most memory each had at any time is printed.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from smallset.data.read import image_files
from smallset.memory import keep_memory
from smallset.models.forward import BATCH_SIZE
from smallset.record.new_pictures import csv_lines, rows_of
from smallset.record.record import Record
from smallset.use.predictor import Predictor
from smallset.use.shards import SIZE


def decode(network, paths):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack([each.pixels for each in pool.map(network.open, paths)])


def forward(network, pixels):
    for start in range(0, len(pixels), BATCH_SIZE):
        network.answer(pixels[start : start + BATCH_SIZE])


def predict(network, paths):
    ranges = [range(n, min(n + SIZE, len(paths))) for n in range(0, len(paths), SIZE)]
    rows = rows_of(paths, network.blocks(paths, ranges), network.seen)
    return sum(map(len, csv_lines(rows, network.classes, None)))


def command(run, folder):
    out = folder.with_name("predicted.csv")
    words = ["-m", "smallset", "predict", str(run), str(folder), "--out", str(out), "--quiet"]
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, most_memory(process.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    assert process.returncode == 0
    rows = out.read_text().count("\n") - 1
    out.unlink()
    return seconds, peak, rows


def most_memory(pid):
    """Kilobytes that a process had at most until now; 0 where only Linux would know.

    What a parent is told at the end (ru_maxrss) counts its own memory, from before the exec.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0
    )


def linked(files, count, folder):
    """A folder with as many links to the files as asked for."""
    folder.mkdir()
    for number, file in enumerate(islice(cycle(files), count)):
        (folder / f"{number:06}{file.suffix}").symlink_to(file.resolve())
    return folder


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--memory", default="")
    options = parser.parse_args()
    keep_memory()
    files = image_files(options.images)[0]
    network = Predictor(Record(options.run))
    print(f"{platform.processor()} x {os.cpu_count()}, {torch.get_num_threads()} torch threads, "
          f"torch {torch.__version__}, {network.device}, bfloat16 {network.bfloat16}")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = linked(files, options.pictures, Path(scratch) / "some")
        paths = [str(path) for path in image_files(folder)[0]]
        pixels = decode(network, paths)
        forward(network, pixels[:BATCH_SIZE])
        sides = {
            "decode": lambda: decode(network, paths),
            "forward": lambda: forward(network, pixels),
            "predict": lambda: predict(network, paths),
            "command": lambda: command(options.run, folder),
        }
        times = {name: [] for name in sides}
        used = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                began, spent = time.perf_counter(), processor_seconds()
                side()
                times[name].append(time.perf_counter() - began)
                used[name].append(processor_seconds() - spent)
        report(times, len(paths), "seconds", network.device)
        report(used, len(paths), "processor-seconds", network.device)
        for count in map(int, filter(None, options.memory.split(","))):
            many = linked(files, count, Path(scratch) / str(count))
            seconds, peak, rows = command(options.run, many)
            assert rows == count
            print(f"{count} pictures: peak {peak / 1e3:.0f} MB, {count / seconds:.1f} a second")


def processor_seconds():
    """Of this process and those that it waited for; others on the machine do not count."""
    return sum(
        each.ru_utime + each.ru_stime
        for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def report(times, count, unit, device):
    """Print the medians, and the share of the limit that predict reaches, by round."""
    together = sum if device == "cpu" else max
    for name, each in times.items():
        middle = statistics.median(each)
        print(f"{name:<8} {middle:7.2f} {unit} ({min(each):.2f} to {max(each):.2f}), "
              f"{count / middle:.1f} a second")  # fmt: skip
    limits = [together(pair) for pair in zip(times["decode"], times["forward"], strict=True)]
    shares = [limit / own for limit, own in zip(limits, times["predict"], strict=True)]
    print(f"predict reaches {statistics.median(shares):.2f} of the limit "
          f"({min(shares):.2f} to {max(shares):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
