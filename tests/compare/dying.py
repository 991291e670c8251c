"""Workers that are killed at a task, as one without memory would be. What they import is little."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


def work_dying_always(pipe, threads, gpu):
    pipe.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def work_dying_once(pipe, threads, gpu):
    marker = Path(os.environ["DIED"])
    if not marker.exists():
        marker.touch()
        work_dying_always(pipe, threads, gpu)
    from smallset.compare.execute import _work

    _work(pipe, threads, gpu)


def work_dying_unread(pipe, threads, gpu):
    """The first worker dies before it reads its task, as one that is killed while it loads."""
    marker = Path(os.environ["DIED"])
    if not marker.exists():
        marker.touch()
        assert pipe.poll(60)
        os.kill(os.getpid(), signal.SIGKILL)
    work_at_once(pipe)


def work_dying_idle(pipe, threads, gpu):
    """One of the first two dies after its task; the other one then, over its own."""
    marker = Path(os.environ["DIED"])
    place = next(n for n in range(9) if begins(marker.with_name(f"worker-{n}")))
    if place == 1:
        while not marker.exists():
            time.sleep(0.05)
        time.sleep(0.5)
        work_dying_always(pipe, threads, gpu)
    if place == 0:
        pipe.send(pipe.recv().run())
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    work_at_once(pipe)


def work_telling_gpu(pipe, threads, gpu):
    pipe.recv()
    pipe.send([gpu])
    time.sleep(60)


def begins(path):
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def work_at_once(pipe):
    """Work as smallset does, without its imports."""
    while True:
        pipe.send(pipe.recv().run())


@dataclass(frozen=True)
class Counted:
    """A task that is done at once."""

    number: int

    def run(self):
        from smallset.compare.execute import Outcome

        return [Outcome(Path(str(self.number)), None)]

    def failed(self, why):
        raise AssertionError(why)

    def elsewhere(self):
        return self


@dataclass(frozen=True)
class Writing:
    """A task that writes a file for a minute; the other one ends when it sees that."""

    folder: Path
    is_long: bool

    def run(self):
        from smallset.files import written_aside

        if self.is_long:
            with written_aside(self.folder / "long.json"):
                time.sleep(60)
        while not list(self.folder.iterdir()):
            time.sleep(0.05)
        return []

    def failed(self, why):
        raise AssertionError(why)

    def elsewhere(self):
        return self
