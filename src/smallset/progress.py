"""Tell a waiting person how far a run is: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from smallset.learn.train import EpochResult


class Reporter:
    """Says nothing; the base of those that do."""

    def note(self, text: str) -> None:
        """Tell something a user should know once.

        Args:
            text: One sentence.
        """

    def counted(self, what: str, done: int, total: int) -> None:
        """Tell how much of a long count is done.

        Args:
            what: Such as "decoding".
            done: So far.
            total: At the end.
        """

    def start_stage(self, name: str, *, first: int, epochs: int) -> None:
        """Tell that a stage begins.

        Args:
            name: Its objective.
            first: Its first epoch; above 0 where a run is resumed.
            epochs: Its number of epochs.
        """

    def step(self, done: int, total: int, images: int) -> None:
        """Tell that a batch was trained on.

        Args:
            done: Batches of this epoch so far.
            total: Batches per epoch.
            images: Images in the batch.
        """

    def epoch(self, result: EpochResult, seconds: float) -> None:
        """Tell the scores of an epoch.

        Args:
            result: The scores.
            seconds: How long it took, scoring of val included.
        """

    def close(self) -> None:
        """Take the bar away; called at the end, also of a run that failed."""


class ConsoleReporter(Reporter):
    """A rich progress bar on a terminal; otherwise one plain line per epoch.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.task: Any = None
        self.kind = ""
        self.stage, self.first, self.epochs = "", 0, 0
        self.at = 0
        self.images, self.since = 0, time.perf_counter()

    def note(self, text: str) -> None:  # noqa: D102  as in the base
        self.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def counted(self, what: str, done: int, total: int) -> None:  # noqa: D102
        if self.console.is_terminal:
            self._show(what, done, total)
        elif done == total:
            self.console.print(f"{what}: {total} images", highlight=False)

    def start_stage(self, name: str, *, first: int, epochs: int) -> None:  # noqa: D102
        self.close()
        self.stage, self.first, self.epochs = name, first, epochs
        self.at = first
        self.images, self.since = 0, time.perf_counter()
        self.console.print(f"stage {name}: epochs {first} to {epochs - 1}", highlight=False)

    def step(self, done: int, total: int, images: int) -> None:  # noqa: D102
        self.images += images
        if self.console.is_terminal:
            speed = self.images / (time.perf_counter() - self.since)
            what = f"{self.stage} epoch {self.at}  {speed:.0f} images/s"
            begun = (self.at - self.first) * total
            self._show("train", begun + done, (self.epochs - self.first) * total, what)

    def epoch(self, result: EpochResult, seconds: float) -> None:  # noqa: D102
        val = ""
        if result.val is not None:
            val = f"  val loss {result.val.loss:.4f} acc {result.val.accuracy:.3f}"
        speed = self.images / (time.perf_counter() - self.since)
        left = (self.epochs - 1 - result.epoch) * seconds
        self.console.print(
            f"epoch {result.epoch:>3}  lr {result.lr:.2g}  train loss {result.train.loss:.4f} "
            f"acc {result.train.accuracy:.3f}{val}  {seconds:.1f} s  {speed:.0f} images/s  "
            f"{left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
        self.at = result.epoch + 1

    def close(self) -> None:  # noqa: D102
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show(self, kind: str, done: int, total: int, what: str = "") -> None:
        if self.bar is None or self.kind != kind:
            self.close()
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.kind, self.task = kind, self.bar.add_task(what or kind, total=total)
        self.bar.update(self.task, completed=done, description=what or kind)
        if done == total:
            self.close()
