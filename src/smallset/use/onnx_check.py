"""Whether exported graphs answer as the network does, asked of onnxruntime on real pictures."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image

from smallset.data.pictures import Unreadable, decode, read_file, resize
from smallset.data.preprocessing import Preprocessing
from smallset.data.read import list_data
from smallset.errors import DataError, RunError
from smallset.record.record import Record
from smallset.use.onnx_model import Shipped
from smallset.use.predictor import in_order
from smallset.words import Text, text

BATCHES = (1, 2, 7)
"""How many squares are given at a time, in turns: what is right for one may be wrong for two."""
LARGEST = 1e-4
"""Largest difference of a probability that is rounding, on the same pixels."""
LARGEST_RESIZED = 0.05
"""The same where the graph resizes: one grey level moves probabilities by up to 0.005."""
MOST_LEVELS = 2
"""Grey levels by which a pixel may differ then; see `resize_graph`."""
GENERATED = 20


class Pixels(NamedTuple):
    """One picture, and the square that the run makes of it."""

    row: int
    """Of predictions.csv; -1 where it was generated."""
    whole: UInt8[ndarray, "height width 3"]
    square: UInt8[ndarray, "size size 3"]


@dataclass(frozen=True)
class Sample:
    """The pictures that an export is tried on."""

    kind: str
    """"test", "val" or "train", the split of the run; "generated" where its data is not here."""
    rows: Int[ndarray, " n"]
    """Of predictions.csv; empty where they are generated."""
    root: Path = Path()
    """What its paths are relative to."""
    said: str = ""
    """Why they are generated; "" where they are not."""

    def __len__(self) -> int:
        return len(self.rows) or GENERATED

    def pixels(self, record: Record, preprocessing: Preprocessing) -> Iterator[Pixels]:
        """Decode them, ahead of whoever looks at them; what is not as it was is left out."""
        if self.kind == "generated":
            yield from _generated(preprocessing)
            return
        found = record.predictions

        def opened(row: int) -> Pixels | None:
            try:
                content = read_file(self.root / found.paths[row])
                picture = decode(content, max_megapixels=preprocessing.max_megapixels)
            except Unreadable:
                return None
            square = resize(picture.image, preprocessing.size, preprocessing.resize)
            whole = np.asarray(picture.image)
            return Pixels(row, whole, square) if picture.id == found.ids[row] else None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            coming = in_order(pool, opened, self.rows.tolist(), ahead=16)
            yield from (each for each in coming if each is not None)


def counted_pictures(count: int, kind: str) -> Text:
    """Return how many pictures there are of a kind of `Sample`, as a part of a sentence."""
    said = {
        "test": text("{count:,} test pictures", count=count),
        "val": text("{count:,} val pictures", count=count),
        "train": text("{count:,} training pictures", count=count),
        "generated": text("{count:,} generated pictures", count=count),
    }
    return said[kind]


@dataclass(frozen=True)
class Parity:
    """How near an export is to the network."""

    pictures: int
    """That it was tried on."""
    kind: str
    """As in `Sample`."""
    squares: float | None
    """Largest difference of a probability, on the same squares of pixels, of all batch sizes; None
    where there is no graph for squares."""
    resized: float
    """The same for pictures of any size."""
    levels: int
    """Largest difference of a pixel of those, after the graph's resize, in grey levels."""
    agree: int
    """Pictures of any size whose most probable class is the network's."""
    right: int | None
    """Test images that are predicted right, by the graph for squares where there is one; None
    where they were not asked."""

    def require(self, squares: str, any_size: str) -> None:
        """Refuse an export that is not the network.

        Args:
            squares: What the graph for squares is called.
            any_size: What the other one is.

        Raises:
            RunError: If a difference is larger than rounding.
        """
        tried = f"on {counted_pictures(self.pictures, self.kind).say('en')}"
        for name, what, found, most in (
            (squares, "a probability", self.squares or 0.0, LARGEST),
            (any_size, "a grey level", self.levels, MOST_LEVELS),
            (any_size, "a probability", self.resized, LARGEST_RESIZED),
        ):
            if not found <= most:  # NaN is no match either
                raise RunError(
                    f"{name} does not do what the run did: {tried} {what} is off by {found:.2g}, "
                    f"and rounding explains {most:g}. Nothing was exported. Please report it with "
                    "the name of the network and the versions of torch, onnxscript and onnxruntime"
                )


def sample_of(record: Record, data: str | None) -> Sample:
    """Find pictures of a run to try an export on: those of test, else of val, else of train.

    Args:
        data: Where the data is now; None takes the place where it was.

    Raises:
        DataError: If `data` was named and cannot be read.
    """
    found = record.predictions
    if found.of_folds:  # all count as "test" there, and the network learnt from all
        kind, rows = "train", found.learnt
    else:
        kind = next(each for each in ("test", "val", "train") if (found.splits == each).any())
        rows = np.flatnonzero(found.splits == kind)
    try:
        images = list_data(data or record.config["data"]["source"])
    except DataError as error:
        if data is not None:
            raise
        said = f"the data of the run is not here ({error}); --data PLACE says where it is now"
        return Sample("generated", rows[:0], said=said)
    return Sample(kind, rows, images.root)


def _generated(preprocessing: Preprocessing) -> Iterator[Pixels]:
    """Yield pictures of waves and edges, some upright and some lying, the same each time."""
    rng = np.random.default_rng(0)
    for _ in range(GENERATED):
        height, width = rng.integers(40, 400, 2)
        y, x = np.mgrid[:height, :width]
        lengths = rng.uniform(4, 40, (3, 2))
        waves = [np.sin(x / a + k) * np.cos(y / b - k) for k, (a, b) in enumerate(lengths)]
        shade = 1 - (x + 2 * y) // 40 % 2 / 2
        whole = (127 + 110 * np.stack(waves, axis=-1) * shade[..., None]).astype(np.uint8)
        square = resize(Image.fromarray(whole), preprocessing.size, preprocessing.resize)
        yield Pixels(-1, whole, square)


def compare(
    graphs: tuple[Path | None, Path],
    shipped: Shipped,
    preprocessing: Preprocessing,
    sample: Sample,
    record: Record,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Parity | None:
    """Ask graphs and the network about the same pictures; None where no picture is left.

    Args:
        graphs: One for squares of pixels, if there is one, and one for pictures of any size.
        shipped: In eval mode, in float32.
        progress: Told the number of pictures done and of all.
    """
    squares, any_size = (None if path is None else open_graph(path) for path in graphs)
    assert any_size
    network, exported, resized, rows, levels = [], [], [], [], 0
    coming = sample.pixels(record, preprocessing)
    for size in cycle(BATCHES):
        batch = list(islice(coming, size))
        if not batch:
            break
        pixels = np.stack([each.square for each in batch])
        with torch.inference_mode():
            network += list(shipped(torch.from_numpy(pixels))[0].numpy())
        if squares is not None:
            exported += list(answers(squares, pixels))
        for each in batch:
            probs, square = any_size.run(["probabilities", "square"], {"image": each.whole[None]})
            resized.append(probs[0])
            apart = np.abs(square[0].astype(np.int16) - each.square)
            levels = max(levels, int(apart.max()))
        rows += [each.row for each in batch]
        progress(len(rows), len(sample))
    if not rows:
        return None
    wanted, whole = np.stack(network), np.stack(resized)
    given = np.stack(exported) if exported else whole
    right = None
    if sample.kind == "test":
        right = int((given.argmax(axis=1) == record.predictions.labels[rows]).sum())
    return Parity(
        pictures=len(rows),
        kind=sample.kind,
        squares=float(np.abs(given - wanted).max()) if exported else None,
        resized=float(np.abs(whole - wanted).max()),
        levels=levels,
        agree=int((whole.argmax(axis=1) == wanted.argmax(axis=1)).sum()),
        right=right,
    )


def open_graph(path: Path) -> Any:
    """Load a graph to run on the CPU."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(session: Any, pictures: UInt8[ndarray, "batch height width 3"]) -> ndarray:
    """Return the probabilities of some pictures of one size, shape (batch, classes)."""
    [asked] = session.get_inputs()
    return session.run(["probabilities"], {asked.name: pictures})[0]
