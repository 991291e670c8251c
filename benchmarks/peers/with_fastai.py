"""fastai's fine_tune on the same images, weights and CPU-seconds as a run of smallset.

    FASTAI/bin/python benchmarks/peers/with_fastai.py DATA --weights FILE --cpu-seconds N --out CSV

It runs in an environment of its own (README.md beside this file), and knows nothing of smallset.
DATA is train|val|test/<class>/image; FILE is mobilenet_v2 in torchvision's layout, with or without
its last layer. The number of epochs is what the CPU-seconds allow, by a few timed steps. Test is
scored once, at the end. The file is called so because `fastai.py` would hide the package.
"""

import argparse
import csv
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch is imported

import torch
from fastai.vision.all import (  # pyright: ignore[reportMissingImports]
    ImageDataLoaders,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    set_seed,
    vision_learner,
)
from torchvision.models import mobilenet_v2

SIZE, LARGER, BATCH = 224, 256, 32
TIMED = 6  # steps, of which the first two do not count


def main():
    """Train, score test, and write a line per image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cpu-seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    set_seed(options.seed, reproducible=True)
    learner = learner_on(options.data, options.weights)
    epochs = affordable(learner, options.cpu_seconds)
    set_seed(options.seed, reproducible=True)
    learner = learner_on(options.data, options.weights)
    began = time.process_time()
    with learner.no_bar():
        learner.fine_tune(epochs)
    trained = time.process_time() - began
    files = sorted(get_image_files(options.data / "test"))
    with learner.no_bar():
        probs, _ = learner.get_preds(dl=learner.dls.test_dl(files, bs=BATCH))
    classes = list(learner.dls.vocab)
    rows = [
        (str(file.relative_to(options.data)), file.parent.name, classes[said])
        for file, said in zip(files, probs.argmax(dim=1).tolist(), strict=True)
    ]
    with options.out.open("w", newline="") as out:
        csv.writer(out).writerows([("path", "label", "predicted"), *rows])
    right = sum(label == said for _, label, said in rows)
    print(
        f"fastai fine_tune, seed {options.seed}: {epochs} epochs after one of the head, "
        f"{trained:.0f} CPU-s of {options.cpu_seconds:.0f}; test {right / len(rows):.4f}"
    )


def learner_on(data, weights):
    """Return fastai's own recipe: pictures cut from larger ones, its augmentation and its head."""
    loaders = ImageDataLoaders.from_folder(
        data, train="train", valid="val", bs=BATCH, num_workers=0, item_tfms=Resize(LARGER),
        batch_tfms=[
            *aug_transforms(size=SIZE, min_scale=0.75), Normalize.from_stats(*imagenet_stats),
        ],
    )  # fmt: skip

    def backbone(**_):
        network = mobilenet_v2(weights=None)
        tensors = torch.load(weights, weights_only=True, map_location="cpu")
        missing, unknown = network.load_state_dict(tensors, strict=False)
        lacking = [n for n in missing if not n.startswith("classifier.")]
        if unknown or [n for n in lacking if not n.endswith("num_batches_tracked")]:
            raise SystemExit(f"{weights} does not fit mobilenet_v2: {lacking[:3]}, {unknown[:3]}")
        # fastai cuts a network before its pooling, which is no module in this one.
        return torch.nn.Sequential(network.features, torch.nn.AdaptiveAvgPool2d(1))

    return vision_learner(loaders, backbone, metrics=accuracy)


def affordable(learner, seconds):
    """Return the epochs of all layers that fit into some CPU-seconds, beside one of the head."""
    learner.unfreeze()
    learner.create_opt()
    learner.model.train()
    batches, times = iter(learner.dls.train), []
    for _ in range(min(TIMED, len(learner.dls.train))):
        began = time.process_time()
        images, labels = next(batches)
        learner.loss_func(learner.model(images), labels).backward()
        learner.opt.step()
        learner.opt.zero_grad()
        times.append(time.process_time() - began)
    step = sum(times[-4:]) / len(times[-4:])
    # A look at val or a step of the head alone takes about a third of a step.
    val = len(learner.dls.valid) / 3
    train = len(learner.dls.train)
    return max(1, int((seconds / step - (train / 3 + val)) / (train + val)))


if __name__ == "__main__":
    main()
