"""The price of verifying: a decoded cache beside an epoch, and `check` beside another checkout.

    python benchmarks/verified.py DATA [--against SRC] [--rounds 3] [--every 1]

DATA is a folder train|val|test/<class>/image, SRC the folder `src` of a checkout of before. All
times are processor seconds (user and system), which a busy machine changes less than the clock's;
each side is a process of its own, and they take turns, round by round:

- open:   `load_pixels` of all images at 112 px from a warm cache ($SMALLSET_CACHE, where it is set)
          as by a new process; in brackets the checksums alone
- epoch:  66 steps of `plain` on batches of 32 of them, reckoned from 4
- cold, warm: `check` with an empty cache, and again as by a new process, on every n-th picture
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OPEN = """
import torch
from smallset import store
from smallset.data import cache
from smallset.data.preprocessing import Square
from smallset.data.read import read_data
from smallset.models.plain import plain
torch.set_num_threads(1)
spent = []
def timed(path, original=store.file_sum):
    began = time.process_time()
    found = original(path)
    spent.append(time.process_time() - began)
    return found
store.file_sum = timed
images = read_data(sys.argv[1])
model = plain(len(images.classes)).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def turn():
    cache._hashes.clear()
    store._verified.clear()
    spent.clear()
    began = time.process_time()
    pixels = cache.load_pixels(images, Square(size=112, resize="squash"))
    opened = time.process_time() - began
    for step in range(5):
        if step == 1:
            began = time.process_time()
        batch = torch.from_numpy(pixels.array[32 * step : 32 * step + 32] / 255).float()
        batch = batch.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(32) % len(images.classes)
        torch.nn.functional.cross_entropy(model(batch).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [len(images), opened, sum(spent), (time.process_time() - began) / 4 * 66]
"""
CHECK = """
import os, tempfile
from smallset import api, progress
from smallset.data import cache
def checked():
    cache._hashes.clear()
    getattr(sys.modules.get("smallset.store"), "_verified", {}).clear()
    began = time.process_time()
    api.check(sys.argv[1], reporter=progress.Reporter())
    return time.process_time() - began
def turn():
    with tempfile.TemporaryDirectory() as os.environ["SMALLSET_CACHE"]:
        return [checked(), checked()]
turn()  # what is imported at the first use is
"""
TURNS = """
for _ in sys.stdin:
    print(json.dumps(turn()), flush=True)
"""


class Side:
    """A process that measures once whenever it is asked."""

    def __init__(self, script, data, src):
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(src)}
        command = [sys.executable, "-W", "ignore", "-c", f"import json, sys, time\n{script}{TURNS}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([*command, str(data)], env=env, **pipes)
        assert self.process.stdin
        assert self.process.stdout
        self.told, self.asked = self.process.stdout, self.process.stdin
        self.found = []

    def turn(self):
        """Measure once."""
        print(file=self.asked, flush=True)
        self.found.append(json.loads(self.told.readline()))

    def columns(self):
        """Return what was measured, column by column, and end."""
        self.process.communicate()
        return list(zip(*self.found, strict=True))


def some(data, every, folder):
    """Copy every n-th picture."""
    paths = sorted(p for s in ("train", "val", "test") for p in (data / s).glob("*/*"))[::every]
    for path in paths:
        copy = folder / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    print(f"check of {len(paths)} pictures", flush=True)
    return folder


def main():
    """Print a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    data, here = options.data.resolve(), Path(__file__).parents[1] / "src"
    with tempfile.TemporaryDirectory() as place:
        few = some(data, options.every, Path(place) / "some")
        sides = {"now": Side(CHECK, few, here)}
        if options.against:
            sides["there"] = Side(CHECK, few, options.against.resolve())
        opened = Side(OPEN, data, here)
        for _ in range(options.rounds):
            for side in (opened, *sides.values()):
                side.turn()
        images, opening, sums, epoch = map(statistics.median, opened.columns())
        print(f"{images} images: open {opening:.2f} s ({sums:.2f} s), epoch {epoch:.0f} s")
        for name, side in sides.items():
            for how, each in zip(("cold", "warm"), side.columns(), strict=True):
                low, middle, high = min(each), statistics.median(each), max(each)
                print(f"check {name}, {how}: {middle:.2f} s ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
