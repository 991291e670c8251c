"""An epoch of `plain` with data, against the compute alone and against ImageFolder + DataLoader.

    python benchmarks/epoch.py DATA [--rounds 3] [--steps 20]

DATA is a folder train/<class>/image. Three things are timed in turn, round by round, in this
process, over the same number of steps of batch 32 at 112 px:

- limit:    forward, backward and step on normalised batches that are already in memory
- smallset: the same steps fed from the warm uint8 cache, with crop and flip
- peer:     ImageFolder + DataLoader (no workers), NCHW, float32 and torch's defaults, as the
            report did it; in a process of its own, whose memory is handled as glibc comes

What is compared is the time per step, its median over the rounds; the spread is that of the ratios
of single rounds.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision

STEPS_PER_EPOCH = 66  # 2,100 images in batches of 32


def peer(data: str, steps: int) -> float:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    from smallset.models.plain import plain

    transform = transforms.Compose(
        [
            transforms.Resize((112, 112)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(112, padding=11, padding_mode="reflect"),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = ImageFolder(str(Path(data) / "train"), transform)
    loader = DataLoader(images, batch_size=32, shuffle=True, drop_last=True)
    model = plain(len(images.classes)).train()
    # As a user writes it: ReLU before the pooling.
    layers = list(model.features.children())
    for i in range(2, 16, 4):
        layers[i], layers[i + 1] = layers[i + 1], layers[i]
    model.features = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    began, done = 0.0, -3
    while True:
        for inputs, labels in loader:
            if done == 0:
                began = time.perf_counter()
            loss = torch.nn.functional.cross_entropy(model(inputs).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            done += 1
            if done == steps:
                return (time.perf_counter() - began) / steps


class Ours:
    def __init__(self, data: str) -> None:
        import numpy as np

        from smallset.compute import resolve
        from smallset.data.augment import Augmenter
        from smallset.data.batches import random_batches
        from smallset.data.cache import load_pixels
        from smallset.data.feed import PixelFeed, Selection
        from smallset.data.preprocessing import Preprocessing
        from smallset.data.read import read_data
        from smallset.groups import AugmentConfig, ComputeConfig
        from smallset.memory import keep_memory
        from smallset.models.plain import plain
        from smallset.seeds import stream

        keep_memory()
        self.precision = resolve(ComputeConfig(device="cpu")).precision
        images = read_data(data)
        preprocessing = Preprocessing(size=112)
        pixels = load_pixels(images, preprocessing)
        rows = np.flatnonzero(images.splits == "train")
        self.model = plain(len(images.classes)).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        config = AugmentConfig(flip=True, crop_fraction=0.1)
        self.feed = PixelFeed(
            Selection(pixels.array, rows),
            images.labels[rows],
            preprocessing,
            device="cpu",
            augmenter=lambda e: Augmenter(
                config, seed=0, stage=0, epoch=e, mean=preprocessing.mean
            ),
        )
        self.plan = lambda epoch: random_batches(len(rows), 32, stream(0, "order", epoch))
        self.held = list(self.feed.load(self.plan(0)[:8], 0))
        self.epoch = 0

    def _step(self, batch: Any) -> None:
        from smallset.learn.keep import KeptWeights
        from smallset.learn.objectives import OnePass
        from smallset.learn.train import Lane, train_step
        from smallset.models.forward import forward

        one_pass = partial(forward, self.model, bfloat16=self.precision == "bfloat16")
        lane = Lane(self.model, self.optimizer.param_groups, KeptWeights(self.model))
        train_step(one_pass, OnePass(_loss), self.optimizer, [lane], batch)

    def limit(self, steps: int) -> float:
        began = time.perf_counter()
        for step in range(steps):
            self._step(self.held[step % len(self.held)])
        return (time.perf_counter() - began) / steps

    def whole(self, steps: int) -> float:
        self.epoch += 1
        batches = self.plan(self.epoch)[:steps]
        began = time.perf_counter()
        for batch in self.feed.load(batches, self.epoch):
            self._step(batch)
        return (time.perf_counter() - began) / len(batches)


def _loss(output, labels):
    return torch.nn.functional.cross_entropy(output.logits, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    data, steps = arguments.data, arguments.steps
    if arguments.peer:
        print(peer(data, steps))
        return

    ours = Ours(data)
    ours.limit(3)
    times: dict[str, list[float]] = {"limit": [], "smallset": [], "peer": []}
    for number in range(arguments.rounds):
        # The order turns round with each round, so that a slow drift favours nobody.
        for name in ("limit", "smallset") if number % 2 else ("smallset", "limit"):
            run = ours.limit if name == "limit" else ours.whole
            times[name].append(run(steps))
        command = [sys.executable, __file__, data, "--steps", str(steps), "--peer"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        times["peer"].append(float(done.stdout))

    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, ", end="")
    print(f"{torch.get_num_threads()} threads, {ours.precision}, ", end="")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    print(f"{arguments.rounds} rounds of {steps} steps; seconds per epoch of 66 steps")
    for name, seconds in times.items():
        rounds = ", ".join(f"{STEPS_PER_EPOCH * s:.1f}" for s in seconds)
        print(f"  {name:<9} {STEPS_PER_EPOCH * statistics.median(seconds):6.1f}   ({rounds})")
    _ratio("smallset / limit", times["smallset"], times["limit"])
    _ratio("peer / smallset", times["peer"], times["smallset"])


def _ratio(name: str, above: list[float], below: list[float]) -> None:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    middle = statistics.median(above) / statistics.median(below)
    print(f"  {name}: {middle:.3f} (rounds {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
