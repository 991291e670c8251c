"""A trained network that answers for picture files, as fast as they can be decoded."""

import hashlib
import os
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from smallset.compute import has_bfloat16, resolve, versions
from smallset.config import RunConfig, override
from smallset.data.feed import Normalise
from smallset.data.pictures import Unreadable, read_file
from smallset.errors import DataError
from smallset.models.forward import BATCH_SIZE, forward, one_by_one, placed
from smallset.models.restore import changed_code, refuse_own_code, restore
from smallset.models.weights import file_sha256
from smallset.record.doubt import fit_sets, held_out, read_temperature
from smallset.record.new_pictures import Block, Row, ranked, rows_of, seen_in
from smallset.record.record import Record, no_run
from smallset.record.strange import fit_refusal

T = TypeVar("T")
U = TypeVar("U")
AHEAD = 2 * BATCH_SIZE
"""Pictures that are decoded, or being decoded, before the network asks for them."""


class Decoded(NamedTuple):
    """A picture file, ready for the network; or why it is not."""

    pixels: UInt8[ndarray, "size size 3"] | None
    id: str = ""
    error: str = ""


def open_record(folder: Path) -> Record:
    """Return the record of a finished run.

    Raises:
        DataError: If there is none; where it is a study, its runs are named.
    """
    record = Record(folder)
    if (folder / "study.json").exists():
        runs = sorted(path.parent for path in folder.glob("*/*/result.json"))
        hint = f", such as {runs[0]}" if runs else ""
        raise DataError(f"{folder} is a study; give one of its runs{hint}")
    if not record.is_complete:
        if record.has_begun:
            raise DataError(
                f"{folder} is a run that is not finished; `smallset train DATA --out "
                f"{shlex.quote(str(folder))} --resume` goes on with it"
            )
        raise no_run(folder, "give the folder that train or best named at its end")
    return record


class Predictor:
    """A network with everything between a file and its probabilities, from a record alone.

    Pixels, size, colours, precision and mirror image are those of the run, so a picture of it gets
    the probabilities that stand in its predictions.csv, after the temperature.

    Args:
        device: Where it computes: auto, cpu, cuda or mps.
        embeddings: Whether its answers hold what the last layer saw.
        sets: Rate at which its sets of classes are to hold a picture's own; None for no sets.
        reject: Share of known pictures that it may call unknown; None calls none so.
        own_code: Whether a record may name a Python function that builds its network. It is
            imported and called, so only for records whose origin is trusted.
        apart: Whether a picture's answer must not depend on those beside it in a batch, not even in
            its last bits, as far as the device allows it.

    Raises:
        ConfigError: If the device is not here, the network is own code and that is not allowed, or
            the run has too few images for the sets or for refusing.
        DataError: If the record is not one of a finished run, or its weights are damaged.
    """

    def __init__(
        self,
        record: Record,
        *,
        device: str = "auto",
        embeddings: bool = False,
        sets: float | None = None,
        reject: float | None = None,
        own_code: bool = False,
        apart: bool = False,
    ) -> None:
        self.folder, self.own_code = record.folder, own_code
        described = record.model
        refuse_own_code(record, allowed=own_code)
        self.device = resolve(override(RunConfig(), {"compute.device": device}).compute).device
        self.bfloat16 = described["precision"] == "bfloat16"
        model, self.preprocessing, self.classes = restore(record, own_code=own_code)
        self.model = placed(model, self.device)
        self.network = partial(one_by_one, self.model) if apart else self.model
        self.temperature = read_temperature(described)
        self.normalise = Normalise(self.preprocessing, self.device)
        self.sets = None
        self.doubt = [*changed_code(record), self.temperature.said]
        """What there is to know of its answers, as sentences."""
        if sets is not None:
            held = held_out(record.predictions, record.held_out)
            self.sets = fit_sets(held, self.temperature.value, sets)
            self.doubt.append(self.sets.said(record.predictions, self.temperature.value))
        self.refusal = self.space = None
        if reject is not None:
            self.refusal, self.space, said = fit_refusal(record, self.temperature.value, reject)
            self.doubt.append(said)
        self.seen = seen_in(record.predictions)
        """The split of every picture of the run, by its id."""
        self.dim: int | None = None
        """Length of an embedding; None where nobody asked for them."""
        if embeddings:
            side = self.preprocessing.size
            empty = np.zeros((1, side, side, 3), dtype=np.uint8)
            self.dim = self.answer(empty)[1].shape[1]

    @property
    def is_slow(self) -> bool:
        """Whether the run's bfloat16 is emulated here."""
        return self.bfloat16 and not has_bfloat16(self.device)

    @property
    def decided_by(self) -> dict[str, Any]:
        """Return everything that decides its answers, but for the pictures."""
        described = hashlib.sha256((self.folder / "model.json").read_bytes()).hexdigest()
        return {
            "weights": file_sha256(self.folder / "model.safetensors"),
            "model.json": described,
            "embeddings": self.dim is not None,
            "distances": self.refusal is not None,
            "device": self.device,
            "versions": versions(),
        }

    def open(self, path: str) -> Decoded:
        """Decode a picture file."""
        try:
            return self.decode(read_file(Path(path)))
        except Unreadable as error:
            return Decoded(None, error=str(error))

    def decode(self, content: bytes) -> Decoded:
        """Decode the content of a picture file."""
        try:
            return Decoded(*self.preprocessing.read(content))
        except Unreadable as error:
            return Decoded(None, error=str(error))

    def answer(
        self, pixels: UInt8[ndarray, "batch size size 3"]
    ) -> tuple[Float[ndarray, "batch classes"], Float[ndarray, "batch dim"]]:
        """Return probabilities and embeddings of decoded pictures."""
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            output = forward(self.network, self.normalise(images), bfloat16=self.bfloat16)
            probs = (output.logits / self.temperature.value).softmax(dim=1)
        return probs.cpu().numpy(), output.embeddings.cpu().numpy()

    def rows(self, paths: Sequence[str], blocks: Iterable[Block]) -> Iterator[Row]:
        """Yield the rows of some blocks, one per path."""
        for row in rows_of(paths, blocks, self.seen):
            if not row.error and self.sets is not None:
                [inside] = self.sets.of(row.probs[None])
                order = ranked(row.probs)
                row = row._replace(set=tuple(order[inside[order]].tolist()))
            if not row.error and self.refusal is not None and row.distance is not None:
                sure = float(row.probs.max())
                row = row._replace(unknown=self.refusal.reasons(sure, row.distance))
            yield row

    def blocks(
        self,
        paths: Sequence[str],
        ranges: Iterable[range],
        *,
        progress: Callable[[int], object] = lambda _: None,
        decoders: int | None = None,
    ) -> Iterator[Block]:
        """Yield the answers for some ranges of a list of files, decoding ahead of the network.

        Args:
            ranges: Positions in `paths`, a block each. A block does not depend on the others.
            progress: Told how many more pictures are done.
            decoders: Threads that decode; None takes one per processor.
        """
        ranges = list(ranges)
        pool = ThreadPoolExecutor(decoders or os.cpu_count())
        try:
            wanted = (paths[row] for rows in ranges for row in rows)
            decoded = in_order(pool, self.open, wanted, ahead=AHEAD)
            for rows in ranges:
                yield self.block(islice(decoded, len(rows)), len(rows), progress)
        finally:
            pool.shutdown(cancel_futures=True)

    def block(
        self,
        decoded: Iterable[Decoded],
        size: int,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Block:
        """Return the answers for some decoded pictures.

        Args:
            size: How many they are.
            progress: Told how many more pictures are done.
        """
        decoded = iter(decoded)
        ids: list[str] = []
        errors: list[str] = []
        probs = np.full((size, len(self.classes)), np.nan, dtype=np.float32)
        vectors = np.full((size, self.dim or 0), np.nan, dtype=np.float32)
        apart = np.full(size, np.nan, dtype=np.float32)
        for start in range(0, size, BATCH_SIZE):
            batch = list(islice(decoded, min(BATCH_SIZE, size - start)))
            readable = [i for i, each in enumerate(batch, start) if each.pixels is not None]
            if readable:
                pixels = np.stack([each.pixels for each in batch if each.pixels is not None])
                probs[readable], seen = self.answer(pixels)
                if self.dim is not None:
                    vectors[readable] = seen
                if self.space is not None:
                    apart[readable] = self.space.distances(seen)
            ids += [each.id for each in batch]
            errors += [each.error for each in batch]
            progress(len(batch))
        return Block(
            tuple(ids),
            tuple(errors),
            probs,
            None if self.dim is None else vectors,
            None if self.space is None else apart,
        )


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[T], U], items: Iterable[T], *, ahead: int
) -> Iterator[U]:
    """Yield what a function makes of each item, while the pool works on the next ones.

    Args:
        ahead: How many results may wait; `pool.map` would put no bound on them.
    """
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
