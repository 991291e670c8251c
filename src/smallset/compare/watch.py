"""Show a study while it runs: a live table on a terminal, a line per finished run elsewhere.

What the runs have left on disk is all it reads, so it shows the same whichever way they run.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from smallset import contents
from smallset.compare.study import Job, Study
from smallset.compare.takes import duration, takes
from smallset.errors import DataError
from smallset.reading import read_json_lines
from smallset.record.record import FIX, Record
from smallset.words import counted

MARKS = {
    "done": ("●", "green"), "begun": ("◐", "yellow"), "new": ("○", "dim"), "failed": ("✗", "red"),
}  # fmt: skip


@contextlib.contextmanager
def watched(
    study: Study, console: Console | None, *, workers: int, stages: dict[str, int]
) -> Iterator[Callable[[Job], object]]:
    """Show a study on a console while it runs; give the function that is told of each ended run.

    Args:
        console: Where to write; None shows nothing.
    """
    if console is None:
        yield lambda _: None
        return
    with Watch(study, console, workers=workers, stages=stages) as watch:
        yield watch.ended_run


class Watch:
    """Shows how far a study is.

    Args:
        stages: Stages of each run, by arm; a run's epochs are counted over all of them.
    """

    def __init__(
        self, study: Study, console: Console, *, workers: int, stages: dict[str, int]
    ) -> None:
        self.study = study
        self.console = console
        self.workers = workers
        self.stages = stages
        self.live: Live | None = None
        self.ended = 0
        self._results: dict[str, float | None] = {}

    def __enter__(self) -> "Watch":
        """Begin to show."""
        self.console.print(self.plan(), highlight=False)
        for job, origin in self.study.taken_over:
            self.console.print(f"{job.name}: taken over from {origin}", markup=False)
        if self.console.is_terminal:
            # Reading the folders takes a moment, so not more often than this.
            self.live = Live(
                get_renderable=self.table, console=self.console, refresh_per_second=0.5
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show the last state and end."""
        if self.live is not None:
            self.live.stop()

    def ended_run(self, job: Job) -> None:
        """Tell that a run ended."""
        self.ended += 1
        if self.live is not None and job.error is None:
            return
        if job.error is not None:
            last = job.error.strip().splitlines()[-1]
            self.console.print(Text(f"failed  {job.name}: {last}", style="red"), soft_wrap=True)
            return
        done, total = self.study.count("done"), len(self.study.all_jobs)
        left = self.seconds_left()
        about = "" if left is None or done == total else f", about {duration(left)} left"
        self.console.print(
            f"done    {job.name}{self._val(job)}  ({done} of {total}{about})",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip

    def plan(self) -> str:
        """Say what is to be done."""
        study = self.study
        total, done, begun = len(study.all_jobs), study.count("done"), study.count("begun")
        arms, seeds = ({getattr(job, of) for job in study.jobs} for of in ("arm", "seed"))
        lines = [
            f"{study.spec.title}: {counted(len(arms), 'arm')} x {counted(len(seeds), 'seed')}"
            + (
                f", and {counted(len(study.before), 'run')} they start from" if study.before else ""
            ),
            f"{counted(total, 'run')}: {done} done, {begun} begun, "
            f"{total - done - begun} to begin; {self.workers} at a time",
        ]
        if done < total:
            asked = takes(study.spec, seeds=len(seeds), overrides=study.overrides)
            lines.append(f"takes {asked}")
        left = self.seconds_left()
        if left and done < total:
            lines.append(f"about {duration(left)} left, by the epochs seen so far")
        return "\n".join(lines)

    def table(self) -> Table:
        """Return the table of arms as it is now."""
        table = Table(title=self.study.spec.title)
        for name in ("arm", "runs", "epoch", "val"):
            table.add_column(name, justify="left" if name in ("arm", "runs") else "right")
        groups = {
            arm: [job for job in self.study.jobs + self.study.kept if job.arm == arm]
            for arm in self.study.spec.arms
        }
        for job in self.study.before:
            groups.setdefault(f"(before) {job.folder.parent.parent.name}/{job.arm}", []).append(job)
        for arm, jobs in groups.items():
            marks, epochs, val = Text(), "", ""
            for job in jobs:
                state, lines = self._progress(job)
                marks.append(*MARKS[state])
                if state == "begun" and lines:
                    epochs = f"{len(lines)}/{self._epochs(job)}"
                    accuracy = lines[-1]["val_accuracy"]
                    val = "" if accuracy is None else f"{accuracy:.1%}"
            with contextlib.suppress(DataError):  # the summary will name it
                shares = [self._share(job) for job in jobs if job.state == "done"]
                known = [share for share in shares if share is not None]
                val = f"{np.mean(known):.1%}" if known and not epochs else val
            table.add_row(arm, marks, epochs, val)
        left = self.seconds_left()
        table.caption = "" if left is None else f"about {duration(left)} left"
        return table

    def seconds_left(self) -> float | None:
        """Estimate the time to the end from the epochs seen so far; None where there is none."""
        speeds: dict[str, list[float]] = {}
        todo: list[tuple[str, int]] = []
        for job in self.study.all_jobs:
            _, lines = self._progress(job)
            speeds.setdefault(job.arm, []).extend(line["seconds"] for line in lines)
            if job.state not in ("done", "failed"):
                todo.append((job.arm, self._epochs(job) - len(lines)))
        seen = [second for seconds in speeds.values() for second in seconds]
        if not seen or not todo:
            return None
        mean = float(np.mean(seen))
        each = {arm: float(np.mean(s)) if s else mean for arm, s in speeds.items()}
        trained = sum(each[arm] * epochs for arm, epochs in todo)
        return (trained + len(todo) * self._beside_epochs()) / self.workers

    def _beside_epochs(self) -> float:
        """Return the seconds of a run that no epoch counts: its start, predictions and figures.

        The median of the finished runs, by the times of their files; 0 before the first.
        """
        seconds = []
        for job in self.study.all_jobs:
            if job.state == "done" and (job.folder / "config.json").exists():
                ends = [job.folder / "result.json", *(job.folder / "figures").glob("*.png")]
                last = max(path.stat().st_mtime for path in ends if path.exists())
                whole = last - (job.folder / "config.json").stat().st_mtime
                epochs = sum(line["seconds"] for line in self._progress(job)[1])
                seconds.append(max(whole - epochs, 0.0))
        return float(np.median(seconds)) if seconds else 0.0

    def _epochs(self, job: Job) -> int:
        return job.config.epochs * self.stages.get(job.arm, 1)

    def _progress(self, job: Job) -> tuple[str, list[dict[str, Any]]]:
        path = job.folder / "epochs.jsonl"
        if not path.exists():
            return job.state, []
        try:
            lines = read_json_lines(path, contents.Epoch, fix=FIX)
        except DataError:  # whoever needs the file says so; nothing here does
            return job.state, []
        return ("begun" if job.state == "new" else job.state), lines

    def _share(self, job: Job) -> float | None:
        """Return the val accuracy of a finished run; test is not looked at before the end."""
        if job.name not in self._results:
            self._results[job.name] = Record(job.folder).result["val_accuracy"]
        return self._results[job.name]

    def _val(self, job: Job) -> str:
        share = self._share(job)
        return "" if share is None else f"  val {share:.1%}"
