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
