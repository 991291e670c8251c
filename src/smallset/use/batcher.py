"""Pictures of many requests, answered together."""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from smallset.record.new_pictures import Row
from smallset.use.predictor import Decoded, Predictor

TOGETHER = 8
"""Pictures of one forward pass. From 16 on, oneDNN convolves another way than for 1, and sums in
another order: answers of 16 differ from those alone by up to 2e-6 (docs/log.md)."""


class Upload(NamedTuple):
    """One picture of a request."""

    name: str
    """As the client wrote it; nothing but text."""
    content: bytes


class Full(Exception):
    """So many pictures wait that no more are taken.

    Args:
        seconds: After which there may be room.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Batcher:
    """Decodes pictures in some threads, and gives those that are ready to the network together.

    Nothing waits on purpose: a picture that comes alone is answered at once, and those that come
    while the network works make up its next batch. All methods belong to one event loop.

    Args:
        most: Pictures that may wait.
        image_bytes: Of one picture; a larger one is a row with that error.
    """

    def __init__(self, predictor: Predictor, *, most: int, image_bytes: int) -> None:
        self.predictor, self.most, self.image_bytes = predictor, most, image_bytes
        self.waiting = 0
        """Pictures that are not answered yet."""
        self.pace = 0.02
        """Seconds the network needs for a picture, by the last batches."""
        self._decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
        self._network = ThreadPoolExecutor(1, "network")
        self._ready: deque[tuple[str, Decoded, asyncio.Future[Row]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def answer(self, uploads: Sequence[Upload]) -> list[Row]:
        """Return a row per picture, in their order.

        Raises:
            Full: If there is no room for them.
        """
        if self.waiting + len(uploads) > self.most:
            raise Full(min(max(math.ceil(self.waiting * self.pace), 1), 60))
        self.waiting += len(uploads)
        try:
            return await asyncio.gather(*map(self._answer, uploads))
        finally:
            self.waiting -= len(uploads)

    async def _answer(self, upload: Upload) -> Row:
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._decoders, self._decode, upload.content)
        future: asyncio.Future[Row] = loop.create_future()
        self._ready.append((upload.name, decoded, future))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return await future

    def _decode(self, content: bytes) -> Decoded:
        if len(content) > self.image_bytes:
            return Decoded(None, error=f"{len(content):,} bytes; the limit is {self.image_bytes:,}")
        return self.predictor.decode(content)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._ready:
            count = min(len(self._ready), TOGETHER)
            names, decoded, futures = zip(
                *(self._ready.popleft() for _ in range(count)), strict=True
            )
            try:
                rows = await loop.run_in_executor(self._network, self._rows, names, decoded)
            except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear it
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
                continue
            for future, row in zip(futures, rows, strict=True):
                if not future.done():  # its request was cancelled
                    future.set_result(row)

    def _rows(self, names: Sequence[str], decoded: Sequence[Decoded]) -> list[Row]:
        began = time.perf_counter()
        block = self.predictor.block(decoded, len(decoded))
        rows = list(self.predictor.rows(names, [block]))
        self.pace += 0.2 * ((time.perf_counter() - began) / len(rows) - self.pace)
        return rows
