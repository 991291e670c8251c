"""Tell a waiting person how far a run is: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Reporter:
    """Callbacks for whoever waits; those that are not given do nothing."""

    note: Callable[[str], object] = _ignore
    """One sentence that a user should know."""
    line: Callable[[str], object] = _ignore
    """One line of progress."""
    found: Callable[[Any], object] = _ignore
    """A `smallset.findings.facts.Finding` of the run that was just trained."""
    counted: Callable[..., object] = _ignore
    """How much of a long count is done: what is done, how many so far, in all, and a unit that is
    not images."""
    begin_stage: Callable[[str, int, int], object] = _ignore
    """A stage begins: its name, its first epoch (above 0 in a resumed run), its epochs in all."""
    step: Callable[[int, int, int], object] = _ignore
    """A batch was trained on: batches of this epoch so far, in all, images in the batch."""
    epoch: Callable[[Mapping[str, Any]], object] = _ignore
    """An epoch ended: its line of epochs.jsonl."""
    close: Callable[[], object] = _ignore
    """Take the bar away; called at the end, also of a run that failed."""
    console: Console | None = None
    """Where a live table may be drawn."""


def usual_reporter() -> Reporter:
    """Return who is told where none is given: a terminal, a notebook in plain lines, or nobody.

    ``Reporter()`` in its place says nothing.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return console_reporter(Console(stderr=True))
    if "ipykernel" in sys.modules:
        return console_reporter(Console(force_jupyter=False, force_terminal=False, width=100))
    return Reporter()


def noting_once(reporter: Reporter) -> Reporter:
    """Return a reporter that passes each note on once."""
    said: set[str] = set()

    def note(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            reporter.note(sentence)

    return replace(reporter, note=note)


def console_reporter(console: Console) -> Reporter:
    """Return a reporter that shows a bar on a terminal, and elsewhere one line per epoch."""
    shown = _Console(console)
    return Reporter(
        note=shown.note,
        line=shown.line,
        counted=shown.counted,
        begin_stage=shown.begin_stage,
        step=shown.step,
        epoch=shown.epoch,
        close=shown.close,
        console=console,
    )


class _Console:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.task: Any = None
        self.kind = ""
        self.stage, self.first, self.epochs = "", 0, 0
        self.at = 0
        self.images, self.since = 0, time.perf_counter()

    def note(self, text: str) -> None:
        self.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def counted(self, what: str, done: int, total: int, unit: str = "images") -> None:
        if self.console.is_terminal:
            self._show(what, done, total)
        elif done == total:
            self.console.print(f"{what}: {total} {unit}", highlight=False)

    def begin_stage(self, name: str, first: int, epochs: int) -> None:
        self.close()
        self.stage, self.first, self.epochs, self.at = name, first, epochs, first
        self.images, self.since = 0, time.perf_counter()
        which = f": epochs {first} to {epochs - 1}" if epochs > 1 else ""
        self.console.print(f"stage {name}{which}", highlight=False)

    def step(self, done: int, total: int, images: int) -> None:
        self.images += images
        if self.console.is_terminal:
            speed = self.images / (time.perf_counter() - self.since)
            what = f"{self.stage} epoch {self.at}  {speed:.0f} images/s"
            begun = (self.at - self.first) * total
            self._show("train", begun + done, (self.epochs - self.first) * total, what)

    def epoch(self, line: Mapping[str, Any]) -> None:
        val = ""
        if line["val_loss"] is not None:
            val = f"  val loss {line['val_loss']:.4f} acc {line['val_accuracy']:.3f}"
        said = (
            f"train loss {line['train_loss']:.4f} acc {line['train_accuracy']:.3f}{val}  "
            f"{line['seconds']:.1f} s"
        )
        if self.images:  # a probe takes no steps
            speed = self.images / (time.perf_counter() - self.since)
            left = (self.epochs - 1 - line["epoch"]) * line["seconds"]
            said = (
                f"epoch {line['epoch']:>3}  lr {line['lr']:.2g}  {said}  "
                f"{speed:.0f} images/s  {left:.0f} s left"
            )
        self.console.print(said, highlight=False, soft_wrap=True)
        self.at = line["epoch"] + 1

    def close(self) -> None:
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
