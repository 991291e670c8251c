"""Parts of a prediction made by workers of a Ray cluster, each with a network of its own."""

import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from smallset.compare.execute import TRIES, on_cluster
from smallset.errors import ConfigError, RunError, SmallsetError
from smallset.memory import keep_memory
from smallset.record.new_pictures import Block
from smallset.settings import differences
from smallset.use.predictor import Predictor, open_record

PATIENCE = 10.0
"""Seconds without any worker after which that is said."""
OTHERS = "its weights, versions or device differ (here -> there)"


class Order(NamedTuple):
    """What a worker is to be."""

    record: Path
    """Absolute: a worker runs in another folder."""
    settings: Mapping[str, Any]
    """Of its `Predictor`."""
    decided_by: Mapping[str, Any]
    """As `Predictor.decided_by` gives it where the command runs."""
    threads: int
    """Of torch: a sum in another order has other last bits."""
    decoders: int
    """Pictures that are read and decoded at a time."""


class Worker:
    """A network on some machine of the cluster."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.predictor: Predictor | None = None

    def open(self) -> tuple[str, str]:
        """Restore the network.

        Returns:
            The name of the machine, and why its answers would not be those of the command; or "".
        """
        keep_memory()
        torch.set_num_threads(self.order.threads)
        try:
            self.predictor = Predictor(open_record(self.order.record), **self.order.settings)
            here = self.predictor.decided_by
        except (SmallsetError, OSError) as error:
            return socket.gethostname(), str(error)
        changed = differences(self.order.decided_by, here)
        return socket.gethostname(), f"{OTHERS}:\n  " + "\n  ".join(changed) if changed else ""

    def block(self, paths: Sequence[str]) -> Block:
        """Return what the network says of some files."""
        assert self.predictor is not None
        parts = [range(len(paths))]
        [block] = self.predictor.blocks(paths, parts, decoders=self.order.decoders)
        return block


class Made(NamedTuple):
    """A part that was made."""

    number: int
    block: Block
    machine: str
    """That made it."""


class Cluster:
    """What a Ray cluster has for a prediction.

    Args:
        ray: The module, connected.
        device: That workers compute on: "auto" takes GPUs where the cluster has any.
        threads: Of torch, in each worker: as many as where the command runs.
        workers: At a time; None takes as many as the cluster has places for now.

    Raises:
        ConfigError: If no machine of the cluster fits a worker.
    """

    def __init__(self, ray: Any, *, device: str, threads: int, workers: int | None) -> None:
        self.ray = ray
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        with_gpu = [each for each in machines if each.get("GPU", 0) >= 1]
        self.device = ("cuda" if with_gpu else "cpu") if device == "auto" else device
        self.threads = threads
        self.cpus, self.gpus = threads, 0
        if self.device == "cuda":
            # Its answers do not hang on threads, so that each GPU has its share of processors.
            shares = [each.get("CPU", 0) // each["GPU"] for each in with_gpu]
            self.cpus, self.gpus = max(1, int(min(shares, default=1))), 1
        places = sum(map(self._places, machines))
        if not places:
            most = max((each.get("CPU", 0) for each in machines), default=0)
            raise ConfigError(
                f"no machine of the Ray cluster fits a worker of {self.needs}: the most that one "
                f"has is {most:g} CPUs, and {len(with_gpu)} have a GPU"
                + ("" if self.gpus else "; OMP_NUM_THREADS=1 before the command makes it 1 CPU")
            )
        self.workers = workers or places

    @property
    def needs(self) -> str:
        """Return what a worker needs, in words."""
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}{' and a GPU' * self.gpus}"

    def _places(self, machine: Mapping[str, float]) -> int:
        by_cpu = int(machine.get("CPU", 0) // self.cpus)
        return min(by_cpu, int(machine.get("GPU", 0))) if self.gpus else by_cpu

    def begin(self, order: Order) -> Any:
        """Begin a worker, as soon as there is a place for it."""
        # What torch and numpy read when they are loaded, before any code of ours runs there.
        threads = str(self.threads)
        variables = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        actor = self.ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0,
            runtime_env={"env_vars": variables},
        )(Worker)  # fmt: skip
        return actor.remote(order)


@contextlib.contextmanager
def cluster_at(address: str | None, *, device: str, workers: int | None) -> Iterator[Cluster]:
    """Give a Ray cluster that runs already, and let go of it after that.

    Args:
        address: None takes ``RAY_ADDRESS`` or the one running here.

    Raises:
        ConfigError: If Ray is not installed, there is no such cluster, or it fits no worker.
    """
    with on_cluster(address) as ray:
        yield Cluster(ray, device=device, threads=torch.get_num_threads(), workers=workers)


def make_parts(
    cluster: Cluster,
    order: Order,
    parts: Sequence[int],
    paths: Callable[[int], Sequence[str]],
    note: Callable[[str], object],
) -> Iterator[Made]:
    """Have parts made by the workers of a cluster; those of a worker that dies by another one.

    A worker has one part at a time, and gets its next one before the caller gets this one: what
    is in flight does not grow with the parts.

    Args:
        parts: Their numbers.
        paths: Gives the files of a part; absolute.
        note: Told where no worker can run now.

    Yields:
        Each part, once, in the order in which they are made.

    Raises:
        RunError: If a worker cannot restore the network or would answer otherwise, or if workers
            die again and again.
    """
    pool = _Pool(cluster, order, parts, paths)
    for _ in range(min(cluster.workers, len(parts))):
        pool.begin()
    idle_for = 0.0
    while pool.left:
        ready, _ = cluster.ray.wait(list(pool.busy), timeout=1.0)
        idle_for = 0.0 if ready or pool.machines else idle_for + 1.0
        if idle_for == PATIENCE:
            note(f"no worker runs: each waits for {cluster.needs} on one machine of the cluster")
        for reference in ready:
            made = pool.take(reference)
            if made is not None:
                yield made


class _Pool:
    """The workers, and what each is at."""

    def __init__(
        self,
        cluster: Cluster,
        order: Order,
        parts: Sequence[int],
        paths: Callable[[int], Sequence[str]],
    ) -> None:
        self.cluster, self.order, self.paths = cluster, order, paths
        self.waiting = deque((number, 1) for number in parts)
        self.left = len(parts)
        self.busy: dict[Any, tuple[Any, int | None, int]] = {}
        """By what is awaited: the worker, its part or None while it begins, and which try it is."""
        self.machines: dict[Any, str] = {}
        """Where each worker is that runs."""
        self.idle: list[Any] = []
        """Workers that found nothing waiting; they keep their places."""

    def begin(self, tries: int = 1) -> None:
        worker = self.cluster.begin(self.order)
        self.busy[worker.open.remote()] = worker, None, tries

    def take(self, reference: Any) -> Made | None:
        """Take an answer, and give the worker its next part."""
        worker, number, tries = self.busy.pop(reference)
        try:
            answer = self.cluster.ray.get(reference)
        except self.cluster.ray.exceptions.RayError as error:
            self._lost(worker, number, tries, error)
            return None
        if number is None:
            machine, why = answer
            if why:
                raise RunError(f"the worker on {machine} cannot answer as this machine does: {why}")
            self.machines[worker] = machine
        if self.waiting:
            self._ask(worker, *self.waiting.popleft())
        else:
            self.idle.append(worker)
        if number is None:
            return None
        self.left -= 1
        return Made(number, answer, self.machines[worker])

    def _ask(self, worker: Any, number: int, tries: int) -> None:
        self.busy[worker.block.remote(self.paths(number))] = worker, number, tries

    def _lost(self, worker: Any, number: int | None, tries: int, error: Exception) -> None:
        """Give what a dead worker was at to an idle one, or put it first and begin another."""
        ray, why = self.cluster.ray, _said(error)
        machine = self.machines.pop(worker, "")
        if isinstance(error, ray.exceptions.RayTaskError):  # it lives, and would fail again
            raise RunError(f"the worker on {machine or 'the cluster'} failed: {why}") from error
        if tries == TRIES:
            what = "no worker could begin" if number is None else self._named(number)
            raise RunError(f"{what}, {TRIES} times: {why}") from None
        if number is None:
            self.begin(tries + 1)
        elif self.idle:  # which may have died with the same machine: that is no try of the part
            self._ask(self.idle.pop(), number, tries)
        else:
            self.waiting.appendleft((number, tries + 1))
            self.begin()

    def _named(self, number: int) -> str:
        paths = self.paths(number)
        return f"the worker died over {paths[0]} to {paths[-1]}"


def _said(error: Exception) -> str:
    """Return one line of what Ray says: of a traceback the last, or else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    has_traceback = any(line.startswith("Traceback") for line in lines)
    return lines[-1 if has_traceback else 0] if lines else type(error).__name__
