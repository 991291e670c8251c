"""Every named network as ONNX, with random weights: is the export the network, and how long?

    python benchmarks/exports.py [--only NAME@SIZE,...]

Each is tried on generated pictures by what `smallset export` itself asks, at 1, 2 and 7 at a time
and at any size; a network that fails is a line, and the exit status is 1.
"""

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from smallset.data.pictures import RESIZES
from smallset.data.preprocessing import Preprocessing
from smallset.errors import SmallsetError
from smallset.models.registry import build_model
from smallset.record.record import Record
from smallset.use.onnx_check import Sample, compare
from smallset.use.onnx_files import ANY_SIZE, SQUARES
from smallset.use.onnx_model import Shipped, to_onnx, with_resize

NETWORKS = (
    "plain@64", "residual@64", "bottleneck@64", "squeezenet1_1@224", "mobilenet_v2@224",
    "mobilenet_v3_small@224", "resnet18@224", "resnet50@224", "vgg16@224", "vgg16@112",
    "efficientnet_lite0@224", "densenet121@224", "shufflenet_v2_x1_0@224", "googlenet@224",
    "vit_b_16@224", "swin_t@224", "convnext_tiny@224", "timm:vit_tiny_patch16_224@224",
    "timm:convnext_atto@224", "mobilenet_v2+efficientnet_lite1@240",
)  # fmt: skip


def main():
    """Export, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(NETWORKS))
    options = parser.parse_args()
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print("| network | resize | s to write | MB | squares within | any size within |")
    failed = False
    for at, each in enumerate(options.only.split(",")):
        name, size = each.split("@")
        policy = list(RESIZES)[at % len(RESIZES)]
        try:
            print(f"| {name}, {size} px | {policy} | {line(name, int(size), policy)} |", flush=True)
        except (SmallsetError, RuntimeError) as error:
            failed = True
            print(f"| {name}, {size} px | {policy} | failed: {str(error)[:300]} |", flush=True)
    return failed


def line(name, size, policy):
    """Return the cells of one network."""
    seen = Preprocessing(size=size, resize=policy)
    network = build_model(name, 35, image_size=size, weights="none", seed=0)
    shipped = Shipped(network, seen, 1.0).eval()
    with tempfile.TemporaryDirectory() as place:
        folder, began = Path(place), time.perf_counter()
        graph = to_onnx(shipped, size)
        onnx.save(graph, folder / SQUARES)
        onnx.save(with_resize(graph, seen), folder / ANY_SIZE)
        took = time.perf_counter() - began
        sample = Sample("generated", np.zeros(0, dtype=np.int64))
        found = compare(
            (folder / SQUARES, folder / ANY_SIZE), shipped, seen, sample, Record(folder)
        )
        assert found
        found.require(SQUARES, ANY_SIZE)
        mb = (folder / SQUARES).stat().st_size / 1e6
    return f"{took:.1f} | {mb:.1f} | {found.squares:.1e} | {found.resized:.1e}"


if __name__ == "__main__":
    sys.exit(main())
