"""AutoGluon MultiModal on the same images and weights as a run of smallset, in the same time.

    AUTOGLUON/bin/python with_autogluon.py DATA --weights FILE --seconds N --out CSV

It runs in an environment of its own (README.md beside this file), and knows nothing of smallset.
DATA is train|val|test/<class>/image; FILE is mobilenet_v2 in torchvision's layout, with or without
its last layer. AutoGluon takes its networks from a hub, or from a folder in the layout that
`dump_timm_image` writes: such a folder is written here, of timm's own mobilenetv2_100, which is the
same network under other names. All else is AutoGluon's default; give --epochs what there is time
for, or the clock cuts a schedule for 20. It scores val itself; test is scored once, at the end.
"""

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor  # pyright: ignore[reportMissingImports]

NETWORK = "mobilenetv2_100"


def main():
    """Train, score test, and write a line per image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seconds", type=int, required=True, help="time_limit of AutoGluon")
    parser.add_argument("--epochs", type=int, help="of its schedule, which else is for 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.out.resolve().parent))
    train, val, test = (files_of(options.data, split) for split in ("train", "val", "test"))
    predictor = MultiModalPredictor(
        label="label", problem_type="multiclass", eval_metric="accuracy", path=str(work / "fit")
    )
    began, spent = time.perf_counter(), time.process_time()
    predictor.fit(
        train,
        tuning_data=val,
        time_limit=options.seconds,
        seed=options.seed,
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": str(folder_of(options.weights, work / "weights")),
            "env.num_gpus": 0,
            "env.num_workers": 0,
            **({"optim.max_epochs": options.epochs} if options.epochs else {}),
        },
    )
    took, spent = time.perf_counter() - began, time.process_time() - spent
    said = predictor.predict(test[["image"]], as_pandas=False)
    rows = [
        (str(Path(path).relative_to(options.data)), label, each)
        for path, label, each in zip(test["image"], test["label"], said, strict=True)
    ]
    with options.out.open("w", newline="") as out:
        csv.writer(out).writerows([("path", "label", "predicted"), *rows])
    shutil.rmtree(work)
    right = sum(label == each for _, label, each in rows)
    print(
        f"AutoGluon, seed {options.seed}: {took:.0f} s, {spent:.0f} CPU-s; "
        f"test {right / len(rows):.4f}"
    )


def files_of(data, split):
    """Return the images of a split and their classes."""
    files = sorted(path for path in (data / split).glob("*/*") if path.is_file())
    return pd.DataFrame({
        "image": [str(path) for path in files], "label": [path.parent.name for path in files]
    })  # fmt: skip


def folder_of(weights, folder):
    """Write weights of torchvision's mobilenet_v2 as a folder that AutoGluon loads."""
    network = timm.create_model(NETWORK, pretrained=False, num_classes=0)
    given = torch.load(weights, weights_only=True, map_location="cpu")
    kept = {name: each for name, each in given.items() if name.startswith("features.")}
    left = [name for name in kept if not name.endswith("num_batches_tracked")]
    state = network.state_dict()
    own = [name for name in state if not name.endswith("num_batches_tracked")]
    # Both list the layers from the first to the last, and those of a layer in one order.
    pairs = list(zip(own, left, strict=True))
    odd = [pair for pair in pairs if state[pair[0]].shape != kept[pair[1]].shape]
    if odd:
        raise SystemExit(f"{weights} does not fit {NETWORK}: {odd[:3]}")
    state.update({name: kept[other] for name, other in pairs})
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    said = {
        "architecture": NETWORK, "num_features": network.num_features,
        "pretrained_cfg": dict(vars(network)["pretrained_cfg"]),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(said, default=str))
    return folder


if __name__ == "__main__":
    main()
