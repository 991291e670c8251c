"""Run the tasks of a study: one after the other, in processes, or on a Ray cluster.

A task is independent of all others, its runs say what they need in their folders, and a run's
numbers depend on its settings alone; so the ways and the order give the same records. torch is
loaded by the workers only.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from smallset.config import RunConfig
from smallset.errors import ConfigError, SmallsetError, suggest
from smallset.groups import FigureConfig
from smallset.memory import keep_memory
from smallset.own_code import look_in
from smallset.record.record import Record

Draw = Callable[[Record, FigureConfig], object]
TRIES = 3  # of a task whose worker died; what it had done by then is kept
GRACE = 5.0
"""Seconds that workers have to take back what they were writing."""


class Outcome(NamedTuple):
    """How one part of a task ended."""

    folder: Path
    """What it was to write: a run's folder, or a file."""
    error: str | None


@runtime_checkable
class Task(Protocol):
    """What one worker does, whole; it can be sent to another process."""

    def run(self) -> list[Outcome]:
        """Do it, going on where a worker before this one stopped.

        Returns:
            How each part ended; one that fails does not stop the others.
        """
        ...

    def failed(self, why: str) -> list[Outcome]:
        """Return that nothing of it could be done."""
        ...

    def elsewhere(self) -> "Task":
        """Return the same for another machine, which has a cache of its own."""
        ...


class Todo(NamedTuple):
    """One run of a task."""

    config: RunConfig
    folder: Path
    plan: Any
    """A `smallset.learn.plan.Plan`; None where the worker must make it."""


@dataclass(frozen=True)
class Trainings:
    """Runs that one worker trains: those of a group at once, group after group."""

    data: str
    groups: tuple[tuple[Todo, ...], ...]
    draw: Draw | None = None
    """Draws the figures of a finished run; importable by name."""
    code: tuple[str, ...] = ()
    """Folders where code of the user's own is looked for."""

    def run(self) -> list[Outcome]:
        """Train the runs; see `Task`."""
        look_in(*self.code)
        from smallset.data.prepare import DataSource
        from smallset.learn.plan import Planner
        from smallset.learn.run import train_runs

        source = DataSource(self.data)
        planner = Planner(source)
        outcomes: list[Outcome] = []
        for group in self.groups:
            try:
                jobs = [(todo.plan or planner.plan(todo.config), todo.folder) for todo in group]
                results: list[Any] = train_runs(source, jobs, resume=None, show=self._drawer(group))
            except SmallsetError as error:
                results = [error] * len(group)
            except Exception:  # noqa: BLE001  a defect in one run is shown, and the others go on
                results = [traceback.format_exc()] * len(group)
            for todo, result in zip(group, results, strict=True):
                error = None if isinstance(result, Record) else str(result)
                outcomes.append(Outcome(todo.folder, error))
        return outcomes

    def _drawer(self, group: Sequence[Todo]) -> Callable[[Record], object]:
        """Return what draws the figures of a finished run of a group."""
        draw, figures = self.draw, {todo.folder: todo.config.figures for todo in group}
        return lambda record: None if draw is None else draw(record, figures[record.folder])

    def failed(self, why: str) -> list[Outcome]:
        """Return that no run could be trained; see `Task`."""
        return [Outcome(todo.folder, why) for group in self.groups for todo in group]

    def elsewhere(self) -> "Trainings":
        """Return the runs without plans: the other machine must look at the images itself."""
        groups = tuple(tuple(todo._replace(plan=None) for todo in group) for group in self.groups)
        return replace(self, groups=groups)


def run_task(task: Task) -> list[Outcome]:
    """Do a task, in whichever process."""
    return task.run()


class Resources(NamedTuple):
    """What tasks may use."""

    workers: int = 1
    """Processes at a time."""
    threads: int = 1
    """Processor threads of a task, which the settings of its runs ask for too."""
    gpus: int = 0
    """GPUs of this machine that processes share out; on Ray, whether a task needs one."""
    address: str | None = None
    """Of the Ray cluster; None takes ``RAY_ADDRESS`` or the one running here."""


Execution = Callable[[Sequence[Task], Resources], Iterator[list[Outcome]]]


def refuse_unread(way: str, workers: int | None, address: str | None) -> None:
    """Refuse what a way of execution would not read.

    Raises:
        ConfigError: If an address is given and it is not Ray, or workers where one does all.
    """
    if address is not None and way != "ray":
        raise ConfigError(f"--address is of a Ray cluster; it goes with --execute ray, got {way}")
    if workers is not None and workers > 1 and way == "serial":
        raise ConfigError(
            f"--workers {workers} goes with --execute processes or ray; serial is one after another"
        )


def find_execution(way: str) -> Execution:
    """Return a way of execution by its name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if way not in EXECUTIONS:
        raise ConfigError(f"no way of execution named {way!r}; {suggest(way, EXECUTIONS)}")
    return EXECUTIONS[way]


def _in_this_process(tasks: Sequence[Task], _: Resources) -> Iterator[list[Outcome]]:
    for task in tasks:
        yield run_task(task)


def _in_processes(tasks: Sequence[Task], resources: Resources) -> Iterator[list[Outcome]]:
    context = multiprocessing.get_context("spawn")
    waiting = deque((task, 1) for task in tasks)
    busy: dict[Connection, tuple[Any, int, Task, int]] = {}
    idle: list[tuple[Connection, Any, int]] = []

    gpus = gpu_names(resources.gpus)

    def start(place: int) -> None:
        ours, theirs = context.Pipe()
        gpu = gpus[place % len(gpus)] if gpus else None
        process = context.Process(target=_work, args=(theirs, resources.threads, gpu), daemon=True)
        with _without_main():
            process.start()
        theirs.close()  # so that its death shows as the end of the pipe
        idle.append((ours, process, place))

    try:
        for place in range(min(resources.workers, len(tasks))):
            start(place)
        while waiting or busy:
            while waiting and idle:
                pipe, process, place = idle.pop(0)
                task, tries = waiting.popleft()
                with contextlib.suppress(ConnectionError):  # of a dead worker; it shows below
                    pipe.send(task)
                busy[pipe] = process, place, task, tries
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                process, place, task, tries = busy.pop(pipe)
                try:
                    outcomes = pipe.recv()
                except (EOFError, ConnectionError):  # the latter where it died before it read
                    process.join()
                    start(place)
                    if tries < TRIES:
                        waiting.appendleft((task, tries + 1))
                        continue
                    why = f"its process died {TRIES} times ({_how(process.exitcode)})"
                    outcomes = task.failed(why)
                else:
                    idle.append((pipe, process, place))
                yield outcomes
    finally:
        for _, process, _ in idle:
            process.kill()
        _stop([process for process, *_ in busy.values()])


def _stop(processes: Sequence[Any]) -> None:
    """End workers in the middle of a task, which is resumed from its last epoch."""
    for process in processes:
        process.terminate()  # so that a file it is writing does not stay there by half
    until = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        process.kill()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from running the caller's script again: it needs nothing from there."""
    main = sys.modules["__main__"]
    hidden = {k: main.__dict__.pop(k) for k in ("__file__", "__spec__") if k in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _how(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "killed, as the system does when memory runs out: try fewer --workers"
    return f"exit status {exit_code}"


def gpu_names(count: int) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES calls each of the GPUs that this process may use.

    Where it is set, that is what stands in it: numbers of the machine, or UUIDs of GPUs or MIG
    instances. torch counts those among them that are there, and others only come behind.

    Args:
        count: How many there are, as torch counts them.
    """
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if told is None else (name.strip() for name in told.split(","))
    return list(names)[:count]


def _work(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Run the tasks that come through the pipe, until it or the study's process ends.

    Args:
        gpu: As `gpu_names` has it; None for all of them, or none.
    """
    # Before torch and numpy are loaded, which read these once.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the study's process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(run_task(task))


def _end_with_parent() -> None:
    """A study that was killed must not leave workers that write beside those of the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def on_cluster(address: str | None) -> Iterator[Any]:
    """Give the module `ray`, connected to a cluster that runs already.

    A connection that is made here ends after that; one that the process has already stays.

    Args:
        address: Of the cluster; None takes the one connected to, or else ``RAY_ADDRESS`` or the one
            running here.

    Raises:
        ConfigError: If the extra is not installed, there is no such cluster, or the process is
            connected to another one.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--execute ray needs the extra: pip install 'smallset[ray]'") from None
    if ray.is_initialized():  # by the caller, who goes on with it
        held = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", held):
            raise ConfigError(
                f"this process is connected to the Ray cluster at {held}, and {address} was asked "
                "for; leave the address out, or let go of that one with ray.shutdown()"
            )
        yield ray
        return
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or "auto",
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"no Ray cluster to connect to ({reason}); begin one with `ray start --head`, and "
            "`ray start --address=HEAD:6379` on the other machines"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _on_ray(tasks: Sequence[Task], resources: Resources) -> Iterator[list[Outcome]]:
    with on_cluster(resources.address) as ray:
        needs: Any = {"num_cpus": resources.threads, "num_gpus": 1 if resources.gpus else 0}
        remote = ray.remote(**needs, max_retries=TRIES - 1)(_ray_task)
        pending = {remote.remote(task.elsewhere()): task for task in tasks}
        while pending:
            ready, _ = ray.wait(list(pending), timeout=1.0)
            for reference in ready:
                task = pending.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    why = f"Ray gave up on it: {str(error).splitlines()[0]}"
                    yield task.failed(why)


def _ray_task(task: Task) -> list[Outcome]:
    keep_memory()
    return run_task(task)


EXECUTIONS: dict[str, Execution] = {
    "serial": _in_this_process,
    "processes": _in_processes,
    "ray": _on_ray,
}
"""The ways of execution; all give the same numbers. To add one: write the function, add it here."""


def default_workers(threads: int, gpus: int) -> int:
    """Return how many runs this machine should train at a time.

    One GPU trains one run; processors are shared out without a thread too many.

    Args:
        gpus: Of this machine that the runs use.
    """
    if gpus:
        return gpus
    return max(1, cores() // threads)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
