"""A record as ONNX files: two graphs, and a card."""

import base64
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from smallset.data.preprocessing import Preprocessing
from smallset.errors import RunError
from smallset.record.doubt import read_temperature
from smallset.record.record import Record
from smallset.use.card import onnx_usage, write_card
from smallset.use.onnx_check import answers, open_graph
from smallset.use.onnx_model import set_metadata, to_onnx, with_resize
from smallset.use.shipment import Shipment, Written

SQUARES, ANY_SIZE, CARD = "model.onnx", "model-any-size.onnx", "README.md"
FILES = (SQUARES, ANY_SIZE, CARD)


def write_onnx(shipment: Shipment, folder: Path) -> Written:
    """Write model.onnx, model-any-size.onnx and a card, and try both graphs.

    Raises:
        RunError: If a graph cannot be made, or does not do what the run did.
    """
    record = shipment.record
    size = shipment.preprocessing.size
    pictures = (example(size, size), example(90, 160))
    for graph, file, picture in zip(graphs(shipment), (SQUARES, ANY_SIZE), pictures, strict=True):
        content = metadata(record, shipment.preprocessing)
        set_metadata(graph, content)
        onnx.save(graph, folder / file)
        probs = answers(open_graph(folder / file), picture[None])[0]
        content["test_picture"] = png(picture)
        content["test_probabilities"] = json.dumps([float(f"{p:.7g}") for p in probs])
        set_metadata(graph, content)
        onnx.save(graph, folder / file)
    parity = shipment.compared(folder / SQUARES, folder / ANY_SIZE)
    said = shipment.said(parity, SQUARES, ANY_SIZE)
    inside = [
        "Pictures come upright and in RGB, transparent parts on white; the graph does the rest.",
        f"Logits are divided by {shipment.shipped.temperature:.4g} before softmax.",
    ]
    card = write_card(record, onnx_usage(record), said, inside)
    (folder / CARD).write_text(card, encoding="utf-8")
    return Written(FILES, parity, said)


def graphs(shipment: Shipment) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the graph for squares of pixels, and the one for pictures of any size.

    Raises:
        RunError: If torch cannot write the network as one.
    """
    shipment.reporter.line(f"writing the graph of {shipment.record.model['model']}")
    seen = shipment.preprocessing
    try:
        squares = to_onnx(shipment.shipped, seen.size)
    except RuntimeError as error:  # torch's exporter raises many kinds, all of them are these
        raise RunError(
            f"torch cannot write the network of {shipment.record.folder} as ONNX: {error}"
        ) from error
    return squares, with_resize(squares, seen)


def metadata(record: Record, preprocessing: Preprocessing) -> dict[str, str]:
    """Return what a graph says of itself; every value is text or JSON."""
    config: Any = record.config
    packages = ("smallset", "torch", "onnx", "onnxscript", "onnxruntime")
    return {
        "made_by": "smallset",
        "model": record.model["model"],
        "classes": json.dumps(list(record.model["classes"]), ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing.to_json()),
        "temperature": repr(read_temperature(record.model).value),
        "fingerprint": config["data"]["fingerprint"],
        "digest": config["digest"],
        "versions": json.dumps(config["versions"]),
        "exported_with": json.dumps({each: version(each) for each in packages}),
    }


def example(height: int, width: int) -> UInt8[ndarray, "height width 3"]:
    """Return a picture of smooth colours, which PNG makes small."""
    y, x = np.mgrid[:height, :width]
    planes = 255 * x // width, 255 * y // height, 255 * (x + y) // (height + width)
    return np.stack(planes, axis=-1).astype(np.uint8)


def png(picture: UInt8[ndarray, "height width 3"]) -> str:
    """Return a picture as base64 of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
