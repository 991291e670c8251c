"""Does a change of the source leave every number as it was, to the bit?

    python benchmarks/same_numbers.py --out FOLDER > before.txt     # in one checkout
    python benchmarks/same_numbers.py --out FOLDER > after.txt      # in the other; then diff

Small runs, studies, a search and cleanings cover every kind of model, loss, stage, batch and
augmentation, frozen classifiers alone and side by side, cleaning inside a run, a run that was
killed and resumed, and runs that start from others. What is printed is the sha256 of the files
that hold numbers. They hold on one machine and one version of torch only, so none is kept here.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

DATA = "sample:shapes,scale=0.2,seed=1,size=64"
FILES = ("predictions.csv", "model.safetensors")
SMALL = {
    "recipe": "course-report", "image_size": 48, "epochs": 3,
    "figures.report": "false", "figures.tsne": "false",
}  # fmt: skip
NET = {"model": "squeezenet1_1", "weights": "WEIGHTS", "image_size": 64}
PK = {"batches.kind": "pk", "batches.classes_per_batch": 6, "batches.images_per_class": 3}

RUNS = {
    "plain": {
        "optim.momentum": 0.9, "optim.nesterov": "true", "optim.weight_decay": 1e-3,
        "schedule.name": "cosine", "schedule.warmup_epochs": 1, "augment.flip": "true",
        "augment.crop_fraction": 0.1, "augment.color": 0.2, "augment.rotation_degrees": 10,
        "augment.erasing": 0.3, "loss_args.label_smoothing": 0.1,
    },
    "residual": {
        "model": "residual", "optim.name": "adamw", "lr": 1e-3, "optim.weight_decay": 0.05,
        "optim.grad_clip": 1, "keep": "best-val", "schedule.milestones": "[2]",
    },
    "bottleneck": {"model": "bottleneck", "loss": "squared", "batches.size": 20},
    "mse": {"loss": "mse", "lr": 1, "schedule.name": "constant"},
    "gce": {"loss": "gce", "loss_args.gce_q": 0.5, "data.resize": "pad"},
    "cosine-pk": {"loss": "triplet-cosine", "loss_args.soft_margin": "true", **PK},
    "euclidean": {"model": "residual", "loss": "triplet-euclidean", "loss_args.margin": 0.4},
    "frozen": {**NET, "optim.momentum": 0.9},
    "frozen-pk-adamw": {**NET, "optim.name": "adamw", "lr": 1e-3, **PK},
    "frozen-augmented": {**NET, "augment.flip": "true", "data.resize": "zoom"},
    "frozen-large-head": {
        "model": "mobilenet_v3_small", "weights": "none", "trains": "classifier", "image_size": 64
    },
    "all-of-a-network": {**NET, "trains": "all", "lr": 1e-3},
    "timm": {"model": "timm:mobilenetv3_small_050", "weights": "none", "image_size": 64},
    "more-data": {
        "data.train_on": "train+val+extra", "data.classes": "1-10,22",
        "data.train_fraction": 0.7, "data.subset_seed": 3, "data.resize": "crop",
    },
    "noise": {"data.noise_rate": 0.3, "data.noise_seed": 2, "data.noise_in_val": "true"},
    "clean-oracle": {"data.noise_rate": 0.3, "data.clean": "oracle"},
    "clean-self": {"data.noise_rate": 0.3, "data.clean": "self", "DATA": "colours"},
    "clean-network": {
        "data.noise_rate": 0.3, "data.clean": "squeezenet1_1=WEIGHTS", "DATA": "colours"
    },
}  # fmt: skip

STUDY = """
title = "t"
about = "a"
seeds = 2
baseline = "slow"
[base]
recipe = "course-report"
image_size = 64
epochs = 3
[arms.slow]
model = "squeezenet1_1"
weights = "WEIGHTS"
lr = 0.01
[arms.fast]
model = "squeezenet1_1"
weights = "WEIGHTS"
lr = 0.05
optim.momentum = 0.9
[arms.plain]
image_size = 32
lr = 0.02
[arms.more]
image_size = 32
lr = 0.01
start_from = "mixed/plain"
data.train_on = "train+extra"
[arms.noisy]
model = "squeezenet1_1"
weights = "WEIGHTS"
data.noise_rate = 0.2
"""


def main():
    """Run everything, and print a line per file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="a folder to work in")
    parser.add_argument("--only", help="one run's name")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["SMALLSET_CACHE"] = str(out / "cache")
    os.environ["OMP_NUM_THREADS"] = "2"
    weights = make_weights(out / "squeezenet1_1.pth")
    make_colours(out / "colours")
    for name, settings in RUNS.items():
        if options.only in (None, name):
            train(out / name, settings, weights)
            show(out, out / name, *FILES)
    if options.only in (None, "killed"):
        train_killed(out / "killed", RUNS["plain"] | {"epochs": 6}, weights)
        show(out, out / "killed", *FILES)
    if options.only in (None, "mixed"):
        file = out / "mixed.toml"
        file.write_text(STUDY.replace("WEIGHTS", str(weights)))
        for way in ("serial", "processes"):
            folder = out / way / "mixed"
            smallset(
                "study", file, "--data", DATA, "--out", folder, "--execute", way,
                "--set", "figures.report=false",
            )  # fmt: skip
            show(out, folder, "summary.csv", "comparisons.csv")
            for run in sorted(folder.glob("*/seed-*")):
                show(out, run, *FILES)
    if options.only in (None, "tune"):
        smallset(
            "tune", DATA, "--out", out / "tune", "--trials", 4, "--no-compare",
            "--set", "image_size=32", "--set", "epochs=3", "--set", "recipe=course-report",
        )  # fmt: skip
        show(out, out / "tune", "trials.csv", "best.toml")
    if options.only in (None, "cleaned"):
        for judge in ("self", f"squeezenet1_1={weights}"):
            folder = out / f"cleaned-{judge.partition('=')[0]}"
            smallset(
                "clean", out / "colours", "--out", folder, "--with", judge, "--noise", 0.2,
                status=(0, 1),
            )  # fmt: skip
            show(out, folder, "labels.csv")


def make_weights(path):
    """Write a weight file in torchvision's layout, its numbers from a seed."""
    import torch
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    torch.save(squeezenet1_1().state_dict(), path)
    return path


def make_colours(folder):
    """Write 5 classes x 40 noisy pictures, whose colour and grain tell the class."""
    colours = [(150, 90, 90), (90, 150, 90), (90, 90, 150), (140, 140, 90), (90, 140, 140)]
    for label, colour in enumerate(colours):
        (folder / f"c{label}").mkdir(parents=True, exist_ok=True)
        for number in range(40):
            rng = np.random.default_rng([label, number])
            coarse = rng.normal(colour, 45, (8 + 4 * label, 8 + 4 * label, 3)).clip(0, 255)
            picture = Image.fromarray(coarse.astype(np.uint8)).resize((56, 56))
            picture.save(folder / f"c{label}" / f"{number}.png")


def arguments(folder, settings, weights):
    """Return the words of one `smallset train`."""
    data = str(folder.parent / settings["DATA"]) if "DATA" in settings else DATA
    words = ["train", data, "--out", str(folder), "--quiet"]
    for name, value in {**SMALL, **settings}.items():
        if name == "DATA":
            continue
        words += ["--set", f"{name}={value}".replace("WEIGHTS", str(weights))]
    return words


def train(folder, settings, weights):
    """Train one run."""
    smallset(*arguments(folder, settings, weights))


def train_killed(folder, settings, weights):
    """Train one run that is killed once it has a checkpoint, and resume it."""
    words = arguments(folder, settings, weights)
    began = subprocess.Popen([sys.executable, "-m", "smallset", *words])
    while began.poll() is None and not (folder / "checkpoint.safetensors").exists():
        time.sleep(0.02)
    began.kill()
    began.wait()
    smallset(*words, "--resume")


def smallset(*words, status=(0,)):
    """Run the command line of the checkout that Python finds."""
    command = [sys.executable, "-m", "smallset", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in status:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def show(root, folder, *names):
    """Print the hash of each file."""
    for name in names:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        print(f"{digest[:32]}  {folder.relative_to(root)}/{name}", flush=True)


if __name__ == "__main__":
    main()
