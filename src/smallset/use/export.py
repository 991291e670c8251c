"""A record as files that run without smallset, written only where they answer as it does."""

import base64
import io
import json
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from PIL import Image

from smallset.data.preprocessing import Preprocessing
from smallset.errors import RunError
from smallset.files import make_folder
from smallset.models.restore import refuse_own_code, restore
from smallset.progress import Reporter
from smallset.record.doubt import read_temperature
from smallset.record.measures import share_interval
from smallset.record.record import Record
from smallset.use.card import onnx_usage, write_card
from smallset.use.onnx_check import FILES, Parity, Sample, answers, compare, open_graph, sample_of
from smallset.use.onnx_model import Shipped, set_metadata, to_onnx, with_resize

CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """What an export left, and how near it is to the network."""

    folder: Path
    files: tuple[Path, ...]
    parity: Parity
    said: tuple[str, ...]
    """What was found, as sentences."""


def export_onnx(
    record: Record,
    out: Path,
    *,
    data: str | None = None,
    own_code: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Write model.onnx, model-any-size.onnx and a card, once both graphs answer as the network.

    Everything between pixels and probabilities is inside: resize, normalisation, the mirror image
    where the run averages it, the temperature, softmax. They compute in float32.

    Args:
        out: Folder for the files.
        data: Where the images of the run are now; None takes the place where they were.
        own_code: Whether a record may import the function that builds its network; trust it first.
        force: Write over an export that is there.

    Raises:
        ConfigError: If the network is own code and that is not allowed.
        DataError: If the record is damaged, or `data` cannot be read.
        RunError: If files are there already, a graph cannot be made, or one answers differently.
    """
    reporter = reporter or Reporter()
    refuse_own_code(record, allowed=own_code)
    _refuse_overwriting(out, force=force)
    network, preprocessing, _ = restore(record)
    described = record.model
    shipped = Shipped(network, preprocessing, read_temperature(described).value).eval()
    sample = sample_of(record, data)
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        aside = Path(name)
        reporter.line(f"writing the graph of {described['model']}")
        _write_graphs(record, shipped, preprocessing, aside)
        parity = _compared(aside, shipped, preprocessing, sample, record, reporter)
        parity.require()
        said = _said(record, parity)
        usage = onnx_usage(record, described["preprocessing"])
        (aside / CARD).write_text(write_card(record, usage, said), encoding="utf-8")
        make_folder(out)
        for file in (*FILES, CARD):
            (aside / file).replace(out / file)
    return Exported(out, tuple(out / file for file in (*FILES, CARD)), parity, tuple(said))


def _refuse_overwriting(out: Path, *, force: bool) -> None:
    there = [out / file for file in (*FILES, CARD) if (out / file).exists()]
    if there and not force:
        raise RunError(f"{there[0]} is there already; name another folder with --out, or --force")


def _write_graphs(
    record: Record, shipped: Shipped, preprocessing: Preprocessing, folder: Path
) -> None:
    """Write both graphs, each with an example of its own and what there is to know of it."""
    try:
        squares = to_onnx(shipped, preprocessing.size)
    except RuntimeError as error:  # of torch's exporter: there are many kinds, all are these
        raise RunError(
            f"torch cannot write the network of {record.folder} as ONNX: {error}"
        ) from error
    pictures = dict(zip(FILES, _examples(preprocessing.size), strict=True))
    graphs = dict(zip(FILES, (squares, with_resize(squares, preprocessing)), strict=True))
    for file, graph in graphs.items():
        content = _metadata(record, preprocessing)
        set_metadata(graph, content)
        onnx.save(graph, folder / file)
        probs = answers(open_graph(folder / file), pictures[file][None])[0]
        content["test_picture"] = _png(pictures[file])
        content["test_probabilities"] = json.dumps([float(f"{p:.7g}") for p in probs])
        set_metadata(graph, content)
        onnx.save(graph, folder / file)


def _metadata(record: Record, preprocessing: Preprocessing) -> dict[str, str]:
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


def _examples(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a square picture and another, of smooth colours, which PNG makes small."""

    def made(height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        planes = 255 * x // width, 255 * y // height, 255 * (x + y) // (height + width)
        return np.stack(planes, axis=-1).astype(np.uint8)

    return made(size, size), made(90, 160)


def _png(picture: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _compared(
    folder: Path, shipped: Shipped, preprocessing: Preprocessing, sample: Sample, record: Record,
    reporter: Reporter,
) -> Parity:  # fmt: skip
    """Compare on the sample, and on generated pictures where nothing is left of it."""
    progress = partial(reporter.counted, "checking")
    if sample.said:
        reporter.note(f"{sample.said}; the export is tried on generated pictures")
    parity = compare(folder, shipped, preprocessing, sample, record, progress)
    reporter.close()
    left = len(sample) if parity is None else len(sample) - parity.pictures
    if left:
        reporter.note(
            f"{left:,} of {len(sample):,} {sample.kind} pictures are missing or have changed "
            "since; the export is not tried on them"
        )
    if parity is None:
        made = Sample("generated", sample.rows[:0])
        parity = compare(folder, shipped, preprocessing, made, record, progress)
    assert parity
    return parity


def _said(record: Record, parity: Parity) -> list[str]:
    """Return what was found, as sentences."""
    said = [
        f"Tried with onnxruntime {onnxruntime.__version__} on {parity.pictures:,} {parity.kind} "
        "pictures.",
        f"{FILES[0]}, 1, 2 and 7 pictures at a time: every probability within "
        f"{parity.squares:.1e} of the network's.",
        f"{FILES[1]}: pixels within {parity.levels} grey level(s), probabilities within "
        f"{parity.resized:.1e}, the same class for {parity.agree:,} of {parity.pictures:,}.",
    ]
    if parity.right is not None:
        value, low, high = share_interval(parity.right, parity.pictures)
        measured = record.predictions.accuracy("test")
        said.append(
            f"Accuracy of {FILES[0]}: {value:.2%} ({low:.1%} to {high:.1%}); the run has "
            f"{measured:.2%} of its test images right."
        )
    if record.model["precision"] != "float32":
        said.append("The run computed in bfloat16; the graphs compute in float32.")
    return said
